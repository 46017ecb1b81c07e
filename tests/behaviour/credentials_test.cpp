// Credentials come, change, tear, expire and rotate under a running kubelane; clients never notice,
// or get a clear 503 until they are good again.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Response;
using support::TlsClient;

class Credentials : public support::KubelaneFixture {
 protected:
  // Without waiting for readiness: what a client sees who knows address and token.
  void start_unready(const std::string& storage) {
    std::string config = default_config();
    const std::string memory = "storage:\n  type: memory\n";
    config.replace(config.find(memory), memory.size(),
                   "storage: {type: directory, path: " + storage + "}\n");
    start_kubelane(config);
    const auto line = kubelane().wait_for_line("\"listening\"");
    ASSERT_TRUE(line);
    const std::string mark = "\"address\":\"127.0.0.1:";
    port_ = static_cast<std::uint16_t>(std::stoul(line->substr(line->find(mark) + mark.size())));
    std::ifstream token(storage + "/kubelane-token");
    std::getline(token, token_);
  }
  Response early_get(const std::string& target) {
    TlsClient caller("127.0.0.1", port_, {});
    caller.write("GET /demo" + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " +
                 token_ + "\r\n\r\n");
    return caller.read_response();
  }
  bool early_serves() { return early_get("/bytes/1").status == 200; }
  std::string storage() { return (directory() / "storage").string(); }

  std::set<std::string> serials_used() {
    std::set<std::string> serials;
    for (const auto& request : proxy().seen().requests)
      if (request.kube) serials.insert(request.client_serial);
    return serials;
  }
  std::string last_serial() {
    const auto seen = proxy().seen();
    for (auto at = seen.requests.rbegin(); at != seen.requests.rend(); ++at)
      if (at->kube) return at->client_serial;
    return {};
  }
  lab::TbotMaterial renew() { return proxy().renew(kind, client); }
  // Until requests travel with this certificate.
  bool uses(const std::string& serial) {
    return eventually([&] {
      EXPECT_EQ(get("/bytes/1").status, 200);
      return last_serial() == serial;
    });
  }

  std::uint16_t port_ = 0;
  std::string token_;
};

TEST_F(Credentials, a_renewed_certificate_is_used_at_once_and_the_old_one_no_more) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const lab::TbotMaterial next = renew();
  credentials().write(next);
  ASSERT_TRUE(uses(next.client.serial));
  // Idle connections of the old identity are closed.
  EXPECT_TRUE(proxy().wait_for([&](const lab::Observations& seen) {
    for (const auto& [id, connection] : seen.connections)
      if (connection.kube && connection.open && connection.client_serial != next.client.serial)
        return false;
    return true;
  }));
}

TEST_F(Credentials, a_running_watch_survives_a_renewal) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient watcher = connect();
  watcher.write(request("GET", "/watch?events=2"));
  Response watch = watcher.read_response_head();
  const lab::TbotMaterial next = renew();
  credentials().write(next);
  ASSERT_TRUE(uses(next.client.serial));
  gate().release(2);
  watcher.read_response_body(watch);
  EXPECT_TRUE(watch.complete);
}

// tbot is stopped in the middle of a renewal, at many places: the last good identity serves on, and
// no mixture of two is ever used.
TEST_F(Credentials, torn_directories_are_waited_out) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  struct Torn {};
  std::set<std::string> good;
  good.insert(last_serial());
  int step = 0;
  for (const int stop_at : {1, 2, 3, 5, 8, 13, 21, 34}) {
    const lab::TbotMaterial next = renew();
    good.insert(next.client.serial);
    step = 0;
    lab::TbotWriteOptions options;
    options.piece = 200;
    options.at_step = [&](const lab::TbotStep&) {
      if (++step == stop_at) throw Torn();
    };
    try {
      credentials().write(next, options);
    } catch (const Torn&) {
    }
    for (int i = 0; i < 20; ++i) ASSERT_EQ(get("/bytes/1").status, 200) << stop_at;
  }
  const lab::TbotMaterial last = renew();
  good.insert(last.client.serial);
  credentials().write(last);
  ASSERT_TRUE(uses(last.client.serial));
  for (const std::string& serial : serials_used()) EXPECT_TRUE(good.contains(serial)) << serial;
  EXPECT_EQ(proxy().seen().handshakes_failed, 0u);
}

TEST_F(Credentials, separate_files_serve_when_there_is_no_identity_file) {
  ASSERT_NO_FATAL_FAILURE(start_lab());
  auto files = lab::tbot_files(renew(), credentials_path().string());
  std::erase_if(files, [](const lab::TbotFile& file) { return file.name == "identity"; });
  lab::TbotDirectory(credentials_path()).write_files(files);
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(Credentials, a_key_that_does_not_fit_is_never_used) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const std::string serial = last_serial();
  auto files = lab::tbot_files(renew(), credentials_path().string());
  const auto others = lab::tbot_files(renew(), credentials_path().string());
  std::vector<lab::TbotFile> mixed;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].name == "identity") mixed.push_back({"identity", ""});
    if (files[i].name == "tlscert") mixed.push_back(files[i]);
    if (files[i].name == "key") mixed.push_back(others[i]);
  }
  lab::TbotDirectory(credentials_path()).write_files(mixed);
  ASSERT_TRUE(kubelane().wait_for_line("no newer credentials"));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(get("/bytes/1").status, 200);
  EXPECT_EQ(last_serial(), serial);
}

TEST_F(Credentials, secret_volumes_are_followed) {
  ASSERT_NO_FATAL_FAILURE(start_lab());
  lab::TbotDirectory volume(credentials_path());
  volume.swap_secret_volume(lab::tbot_files(renew(), credentials_path().string()));
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  for (int i = 0; i < 3; ++i) {
    const lab::TbotMaterial next = renew();
    volume.swap_secret_volume(lab::tbot_files(next, credentials_path().string()));
    ASSERT_TRUE(uses(next.client.serial));
  }
}

TEST_F(Credentials, missing_credentials_are_waited_for) {
  start_lab();
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  const Response waiting = early_get("/bytes/1");
  EXPECT_EQ(waiting.status, 503);
  EXPECT_NE(waiting.body.find("\\\"demo\\\""), std::string::npos) << waiting.body;
  EXPECT_NE(waiting.body.find("is tbot running"), std::string::npos) << waiting.body;
  EXPECT_NE(waiting.body.find("since 20"), std::string::npos) << waiting.body;
  EXPECT_EQ(waiting.header("Retry-After"), "5");
  EXPECT_TRUE(kubelane().running());
  write_credentials();
  EXPECT_TRUE(eventually([&] { return early_serves(); }));
  EXPECT_TRUE(std::filesystem::exists(destination_path() / "kubeconfig.yaml"));
}

TEST_F(Credentials, expired_credentials_are_refused_locally_and_heal) {
  start_lab();
  client.valid_from = -120;
  client.valid_until = -60;
  write_credentials();
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  ASSERT_TRUE(kubelane().wait_for_line("expired at"));
  const Response expired = early_get("/bytes/1");
  EXPECT_EQ(expired.status, 503);
  EXPECT_NE(expired.body.find("expired at"), std::string::npos) << expired.body;
  EXPECT_NE(expired.body.find("tbot"), std::string::npos);
  EXPECT_EQ(proxy().seen().kube_handshakes_full, 0u) << "an expired certificate was used";
  client.valid_until = 3600;
  write_credentials();
  EXPECT_TRUE(eventually([&] { return early_serves(); }));
}

TEST_F(Credentials, a_certificate_that_expires_while_running_is_not_used_any_more) {
  client.valid_until = 4;
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  ASSERT_TRUE(eventually([&] { return get("/bytes/1").status == 503; }));
  const std::size_t before = proxy().seen().request_count;
  EXPECT_EQ(get("/bytes/1").status, 503);
  EXPECT_EQ(proxy().seen().request_count, before);
  client.valid_until = 3600;
  write_credentials();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(Credentials, the_proxys_rotation_is_survived_in_every_phase) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const lab::RotationPhase phase :
       {lab::RotationPhase::init, lab::RotationPhase::update_clients,
        lab::RotationPhase::update_servers, lab::RotationPhase::standby}) {
    proxy().rotate(phase);
    const lab::TbotMaterial next = renew();
    credentials().write(next);
    ASSERT_TRUE(uses(next.client.serial)) << static_cast<int>(phase);
    proxy().close_all();  // new handshakes with what is served now
    EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }))
        << static_cast<int>(phase);
  }
}

TEST_F(Credentials, credentials_for_another_cluster_are_refused_with_both_names) {
  kind = lab::TbotKind::kubernetes;
  proxy_options.clusters = {{"demo", lab::standard_paths(gate())},
                            {"other", lab::standard_paths(gate())}};
  start_lab();
  lab::TbotDirectory(credentials_path()).write(proxy().renew(kind, client, {"other"}));
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  ASSERT_TRUE(kubelane().wait_for_line("are for Kubernetes cluster"));
  const Response response = early_get("/bytes/1");
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(response.body.find("other"), std::string::npos) << response.body;
}

TEST_F(Credentials, path_routing_is_refused_by_name_on_an_old_proxy) {
  proxy_options.server_version = "17.2.6";
  start_lab();
  // Without tbot's kubeconfig, whose paths would prove that the Proxy can route.
  write_credentials();
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  ASSERT_TRUE(kubelane().wait_for_line("17.2.7"));
  ASSERT_TRUE(eventually([&] {
    const Response response = early_get("/bytes/1");
    return response.status == 503 && response.body.find("17.2.6") != std::string::npos;
  }));
  proxy().set_server_version("17.2.7");
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    kubelane().signal(SIGHUP);
    return early_serves();
  }));
}

TEST_F(Credentials, an_identity_output_routes_by_path) {
  kind = lab::TbotKind::identity;
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/9").body, lab::pattern_bytes(9));
}

TEST_F(Credentials, a_silent_proxy_at_start_is_waited_out) {
  start_lab();
  proxy().set_ping(lab::PingMode::error_500);
  kind = lab::TbotKind::identity;  // no kubeconfig of tbot's to go by
  write_credentials();
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  ASSERT_TRUE(kubelane().wait_for_line("cannot ask the Teleport Proxy"));
  EXPECT_EQ(early_get("/bytes/1").status, 503);
  proxy().set_ping(lab::PingMode::normal);
  EXPECT_TRUE(eventually([&] { return early_serves(); }));
}

TEST_F(Credentials, tbots_kubeconfig_is_enough_while_the_ping_fails) {
  start_lab();
  proxy().set_ping(lab::PingMode::garbage);
  write_credentials();
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(Credentials, a_proxy_of_another_teleport_cluster_is_named) {
  start_lab();
  proxy().set_ping(lab::PingMode::wrong_cluster);
  write_credentials();
  ASSERT_NO_FATAL_FAILURE(start_unready(storage()));
  EXPECT_TRUE(kubelane().wait_for_line("but proxy_server belongs to"));
  EXPECT_TRUE(eventually([&] { return early_get("/bytes/1").status == 503; }));
}

// The promise of the product: renewals under load lose no request.
TEST_F(Credentials, a_thousand_rewrites_under_load_lose_no_request) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<lab::TbotMaterial> materials;
  for (int i = 0; i < 20; ++i) materials.push_back(renew());
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      try {
        TlsClient caller = connect();
        while (!stop) {
          const bool post = i % 2 == 1;
          caller.write(post ? request("POST", "/echo", "Content-Length: 5\r\n", "hello")
                            : request("GET", "/bytes/100"));
          const Response response = caller.read_response();
          const bool good = response.status == 200 && response.complete;
          ++(good ? served : failed);
        }
      } catch (const std::exception& error) {
        ++failed;
        ADD_FAILURE() << error.what();
      }
    });
  }
  for (int i = 0; i < 1000; ++i) {
    lab::TbotWriteOptions options;
    if (i % 3 == 0) options.piece = 500;
    credentials().write(materials[static_cast<std::size_t>(i) % materials.size()], options);
  }
  const lab::TbotMaterial last = renew();
  credentials().write(last);
  EXPECT_TRUE(eventually([&] { return last_serial() == last.client.serial; }));
  stop = true;
  for (std::thread& each : clients) each.join();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(served, 1000);
  EXPECT_GT(serials_used().size(), 2u);
}

}  // namespace
