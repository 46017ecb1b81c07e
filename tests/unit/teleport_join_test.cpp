// What goes into a join and what comes out of it, from honest servers and others.
#include <string>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "proxy/teleport/find.hpp"
#include "proxy/teleport/inventory.hpp"
#include "proxy/teleport/join.hpp"
#include "tests/support/pki.hpp"
#include "tls/base64.hpp"
#include "tls/key.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

using kubelane_test::Issued;

TEST(WebJoin, the_body_is_what_a_proxy_reads) {
  JoinRequest join;
  join.token = "to\"ken";
  join.id_token = "j.w.t";
  join.key = tls::make_key();
  join.expires = std::chrono::system_clock::from_time_t(1'767'323'045);
  const boost::json::value body = boost::json::parse(web_join_body(join));
  EXPECT_EQ(body.at("role"), "Bot");
  EXPECT_EQ(body.at("token"), "to\"ken");
  EXPECT_EQ(body.at("id_token"), "j.w.t");
  EXPECT_EQ(body.at("expires"), "2026-01-02T03:04:05Z");
  EXPECT_EQ(tls::from_base64(body.at("public_tls_key").as_string())
                ->rfind("-----BEGIN PUBLIC KEY-----", 0),
            0u);
  const std::string line = *tls::from_base64(body.at("public_ssh_key").as_string());
  EXPECT_EQ(
      line.rfind("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB", 0),
      0u);
  EXPECT_EQ(line.back(), '\n');
}

TEST(WebJoin, an_answer_is_read_and_anything_else_refused) {
  const auto certs = parse_web_join(
      R"({"ssh":"YQ==","tls":"Yg==","tls_ca_certs":["Yw==","ZA=="],"ssh_ca_certs":null,"x":1})");
  ASSERT_TRUE(certs);
  EXPECT_EQ(certs->certificate, "b");
  EXPECT_EQ(certs->ssh_certificate, "a");
  EXPECT_EQ(certs->cas, (std::vector<std::string>{"c", "d"}));
  for (const char* wrong : {"", "[]", "null", "{\"tls\":1}", "{\"tls\":\"Y\"}", "{\"tls\":\"Yg=\"}",
                            "{\"tls\":\"*A==\"}", "{\"tls_ca_certs\":\"Yg==\"}",
                            "{\"tls_ca_certs\":[1]}", "{\"tls\":\"Yg==\""})
    EXPECT_FALSE(parse_web_join(wrong)) << wrong;
}

TEST(Find, suites_are_read_in_every_spelling) {
  for (const char* old : {"", "0", "1", "legacy", "SIGNATURE_ALGORITHM_SUITE_UNSPECIFIED",
                          "SIGNATURE_ALGORITHM_SUITE_LEGACY"})
    EXPECT_EQ(key_kind_of_suite(old), KeyKind::rsa) << old;
  for (const char* newer :
       {"2", "balanced-v1", "fips-v1", "hsm-v1", "signature-algorithm-suite-balanced-v1",
        "SIGNATURE_ALGORITHM_SUITE_HSM_V1"})
    EXPECT_EQ(key_kind_of_suite(newer), KeyKind::ecdsa) << newer;
  const auto found = parse_find(
      R"({"cluster_name":"c","server_version":"18.1.0","auth":{"signature_algorithm_suite":2}})");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->key_kind, KeyKind::ecdsa);
  EXPECT_EQ(parse_find(R"({"cluster_name":"c"})")->key_kind, KeyKind::rsa);
  for (const char* wrong : {"", "[]", "{}", R"({"cluster_name":""})", R"({"cluster_name":"a\nb"})"})
    EXPECT_FALSE(parse_find(wrong)) << wrong;
}

// Whoever answers a join with something else than what was asked for is found out.
TEST(BotIdentityCheck, only_a_bots_certificate_for_our_key_is_taken) {
  const Issued user_ca = kubelane_test::make_authority("root.example.com");
  const auto made = [&](const std::function<void(kubelane_test::Shape&)>& change) {
    kubelane_test::Shape shape = kubelane_test::client_shape("root.example.com");
    change(shape);
    const Issued leaf = kubelane_test::issue(&user_ca, shape, kubelane_test::make_ec_key());
    IssuedCerts issued;
    issued.certificate = leaf.pem();
    issued.cas = {user_ca.pem()};
    auto key = tls::parse_key(leaf.key_pem());
    return std::pair(std::shared_ptr<EVP_PKEY>(std::move(*key)), issued);
  };
  const auto plain = [](kubelane_test::Shape&) {};
  const auto good = made(plain);
  const auto identity = make_bot_identity(good.first, good.second, "root.example.com", "");
  ASSERT_TRUE(identity);
  EXPECT_EQ((*identity)->subject.user, "bot-ci");
  const auto other = made(plain);
  EXPECT_FALSE(make_bot_identity(other.first, good.second, "root.example.com", ""));
  EXPECT_FALSE(make_bot_identity(good.first, good.second, "leaf.example.com", ""));
  EXPECT_FALSE(make_bot_identity(good.first, good.second, "root.example.com", "bot-else"));
  IssuedCerts bare = good.second;
  bare.cas.clear();
  EXPECT_FALSE(make_bot_identity(good.first, bare, "root.example.com", ""));
  const auto expired = made([](kubelane_test::Shape& shape) {
    shape.valid_from = -7200;
    shape.valid_until = -3600;
  });
  EXPECT_FALSE(make_bot_identity(expired.first, expired.second, "root.example.com", ""));
}

TEST(Inventory, selectors_choose_in_their_order_and_each_cluster_once) {
  const std::vector<KubeClusterInfo> listed = {
      {"b", {{"env", "prod"}}},
      {"a", {{"env", "prod"}, {"team", "x"}}},
      {"c-eks-123", {{"teleport.internal/discovered-name", "c"}}},
      {"d-eks-1", {{"teleport.internal/discovered-name", "d"}}},
      {"d-eks-2", {{"teleport.internal/discovered-name", "d"}}}};
  const std::vector<ClusterSelector> selectors = {
      {"c", "web", {}}, {"", "", {{"env", "prod"}}},
      {"a", "", {}},    {"d", "", {}},
      {"e", "", {}},    {"", "", {{"env", "*"}, {"team", "x"}}}};
  const Inventory inventory = select_clusters(selectors, listed);
  ASSERT_EQ(inventory.clusters.size(), 3u);
  EXPECT_EQ(inventory.clusters[0], (ServedCluster{"c-eks-123", "web"}));
  EXPECT_EQ(inventory.clusters[1].name, "a");
  EXPECT_EQ(inventory.clusters[2].name, "b");
  ASSERT_EQ(inventory.missing.size(), 2u);
  EXPECT_NE(inventory.missing[0].cause.find("several discovered"), std::string::npos);
  EXPECT_EQ(inventory.missing[1].name, "e");
}

}  // namespace
}  // namespace kubelane::teleport
