// The clusters that a bot serves follow what Teleport lists, while kubelane runs.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/bot_fixture.hpp"

namespace {

using support::eventually;
using support::Response;

class BotClusters : public support::BotFixture {
 protected:
  std::string kubeconfig() const {
    std::ifstream file(destination_path() / "kubeconfig.yaml");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // By its path, whether it was there at the start or not.
  Response get_at(const std::string& cluster, const std::string& target) {
    support::LocalEndpoint to = endpoint("demo");
    to.prefix = "/" + cluster;
    support::TlsClient local = connect(to);
    local.write("GET " + to.prefix + target + " HTTP/1.1\r\nHost: " + to.host_header() +
                "\r\nAuthorization: Bearer " + to.token + "\r\n\r\n");
    return local.read_response(false);
  }
};

TEST_F(BotClusters, labels_select_and_one_missing_name_stops_nobody) {
  add_cluster("demo");
  add_cluster("blue", {{"env", "prod"}});
  add_cluster("red", {{"env", "test"}});
  selectors = "[{name: demo}, {name: nosuch}, {labels: {env: prod}}]";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(get("/bytes/10", "blue").status, 200);
  EXPECT_EQ(get_at("red", "/bytes/10").status, 404);
  const Response missing = get_at("nosuch", "/bytes/10");
  EXPECT_EQ(missing.status, 404);
  EXPECT_NE(missing.body.find("lists no Kubernetes cluster of this name"), std::string::npos)
      << missing.body;
  EXPECT_TRUE(logged("a cluster is not to be had"));
}

TEST_F(BotClusters, one_that_appears_is_served_and_one_that_goes_is_told) {
  add_cluster("demo");
  selectors = "[{name: demo}, {labels: {env: prod}}]";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get_at("late", "/bytes/10").status, 404);
  lab::KubeResource late;
  late.name = "late";
  late.labels = {{"env", "prod"}};
  late.handler = lab::standard_paths(gate());
  auth().service().put_cluster(late);
  EXPECT_TRUE(eventually([&] { return get_at("late", "/bytes/10").status == 200; },
                         std::chrono::seconds(10)));
  EXPECT_TRUE(eventually([&] { return kubeconfig().find("/late") != std::string::npos; }));
  auth().service().remove_cluster("late");
  ASSERT_TRUE(logged("a cluster is gone"));
  Response gone;
  ASSERT_TRUE(eventually([&] {
    gone = get_at("late", "/bytes/10");
    return gone.status == 404;
  }));
  EXPECT_NE(gone.body.find("does not list it any more"), std::string::npos) << gone.body;
  EXPECT_TRUE(eventually([&] { return kubeconfig().find("/late") == std::string::npos; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotClusters, two_thousand_are_no_trouble) {
  for (int i = 0; i < 2000; ++i)
    add_cluster("cluster-" + std::to_string(i), {{"env", "prod"}, {"team", std::to_string(i % 7)}});
  selectors = "[{labels: {env: prod}}]";
  start_teleport();
  const auto begin = std::chrono::steady_clock::now();
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  const auto took = std::chrono::steady_clock::now() - begin;
  RecordProperty(
      "start_ms",
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  EXPECT_EQ(get("/bytes/10", "cluster-0").status, 200);
  if (support::Process::sanitized) return;
  EXPECT_LT(kubelane().resident_bytes(), 40UL << 20);
}

// Teleport 16 cannot route by the path: each cluster has a certificate of its own, of one key.
TEST_F(BotClusters, five_hundred_have_a_certificate_each_where_teleport_is_old) {
  constexpr std::size_t count = 500;
  auth_options.server_version = "16.4.2";
  lifetimes = "credential_ttl: 1h\nrenewal_interval: 20m\n";
  for (std::size_t i = 0; i < count; ++i)
    add_cluster("cluster-" + std::to_string(i), {{"env", "prod"}});
  selectors = "[{labels: {env: prod}}]";
  start_teleport();
  const auto begin = std::chrono::steady_clock::now();
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  std::printf("500 certificates: ready after %lld ms, %.1f MiB\n",
              static_cast<long long>(took.count()),
              static_cast<double>(kubelane().resident_bytes()) / (1 << 20));
  const auto certificates = [&] { return auth().calls().count_answered("GenerateUserCerts"); };
  EXPECT_EQ(certificates(), count + 1);  // and one to list clusters with
  EXPECT_EQ(get("/bytes/10", "cluster-0").status, 200);
  const std::string first = proxy().seen().requests.back().client_serial;
  EXPECT_EQ(get("/bytes/10", "cluster-1").status, 200);
  EXPECT_NE(proxy().seen().requests.back().client_serial, first);

  // A renewal asks for as many again, and no more.
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(
      eventually([&] { return certificates() == 2 * (count + 1); }, std::chrono::seconds(60)));
  EXPECT_TRUE(eventually([&] {
    return get("/bytes/10", "cluster-0").status == 200 &&
           proxy().seen().requests.back().client_serial != first;
  }));
  EXPECT_EQ(certificates(), 2 * (count + 1));
  if (support::Process::sanitized) return;
  EXPECT_LT(kubelane().resident_bytes(), 160UL << 20);
}

}  // namespace
