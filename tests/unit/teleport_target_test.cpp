// Where the Proxy says that Kubernetes is, in every form that a Proxy may say it, and in forms that
// none should.
#include <string>

#include <gtest/gtest.h>

#include "proxy/teleport/target.hpp"

namespace kubelane::teleport {
namespace {

// --- Addresses
// ------------------------------------------------------------------------------------

std::string parsed(std::string_view text) {
  HostPort out;
  if (!parse_host_port(text, 443, out)) return "malformed";
  return out.host + " " + std::to_string(out.port);
}

TEST(ParseHostPort, ReadsNamesAndLiteralsWithAndWithoutPort) {
  EXPECT_EQ(parsed("teleport.example.com"), "teleport.example.com 443");
  EXPECT_EQ(parsed("teleport.example.com:3080"), "teleport.example.com 3080");
  EXPECT_EQ(parsed("10.1.2.3:1"), "10.1.2.3 1");
  EXPECT_EQ(parsed("10.1.2.3"), "10.1.2.3 443");
  EXPECT_EQ(parsed("[2001:db8::1]:65535"), "2001:db8::1 65535");
  EXPECT_EQ(parsed("[2001:db8::1]"), "2001:db8::1 443");
  EXPECT_EQ(parsed("2001:db8::1"), "2001:db8::1 443");
  EXPECT_EQ(parsed("::1"), "::1 443");
  EXPECT_EQ(parsed("[fe80::1%eth0]:3080"), "fe80::1%eth0 3080");
  EXPECT_EQ(parsed("localhost:3080"), "localhost 3080");
}

TEST(ParseHostPort, RefusesWhatIsNoAddress) {
  for (const std::string text : {"",
                                 ":",
                                 ":443",
                                 "host:",
                                 "host:0",
                                 "host:65536",
                                 "host:99999999999999999999",
                                 "host:-1",
                                 "host:+1",
                                 "host:4 43",
                                 "host:443/",
                                 "host:443x",
                                 "host: 443",
                                 "ho st",
                                 " host",
                                 "host\n",
                                 "http://host",
                                 "https://host:443",
                                 "user@host",
                                 "host?x",
                                 "host/path",
                                 "[::1",
                                 "[::1]x",
                                 "[::1]:",
                                 "[]",
                                 "[]:443",
                                 "[host]:443",
                                 "a:b:c",
                                 "host:443:443",
                                 "::ffff:host"})
    EXPECT_EQ(parsed(text), "malformed") << text;
  EXPECT_EQ(parsed(std::string_view("ho\0st", 5)), "malformed");
}

TEST(ToString, HidesTheUsualPortAndBracketsIpv6) {
  EXPECT_EQ(to_string({"host", 443}, 443), "host");
  EXPECT_EQ(to_string({"host", 3080}, 443), "host:3080");
  EXPECT_EQ(to_string({"::1", 443}, 443), "[::1]");
  EXPECT_EQ(to_string({"::1", 443}, 0), "[::1]:443");
}

// --- Versions
// -------------------------------------------------------------------------------------

TEST(SupportsPathRouting, SinceSeventeenTwoSeven) {
  for (const char* version :
       {"17.2.7", "17.2.8", "17.2.10", "17.3.0", "17.10.0", "18.0.0", "18.0.0-alpha.1",
        "17.3.0-dev.1", "100.0.0", "v17.2.7", "v18.1.2", "17.2.7+build.5", "18.0.0-alpha.2+meta",
        "17.2.8-rc.1", "18", "19.1", "17.2.007"})
    EXPECT_TRUE(supports_path_routing(version)) << version;
}

TEST(SupportsPathRouting, NotBefore) {
  for (const char* version : {"17.2.6", "17.2.0", "17.1.99", "17.0.0", "16.99.99", "16.4.12",
                              "15.0.0", "9.9.9", "0.0.0", "v17.2.6", "17.2.6+build.9"})
    EXPECT_FALSE(supports_path_routing(version)) << version;
}

TEST(SupportsPathRouting, PreReleasesOfItselfAreOlder) {
  for (const char* version :
       {"17.2.7-alpha.1", "17.2.7-rc.1", "17.2.7-dev", "v17.2.7-aa", "17.2.7-rc.1+build"})
    EXPECT_FALSE(supports_path_routing(version)) << version;
}

TEST(SupportsPathRouting, UnreadableVersionsAreNotTrusted) {
  for (const char* version :
       {"", "v", "latest", "17", "17.", "17.2", "17.2.", "17..7", ".17.2.7", "17.2.x", "-18.0.0",
        "+18.0.0", " 18.0.0", "99999999999999999999.0.0", "17.99999999999999999999.0", "vv18.0.0"})
    EXPECT_FALSE(supports_path_routing(version)) << version;
}

// --- The kube server name
// -------------------------------------------------------------------------

TEST(KubeServerName, PrefixesTheHost) {
  EXPECT_EQ(kube_server_name("teleport.example.com"),
            "kube-teleport-proxy-alpn.teleport.example.com");
  // The Proxy compares case-sensitively.
  EXPECT_EQ(kube_server_name("Teleport.EXAMPLE.com"),
            "kube-teleport-proxy-alpn.teleport.example.com");
}

TEST(KubeServerName, HostsWithoutANameTakeTheClustersOwn) {
  for (const char* host : {"", "localhost", "127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"})
    EXPECT_EQ(kube_server_name(host), "kube-teleport-proxy-alpn.teleport.cluster.local") << host;
}

// --- Ping replies
// ---------------------------------------------------------------------------------

constexpr const char* full_reply = R"({
  "auth": {"type": "local", "second_factor": "otp", "signature_algorithm_suite": 3},
  "proxy": {
    "kube": {"enabled": true, "public_addr": "kube.example.com:3026",
             "listen_addr": "0.0.0.0:3026"},
    "ssh": {"listen_addr": "0.0.0.0:3023", "tunnel_listen_addr": "0.0.0.0:3024",
            "web_listen_addr": "0.0.0.0:3080", "public_addr": "teleport.example.com:443",
            "dial_timeout": 30000000000},
    "db": {"postgres_listen_addr": "0.0.0.0:5432"},
    "tls_routing_enabled": true
  },
  "server_version": "17.4.2", "min_client_version": "16.0.0-aa",
  "cluster_name": "root.example.com", "automatic_upgrades": false,
  "auto_update": {"tools_version": "17.4.2", "tools_auto_update": false},
  "edition": "ent", "fips": false
})";

TEST(ParsePing, ReadsWhatMatters) {
  const auto reply = parse_ping(full_reply);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->cluster_name, "root.example.com");
  EXPECT_EQ(reply->server_version, "17.4.2");
  EXPECT_TRUE(reply->tls_routing);
  EXPECT_TRUE(reply->kube_enabled);
  EXPECT_EQ(reply->web_public_addr, "teleport.example.com:443");
  EXPECT_EQ(reply->kube_public_addr, "kube.example.com:3026");
  EXPECT_EQ(reply->kube_listen_addr, "0.0.0.0:3026");
}

// `find` gives the suite as a string, `ping` as a number; both may come, or neither.
TEST(ParsePing, TheSignatureSuiteMayBeAnything) {
  for (const std::string suite :
       {"3", "\"balanced-v1\"", "null", "{}", "[1]", "-1", "1e300", "18446744073709551616"}) {
    const auto reply = parse_ping(R"({"auth":{"signature_algorithm_suite":)" + suite +
                                  R"(},"proxy":{"tls_routing_enabled":true}})");
    ASSERT_TRUE(reply) << suite;
    EXPECT_TRUE(reply->tls_routing);
  }
}

TEST(ParsePing, EveryFieldMayBeAbsent) {
  const auto reply = parse_ping(R"({"proxy":{}})");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->cluster_name + reply->server_version + reply->web_public_addr +
                reply->kube_public_addr + reply->kube_listen_addr,
            "");
  EXPECT_FALSE(reply->tls_routing);
}

TEST(ParsePing, ForeignTypesCountAsAbsent) {
  const auto reply = parse_ping(R"({"cluster_name":7,"server_version":["17.4.2"],"proxy":{
      "tls_routing_enabled":"true","ssh":"x","kube":{"enabled":"no","public_addr":null,
      "listen_addr":{}}},"auth":[]})");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->cluster_name + reply->server_version + reply->kube_public_addr +
                reply->kube_listen_addr + reply->web_public_addr,
            "");
  EXPECT_FALSE(reply->tls_routing);
}

TEST(ParsePing, UnknownFieldsAndOddSpacingAreFine) {
  const auto reply = parse_ping(
      "\r\n\t {\"future\":{\"a\":[1,2,{\"b\":null}]},\"proxy\":{"
      "\"relay\":{},\"tls_routing_enabled\" : true }}\n\n");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_TRUE(reply->tls_routing);
}

TEST(ParsePing, EscapesAreRead) {
  const auto reply =
      parse_ping(R"({"cluster_name":"root\u002eexample\u002ecom","proxy":{"kube":{}}})");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->cluster_name, "root.example.com");
}

TEST(ParsePing, WhatIsNoReplyIsRefusedWithAHint) {
  for (const std::string text :
       {"", " ", "null", "[]", "7", "\"proxy\"", "{", "{}", R"({"proxy":null})", R"({"proxy":[]})",
        R"({"proxy":{}} trailing)", R"({"proxy":{},})", "<html>login</html>",
        R"({"error":{"message":"access denied"}})",
        "{\"proxy\":{\"ssh\":{\"public_addr\":\"\xff\"}}}"}) {
    const auto reply = parse_ping(text);
    ASSERT_FALSE(reply) << text;
    EXPECT_NE(reply.error().message.find("Teleport Proxy?"), std::string::npos)
        << reply.error().message;
  }
  EXPECT_FALSE(parse_ping(std::string_view("{\"proxy\":{}}\0", 13)));
}

TEST(ParsePing, NestingIsBounded) {
  EXPECT_TRUE(
      parse_ping("{\"x\":" + std::string(30, '[') + std::string(30, ']') + ",\"proxy\":{}}"));
  for (const std::size_t depth : {100u, 100'000u, 250'000u}) {
    EXPECT_FALSE(parse_ping(std::string(depth, '[')));
    EXPECT_FALSE(parse_ping("{\"x\":" + std::string(depth, '[') + std::string(depth, ']') +
                            ",\"proxy\":{}}"));
  }
}

TEST(ParsePing, CutAnywhereItIsRefused) {
  const std::string text = full_reply;
  for (std::size_t end = 0; end < text.size(); ++end)
    EXPECT_FALSE(parse_ping(std::string_view(text).substr(0, end))) << end;
}

// --- Choosing
// -------------------------------------------------------------------------------------

const HostPort pinged{"proxy.example.com", 3080};

// host port server-name authority
std::string chosen(const PingReply& reply, bool use_proxy_address = false,
                   const HostPort& proxy_server = pinged) {
  const auto target = choose_target(reply, proxy_server, use_proxy_address);
  if (!target) return target.error().message;
  EXPECT_TRUE(target->teleport_cluster.empty());
  EXPECT_FALSE(target->path_routing);
  return target->host + " " + std::to_string(target->port) + " " + target->server_name + " " +
         target->authority;
}

PingReply routing(const std::string& public_addr) {
  PingReply reply;
  reply.tls_routing = true;
  reply.web_public_addr = public_addr;
  return reply;
}

TEST(ChooseTarget, TlsRoutingGoesToTheWebAddress) {
  EXPECT_EQ(chosen(routing("teleport.example.com:443")),
            "teleport.example.com 443 kube-teleport-proxy-alpn.teleport.example.com "
            "teleport.example.com");
  EXPECT_EQ(chosen(routing("teleport.example.com:8443")),
            "teleport.example.com 8443 kube-teleport-proxy-alpn.teleport.example.com "
            "teleport.example.com:8443");
  EXPECT_EQ(chosen(routing("teleport.example.com")),
            "teleport.example.com 443 kube-teleport-proxy-alpn.teleport.example.com "
            "teleport.example.com");
}

TEST(ChooseTarget, WithoutAPublicAddressTheDialledOneStands) {
  EXPECT_EQ(chosen(routing("")),
            "proxy.example.com 3080 kube-teleport-proxy-alpn.proxy.example.com "
            "proxy.example.com:3080");
}

TEST(ChooseTarget, LiteralsTakeTheClustersOwnName) {
  EXPECT_EQ(chosen(routing("10.1.2.3:443")),
            "10.1.2.3 443 kube-teleport-proxy-alpn.teleport.cluster.local 10.1.2.3");
  EXPECT_EQ(chosen(routing("[2001:db8::1]:8443")),
            "2001:db8::1 8443 kube-teleport-proxy-alpn.teleport.cluster.local [2001:db8::1]:8443");
  EXPECT_EQ(chosen(routing(""), false, {"localhost", 3080}),
            "localhost 3080 kube-teleport-proxy-alpn.teleport.cluster.local localhost:3080");
}

TEST(ChooseTarget, TlsRoutingIgnoresTheKubeAddresses) {
  PingReply reply = routing("teleport.example.com:443");
  reply.kube_public_addr = "kube.example.com:3026";
  reply.kube_listen_addr = "0.0.0.0:3026";
  EXPECT_TRUE(chosen(reply).starts_with("teleport.example.com 443 kube-teleport-proxy-alpn."));
}

TEST(ChooseTarget, TheDialledAddressWinsWhenAsked) {
  EXPECT_EQ(chosen(routing("teleport.example.com:443"), true),
            "proxy.example.com 3080 kube-teleport-proxy-alpn.proxy.example.com "
            "proxy.example.com:3080");
  // Also over an address that cannot be used.
  EXPECT_TRUE(chosen(routing("http://x"), true).starts_with("proxy.example.com 3080 "));
}

PingReply separate(const std::string& kube_public, const std::string& kube_listen,
                   const std::string& web_public = "teleport.example.com:443") {
  PingReply reply;
  reply.web_public_addr = web_public;
  reply.kube_public_addr = kube_public;
  reply.kube_listen_addr = kube_listen;
  return reply;
}

TEST(ChooseTarget, SeparateModeGoesToTheKubeAddressUnderItsOwnName) {
  EXPECT_EQ(chosen(separate("kube.example.com:3026", "0.0.0.0:3027")),
            "kube.example.com 3026 kube.example.com kube.example.com:3026");
  EXPECT_EQ(chosen(separate("kube.example.com", "")),
            "kube.example.com 3026 kube.example.com kube.example.com:3026");
  EXPECT_EQ(chosen(separate("10.1.2.3:443", "")), "10.1.2.3 443 10.1.2.3 10.1.2.3");
}

TEST(ChooseTarget, SeparateModeTakesTheWebHostWithTheListenPort) {
  for (const char* listen : {"0.0.0.0:3026", "[::]:3026", ":3026", "10.0.0.5:3026"})
    EXPECT_EQ(chosen(separate("", listen)),
              "teleport.example.com 3026 teleport.example.com teleport.example.com:3026")
        << listen;
  EXPECT_EQ(chosen(separate("", "0.0.0.0:3026", "")),
            "proxy.example.com 3026 proxy.example.com proxy.example.com:3026");
  EXPECT_EQ(chosen(separate("", "0.0.0.0:443", "[2001:db8::1]:3080")),
            "2001:db8::1 443 2001:db8::1 [2001:db8::1]");
}

TEST(ChooseTarget, WithoutAnyAddressItSaysWhatIsMissing) {
  EXPECT_NE(chosen(separate("", "")).find("enable Kubernetes access"), std::string::npos);
}

TEST(ChooseTarget, UnusableAddressesAreQuotedAndCut) {
  for (const PingReply& reply :
       {routing("http://x"), separate("a b", ""), separate("", "0.0.0.0:0"),
        separate("", "nonsense:port"), routing(std::string(100'000, 'x') + "/")}) {
    const std::string message = chosen(reply);
    EXPECT_NE(message.find("announces an unusable"), std::string::npos) << message;
    EXPECT_LT(message.size(), 400u);
  }
}

// --- tbot's kubeconfig
// ----------------------------------------------------------------------------

std::string kubeconfig(const std::string& server, const std::string& more = "") {
  return "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n"
         "    certificate-authority-data: QQ==\n    server: " +
         server + "\n" + more + "current-context: c\n";
}

std::string offline(const std::string& yaml) {
  const auto target = target_from_kubeconfig(yaml);
  if (!target) return target.error().message;
  return target->host + " " + std::to_string(target->port) + " " + target->server_name + " " +
         target->authority + (target->path_routing ? " routes" : "");
}

TEST(TargetFromKubeconfig, ReadsV1AndV2) {
  const std::string name = "    tls-server-name: kube-teleport-proxy-alpn.teleport.example.com\n";
  EXPECT_EQ(offline(kubeconfig("https://teleport.example.com:443", name)),
            "teleport.example.com 443 kube-teleport-proxy-alpn.teleport.example.com "
            "teleport.example.com");
  EXPECT_EQ(offline(kubeconfig("https://teleport.example.com:8443/v1/teleport/"
                               "cm9vdC5leGFtcGxlLmNvbQ/bXkta3ViZQ",
                               name)),
            "teleport.example.com 8443 kube-teleport-proxy-alpn.teleport.example.com "
            "teleport.example.com:8443 routes");
}

TEST(TargetFromKubeconfig, SeparateModeHasNoServerName) {
  EXPECT_EQ(offline(kubeconfig("https://kube.example.com:3026")),
            "kube.example.com 3026 kube.example.com kube.example.com:3026");
  // An empty one is none: an empty name to verify would verify nothing.
  EXPECT_EQ(offline(kubeconfig("https://kube.example.com:3026", "    tls-server-name: \"\"\n")),
            "kube.example.com 3026 kube.example.com kube.example.com:3026");
  EXPECT_EQ(offline(kubeconfig("\"https://[2001:db8::1]:3026\"")),
            "2001:db8::1 3026 2001:db8::1 [2001:db8::1]:3026");
}

TEST(TargetFromKubeconfig, OtherPathsAreNoRoutes) {
  for (const char* path : {"/", "/v1/teleport", "/v1/teleport/", "/v1/teleport/cm9v",
                           "/k8s/clusters/c-1", "/v1/teleport/!!/bXk"})
    EXPECT_EQ(offline(kubeconfig(std::string("https://host:443") + path)), "host 443 host host")
        << path;
}

TEST(TargetFromKubeconfig, ServersThatAreNotHttpsAreSkipped) {
  const std::string yaml =
      "clusters:\n- {name: a, cluster: {server: \"http://plain:80\"}}\n"
      "- {name: b, cluster: {server: \"https://bad host\"}}\n"
      "- {name: c, cluster: {server: [list]}}\n"
      "- {name: d, cluster: {server: \"https://good:443\"}}\n";
  EXPECT_EQ(offline(yaml), "good 443 good good");
}

TEST(TargetFromKubeconfig, TornAndForeignFilesAreNoTarget) {
  for (const std::string yaml : {"",
                                 "\n",
                                 "clusters:",
                                 "clusters: 7",
                                 "clusters: []",
                                 "clusters: {}",
                                 "clusters: [1, 2]",
                                 "clusters: {a: b}",
                                 "clusters:\n- name: c",
                                 "clusters:\n- cluster: x",
                                 "clusters:\n- cluster: {server: }",
                                 "- a\n- b",
                                 "just text",
                                 "clusters:\n- cluster: {",
                                 "\x01",
                                 "clusters: *missing",
                                 "a: &a [*a]",
                                 "%YAML 9.9\n---\n",
                                 "{",
                                 "[[[[[[",
                                 "\xff\xfe"})
    EXPECT_NE(offline(yaml).find("names no usable server"), std::string::npos) << yaml;
}

TEST(TargetFromKubeconfig, CutAnywhereItNeverInventsAServer) {
  const std::string whole = kubeconfig("https://teleport.example.com:443/v1/teleport/YQ/YQ");
  for (std::size_t end = 0; end <= whole.size(); ++end) {
    const std::string found = offline(whole.substr(0, end));
    EXPECT_TRUE(found.find("names no usable server") != std::string::npos ||
                found.find("no usable") != std::string::npos ||
                std::string("teleport.example.com").starts_with(found.substr(0, found.find(' '))))
        << found;
  }
}

TEST(TargetFromKubeconfig, DeepNestingIsSurvived) {
  for (const char* piece : {"[", "{", "- ", "? "}) {
    std::string deep;
    for (int i = 0; i < 20'000; ++i) deep += piece;
    EXPECT_NE(offline(deep).find("no usable server"), std::string::npos);
    EXPECT_NE(offline("clusters: " + deep).find("no usable server"), std::string::npos);
  }
}

}  // namespace
}  // namespace kubelane::teleport
