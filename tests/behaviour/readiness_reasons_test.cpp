// Why a cluster is not ready: each fault by its own word, with a sentence that helps, and nobody
// else is stopped by it.
#include <string>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/control_client.hpp"

namespace {

using support::ControlClient;
using support::eventually;
using support::Response;

// What /readyz says of one cluster.
struct Verdict {
  std::string status;
  std::string cause;
  std::string reason;
};

Verdict verdict(const ControlClient& probe, const std::string& path) {
  const auto object = probe.json(path);
  const auto text = [&](const char* key) {
    return object.contains(key) ? std::string(object.at(key).as_string()) : std::string();
  };
  return {text("status"), text("cause"), text("reason")};
}

class ReadinessReasons : public support::KubelaneFixture {
 protected:
  ReadinessReasons() { more_yaml = "diag_addr: 127.0.0.1:0\n"; }
  ControlClient diagnostics() { return {kubelane(), "diagnostics"}; }
  Verdict demo() { return verdict(diagnostics(), "/readyz/kubernetes-v2-1/demo"); }
  void answer_versions(int code, const std::string& body) {
    proxy().on_request([code, body](lab::Exchange& exchange) {
      if (!exchange.request.path.ends_with("/version")) return lab::Verdict::pass;
      lab::answer(exchange.stream, code, "text/plain", body);
      return lab::Verdict::keep;
    });
  }
  // From now on each connection gets this TLS alert; those of before are gone.
  void answer_by_alert(int description) {
    ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));  // dialled at the start
    proxy().set_alert(description);
    proxy().set_accept(lab::AcceptMode::alert);
    proxy().close_all();
  }
  void expect_unready(const std::string& cause, const std::string& words) {
    const Verdict told = demo();
    EXPECT_EQ(told.status, "unhealthy");
    EXPECT_EQ(told.cause, cause) << told.reason;
    EXPECT_NE(told.reason.find(words), std::string::npos) << told.reason;
    EXPECT_NE(told.reason.find("demo"), std::string::npos) << told.reason;
    EXPECT_EQ(diagnostics().get("/readyz").status, 503);
    EXPECT_EQ(diagnostics().get("/livez").status, 200) << "a restart would mend nothing";
  }
};

TEST_F(ReadinessReasons, offline_when_the_agent_does_not_answer) {
  ASSERT_NO_FATAL_FAILURE(start());
  answer_versions(504, "{\"kind\":\"Status\",\"message\":\"failed to dial the agent\"}");
  expect_unready("offline", "failed to dial the agent");
}

TEST_F(ReadinessReasons, offline_when_there_is_no_answer_in_time) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.wait_readable(20'000);
    return lab::Verdict::drop;
  });
  expect_unready("offline", "sent no answer in time");
}

TEST_F(ReadinessReasons, denied_by_teleport_in_the_plain_words_it_has_for_this_path) {
  ASSERT_NO_FATAL_FAILURE(start());
  answer_versions(500, "[00] access denied\n");
  expect_unready("denied", "access denied");
}

TEST_F(ReadinessReasons, denied_by_a_role_without_kubernetes) {
  ASSERT_NO_FATAL_FAILURE(start());
  answer_versions(404, "Your user's Teleport role does not allow Kubernetes access.");
  expect_unready("denied", "roles");
}

TEST_F(ReadinessReasons, a_rule_about_the_version_alone_is_no_reason) {
  ASSERT_NO_FATAL_FAILURE(start());
  answer_versions(403,
                  "{\"message\":\"forbidden: User \\\"ci\\\" cannot get path \\\"/version\\\"\"}");
  EXPECT_EQ(demo().status, "healthy");
}

TEST_F(ReadinessReasons, denied_when_the_certificate_is_refused) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(answer_by_alert(44));  // certificate_revoked
  expect_unready("denied", "refused our client certificate");
}

TEST_F(ReadinessReasons, clock_skew_when_a_valid_certificate_is_called_expired) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(answer_by_alert(45));  // certificate_expired
  expect_unready("clock_skew", "clock");
}

TEST_F(ReadinessReasons, clock_skew_when_the_certificate_begins_in_the_future) {
  client.valid_from = 3600;
  client.valid_until = 7200;
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  ASSERT_TRUE(kubelane().wait_for_line("cluster not available"));
  expect_unready("clock_skew", "check this machine's clock");
}

TEST_F(ReadinessReasons, expired_when_tbot_has_stopped) {
  client.valid_from = -7200;
  client.valid_until = -3600;
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  ASSERT_TRUE(kubelane().wait_for_line("cluster not available"));
  expect_unready("expired", "is tbot running?");
}

TEST_F(ReadinessReasons, no_route_when_the_proxy_is_gone_and_ready_again_when_it_is_back) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().stop();
  expect_unready("no_route", "cannot connect to the Teleport Proxy");
  proxy().start();
  // Of the request nothing had left: it is tried again before 30 s are over.
  EXPECT_TRUE(eventually([&] { return demo().status == "healthy"; }));
}

TEST_F(ReadinessReasons, what_traffic_meets_counts_at_once) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(demo().status, "healthy");
  proxy().stop();
  EXPECT_EQ(get("/bytes/10").status, 503);
  expect_unready("no_route", "cannot connect");
  proxy().start();
  ASSERT_TRUE(eventually([&] { return get("/bytes/10").status == 200; }));
  EXPECT_EQ(demo().status, "healthy") << "proven by the request";
}

TEST_F(ReadinessReasons, a_fault_behind_an_idle_kubelane_is_known_within_35_seconds) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(demo().status, "healthy");
  const auto begin = std::chrono::steady_clock::now();
  answer_versions(504, "no agent");
  EXPECT_TRUE(eventually([&] { return demo().cause == "offline"; }, std::chrono::seconds(35)));
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(25))
      << "asked more often than every 30 s";
}

TEST_F(ReadinessReasons, one_of_ten_clusters_stops_nobody_and_is_named) {
  for (int i = 0; i < 10; ++i)
    proxy_options.clusters.push_back({"c" + std::to_string(i), lab::standard_paths(gate())});
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    if (exchange.request.path.find("YzM/") == std::string::npos) return lab::Verdict::pass;  // c3
    lab::answer(exchange.stream, 504, "text/plain", "no agent");
    return lab::Verdict::keep;
  });
  const ControlClient probe = diagnostics();
  const Response ready = probe.get("/readyz");
  EXPECT_EQ(ready.status, 200) << ready.body;
  const Verdict service = verdict(probe, "/readyz/kubernetes-v2-1");
  EXPECT_EQ(service.status, "healthy");
  EXPECT_NE(service.reason.find("\"c3\""), std::string::npos) << service.reason;
  EXPECT_EQ(service.reason.find("\"c4\""), std::string::npos) << service.reason;
  EXPECT_EQ(probe.get("/readyz/kubernetes-v2-1/c3").status, 503);
  EXPECT_EQ(probe.get("/readyz/kubernetes-v2-1/c4").status, 200);
}

// ---- with a bot

class BotReadiness : public support::BotFixture {
 protected:
  BotReadiness() { more_yaml = "diag_addr: 127.0.0.1:0\n"; }
  ControlClient diagnostics() { return {kubelane(), "diagnostics"}; }
};

TEST_F(BotReadiness, a_missing_named_cluster_is_named_and_stops_nobody) {
  add_cluster("demo");
  selectors = "[{name: demo}, {name: nosuch}]";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const ControlClient probe = diagnostics();
  EXPECT_EQ(probe.get("/readyz").status, 200);
  EXPECT_EQ(probe.get("/startup").status, 200);
  const Verdict service = verdict(probe, "/readyz/kubernetes-v2-1");
  EXPECT_EQ(service.status, "healthy");
  EXPECT_NE(service.reason.find("nosuch"), std::string::npos) << service.reason;
  const Verdict missing = verdict(probe, "/readyz/kubernetes-v2-1/nosuch");
  EXPECT_EQ(missing.status, "unhealthy");
  EXPECT_EQ(missing.cause, "not_listed");
}

TEST_F(BotReadiness, a_join_that_is_refused_says_what_to_do) {
  method = "token";
  join_token = "s3cr3t-of-a-token-that-is-none";
  start_teleport();
  auth().service().remove_token(join_token);
  start_kubelane(bot_config());
  const ControlClient probe = diagnostics();
  ASSERT_TRUE(kubelane().wait_for_line("the bot has stopped renewing"));
  const Verdict service = verdict(probe, "/readyz/kubernetes-v2-1");
  EXPECT_EQ(service.status, "unhealthy");
  EXPECT_EQ(service.cause, "denied") << service.reason;
  EXPECT_NE(service.reason.find("tctl bots instances add"), std::string::npos) << service.reason;
  EXPECT_EQ(service.reason.find(join_token), std::string::npos) << "a secret in an answer";
  EXPECT_EQ(verdict(probe, "/readyz/identity").cause, "denied");
  EXPECT_EQ(probe.get("/startup").status, 503);
  EXPECT_EQ(probe.get("/livez").status, 200);
}

TEST_F(BotReadiness, a_generation_mismatch_is_told_with_the_remedy_while_requests_are_served) {
  method = "token";
  join_token = "s3cr3t-for-one-join";
  lifetimes = "credential_ttl: 60s\nrenewal_interval: 3s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().on_call([](const lab::AuthCall& call) -> std::optional<lab::CallFault> {
    if (!call.self_renewal()) return std::nullopt;
    return lab::CallFault{lab::CallFault::Kind::lose_answer};
  });
  ASSERT_TRUE(logged("the answer to a renewal of the bot's identity was lost"));
  auth().on_call({});
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  const ControlClient probe = diagnostics();
  const Verdict identity = verdict(probe, "/readyz/identity");
  EXPECT_EQ(identity.status, "unhealthy");
  EXPECT_EQ(identity.cause, "denied");
  EXPECT_NE(identity.reason.find("renewing has stopped"), std::string::npos) << identity.reason;
  EXPECT_NE(identity.reason.find("generation mismatch"), std::string::npos) << identity.reason;
  EXPECT_NE(identity.reason.find("tctl rm lock"), std::string::npos) << identity.reason;
  const Verdict service = verdict(probe, "/readyz/kubernetes-v2-1");
  EXPECT_NE(service.reason.find("generation mismatch"), std::string::npos) << service.reason;
}

TEST_F(BotReadiness, a_lock_is_told) {
  lifetimes = "credential_ttl: 20s\nrenewal_interval: 1s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().service().lock(lab::Lock::Target::user, "bot-ci");
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  const ControlClient probe = diagnostics();
  const Verdict identity = verdict(probe, "/readyz/identity");
  EXPECT_EQ(identity.cause, "denied");
  EXPECT_NE(identity.reason.find("tctl get lock"), std::string::npos) << identity.reason;
  const Verdict service = verdict(probe, "/readyz/kubernetes-v2-1");
  EXPECT_EQ(service.status, "unhealthy") << "Teleport refuses locked users at the door";
  EXPECT_EQ(service.cause, "denied") << service.reason;
}

TEST_F(BotReadiness, an_outage_of_auth_that_outlives_the_certificate_is_told_as_expired) {
  lifetimes = "credential_ttl: 4s\nrenewal_interval: 1s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const ControlClient probe = diagnostics();
  EXPECT_EQ(probe.get("/readyz").status, 200);
  auth().stop();
  ASSERT_TRUE(
      eventually([&] { return verdict(probe, "/readyz/kubernetes-v2-1").cause == "expired"; }));
  EXPECT_EQ(verdict(probe, "/readyz/identity").cause, "no_route");
  auth().start();
  EXPECT_TRUE(eventually([&] { return probe.get("/readyz").status == 200; }));
}

}  // namespace
