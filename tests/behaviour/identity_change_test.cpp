// Credentials and addresses that change while connections are made, used and kept: each request
// travels by what belongs together, and nothing of one identity serves another.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/kubelane_fixture.hpp"
#include "tests/support/tcp_gate.hpp"

namespace {

using support::eventually;
using support::Response;
using support::TlsClient;

class IdentityChange : public support::KubelaneFixture {
 protected:
  lab::TbotMaterial renew() { return proxy().renew(kind, client); }
  // The newest request for the target, whose certificate is that of its connection.
  lab::RequestRecord last(const std::string& target) {
    const auto seen = proxy().seen();
    const auto* found = seen.last_request(target);
    return found == nullptr ? lab::RequestRecord{} : *found;
  }
  bool uses(const std::string& serial) {
    return eventually([&] {
      EXPECT_EQ(get("/bytes/1").status, 200);
      return last("/bytes/1").client_serial == serial;
    });
  }
};

// A connection that carried a watch over a renewal is alive and clean when the watch ends, and yet
// nobody's any more.
TEST_F(IdentityChange, a_connection_that_was_busy_over_a_renewal_is_not_kept) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    TlsClient watcher = connect();
    watcher.write(request("GET", "/watch?events=1"));
    Response watch = watcher.read_response_head();
    const std::string old = last("/watch?events=1").client_serial;
    const lab::TbotMaterial next = renew();
    ASSERT_NE(next.client.serial, old);
    credentials().write(next);
    ASSERT_TRUE(uses(next.client.serial));
    gate().release(1);
    watcher.read_response_body(watch);
    EXPECT_TRUE(watch.complete);
    for (int i = 0; i < 10; ++i) {
      watcher.write(request("GET", "/bytes/2"));
      EXPECT_EQ(watcher.read_response().status, 200);
      EXPECT_EQ(last("/bytes/2").client_serial, next.client.serial) << i;
    }
  }
}

// Every first connection of a certificate is a full handshake: a resumed one would speak for the
// certificate of before. Later ones do resume, or this would prove nothing.
TEST_F(IdentityChange, tls_sessions_are_not_taken_over) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 4; ++round) {
    const lab::TbotMaterial next = renew();
    credentials().write(next);
    ASSERT_TRUE(uses(next.client.serial));
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(eventually([&] {
        proxy().close_idle();
        return proxy().seen().open_kube_connections() == 0;
      }));
      EXPECT_EQ(get("/bytes/1").status, 200);
    }
  }
  std::set<std::string> known;
  std::size_t resumed = 0;
  for (const auto& [id, connection] : proxy().seen().connections) {
    if (!connection.kube || !connection.handshaken) continue;
    if (known.insert(connection.client_serial).second) {
      EXPECT_FALSE(connection.resumed) << "the first connection of " << connection.client_serial;
    }
    if (connection.resumed) ++resumed;
  }
  EXPECT_GE(known.size(), 4u);
  EXPECT_GE(resumed, 4u);
}

// A certificate bound to one cluster must not get a path (the Proxy refuses it), one that is not
// bound needs one: while the connection for the one is made, the other comes.
TEST_F(IdentityChange, the_route_is_that_of_the_connections_own_credentials) {
  proxy_protocol = "http1";  // connections are counted
  more_yaml = "workers: 1\ntimeouts: {upstream_handshake: 60s}\n";
  start_lab();
  support::TcpGate tcp_gate(proxy().port());
  proxy().set_ping(lab::PingMode::garbage);  // the address is in tbot's kubeconfig
  const auto make = [&](lab::TbotKind of) {
    lab::TbotMaterial material = proxy().renew(of, client);
    material.server_address = "https://127.0.0.1:" + std::to_string(tcp_gate.port());
    return material;
  };
  lab::TbotDirectory directory_of_tbot(credentials_path());
  const lab::TbotMaterial bound = make(lab::TbotKind::kubernetes);
  directory_of_tbot.write(bound);
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  TlsClient caller = connect();
  caller.write(request("GET", "/bytes/7"));
  ASSERT_TRUE(eventually([&] { return tcp_gate.taken() == 1; }));
  const std::size_t from = kubelane().error_lines().size();
  const lab::TbotMaterial free = make(lab::TbotKind::kubernetes_v2);
  directory_of_tbot.write(free);
  ASSERT_TRUE(kubelane().wait_for_line("\"new credentials\"", from));
  // A second client is answered by the same worker: it has heard of the news before.
  TlsClient second = connect();
  second.write(request("GET", "/bytes/9"));
  ASSERT_TRUE(eventually([&] { return tcp_gate.taken() == 2; }));
  tcp_gate.open();
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(7));
  EXPECT_EQ(second.read_response().body, lab::pattern_bytes(9));
  EXPECT_EQ(last("/bytes/7").client_serial, bound.client.serial);
  EXPECT_EQ(last("/bytes/7").target, "/bytes/7");
  EXPECT_EQ(last("/bytes/9").client_serial, free.client.serial);
  EXPECT_EQ(last("/bytes/9").target, upstream_prefix() + "/bytes/9");
}

// The same certificate, another address: what is busy finishes, and is not kept for later.
TEST_F(IdentityChange, a_connection_to_an_address_of_before_is_not_kept) {
  more_yaml = "workers: 1\n";
  start_lab();
  proxy().set_ping(lab::PingMode::garbage);
  lab::TbotMaterial material = renew();
  const std::string port = std::to_string(proxy().port());
  material.server_address = "https://localhost:" + port;
  lab::TbotDirectory(credentials_path()).write(material);
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  TlsClient watcher = connect();
  watcher.write(request("GET", "/watch?events=1"));
  Response watch = watcher.read_response_head();
  const auto host = [&](const std::string& target) {
    const std::string head = last(target).raw_head;
    const std::size_t at = head.find("\r\nHost: ");
    return at == std::string::npos ? head : head.substr(at + 8, head.find("\r\n", at + 2) - at - 8);
  };
  ASSERT_EQ(host("/watch?events=1"), "localhost:" + port);
  proxy().set_ping(lab::PingMode::normal);
  ASSERT_TRUE(eventually([&] {
    EXPECT_EQ(get("/bytes/1").status, 200);
    return host("/bytes/1") == "127.0.0.1:" + port;
  }));
  gate().release(1);
  watcher.read_response_body(watch);
  EXPECT_TRUE(watch.complete);
  for (int i = 0; i < 10; ++i) {
    watcher.write(request("GET", "/bytes/2"));
    EXPECT_EQ(watcher.read_response().status, 200);
    ASSERT_EQ(host("/bytes/2"), "127.0.0.1:" + port) << i;
  }
}

TEST_F(IdentityChange, secret_volumes_swap_under_load_without_a_failed_request) {
  log_level = "info";
  start_lab();
  lab::TbotDirectory volume(credentials_path());
  std::vector<std::vector<lab::TbotFile>> revisions;
  std::vector<std::string> serials;
  for (int i = 0; i < 10; ++i) {
    const lab::TbotMaterial material = renew();
    serials.push_back(material.client.serial);
    revisions.push_back(lab::tbot_files(material, credentials_path().string()));
  }
  volume.swap_secret_volume(revisions.front());
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      try {
        TlsClient caller = connect();
        while (!stop) {
          caller.write(request("POST", "/echo", "Content-Length: 5\r\n", "hello"));
          const Response response = caller.read_response();
          if (response.status != 200 || response.body != "hello") ++failed;
        }
      } catch (const std::exception& error) {
        ++failed;
        ADD_FAILURE() << error.what();
      }
    });
  }
  // Most revisions come before the last was read, some are waited for.
  for (std::size_t i = 1; i <= 200; ++i) {
    volume.swap_secret_volume(revisions[i % revisions.size()]);
    if (i % 20 != 0) continue;
    EXPECT_TRUE(eventually([&] {
      return last("/echo").client_serial == serials[i % revisions.size()];
    })) << i;
  }
  stop = true;
  for (std::thread& each : clients) each.join();
  EXPECT_EQ(failed, 0);
}

// A link above the directory is turned: no event tells, the poll does.
TEST_F(IdentityChange, what_no_event_tells_is_found_by_the_poll) {
  more_yaml = "timeouts: {credentials_poll: 200ms}\n";
  start_lab();
  const std::filesystem::path here = directory() / "here";
  const std::filesystem::path there = directory() / "there";
  lab::TbotDirectory(here).write(renew());
  const lab::TbotMaterial next = renew();
  lab::TbotDirectory(there).write(next);
  std::filesystem::create_directory_symlink(here, credentials_path());
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
  std::filesystem::create_directory_symlink(there, directory() / "turned");
  std::filesystem::rename(directory() / "turned", credentials_path());
  EXPECT_TRUE(uses(next.client.serial));
}

// The Proxy's answers change for the worse while all is well: nothing ends.
TEST_F(IdentityChange, a_ping_that_fails_later_costs_nothing) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const lab::PingMode mode :
       {lab::PingMode::error_500, lab::PingMode::garbage, lab::PingMode::not_found}) {
    const std::size_t pings = proxy().seen().web_request_count;
    proxy().set_ping(mode);
    // Spaced by kubelane: asked again and again until one was answered badly.
    ASSERT_TRUE(eventually([&] {
      kubelane().signal(SIGHUP);
      EXPECT_EQ(get("/bytes/1").status, 200);
      return proxy().seen().web_request_count > pings;
    }));
    for (int i = 0; i < 10; ++i) ASSERT_EQ(get("/bytes/1").status, 200);
    const lab::TbotMaterial next = renew();
    credentials().write(next);
    EXPECT_TRUE(uses(next.client.serial)) << "a renewal needs no ping";
  }
}

}  // namespace
