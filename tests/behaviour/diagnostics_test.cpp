// The diagnostics listener as a kubelet, a waiting container and a script use it.
#include <csignal>
#include <fstream>
#include <string>

#include "tests/support/control_client.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::ControlClient;
using support::eventually;
using support::Response;
using support::TlsClient;

class Diagnostics : public support::KubelaneFixture {
 protected:
  Diagnostics() { more_yaml = "diag_addr: 127.0.0.1:0\n"; }
  ControlClient diagnostics() { return {kubelane(), "diagnostics"}; }
  std::size_t versions_asked() {
    std::size_t count = 0;
    for (const auto& request : proxy().seen().requests)
      if (request.kube && request.target.ends_with("/version")) ++count;
    return count;
  }
  void start_without_credentials() {
    start_lab();
    std::filesystem::create_directory(credentials_path());
    start_kubelane(default_config());
  }
};

TEST_F(Diagnostics, every_probe_of_a_working_kubelane_is_content) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  for (const char* path : {"/startup", "/livez", "/readyz", "/readyz/kubernetes-v2-1", "/wait",
                           "/wait/kubernetes-v2-1", "/readyz/kubernetes-v2-1/demo", "/readyz?x=y"})
    EXPECT_EQ(probe.get(path).status, 200) << path;
  const auto overall = probe.json("/readyz");
  EXPECT_EQ(overall.at("status"), "healthy");
  const auto& service = overall.at("services").at("kubernetes-v2-1").as_object();
  EXPECT_EQ(service.at("status"), "healthy");
  EXPECT_FALSE(service.contains("reason")) << boost::json::serialize(service);
  EXPECT_EQ(service.at("clusters").at("demo").at("status"), "healthy");
  EXPECT_EQ(probe.json("/readyz/kubernetes-v2-1").at("status"), "healthy");
}

TEST_F(Diagnostics, answers_by_the_book) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  const Response head = probe.send(ControlClient::request("HEAD", "/readyz"), true);
  EXPECT_EQ(head.status, 200);
  EXPECT_GT(std::stoul(head.header("Content-Length")), 50u);
  const Response ready = probe.get("/readyz");
  EXPECT_EQ(ready.header("Content-Type"), "application/json");
  EXPECT_EQ(ready.header("Cache-Control"), "no-store");
  for (const char* path : {"/readyz/nosuch", "/wait/nosuch", "/readyz/kubernetes-v2-1/nosuch"}) {
    const Response unknown = probe.get(path);
    EXPECT_EQ(unknown.status, 404) << path;
    EXPECT_NE(unknown.body.find("\"error\""), std::string::npos) << unknown.body;
  }
  for (const char* path : {"/", "/readyzz", "/quitquitquit", "/config", "/log-level"})
    EXPECT_EQ(probe.get(path).status, 404) << path;
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    const Response refused = probe.send(ControlClient::request(method, "/readyz"));
    EXPECT_EQ(refused.status, 405) << method;
    EXPECT_EQ(refused.header("Allow"), "GET, HEAD") << method;
  }
  // One connection for many requests.
  TlsClient kept = probe.connect();
  for (int i = 0; i < 20; ++i) {
    kept.write(ControlClient::request("GET", "/livez"));
    EXPECT_EQ(kept.read_response().status, 200);
  }
}

TEST_F(Diagnostics, named_services_keep_their_names) {
  more_service_yaml = "    name: production\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(diagnostics().json("/readyz/production").at("status"), "healthy");
}

TEST_F(Diagnostics, nothing_is_ready_before_there_are_credentials_and_who_waits_is_told) {
  start_without_credentials();
  const ControlClient probe = diagnostics();
  EXPECT_EQ(probe.get("/livez").status, 200);
  const Response startup = probe.get("/startup");
  EXPECT_EQ(startup.status, 503);
  EXPECT_NE(startup.body.find("kubernetes-v2-1"), std::string::npos) << startup.body;
  ASSERT_TRUE(eventually(
      [&] { return probe.json("/readyz/kubernetes-v2-1").at("cause") == "no_credentials"; }));
  const auto told = probe.json("/readyz/kubernetes-v2-1");
  EXPECT_NE(told.at("reason").as_string().find("is tbot running?"), std::string::npos)
      << boost::json::serialize(told);
  EXPECT_EQ(probe.get("/readyz").status, 503);

  TlsClient waits = probe.connect();
  waits.write(ControlClient::request("GET", "/wait"));
  TlsClient gives_up = probe.connect();
  gives_up.write(ControlClient::request("GET", "/wait"));
  write_credentials();
  EXPECT_EQ(waits.read_response().status, 200);
  EXPECT_EQ(probe.get("/startup").status, 200);
  EXPECT_TRUE(std::filesystem::exists(destination_path() / "kubeconfig.yaml"));
}

// A client that gives up is forgotten: there is room for the next ones.
TEST_F(Diagnostics, who_gives_up_waiting_makes_room) {
  start_without_credentials();
  const ControlClient probe = diagnostics();
  for (int round = 0; round < 3; ++round) {
    std::vector<TlsClient> waiting;
    for (int i = 0; i < 32; ++i) {
      waiting.push_back(probe.connect());
      waiting.back().write(ControlClient::request("GET", "/wait"));
    }
    EXPECT_TRUE(eventually([&] {
      TlsClient one_more = probe.connect();
      one_more.write(ControlClient::request("GET", "/wait/nosuch"));
      return one_more.read_response().status == 503;
    })) << "the 32 are not all there";
    EXPECT_EQ(probe.get("/livez").status, 200) << "probes still get through";
    waiting.clear();
    EXPECT_TRUE(eventually([&] { return probe.get("/wait/nosuch").status == 404; }));
  }
}

TEST_F(Diagnostics, traffic_is_proof_enough_and_idle_clusters_are_asked_once_in_30_seconds) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  EXPECT_EQ(get("/bytes/10").status, 200);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(probe.get("/readyz").status, 200);
  EXPECT_EQ(versions_asked(), 0u) << "traffic had shown that it works";
}

TEST_F(Diagnostics, without_traffic_one_request_is_enough_for_many_probes) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(probe.get("/readyz").status, 200);
  EXPECT_EQ(versions_asked(), 1u);
  const auto seen = proxy().seen();
  const auto* asked = seen.last_request("/version");
  ASSERT_NE(asked, nullptr);
  EXPECT_EQ(asked->target, upstream_prefix() + "/version");
  EXPECT_EQ(asked->kube_cluster, "demo");
  EXPECT_EQ(asked->user, "ci") << "as clients' requests";
}

TEST_F(Diagnostics, a_drain_takes_readiness_away_and_leaves_liveness) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  EXPECT_EQ(probe.get("/readyz").status, 200);
  TlsClient running = connect();
  running.write(request("GET", "/watch?events=1"));
  running.read_response_head();
  kubelane().signal(SIGTERM);
  ASSERT_TRUE(kubelane().wait_for_line("stopping"));
  const Response ready = probe.get("/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_NE(ready.body.find("shutting down"), std::string::npos) << ready.body;
  EXPECT_EQ(probe.get("/readyz/kubernetes-v2-1").status, 503);
  EXPECT_EQ(probe.get("/livez").status, 200);
  gate().release(1);
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Diagnostics, there_is_no_listener_unless_it_is_asked_for) {
  more_yaml.clear();
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_FALSE(kubelane().wait_for_line("\"diagnostics\"", 0, std::chrono::milliseconds(1)));
}

TEST_F(Diagnostics, an_address_that_is_taken_ends_the_start_with_a_sentence) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string taken = diagnostics().address();
  more_yaml = "diag_addr: " + taken + "\n";
  const std::string config = (directory() / "second.yaml").string();
  std::ofstream(config) << default_config();
  support::Process second(KUBELANE_BINARY, {"start", "-c", config});
  EXPECT_EQ(second.wait_exit(), 1);
  const auto line = second.wait_for_line("cannot start");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find("diag_addr"), std::string::npos) << *line;
  EXPECT_NE(line->find("another process listens there"), std::string::npos) << *line;
}

}  // namespace
