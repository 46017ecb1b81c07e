// Several services, each with a directory of its own, in one process: each by its own credentials,
// and what happens to one is nothing to the others.
#include <map>
#include <set>
#include <string>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Response;
using support::TlsClient;

class Renewal : public support::KubelaneFixture {
 protected:
  Renewal() { proxy_protocol = "http1"; }  // connections are told apart
  std::filesystem::path credentials_of(const std::string& cluster) const {
    return directory() / ("credentials-" + cluster);
  }
  std::filesystem::path kubeconfig_of(const std::string& cluster) const {
    return directory() / ("out-" + cluster) / "kubeconfig.yaml";
  }
  // One `kubernetes` output and one service per cluster, as Teleport before path routing demands.
  void start_services(const std::set<std::string>& clusters) {
    kind = lab::TbotKind::kubernetes;
    for (const std::string& cluster : clusters)
      proxy_options.clusters.push_back({cluster, lab::standard_paths(gate())});
    proxy_options.server_version = "16.4.12";
    start_lab();
    std::string config = default_config();
    config.erase(config.find("services:\n"));
    config += "services:\n";
    for (const std::string& cluster : clusters) {
      renew(cluster);
      config += "  - type: kubernetes\n    kubernetes_cluster: " + cluster +
                "\n    credentials: {type: directory, path: " + credentials_of(cluster).string() +
                "}\n    destination: {type: directory, path: " +
                kubeconfig_of(cluster).parent_path().string() + "}\n";
    }
    start_kubelane(config);
    wait_ready();
  }
  // Returns the new certificate's serial.
  std::string renew(const std::string& cluster) {
    const lab::TbotMaterial material = proxy().renew(kind, client, {cluster});
    lab::TbotDirectory(credentials_of(cluster)).write(material);
    return serial_[cluster] = material.client.serial;
  }
  std::string serial_used_for(const std::string& cluster) {
    EXPECT_EQ(get("/bytes/1", cluster).status, 200) << cluster;
    return proxy().seen().requests.back().client_serial;
  }
  bool uses_newest(const std::string& cluster) {
    return eventually([&] { return serial_used_for(cluster) == serial_[cluster]; });
  }

  std::map<std::string, std::string> serial_;
};

TEST_F(Renewal, each_service_travels_by_its_own_certificate) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two", "three"}));
  for (int round = 0; round < 3; ++round) {
    for (const char* cluster : {"one", "two", "three"}) {
      EXPECT_EQ(serial_used_for(cluster), serial_[cluster]) << cluster;
      EXPECT_TRUE(std::filesystem::exists(kubeconfig_of(cluster)));
    }
  }
  for (const auto& request : proxy().seen().requests) {
    if (!request.kube) continue;
    EXPECT_EQ(request.client_serial, serial_[request.kube_cluster])
        << "a connection was shared: " << request.kube_cluster;
  }
}

TEST_F(Renewal, one_renewal_leaves_the_others_connections_alone) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}));
  // On one connection, so that it is one worker and one pool.
  TlsClient caller = connect("two");
  const auto ask = [&] {
    caller.write(request("GET", "/bytes/1", "", "", "two"));
    EXPECT_EQ(caller.read_response().status, 200);
    return proxy().seen().requests.back().connection;
  };
  const int connection = ask();
  for (int i = 0; i < 3; ++i) {
    renew("one");
    ASSERT_TRUE(uses_newest("one"));
    EXPECT_EQ(ask(), connection);
  }
}

TEST_F(Renewal, one_that_expires_or_breaks_stops_nobody_else) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}));
  client.valid_until = 3;
  renew("one");
  ASSERT_TRUE(uses_newest("one"));
  Response refused;
  ASSERT_TRUE(eventually([&] {
    refused = get("/bytes/1", "one");
    return refused.status == 503 &&
           refused.body.find(credentials_of("one").string()) != std::string::npos;
  })) << refused.body;
  EXPECT_NE(refused.body.find("\\\"one\\\""), std::string::npos) << refused.body;
  std::filesystem::remove_all(credentials_of("one"));
  ASSERT_TRUE(
      kubelane().wait_for_line("no usable credentials in " + credentials_of("one").string()));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("/bytes/1", "two").status, 200);
  client.valid_until = 3600;
  renew("two");
  ASSERT_TRUE(uses_newest("two"));
  EXPECT_EQ(get("/bytes/1", "one").status, 503);
  renew("one");
  ASSERT_TRUE(eventually([&] { return get("/bytes/1", "one").status == 200; }));
  EXPECT_TRUE(uses_newest("one"));
}

// tbot stood still while the Proxy's authority was replaced: told as what it is, healed by files.
TEST_F(Renewal, an_authority_that_the_files_do_not_know_is_told_and_heals) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  for (const lab::RotationPhase phase :
       {lab::RotationPhase::init, lab::RotationPhase::update_clients,
        lab::RotationPhase::update_servers})
    proxy().rotate(phase);
  proxy().close_all();
  Response refused;
  ASSERT_TRUE(eventually([&] { return (refused = get("/bytes/1")).status == 502; }))
      << refused.status;
  EXPECT_NE(refused.body.find("tbot"), std::string::npos) << refused.body;
  credentials().write(proxy().renew(kind, client));
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
  proxy().rotate(lab::RotationPhase::standby);
  proxy().close_all();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

// A Secret that is taken away and comes back with the same revision name: seen all the same.
TEST_F(Renewal, a_secret_volume_that_vanishes_and_returns_is_followed) {
  start_lab();
  lab::TbotDirectory volume(credentials_path());
  volume.swap_secret_volume(
      lab::tbot_files(proxy().renew(kind, client), credentials_path().string()));
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  std::filesystem::remove_all(credentials_path());
  ASSERT_TRUE(kubelane().wait_for_line("no newer credentials; the last good ones stay"));
  EXPECT_EQ(get("/bytes/1").status, 200) << "the last good ones stay in use";
  const lab::TbotMaterial next = proxy().renew(kind, client);
  lab::TbotDirectory again(credentials_path());
  again.swap_secret_volume(lab::tbot_files(next, credentials_path().string()));
  EXPECT_TRUE(eventually([&] {
    EXPECT_EQ(get("/bytes/1").status, 200);
    return proxy().seen().requests.back().client_serial == next.client.serial;
  }));
}

}  // namespace
