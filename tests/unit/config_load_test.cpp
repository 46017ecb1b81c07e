// The configuration file: what loads, what is only warned about, what is refused, and that every
// problem has its place.
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "tests/support/temp_directory.hpp"

namespace kubelane {
namespace {

namespace fs = std::filesystem;

LoadResult load(const std::string& yaml) { return load_config(yaml, "k.yaml", {}, std::nullopt); }

std::vector<std::string> texts(const std::vector<Problem>& problems) {
  std::vector<std::string> all;
  for (const Problem& problem : problems) all.push_back(problem.text());
  return all;
}

// Without errors or warnings.
Config good(const std::string& yaml) {
  const LoadResult loaded = load(yaml);
  for (const Problem& problem : loaded.errors) ADD_FAILURE() << problem.text() << " in\n" << yaml;
  for (const Problem& problem : loaded.warnings) ADD_FAILURE() << problem.text() << " in\n" << yaml;
  return loaded.config;
}

// Exactly these errors, each as the beginning of the text.
void expect_errors(const std::string& yaml, const std::vector<std::string>& beginnings) {
  const std::vector<std::string> errors = texts(load(yaml).errors);
  std::string all;
  for (const std::string& error : errors) all += "  " + error + "\n";
  ASSERT_EQ(errors.size(), beginnings.size()) << yaml << "gives\n" << all;
  for (std::size_t i = 0; i < errors.size(); ++i)
    EXPECT_EQ(errors[i].substr(0, beginnings[i].size()), beginnings[i]) << yaml << "gives\n" << all;
}

// Exactly one warning, at this place, that names the field.
void expect_warning(const std::string& yaml, const std::string& at, const std::string& field) {
  const LoadResult loaded = load(yaml);
  EXPECT_EQ(texts(loaded.errors), std::vector<std::string>()) << yaml;
  ASSERT_EQ(loaded.warnings.size(), 1u) << yaml;
  const std::string text = loaded.warnings[0].text();
  EXPECT_EQ(text.rfind("k.yaml:" + at + ": ", 0), 0u) << text;
  EXPECT_NE(text.find(field), std::string::npos) << text;
}

const std::string v1 =
    "services:\n"
    "  - type: kubernetes\n"
    "    kubernetes_cluster: prod\n";
const std::string v2 =
    "services:\n"
    "  - type: kubernetes/v2\n";

// ---- what loads

// From Teleport's guide "Machine & Workload Identity with Kubernetes Access", byte for byte.
TEST(LoadConfig, the_guides_own_example_loads_unchanged) {
  const LoadResult loaded = load(R"(services:
  - type: kubernetes
    # Specify the name of the Kubernetes cluster you wish the credentials to
    # grant access to.
    kubernetes_cluster: example-k8s-cluster
    destination:
      type: directory
          # For this guide, /opt/machine-id is used as the destination directory.
          # You may wish to customize this. Multiple output services cannot
          # share the same destination.
      path: /opt/machine-id
)");
  EXPECT_EQ(texts(loaded.errors), std::vector<std::string>());
  EXPECT_EQ(texts(loaded.warnings), std::vector<std::string>());
  ASSERT_EQ(loaded.config.services.size(), 1u);
  const Service& service = loaded.config.services[0];
  EXPECT_EQ(service.type, Service::Type::kubernetes);
  ASSERT_EQ(service.clusters.size(), 1u);
  EXPECT_EQ(service.clusters[0].name, "example-k8s-cluster");
  EXPECT_EQ(service.destination.type, Destination::Type::directory);
  EXPECT_EQ(service.destination.path, "/opt/machine-id");
  // What it lacks for kubelane is told, but makes it no wrong file.
  ASSERT_EQ(loaded.missing.size(), 2u);
  EXPECT_NE(loaded.missing[0].text().find("proxy_server is missing"), std::string::npos);
  EXPECT_NE(loaded.missing[1].text().find("k.yaml:2:5: service \"example-k8s-cluster\" has no "
                                          "credentials"),
            std::string::npos)
      << loaded.missing[1].text();
}

TEST(LoadConfig, the_readmes_example_loads_without_a_word) {
  std::ostringstream readme;
  readme << std::ifstream(KUBELANE_SOURCE "/README.md").rdbuf();
  const std::string text = readme.str();
  const std::size_t begin = text.find("```yaml\nversion: v2");
  ASSERT_NE(begin, std::string::npos);
  const LoadResult loaded = load(text.substr(begin + 8, text.find("```", begin + 8) - begin - 8));
  EXPECT_EQ(texts(loaded.errors), std::vector<std::string>());
  EXPECT_EQ(texts(loaded.warnings), std::vector<std::string>());
  EXPECT_EQ(texts(loaded.missing), std::vector<std::string>());
  EXPECT_EQ(loaded.config.services.size(), 3u);
}

TEST(LoadConfig, an_empty_file_gives_the_defaults) {
  for (const char* yaml : {"", "\n", "# nothing\n", "---\n", "{}\n", "version: v2\n", "~\n"}) {
    const Config config = good(yaml);
    EXPECT_EQ(config.listen.host, "127.0.0.1");
    EXPECT_EQ(config.listen.port, 7443);
    EXPECT_FALSE(config.allow_remote);
    EXPECT_FALSE(config.insecure);
    EXPECT_EQ(config.local_auth, LocalAuth::token);
    EXPECT_TRUE(config.local_tls);
    EXPECT_EQ(config.storage_path, "");
    EXPECT_EQ(config.log_format, LogFormat::text);
    EXPECT_EQ(config.log_level, LogLevel::info);
    EXPECT_TRUE(config.services.empty());
  }
}

TEST(LoadConfig, the_top_level_is_read) {
  const Config config = good(R"(version: v2
proxy_server: https://teleport.example.com
proxy_ca: /etc/ca.pem
insecure: yes
listen: "[::1]:0"
allow_remote: on
allowed_hosts: [kubelane.svc, 10.0.0.1]
local_auth: mtls
local_tls: true
workers: 2
debug: true
log: {format: json}
limits: {max_connections: 10, max_header_bytes: 16KiB, buffer_memory_bytes: 64MiB}
timeouts: {connect: 1s, drain: 1m30s, upstream_idle: 500ms}
)");
  EXPECT_EQ(config.proxy_server, "teleport.example.com:443");
  EXPECT_EQ(config.proxy_ca, "/etc/ca.pem");
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ(config.listen.host, "::1");
  EXPECT_EQ(config.listen.port, 0);
  EXPECT_TRUE(config.allow_remote);
  EXPECT_EQ(config.allowed_hosts, (std::vector<std::string>{"kubelane.svc", "10.0.0.1"}));
  EXPECT_EQ(config.local_auth, LocalAuth::mtls);
  EXPECT_EQ(config.workers, 2u);
  EXPECT_EQ(config.log_format, LogFormat::json);
  EXPECT_EQ(config.log_level, LogLevel::debug);
  EXPECT_EQ(config.limits.max_connections, 10u);
  EXPECT_EQ(config.limits.max_header_bytes, 16u << 10);
  EXPECT_EQ(config.limits.buffer_memory_bytes, 64u << 20);
  EXPECT_EQ(config.timeouts.connect.count(), 1000);
  EXPECT_EQ(config.timeouts.drain.count(), 90'000);
  EXPECT_EQ(config.timeouts.upstream_idle.count(), 500);
}

TEST(LoadConfig, storage_is_a_destination_of_tbots) {
  EXPECT_EQ(good("storage: {type: directory, path: /var/lib/x/}\n").storage_path, "/var/lib/x");
  EXPECT_EQ(good("storage: /var/lib/x\n").storage_path, "/var/lib/x");
  EXPECT_EQ(good("storage: file:///var/lib/x\n").storage_path, "/var/lib/x");
  EXPECT_EQ(good("storage: {type: memory}\n").storage_path, "");
  EXPECT_EQ(good("storage: memory://\n").storage_path, "");
}

TEST(LoadConfig, outputs_are_services_by_their_older_name) {
  const Config config = good(
      "outputs: [{type: kubernetes, kubernetes_cluster: a}]\n"
      "services: [{type: kubernetes, kubernetes_cluster: b}]\n");
  ASSERT_EQ(config.services.size(), 2u);
  EXPECT_EQ(config.services[0].label(), "a");
  EXPECT_EQ(config.services[1].label(), "b");
}

TEST(LoadConfig, a_service_is_read) {
  const Config config = good(R"(allow_remote: true
services:
  - type: kubernetes
    name: build+ci_1-x
    kubernetes_cluster: "arn:aws:eks:eu-west-1:1:cluster/a%b"
    disable_exec_plugin: true
    listen: 0.0.0.0:0
    local_auth: none
    local_tls: false
    credentials: {type: directory, path: /c}
    destination:
      type: directory
      path: /d
      symlinks: secure
      acls: required
      readers: [{user: ci}, {group: ops}]
    impersonate: {user: jane, groups: [dev, "system:masters"]}
)");
  ASSERT_EQ(config.services.size(), 1u);
  const Service& service = config.services[0];
  EXPECT_EQ(service.name, "build+ci_1-x");
  EXPECT_EQ(service.label(), "build+ci_1-x");
  EXPECT_EQ(service.clusters[0].name, "arn:aws:eks:eu-west-1:1:cluster/a%b");
  ASSERT_TRUE(service.listen);
  EXPECT_EQ(service.listen->host, "0.0.0.0");
  EXPECT_EQ(service.local_auth, LocalAuth::none);
  EXPECT_FALSE(service.local_tls);
  EXPECT_EQ(service.credentials_path, "/c");
  EXPECT_EQ(service.destination.path, "/d");
  EXPECT_EQ(service.destination.symlinks, Destination::Symlinks::secure);
  EXPECT_EQ(service.destination.acls, Destination::Acls::required);
  ASSERT_EQ(service.destination.readers.size(), 2u);
  EXPECT_EQ(service.destination.readers[0].user, "ci");
  EXPECT_EQ(service.destination.readers[1].group, "ops");
  EXPECT_EQ(service.impersonate_user, "jane");
  EXPECT_EQ(service.impersonate_groups, (std::vector<std::string>{"dev", "system:masters"}));
  EXPECT_EQ(service.line, 3);
}

TEST(LoadConfig, tbots_defaults_of_a_destination) {
  const Destination destination = good(v1 + "    destination: /d\n").services[0].destination;
  EXPECT_EQ(destination.type, Destination::Type::directory);
  EXPECT_EQ(destination.symlinks, Destination::Symlinks::try_secure);
  EXPECT_EQ(destination.acls, Destination::Acls::try_acls);
  EXPECT_TRUE(destination.readers.empty());
}

TEST(LoadConfig, selectors_name_clusters_with_their_namespaces) {
  const Config config = good(v2 + R"(    selectors:
      - name: a/b
        default_namespace: web
      - {name: c}
    context_name_template: "k8s-{{ .KubeName }}@{{.ClusterName}}"
)");
  const Service& service = config.services[0];
  EXPECT_EQ(service.type, Service::Type::kubernetes_v2);
  ASSERT_EQ(service.clusters.size(), 2u);
  EXPECT_EQ(service.clusters[0].name, "a/b");
  EXPECT_EQ(service.clusters[0].default_namespace, "web");
  EXPECT_EQ(service.clusters[1].name, "c");
  EXPECT_EQ(service.clusters[1].default_namespace, "");
  EXPECT_EQ(service.context_name_template, "k8s-{{ .KubeName }}@{{.ClusterName}}");
  EXPECT_EQ(good(v2 + "    selectors: [{name: c}]\n").services[0].context_name_template,
            "{{.ClusterName}}-{{.KubeName}}");
}

TEST(LoadConfig, anchors_and_aliases_work) {
  const Config config = good(R"(services:
  - {type: kubernetes, kubernetes_cluster: a, credentials: &tbot {type: directory, path: /c}}
  - {type: kubernetes, kubernetes_cluster: b, credentials: *tbot}
)");
  EXPECT_EQ(config.services[1].credentials_path, "/c");
}

// ---- diagnostics and administration

TEST(LoadConfig, the_listener_for_probes_may_stand_anywhere_and_the_one_for_changes_only_here) {
  const std::string rest = v1 + "    credentials: /c\n";
  const Config config =
      load("diag_addr: 0.0.0.0:3001\nadmin_addr: unix:///run/a.sock\n" + rest).config;
  ASSERT_TRUE(config.diag_addr && config.admin_addr);
  EXPECT_EQ(config.diag_addr->tcp.host, "0.0.0.0");
  EXPECT_EQ(config.diag_addr->tcp.port, 3001);
  EXPECT_EQ(config.admin_addr->unix_path, "/run/a.sock");
  EXPECT_TRUE(load("admin_addr: 127.0.0.1:3002\n" + rest).errors.empty());
  EXPECT_TRUE(load("admin_addr: \"[::1]:3002\"\n" + rest).errors.empty());
  for (const char* address : {"0.0.0.0:3002", ":3002", "10.0.0.1:3002", "\"[::]:3002\""}) {
    const auto errors = load(std::string("admin_addr: ") + address + "\n" + rest).errors;
    ASSERT_EQ(errors.size(), 1u) << address;
    EXPECT_NE(errors[0].message.find("other machines"), std::string::npos) << errors[0].message;
  }
  EXPECT_EQ(load("diag_addr: 127.0.0.1:3001\nadmin_addr: 127.0.0.1:3001\n" + rest).errors.size(),
            1u);
  for (const char* wrong : {"localhost", "unix://a.sock", "unix:///a/", "example.com:1"})
    EXPECT_EQ(load(std::string("diag_addr: ") + wrong + "\n" + rest).errors.size(), 1u) << wrong;
}

TEST(LoadConfig, services_are_named_as_tbot_names_them) {
  Config config;
  config.services.resize(4);
  config.services[1].type = config.services[3].type = Service::Type::kubernetes_v2;
  config.services[1].name = "prod";
  EXPECT_EQ(service_names(config),
            (std::vector<std::string>{"kubernetes-1", "prod", "kubernetes-2", "kubernetes-v2-2"}));
  for (Service& service : config.services) service.name = "same";
  const std::vector<std::string> names = service_names(config);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 4u);
}

// ---- what is tbot's alone

TEST(LoadConfig, every_field_for_tbot_alone_gives_one_warning_that_names_it) {
  for (const auto& [field, value] : std::vector<std::pair<std::string, std::string>>{
           {"auth_server", "auth.example.com:3025"},
           {"onboarding", "{join_method: token, token: hunter2}"},
           {"credential_ttl", "1h"},
           {"certificate_ttl", "1h"},
           {"renewal_interval", "20m"},
           {"oneshot", "true"},
           {"fips", "false"},
           {"leeway", "1m"},
           {"join_uri", "tbot+proxy+token://hunter2@teleport.example.com"},
           {"scoped", "true"},
           {"pid_file", "/run/tbot.pid"}}) {
    const std::string rest = "\n" + v1 + "    credentials: /c\n";
    expect_warning("version: v2\n" + field + ": " + value + rest, "2:1", field);
    EXPECT_EQ(load(field + ": " + value + rest).warnings[0].text().find("hunter2"),
              std::string::npos);
  }
}

TEST(LoadConfig, every_field_of_a_service_for_tbot_alone_gives_one_warning_that_names_it) {
  for (const auto& [field, value] : std::vector<std::pair<std::string, std::string>>{
           {"credential_ttl", "30m"}, {"renewal_interval", "10m"}, {"roles", "[editor]"}})
    expect_warning(v1 + "    " + field + ": " + value + "\n    credentials: /c\n", "4:5", field);
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, std::string>>{{"credential_ttl", "30m"},
                                                        {"renewal_interval", "10m"},
                                                        {"relay_server", "relay.example.com:443"}})
    expect_warning(
        v2 + "    selectors: [{name: a}]\n    " + field + ": " + value + "\n    credentials: /c\n",
        "4:5", field);
  EXPECT_TRUE(load(v1 + "    disable_exec_plugin: false\n").warnings.empty())
      << "kubelane's kubeconfig never has one";
}

TEST(LoadConfig, tbots_other_services_are_skipped_with_one_warning_each) {
  for (const std::string type :
       {"identity", "application", "application-tunnel", "application-proxy", "database",
        "database-tunnel", "ssh-multiplexer", "ssh_host", "workload-identity-x509",
        "workload-identity-jwt", "workload-identity-api", "workload-identity-aws-roles-anywhere",
        "spiffe-svid", "spiffe-workload-api", "kubernetes/argo-cd", "example", "noop"}) {
    const std::string yaml = "services:\n  - type: " + type + "\n    whatever: it has\n";
    expect_warning(yaml, "2:11", type);
    EXPECT_TRUE(load(yaml).config.services.empty());
  }
}

TEST(LoadConfig, fields_of_another_kind_of_destination_are_named) {
  for (const std::string field :
       {"name", "namespace", "labels", "kubeconfig_path", "kubeconfig_context"})
    expect_warning(
        v1 + "    destination:\n      type: directory\n      path: /d\n      " + field + ": x\n",
        "7:7", "destination." + field);
  expect_warning("storage: {type: directory, path: /s, acls: off}\n", "1:38", "storage.acls");
}

TEST(LoadConfig, one_cluster_selected_twice_is_told) {
  const std::string yaml = v2 + "    selectors:\n      - name: a\n      - name: a\n";
  expect_warning(yaml, "5:9", "\"a\"");
  EXPECT_EQ(load(yaml).config.services[0].clusters.size(), 1u);
}

TEST(LoadConfig, groups_without_a_user_are_told) {
  expect_warning(v1 + "    impersonate: {groups: [dev]}\n", "4:18", "impersonate.groups");
}

// ---- what is refused

TEST(LoadConfig, unknown_fields_get_the_nearest_name_everywhere) {
  expect_errors("proxy_sever: x\n",
                {"k.yaml:1:1: unknown field \"proxy_sever\" (did you mean \"proxy_server\"?)"});
  expect_errors("onboarding: {jion_method: token}\n",
                {"k.yaml:1:14: unknown field \"jion_method\" in onboarding (did you mean "
                 "\"join_method\"?)"});
  expect_errors("onboarding: {kubernetes: {tokenpath: x}}\n",
                {"k.yaml:1:27: unknown field \"tokenpath\" in onboarding.kubernetes (did you mean "
                 "\"token_path\"?)"});
  expect_errors("log:\n  levle: debug\n",
                {"k.yaml:2:3: unknown field \"levle\" in log (did you mean \"level\"?)"});
  expect_errors("limits: {max_connection: 1}\n",
                {"k.yaml:1:10: unknown field \"max_connection\" in limits (did you mean "
                 "\"max_connections\"?)"});
  expect_errors("timeouts: {drian: 1s}\n",
                {"k.yaml:1:12: unknown field \"drian\" in timeouts (did you mean \"drain\"?)"});
  expect_errors("storage: {type: memory, pth: x}\n",
                {"k.yaml:1:25: unknown field \"pth\" in storage (did you mean \"path\"?)"});
  expect_errors(v1 + "    destnation: /x\n",
                {"k.yaml:4:5: unknown field \"destnation\" in a service of type kubernetes (did "
                 "you mean \"destination\"?)"});
  expect_errors(v1 + "    credentials: {type: directory, path: /c, pah: x}\n",
                {"k.yaml:4:46: unknown field \"pah\" in credentials (did you mean \"path\"?)"});
  expect_errors(v1 + "    impersonate: {usr: jane}\n",
                {"k.yaml:4:19: unknown field \"usr\" in impersonate (did you mean \"user\"?)"});
  expect_errors(
      v1 + "    destination: {type: directory, path: /d, readers: [{user: a, gruop: b}]}\n",
      {"k.yaml:4:66: unknown field \"gruop\" in readers (did you mean \"group\"?)"});
  expect_errors(v2 + "    selectors: [{name: a, default_namespce: b}]\n",
                {"k.yaml:3:27: unknown field \"default_namespce\" in selectors (did you mean "
                 "\"default_namespace\"?)"});
  expect_errors("frobnicate: 1\n", {"k.yaml:1:1: unknown field \"frobnicate\""});
}

TEST(LoadConfig, fields_of_the_other_service_type_are_unknown) {
  expect_errors(v1 + "    selectors: [{name: a}]\n",
                {"k.yaml:4:5: unknown field \"selectors\" in a service of type kubernetes"});
  expect_errors(
      v2 + "    kubernetes_cluster: a\n    selectors: [{name: a}]\n    roles: [x]\n",
      {"k.yaml:3:5: unknown field \"kubernetes_cluster\"", "k.yaml:5:5: unknown field \"roles\""});
}

TEST(LoadConfig, bad_values_are_told_with_what_would_be_good) {
  expect_errors("version: v1\n", {"k.yaml:1:10: version \"v1\" is not known; kubelane reads tbot's "
                                  "version: v2 (`kubelane migrate`"});
  expect_errors("proxy_server: http://x\n",
                {"k.yaml:1:15: proxy_server: \"http://x\" is not an address such as "
                 "teleport.example.com:443"});
  expect_errors("listen: example.com:1\n",
                {"k.yaml:1:9: listen: \"example.com:1\" is not an address to listen on such as "
                 "127.0.0.1:7443"});
  expect_errors("insecure: maybe\n", {"k.yaml:1:11: insecure: \"maybe\" is not true or false"});
  expect_errors("local_auth: tokn\n", {"k.yaml:1:13: local_auth: \"tokn\" is not one of token, "
                                       "mtls, none (did you mean \"token\"?)"});
  expect_errors("log: {format: jsn}\n", {"k.yaml:1:15: log.format: \"jsn\" is not one of text, "
                                         "json (did you mean \"json\"?)"});
  expect_errors("workers: 65\n", {"k.yaml:1:10: workers: \"65\" is not a number from 0"});
  expect_errors(
      "limits: {max_header_bytes: 1MiB}\n",
      {"k.yaml:1:28: limits.max_header_bytes: \"1MiB\" is not a number from 1024 to 65536"});
  expect_errors("timeouts: {drain: 20}\n",
                {"k.yaml:1:19: timeouts.drain: \"20\" is not a duration such as 10s"});
  expect_errors("timeouts: {drain: 0s}\n", {"k.yaml:1:19: timeouts.drain: \"0s\" is not"});
  expect_errors("timeouts: {drain: nans}\n", {"k.yaml:1:19: timeouts.drain: \"nans\" is not"});
  expect_errors("allowed_hosts: ['*.example.com', a:1]\n",
                {"k.yaml:1:17: allowed_hosts: \"*.example.com\" is not a host name",
                 "k.yaml:1:34: allowed_hosts: \"a:1\" is not a host name"});
  expect_errors("credential_ttl: soon\n",
                {"k.yaml:1:17: credential_ttl: \"soon\" is not a duration such as 1h or 20m"});
  expect_errors("oneshot: perhaps\n", {"k.yaml:1:10: oneshot: \"perhaps\" is not true or false"});
  expect_errors("auth_server: a:1\nproxy_server: b:2\n",
                {"k.yaml:1:14: auth_server and proxy_server exclude each other"});
}

TEST(LoadConfig, bad_values_in_services_are_told_with_what_would_be_good) {
  expect_errors("services:\n  - type: kubernets\n",
                {"k.yaml:2:11: unknown service type \"kubernets\" (did you mean \"kubernetes\"?)"});
  expect_errors("services:\n  - type: identiy\n",
                {"k.yaml:2:11: unknown service type \"identiy\" (did you mean \"identity\"?)"});
  expect_errors("services:\n  - type: mainframe\n",
                {"k.yaml:2:11: unknown service type \"mainframe\"; kubelane serves kubernetes and "
                 "kubernetes/v2"});
  expect_errors("services:\n  - name: x\n", {"k.yaml:2:5: type is missing: kubernetes or"});
  expect_errors("services:\n  - type: kubernetes\n", {"k.yaml:2:5: kubernetes_cluster is missing"});
  expect_errors(v2, {"k.yaml:2:5: selectors is missing: name at least one Kubernetes cluster"});
  expect_errors(v2 + "    selectors: []\n",
                {"k.yaml:3:16: selectors must be a list with at least"});
  expect_errors(v2 + "    selectors: [{default_namespace: x}]\n",
                {"k.yaml:3:17: a selector needs a name or labels"});
  expect_errors(v2 + "    selectors: [{labels: {env: prod}}]\n    credentials: /c\n",
                {"k.yaml:3:18: selecting by labels needs the list of clusters from Teleport"});
  expect_errors(v1 + "    name: my service\n",
                {"k.yaml:4:11: name: \"my service\" may hold only letters, digits, - _ and +"});
  expect_errors(v1 + "    destination: {type: direcotry, path: /d}\n",
                {"k.yaml:4:25: destination.type: \"direcotry\" is not one of directory, memory, "
                 "kubernetes_secret (did you mean \"directory\"?)"});
  expect_errors(
      v1 + "    destination: {path: /d}\n",
      {"k.yaml:4:18: destination: type is missing (directory, memory or kubernetes_secret)"});
  expect_errors(v1 + "    destination: {type: directory}\n",
                {"k.yaml:4:18: destination: path is missing"});
  expect_errors(v1 + "    destination: {type: kubernetes_secret}\n",
                {"k.yaml:4:18: destination: name is missing: that of the Secret"});
  expect_errors(v1 + "    destination: {type: kubernetes_secret, name: A_b}\n",
                {"k.yaml:4:50: destination.name: \"A_b\" is not a name that Kubernetes takes"});
  expect_errors(v1 + "    destination: {type: kubernetes_secret, name: x, kubeconfig_path: /k}\n",
                {"k.yaml:4:53: destination.kubeconfig_path is not supported"});
  expect_errors(v1 + "    destination: kubernetes-secret://x\n",
                {"k.yaml:4:18: destination: \"kubernetes-secret://x\" is not of the form"});
  expect_errors("storage: {type: kubernetes_secret, name: x}\n" + v1 +
                    "    destination: kubernetes-secret:///x\n",
                {"k.yaml:5:18: the Secret \"x\" is already that of storage"});
  expect_errors(v1 + "    destination: s3://bucket\n",
                {"k.yaml:4:18: destination: \"s3://bucket\" is not a directory"});
  expect_errors(v1 + "    destination: {type: directory, path: /d, symlinks: secur, acls: of}\n",
                {"k.yaml:4:56: symlinks: \"secur\" is not one of try-secure, secure, insecure (did "
                 "you mean \"secure\"?)",
                 "k.yaml:4:69: acls: \"of\" is not one of try, off, required (did you mean "
                 "\"off\"?)"});
  expect_errors(v1 + "    destination: {type: directory, path: /d, readers: [{}, x]}\n",
                {"k.yaml:4:56: a reader is exactly one of {user: name} and {group: name}",
                 "k.yaml:4:60: a reader is {user: name} or {group: name}"});
  expect_errors(v1 + "    credentials: {type: memory, path: /c}\n",
                {"k.yaml:4:25: credentials.type: \"memory\" is not supported; use directory"});
  expect_errors(v1 + "    credentials: {type: directory}\n",
                {"k.yaml:4:18: credentials: path is missing"});
  expect_errors(v1 + "    credentials: memory://\n",
                {"k.yaml:4:18: credentials: \"memory://\" is not a directory that tbot writes"});
  expect_errors(v1 + "    impersonate: {user: \"a\\nb\"}\n",
                {"k.yaml:4:25: user holds a control character"});
}

TEST(LoadConfig, context_names_have_two_variables_and_must_differ) {
  const std::string one = v2 + "    selectors: [{name: a}]\n    context_name_template: ";
  const std::string two = v2 + "    selectors: [{name: a}, {name: b}]\n    context_name_template: ";
  expect_errors(one + "\"{{.Labels}}\"\n",
                {"k.yaml:4:28: context_name_template: only {{.ClusterName}} and {{.KubeName}} are "
                 "known, not \"{{.Labels}}\""});
  expect_errors(one + "\"{{.KubeName\"\n", {"k.yaml:4:28: context_name_template: only"});
  good(one + "fixed\n");
  good(two + "\"{{.KubeName}}\"\n");
  expect_errors(two + "\"{{.ClusterName}}\"\n",
                {"k.yaml:4:28: context_name_template: without {{.KubeName}} all clusters would "
                 "get the same name"});
}

TEST(LoadConfig, wrong_shapes_are_told) {
  expect_errors("- a\n", {"k.yaml:1:1: the configuration must be a map of keys"});
  expect_errors("hello\n", {"k.yaml:1:1: the configuration must be a map of keys"});
  expect_errors("services: kubernetes\n", {"k.yaml:1:11: services must be a list"});
  expect_errors("services: [kubernetes]\n", {"k.yaml:1:12: a service must be a map with a type"});
  expect_errors("listen: [a]\n", {"k.yaml:1:9: listen must be a single value"});
  expect_errors("listen:\n", {"k.yaml:1:1: listen has no value"});
  expect_errors("log:\n", {"k.yaml:1:1: log must be a map"});
  expect_errors("log: debug\n", {"k.yaml:1:6: log must be a map"});
  expect_errors("onboarding: token\n", {"k.yaml:1:13: onboarding must be a map"});
  expect_errors("allowed_hosts: a\n", {"k.yaml:1:16: allowed_hosts must be a list"});
  expect_errors("? [a]\n: b\n", {"k.yaml:1:3: a key must be plain text"});
  expect_errors("debug: true\ndebug: false\n", {"k.yaml:2:1: \"debug\" is given twice"});
  expect_errors("x: &a {}\n<<: *a\n",
                {"k.yaml:1:1: unknown field", "k.yaml:2:1: merge keys (<<) are not supported"});
  expect_errors(
      "debug: true\n---\ndebug: false\n",
      {"k.yaml:3:1: what stands here is no part of the configuration; if it is a second YAML"});
  good("debug: true\n...\n---\n");
}

TEST(LoadConfig, broken_yaml_has_a_place) {
  expect_errors("listen: 127.0.0.1:7443\nservices: [\n", {"k.yaml:3:1: not valid YAML: "});
  expect_errors("services:\n\t- type: x\n", {"k.yaml:2:2: not valid YAML: "});
  expect_errors("a: *b\n", {"k.yaml:1:4: not valid YAML: "});
  EXPECT_TRUE(load("services: [\n").missing.empty()) << "nobody knows what a broken file has";
}

TEST(LoadConfig, all_problems_are_told_at_once_in_the_order_of_the_file) {
  const std::string yaml =
      "proxy_sever: x\n"
      "listen: nowhere\n"
      "oneshot: true\n"
      "services:\n"
      "  - type: kubernetes\n"
      "    credentials: {type: directory}\n"
      "  - type: kubernetes/v3\n"
      "  - type: kubernetes/v2\n"
      "    selectors: [{nam: a}]\n"
      "    listn: 1\n"
      "workers: -1\n";
  expect_errors(yaml,
                {"k.yaml:1:1: ", "k.yaml:2:9: ", "k.yaml:5:5: ", "k.yaml:6:18: ", "k.yaml:7:11: ",
                 "k.yaml:9:17: ", "k.yaml:9:18: ", "k.yaml:10:5: ", "k.yaml:11:10: "});
}

TEST(LoadConfig, thousands_of_problems_are_cut) {
  std::string yaml;
  for (int i = 0; i < 5000; ++i) yaml += "unknown" + std::to_string(i) + ": 1\n";
  const LoadResult loaded = load(yaml);
  ASSERT_EQ(loaded.errors.size(), 101u);
  EXPECT_EQ(loaded.errors.back().text(), "k.yaml: and 4900 more of them");
}

TEST(LoadConfig, messages_stay_on_one_line_and_readable) {
  const LoadResult odd = load("\"a\\e[31m\\nb\": 1\n");
  ASSERT_EQ(odd.errors.size(), 1u);
  EXPECT_EQ(odd.errors[0].text(), "k.yaml:1:1: unknown field \"a\\x1b[31m\\x0ab\"");
  for (const std::string& yaml :
       {std::string(300'000, 'k') + ": 1\n", "listen: " + std::string(300'000, 'v') + "\n",
        v1 + "    name: " + std::string(300'000, 'n') + "\n", "a: *" + std::string(300'000, 'b')}) {
    const LoadResult loaded = load(yaml);
    ASSERT_EQ(loaded.errors.size(), 1u);
    EXPECT_LT(loaded.errors[0].text().size(), 1100u);
  }
}

// ---- what must fit together

TEST(LoadConfig, a_listener_that_others_reach_must_be_meant) {
  expect_errors("listen: 0.0.0.0:7443\n",
                {"k.yaml:1:9: listen address 0.0.0.0 can be reached from other machines; set "
                 "allow_remote: true (--allow-remote) if that is meant"});
  expect_errors("listen: \"[::]:7443\"\n" + v1, {"k.yaml:1:9: listen address :: can be"});
  expect_errors(v1 + "    listen: 10.0.0.1:1\n", {"k.yaml:4:13: listen address 10.0.0.1 can be"});
  good("listen: 0.0.0.0:7443\nallow_remote: true\n");
  good(v1 + "    listen: 127.0.0.2:1\n");
  good("listen: 0.0.0.0:7443\n" + v1 + "    listen: 127.0.0.1:1\n");  // nobody uses the shared one
}

TEST(LoadConfig, plain_http_demands_no_authentication) {
  const std::string why = "local_tls: false demands local_auth: none, because client-go silently";
  expect_errors("local_tls: false\n" + v1, {"k.yaml:1:12: " + why});
  expect_errors("local_auth: mtls\nlocal_tls: false\n" + v1, {"k.yaml:2:12: " + why});
  expect_errors(v1 + "    listen: 127.0.0.1:1\n    local_tls: false\n", {"k.yaml:5:16: " + why});
  expect_errors("local_auth: none\nlocal_tls: false\n" + v1 +
                    "    listen: 127.0.0.1:1\n    local_auth: token\n",
                {"k.yaml:7:17: " + why});
  good("local_auth: none\nlocal_tls: false\n" + v1);
  good("local_auth: none\n" + v1);
  good(v1 + "    listen: 127.0.0.1:1\n    local_tls: false\n    local_auth: none\n");
}

TEST(LoadConfig, a_service_with_its_own_listener_inherits_what_it_does_not_say) {
  const Config config = good(
      "local_auth: none\nlocal_tls: false\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a}\n"
      "  - {type: kubernetes, kubernetes_cluster: b, listen: 127.0.0.1:1}\n"
      "  - {type: kubernetes, kubernetes_cluster: c, listen: 127.0.0.1:2, local_auth: mtls, "
      "local_tls: true}\n");
  EXPECT_EQ(config.services[0].local_auth, LocalAuth::none);
  EXPECT_FALSE(config.services[0].local_tls);
  EXPECT_EQ(config.services[1].local_auth, LocalAuth::none);
  EXPECT_FALSE(config.services[1].local_tls);
  EXPECT_EQ(config.services[2].local_auth, LocalAuth::mtls);
  EXPECT_TRUE(config.services[2].local_tls);
}

TEST(LoadConfig, authentication_belongs_to_a_listener) {
  expect_errors(v1 + "    local_auth: none\n",
                {"k.yaml:4:17: local_auth and local_tls belong to a listener"});
  expect_errors(v1 + "    local_tls: true\n",
                {"k.yaml:4:16: local_auth and local_tls belong to a listener"});
  expect_errors(v1 + "    listen: nowhere\n    local_auth: none\n",
                {"k.yaml:4:13: listen: \"nowhere\" is not"});
}

TEST(LoadConfig, a_listener_without_a_prefix_serves_one_cluster) {
  expect_errors(v2 + "    selectors: [{name: a}, {name: b}]\n    listen: 127.0.0.1:1\n",
                {"k.yaml:4:13: a listener of its own has no path prefix and so serves one cluster, "
                 "but this service selects 2"});
  good(v2 + "    selectors: [{name: a}]\n    listen: 127.0.0.1:1\n");
}

TEST(LoadConfig, two_listeners_need_two_addresses) {
  expect_errors(
      "services:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, listen: 127.0.0.1:1}\n"
      "  - {type: kubernetes, kubernetes_cluster: b, listen: 127.0.0.1:1}\n",
      {"k.yaml:3:55: service \"a\" and service \"b\" listen on the same address "
       "127.0.0.1:1"});
  expect_errors(
      "listen: localhost:1\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, listen: 127.0.0.1:1}\n"
      "  - {type: kubernetes, kubernetes_cluster: b}\n",
      {"k.yaml:1:9: service \"a\" and the shared listener listen on the same address"});
  good(
      "listen: 127.0.0.1:0\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, listen: 127.0.0.1:0}\n"
      "  - {type: kubernetes, kubernetes_cluster: b, listen: 127.0.0.1:0}\n"
      "  - {type: kubernetes, kubernetes_cluster: c}\n");
}

TEST(LoadConfig, one_path_leads_to_one_service) {
  expect_errors(
      "services:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, name: one}\n"
      "  - {type: kubernetes/v2, selectors: [{name: b}, {name: a}], name: two}\n",
      {"k.yaml:3:5: services \"one\" and \"two\" both serve cluster \"a\" on the shared "
       "listener; give one of them its own listen"});
  good(
      "services:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, name: one}\n"
      "  - {type: kubernetes, kubernetes_cluster: a, name: two, listen: 127.0.0.1:1}\n");
}

class Directories : public ::testing::Test {
 protected:
  // Two services with these directories.
  static std::string pair(const std::string& credentials_a, const std::string& destination_a,
                          const std::string& credentials_b, const std::string& destination_b) {
    const auto service = [](const std::string& cluster, const std::string& credentials,
                            const std::string& destination) {
      return "  - type: kubernetes\n    kubernetes_cluster: " + cluster +
             "\n    credentials: {type: directory, path: " + credentials +
             "}\n    destination: {type: directory, path: " + destination + "}\n";
    };
    return "services:\n" + service("a", credentials_a, destination_a) +
           service("b", credentials_b, destination_b);
  }
  std::string path(const std::string& name) const { return (directory_.path() / name).string(); }
  // The destination is the credentials directory, however it is written.
  void expect_refused(const std::string& credentials, const std::string& destination) const {
    expect_errors(pair(credentials, destination, path("c2"), path("d2")),
                  {"k.yaml:5:18: the destination " + absolute(destination) +
                   " is also the credentials directory of service \"a\", where tbot would "
                   "overwrite our kubeconfig.yaml; choose another directory"});
  }
  static std::string absolute(const std::string& written) {
    std::string normal = fs::absolute(written).lexically_normal().string();
    if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
    return normal;
  }

  support::TempDirectory directory_;
};

TEST_F(Directories, a_destination_is_not_the_credentials_directory) {
  good(pair(path("c1"), path("d1"), path("c2"), path("d2")));
  expect_refused(path("c"), path("c"));
  expect_refused(path("c"), path("c/"));
  expect_refused(path("c"), path("x/../c"));
  expect_refused(path("c/."), path(".//c"));
}

TEST_F(Directories, not_by_a_relative_path_either) {
  const std::string relative = fs::relative(path("c")).string();
  ASSERT_FALSE(relative.starts_with('/'));
  expect_refused(path("c"), relative);
  expect_refused("./" + relative + "/", path("c"));
}

TEST_F(Directories, nor_through_a_symbolic_link) {
  fs::create_directory(path("c"));
  fs::create_directory_symlink("c", path("link"));
  fs::create_directory_symlink(directory_.path(), path("parent"));
  expect_refused(path("c"), path("link"));
  expect_refused(path("link"), path("c"));
  expect_refused(path("c"), path("parent/c"));
  expect_refused(path("new"), path("parent/new"));  // which does not exist yet
}

TEST_F(Directories, nor_the_credentials_directory_of_another_service) {
  expect_errors(pair(path("c1"), path("c2"), path("c2"), path("d2")),
                {"k.yaml:5:18: the destination " + path("c2") +
                 " is also the credentials directory of service \"b\""});
  good(pair(path("c"), path("d1"), path("c"), path("d2")));  // one identity may feed two services
}

TEST_F(Directories, two_services_do_not_share_a_destination) {
  fs::create_directory(path("d"));
  fs::create_directory_symlink("d", path("link"));
  for (const std::string same : {"d", "d/", "x/../d", "link"})
    expect_errors(pair(path("c1"), path("d"), path("c2"), path(same)),
                  {"k.yaml:9:18: services \"a\" and \"b\" share the destination " +
                   absolute(path(same)) + "; give each its own directory"});
  good(pair(path("c1"), path("d"), path("c2"), path("d/below")));
}

TEST_F(Directories, storage_is_a_directory_of_its_own) {
  const std::string yaml = pair(path("c1"), path("d1"), path("c2"), path("d2"));
  const auto storage = [&](const std::string& name) {
    return "storage: {type: directory, path: " + path(name) + "}\n" + yaml;
  };
  expect_errors(storage("d1"), {"k.yaml:6:18: the destination is also the storage directory"});
  expect_errors(storage("c2/"), {"k.yaml:9:18: the storage directory is also the credentials"});
  good(storage("s"));
}

TEST_F(Directories, memory_destinations_do_not_collide) {
  good(
      "services:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, destination: memory://}\n"
      "  - {type: kubernetes, kubernetes_cluster: b, destination: {type: memory}}\n");
}

// ---- what start needs beyond a valid file

TEST(Missing, is_told_with_its_place_and_remedy) {
  const LoadResult loaded = load(v1);
  EXPECT_TRUE(loaded.errors.empty());
  ASSERT_EQ(loaded.missing.size(), 3u);
  EXPECT_EQ(loaded.missing[0].text().rfind("k.yaml: proxy_server is missing", 0), 0u);
  EXPECT_EQ(loaded.missing[1].text().rfind("k.yaml:2:5: service \"prod\" has no credentials", 0),
            0u);
  EXPECT_EQ(loaded.missing[2].text().rfind("k.yaml:2:5: service \"prod\" has no directory", 0), 0u);
  EXPECT_EQ(texts(load("proxy_server: t\n").missing),
            std::vector<std::string>{"k.yaml: there is no service of type kubernetes or "
                                     "kubernetes/v2: nothing to serve"});
  EXPECT_EQ(load("proxy_server: t\n" + v1 + "    credentials: /c\n    destination: memory://\n")
                .missing.size(),
            1u)
      << "nobody could read the kubeconfig";
}

TEST(Missing, what_is_wrong_is_not_missing) {
  const LoadResult loaded = load("proxy_server: http://x\n" + v1 +
                                 "    credentials: {type: directory}\n    destination: s3://x\n");
  EXPECT_EQ(loaded.errors.size(), 3u);
  EXPECT_EQ(texts(loaded.missing), std::vector<std::string>());
  EXPECT_EQ(texts(load("proxy_server: t\nservices: [{type: kubernets}]\n").missing),
            std::vector<std::string>());
}

// ---- what only an enemy or an accident writes

TEST(HostileYaml, a_large_file_is_one_error) {
  const LoadResult loaded = load("# " + std::string(1 << 20, 'x'));
  EXPECT_EQ(texts(loaded.errors),
            std::vector<std::string>{"k.yaml: the configuration file is larger than 1 MiB"});
}

// yaml-cpp finds one empty document after the other in these.
TEST(HostileYaml, stray_brackets_and_commas_are_one_error) {
  for (const char* yaml : {",]<", "]", "}", ",", "debug: true\n]\n"}) {
    const LoadResult loaded = load(yaml);
    ASSERT_EQ(loaded.errors.size(), 1u) << yaml;
    EXPECT_EQ(loaded.errors[0].text().rfind("k.yaml:", 0), 0u);
  }
}

TEST(HostileYaml, deep_nesting_is_one_error) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  std::string explicit_keys;
  for (int i = 0; i < 5000; ++i) explicit_keys += "? ";
  std::string dashes;
  for (int i = 0; i < 200'000; ++i) dashes += "- ";
  for (const std::string& yaml :
       {"a: " + std::string(500'000, '[') + "\n", "a: " + std::string(500'000, '{') + "\n",
        "a: " + std::string(70, '[') + std::string(70, ']') + "\n", dashes, explicit_keys, lines}) {
    const LoadResult loaded = load(yaml);
    ASSERT_EQ(loaded.errors.size(), 1u) << yaml.substr(0, 20);
    EXPECT_TRUE(loaded.missing.empty());
  }
}

TEST(HostileYaml, brackets_in_text_are_no_nesting) {
  const std::string many(500, '[');
  good("# " + many + "\ndebug: true\n");
  EXPECT_EQ(good(v1.substr(0, v1.rfind("prod")) + "\"" + many + "\"\n").services[0].label(), many);
}

TEST(HostileYaml, a_billion_laughs_are_one_error) {
  std::string yaml = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string name = "a" + std::to_string(i);
    yaml += name + ": &" + name + " [";
    for (int j = 0; j < 10; ++j) yaml += (j > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    yaml += "]\n";
  }
  const LoadResult loaded = load(yaml);
  ASSERT_EQ(loaded.errors.size(), 1u);
  EXPECT_NE(loaded.errors[0].text().find("more than 100000 values, those repeated by aliases"),
            std::string::npos)
      << loaded.errors[0].text();
}

TEST(HostileYaml, an_alias_of_itself_is_one_error) {
  for (const char* yaml : {"services: &a [*a]\n", "log: &a {level: *a}\n", "&a {*a : *a}\n"}) {
    const LoadResult loaded = load(yaml);
    ASSERT_EQ(loaded.errors.size(), 1u) << yaml;
    EXPECT_NE(loaded.errors[0].text().find("nested"), std::string::npos) << loaded.errors[0].text();
  }
}

TEST(HostileYaml, many_services_by_one_alias_are_bounded) {
  std::string yaml = "services:\n  - &s {type: kubernetes/v2, selectors: [";
  for (int i = 0; i < 20'000; ++i) yaml += "{name: a" + std::to_string(i) + "},";
  yaml += "]}\n";
  for (int i = 0; i < 60'000; ++i) yaml += "  - *s\n";
  EXPECT_EQ(load(yaml).errors.size(), 1u);
}

TEST(HostileYaml, twenty_thousand_clusters_are_fine) {
  std::string yaml = v2 + "    selectors: [";
  for (int i = 0; i < 20'000; ++i) yaml += "{name: a" + std::to_string(i) + "},";
  EXPECT_EQ(good(yaml + "]\n").services[0].clusters.size(), 20'000u);
}

TEST(HostileYaml, bytes_that_are_no_text_are_no_trouble) {
  for (const std::string& yaml :
       {std::string("\0", 1), std::string("a: \0\n", 5), std::string("\xff\xfe a"),
        std::string("\xef\xbb\xbf"), std::string("a: \xc3\x28\n"), std::string("%YAML 9.9\n---\n"),
        std::string("!!binary x: y\n"), std::string("\r"), std::string("a: !<x\n")}) {
    const LoadResult loaded = load(yaml);
    for (const std::string& text : texts(loaded.errors))
      EXPECT_EQ(text.find_first_of(std::string("\n\r\0", 3)), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace kubelane
