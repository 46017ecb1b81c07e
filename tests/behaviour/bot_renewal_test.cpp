// The bot's life: renewals, outages, rotations, locks. Certificates live for seconds here.
#include <csignal>
#include <string>

#include "tests/support/bot_fixture.hpp"

namespace {

using support::eventually;
using support::Response;

class BotRenewal : public support::BotFixture {
 protected:
  BotRenewal() { lifetimes = "credential_ttl: 20s\nrenewal_interval: 1s\nleeway: 0s\n"; }
  void by_secret() {
    method = "token";
    join_token = "s3cr3t-for-one-join";
  }
  std::size_t renewals() { return auth().calls().count_answered("GenerateUserCerts"); }
};

TEST_F(BotRenewal, a_renewable_identity_counts_its_generations_and_serves_all_the_time) {
  by_secret();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  std::size_t failures = 0;
  ASSERT_TRUE(eventually([&] {
    if (get("/bytes/10").status != 200) ++failures;
    return generation() >= 4;
  }));
  EXPECT_EQ(failures, 0u);
  EXPECT_EQ(auth().calls().joins(), 1u);
  EXPECT_EQ(auth().calls().most_self_renewals_at_once, 1);
  EXPECT_TRUE(auth().service().locks().empty());
}

TEST_F(BotRenewal, others_join_again_and_keep_their_instance) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_TRUE(auth().wait_for(
      [](const lab::AuthCalls& calls) { return calls.count_answered("RegisterUsingToken") >= 2; }));
  EXPECT_EQ(auth().service().instances().size(), 1u);
  EXPECT_EQ(auth().calls().count("HostCredentials"), 1u);
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotRenewal, a_signal_renews_now) {
  lifetimes.clear();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  for (const int signal : {SIGHUP, SIGUSR1}) {
    const std::size_t before = renewals();
    kubelane().signal(signal);
    EXPECT_TRUE(eventually([&] { return renewals() > before; })) << signal;
  }
  EXPECT_EQ(get("/bytes/10").status, 200);
}

// Served until the certificate ends, then told why, then healed without a hand.
TEST_F(BotRenewal, an_outage_of_auth_is_survived) {
  lifetimes = "credential_ttl: 4s\nrenewal_interval: 1s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().stop();
  EXPECT_EQ(get("/bytes/10").status, 200);
  Response told;
  ASSERT_TRUE(eventually([&] {
    told = get("/bytes/10");
    // The workers know of the end before the control thread has told them why.
    return told.status == 503 && told.body.find("Auth") != std::string::npos;
  }));
  EXPECT_NE(told.body.find("\"kind\":\"Status\""), std::string::npos) << told.body;
  EXPECT_NE(told.body.find("expired at"), std::string::npos) << told.body;
  EXPECT_TRUE(kubelane().running());
  auth().start();
  EXPECT_TRUE(eventually([&] { return get("/bytes/10").status == 200; }, std::chrono::seconds(5)));
}

TEST_F(BotRenewal, a_renewal_whose_answer_was_lost_is_not_repeated_at_once) {
  lifetimes = "credential_ttl: 60s\nrenewal_interval: 3s\nleeway: 0s\n";
  by_secret();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().on_call([](const lab::AuthCall& call) -> std::optional<lab::CallFault> {
    if (!call.self_renewal()) return std::nullopt;
    return lab::CallFault{lab::CallFault::Kind::lose_answer};
  });
  ASSERT_TRUE(logged("the answer to a renewal of the bot's identity was lost"));
  auth().on_call({});
  // What it has still works, and is still renewed for clusters.
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_TRUE(auth().service().locks().empty());
  // Teleport locks it at the next one; there is no cure but a new token.
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  const auto line = kubelane().wait_for_line("the bot has stopped renewing");
  EXPECT_NE(line->find("generation mismatch"), std::string::npos) << *line;
  EXPECT_NE(line->find("tctl bots instances add"), std::string::npos) << *line;
  EXPECT_FALSE(auth().service().locks().empty());
  const std::size_t calls = auth().calls().total;
  EXPECT_TRUE(kubelane().running());
  EXPECT_FALSE(auth().wait_for(
      [calls](const lab::AuthCalls& seen) {
        return seen.total > calls + 2 && seen.calls.back().self_renewal();
      },
      std::chrono::seconds(4)));
}

TEST_F(BotRenewal, a_lock_stops_it_loudly) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().service().lock(lab::Lock::Target::user, "bot-ci");
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  const auto line = kubelane().wait_for_line("the bot has stopped renewing");
  EXPECT_NE(line->find("tctl get lock"), std::string::npos) << *line;
  auth().service().unlock(lab::Lock::Target::user, "bot-ci");
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("the bot works again"));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotRenewal, a_rotation_of_the_cas_is_survived_in_every_phase) {
  lifetimes.clear();  // only the watch can tell
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_TRUE(logged("watching for rotations"));
  using lab::RotationPhase;
  auth().service().rotate(RotationPhase::init);
  EXPECT_EQ(get("/bytes/10").status, 200);
  std::size_t before = renewals();
  auth().service().rotate(RotationPhase::update_clients);
  ASSERT_TRUE(eventually([&] { return renewals() > before; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
  auth().service().rotate(RotationPhase::update_servers);
  EXPECT_EQ(get("/bytes/10").status, 200);
  before = renewals();
  auth().service().rotate(RotationPhase::standby);
  ASSERT_TRUE(eventually([&] { return renewals() > before; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

class BotClocks : public BotRenewal, public testing::WithParamInterface<long> {};

TEST_P(BotClocks, teleports_clock_may_differ_from_ours) {
  lifetimes.clear();
  start_teleport();
  auth().service().authorities()->set_clock_skew(GetParam());
  project_service_account();
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Skews, BotClocks, testing::Values(110, -50));

}  // namespace
