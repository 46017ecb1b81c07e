// SIGHUP: another configuration is taken over while kubelane serves; what stays the same does not
// notice, and what cannot be taken over changes nothing.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/services_fixture.hpp"
#include "tests/support/steady_load.hpp"

namespace {

using support::eventually;
using support::LocalEndpoint;
using support::Response;
using support::TlsClient;

class Reload : public support::ServicesFixture {
 protected:
  // On the caller's connection; the upstream connection that it took.
  int ask(TlsClient& caller, const LocalEndpoint& to) {
    caller.write(request_at(to, "/bytes/1"));
    EXPECT_EQ(caller.read_response().status, 200);
    return proxy().seen().requests.back().connection;
  }
  // The worker that takes it has heard of the Proxy's HTTP/2, too.
  bool connect_h2_works() const {
    try {
      std::vector<std::unique_ptr<support::H2Client>> spread;
      for (int i = 0; i < 8; ++i) spread.push_back(connect_h2());
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }
  std::size_t lines_with(const std::string& text) {
    std::size_t count = 0;
    for (const std::string& line : kubelane().error_lines())
      if (line.find(text) != std::string::npos) ++count;
    return count;
  }
};

TEST_F(Reload, services_come_and_go_and_the_others_keep_what_they_have) {
  proxy_protocol = "http1";
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two", "three"}, {"one", "two"}));
  const LocalEndpoint one = endpoint("one");
  const LocalEndpoint two = endpoint("two");
  TlsClient caller = connect(one);
  const int connection = ask(caller, one);
  EXPECT_EQ(get_at(two, "/bytes/1").status, 200);

  ASSERT_TRUE(reload(config_of({"three", "one"})));
  EXPECT_EQ(ask(caller, one), connection) << "upstream, too, it is the connection of before";
  const Response gone = get_at(two, "/bytes/1");
  EXPECT_EQ(gone.status, 404);
  EXPECT_NE(gone.body.find("removed from kubelane's configuration"), std::string::npos)
      << gone.body;
  EXPECT_NE(gone.body.find("\"kind\":\"Status\""), std::string::npos) << gone.body;
  const LocalEndpoint three = endpoint_of("three");
  EXPECT_TRUE(eventually([&] { return get_at(three, "/bytes/1").status == 200; }));
  const LocalEndpoint one_now = endpoint_of("one");
  EXPECT_EQ(one_now.port, one.port);
  EXPECT_EQ(one_now.token, one.token);
  EXPECT_EQ(three.port, one.port);
  EXPECT_EQ(three.token, one.token);

  ASSERT_TRUE(reload(config_of({"one", "two"})));
  EXPECT_TRUE(eventually([&] { return get_at(two, "/bytes/1").status == 200; }));
  EXPECT_EQ(get_at(three, "/bytes/1").status, 404);
  EXPECT_EQ(ask(caller, one), connection);
}

TEST_F(Reload, a_request_to_a_service_that_ends_is_finished) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}, {"one", "two"}));
  const LocalEndpoint two = endpoint("two");
  TlsClient caller = connect(two);
  caller.write(request_at(two, "/watch?events=1"));
  ASSERT_TRUE(wait_arrived("/watch?events=1"));
  ASSERT_TRUE(reload(config_of({"one"})));
  gate().release(1);
  const Response response = caller.read_response();
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.complete);
  caller.write(request_at(two, "/bytes/1"));
  EXPECT_EQ(caller.read_response().status, 404) << "the next one on the same connection";
}

// Each service's requests go to its own cluster, whatever came and went.
TEST_F(Reload, nobody_comes_to_another_cluster) {
  const std::vector<std::string> all = {"one", "two", "three"};
  ASSERT_NO_FATAL_FAILURE(start_services(all, all));
  std::map<std::string, LocalEndpoint> at;
  for (const std::string& each : all) at[each] = endpoint(each);
  for (int round = 0; round < 12; ++round) {
    std::vector<std::string> served;
    for (std::size_t i = 0; i < all.size(); ++i)
      if ((static_cast<std::size_t>(round) + i) % 3 != 0) served.push_back(all[i]);
    ASSERT_TRUE(reload(config_of(served)));
    for (const std::string& each : all) {
      const bool is_served = std::find(served.begin(), served.end(), each) != served.end();
      const std::string target = "/bytes/1?for=" + each + std::to_string(round);
      Response response;
      EXPECT_TRUE(eventually([&] {
        response = get_at(at[each], target);
        return response.status == (is_served ? 200 : 404);
      })) << each
          << ' ' << response.status;
      if (is_served) {
        EXPECT_EQ(arrived(target).kube_cluster, each);
      }
    }
  }
}

TEST_F(Reload, an_invalid_file_changes_nothing_and_is_told_line_by_line) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}, {"one"}));
  const LocalEndpoint one = endpoint("one");
  TlsClient caller = connect(one);
  const int connection = ask(caller, one);
  const std::string broken = config_of({"two"}) + "lisen: 1\nlimits: {max_connections: 0}\n";
  ASSERT_TRUE(reload(broken, "max_connections"));
  EXPECT_TRUE(kubelane().wait_for_line("lisen"));
  EXPECT_EQ(lines_with("the one of before stays"), 2u);
  EXPECT_EQ(lines_with("the configuration is taken over"), 0u);
  EXPECT_EQ(ask(caller, one), connection);
  std::filesystem::remove(config_path());
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(kubelane().wait_for_line("cannot be read"));
  EXPECT_EQ(ask(caller, one), connection);
  ASSERT_TRUE(reload(config_of({"one", "two"})));
  EXPECT_EQ(ask(caller, one), connection);
}

TEST_F(Reload, limits_and_the_level_of_the_log_apply_at_once) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  const LocalEndpoint one = endpoint("one");
  const std::string target = "/bytes/1?x=" + std::string(3000, 'x');
  EXPECT_EQ(get_at(one, target).status, 200);
  EXPECT_EQ(lines_with("\"message\":\"request\""), 0u);
  log_level = "debug";
  more_yaml = "limits: {max_header_bytes: 2KiB}\n";
  ASSERT_TRUE(reload(config_of({"one"})));
  EXPECT_EQ(get_at(one, target).status, 431);
  EXPECT_TRUE(kubelane().wait_for_line("\"message\":\"request\""));
}

TEST_F(Reload, what_needs_a_restart_is_named_and_stays) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  more_yaml = "workers: 5\n";
  std::string next = config_of({"one"});
  next.replace(next.find("type: memory"), 12,
               "type: directory\n  path: " + (directory() / "storage").string());
  ASSERT_TRUE(reload(next));
  for (const char* setting : {"\"setting\":\"workers\"", "\"setting\":\"storage\""})
    EXPECT_TRUE(kubelane().wait_for_line(setting)) << setting;
  EXPECT_EQ(lines_with("needs a restart"), 2u);
  EXPECT_FALSE(std::filesystem::exists(directory() / "storage"));
  EXPECT_EQ(get_at(endpoint("one"), "/bytes/1").status, 200);
}

// The old address takes nobody any more, and who is there ends properly.
TEST_F(Reload, a_listener_moves_without_dropping_who_is_connected) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  const LocalEndpoint before = endpoint("one");
  TlsClient idle = connect(before);
  idle.write(request_at(before, "/bytes/1"));
  EXPECT_EQ(idle.read_response().status, 200);
  TlsClient busy = connect(before);
  busy.write(request_at(before, "/watch?events=1"));
  ASSERT_TRUE(wait_arrived("/watch?events=1"));
  more_of["one"] = "    listen: 127.0.0.1:0\n";
  ASSERT_TRUE(reload(config_of({"one"})));
  EXPECT_TRUE(idle.ended());
  gate().release(1);
  EXPECT_TRUE(busy.read_response().complete);
  EXPECT_TRUE(busy.ended());
  const LocalEndpoint after = endpoint_of("one");
  EXPECT_NE(after.port, before.port);
  EXPECT_EQ(after.token, before.token);
  EXPECT_EQ(get_at(after, "/bytes/1").status, 200);
  EXPECT_TRUE(eventually([&] {
    try {
      connect(before);
      return false;
    } catch (const std::runtime_error&) {
      return true;
    }
  }));
}

TEST_F(Reload, other_rules_at_the_same_address_meet_new_connections) {
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  const LocalEndpoint before = endpoint("one");
  listen = "127.0.0.1:" + std::to_string(before.port);
  // A port of its own choice is another address than one that was given by number.
  more_yaml = "local_auth: mtls\n";
  ASSERT_TRUE(reload(config_of({"one"}), "cannot listen"));
  EXPECT_EQ(get_at(before, "/bytes/1").status, 200) << "in use: nothing has changed";

  listen = "127.0.0.1:0";
  ASSERT_TRUE(reload(config_of({"one"})));
  const LocalEndpoint mutual = endpoint_of("one");
  EXPECT_FALSE(mutual.client_certificate_pem.empty());
  EXPECT_EQ(get_at(mutual, "/bytes/1").status, 200);

  more_of["one"] = "    listen: 127.0.0.1:" + std::to_string(before.port) + "\n";
  ASSERT_TRUE(reload(config_of({"one"}))) << "free again";
  const LocalEndpoint fixed = endpoint_of("one");
  EXPECT_EQ(fixed.port, before.port);
  TlsClient held = connect(fixed);
  held.write(request_at(fixed, "/bytes/1"));
  EXPECT_EQ(held.read_response().status, 200);
  more_of["one"] += "    local_auth: token\n";
  ASSERT_TRUE(reload(config_of({"one"})));
  EXPECT_TRUE(held.ended()) << "it was let in by the old rules";
  const LocalEndpoint token = endpoint_of("one");
  EXPECT_EQ(token.port, before.port);
  EXPECT_EQ(get_at(token, "/bytes/1").status, 200);
  LocalEndpoint without = token;
  without.token.clear();
  EXPECT_EQ(get_at(without, "/bytes/1").status, 401);
}

// ---------------------------------------------------------------- under load

TEST_F(Reload, a_hundred_under_load_and_nobody_notices) {
  constexpr int reloads = 100;
  constexpr std::size_t requests_between = 20;  // of each protocol
  lab::Beat beat;
  log_level = "info";
  more_yaml = "timeouts: {upstream_idle: 500ms}\n";
  proxy_options.clusters.push_back({"demo", lab::load_paths(beat, lab::standard_paths(gate()))});
  ASSERT_NO_FATAL_FAILURE(start_services({"demo", "side"}, {"demo"}));
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  ASSERT_TRUE(eventually([&] { return connect_h2_works(); }));
  const std::string with_side = config_of({"side", "demo"}) + "limits: {max_connections: 4000}\n";
  const std::string without = config_of({"demo"});
  ASSERT_TRUE(reload(with_side));
  ASSERT_TRUE(reload(without));
  const std::size_t descriptors = kubelane().open_descriptors();
  std::size_t warm_bytes = 0;
  {
    support::SteadyLoad load(
        {[this] { return connect(); }, [this] { return connect_h2(); },
         [this](const std::string& method, const std::string& path, const std::string& fields) {
           return request(method, path, fields);
         },
         [this](const std::string& method, const std::string& path) {
           return h2_request(method, path);
         }},
        {}, beat);
    for (int i = 0; i < reloads; ++i) {
      const auto requests = [&](support::SteadyLoad::Protocol of) {
        return load.figures(of).requests;
      };
      const std::size_t before[] = {requests(support::SteadyLoad::http1),
                                    requests(support::SteadyLoad::http2)};
      ASSERT_TRUE(reload(i % 2 == 0 ? with_side : without)) << i;
      ASSERT_TRUE(eventually([&] {
        return requests(support::SteadyLoad::http1) >= before[0] + requests_between &&
               requests(support::SteadyLoad::http2) >= before[1] + requests_between;
      })) << "after reload "
          << i;
      if (i == reloads / 4) warm_bytes = kubelane().resident_bytes();
    }
    if (!support::Process::sanitized) {
      EXPECT_LT(kubelane().resident_bytes(), warm_bytes + (4u << 20));
    }
    load.stop();
    std::string failures;
    for (const auto& each : load.failure_texts()) failures += "\n  " + each;
    EXPECT_EQ(load.failures(), 0u) << failures;
    EXPECT_GT(load.figures(support::SteadyLoad::http1).events, 0u);
    EXPECT_GT(load.figures(support::SteadyLoad::http2).events, 0u);
  }
  EXPECT_TRUE(eventually([&] { return kubelane().open_descriptors() <= descriptors + 1; }))
      << kubelane().open_descriptors() << " after " << descriptors;
  EXPECT_EQ(stop_kubelane(), 0);
}

// ---------------------------------------------------------------- the bot

class ReloadOfBot : public support::BotFixture {
 protected:
  testing::AssertionResult reload() {
    std::ofstream(directory() / "kubelane.yaml") << bot_config();
    const std::size_t from = kubelane().error_lines().size();
    kubelane().signal(SIGHUP);
    if (logged("the configuration is taken over", from)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "not taken over";
  }
  Response get_at(const std::string& cluster) {
    LocalEndpoint to = endpoint("demo");
    to.prefix = "/" + cluster;
    TlsClient local = connect(to);
    local.write("GET " + to.prefix + "/bytes/10 HTTP/1.1\r\nHost: " + to.host_header() +
                "\r\nAuthorization: Bearer " + to.token + "\r\n\r\n");
    return local.read_response();
  }
};

TEST_F(ReloadOfBot, other_selectors_are_followed) {
  add_cluster("demo");
  add_cluster("blue");
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get_at("blue").status, 404);
  selectors = "[{name: demo}, {name: blue}]";
  ASSERT_TRUE(reload());
  EXPECT_TRUE(eventually([&] { return get_at("blue").status == 200; }));
  EXPECT_EQ(get_at("demo").status, 200);
  selectors = "[{name: blue}]";
  ASSERT_TRUE(reload());
  Response gone;
  EXPECT_TRUE(eventually([&] {
    gone = get_at("demo");
    return gone.status == 404;
  }));
  EXPECT_NE(gone.body.find("not selected any more"), std::string::npos) << gone.body;
  EXPECT_EQ(get_at("blue").status, 200);
  EXPECT_EQ(auth().service().instances().size(), 1u) << "it is one bot all the time";
}

TEST_F(ReloadOfBot, a_hangup_renews_too) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::size_t from = kubelane().error_lines().size();
  ASSERT_TRUE(reload());
  EXPECT_TRUE(logged("the bot's identity is renewed", from));
  EXPECT_TRUE(logged("new credentials", from));
}

TEST_F(ReloadOfBot, kubelane_takes_over_from_tbot) {
  start_teleport();
  write_credentials();
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  ASSERT_TRUE(reload());
  EXPECT_TRUE(logged("the bot has joined"));
  EXPECT_TRUE(eventually([&] { return get("/bytes/10").status == 200; }));
  std::filesystem::remove_all(credentials_path());
  EXPECT_EQ(get("/bytes/10").status, 200);
}

}  // namespace
