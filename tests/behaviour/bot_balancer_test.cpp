// The Proxy's web address is a load balancer that terminates TLS: Auth is reached by the connection
// upgrade. The Kubernetes listener has an address of its own.
#include <memory>
#include <string>
#include <vector>

#include "tests/lab/l7_balancer.hpp"
#include "tests/support/bot_fixture.hpp"

namespace {

using support::eventually;
using Alpn = std::vector<const char*>;

class BotBalancer : public support::BotFixture {
 protected:
  BotBalancer() { lifetimes = "credential_ttl: 60s\nrenewal_interval: 1s\nleeway: 0s\n"; }
  void SetUp() override { proxy_options.tls_routing = false; }

  void start_behind(const Alpn& alpn) {
    start_teleport();
    balancer_ = std::make_unique<lab::L7Balancer>(proxy().port(), alpn);
    web_address = balancer_->address();
    web_ca_pem = balancer_->ca_pem();
    start_kubelane(bot_config());
  }
  lab::L7Balancer& balancer() { return *balancer_; }
  std::size_t renewals() { return auth().calls().count_answered("GenerateUserCerts"); }
  std::size_t upgrades() {
    const auto seen = proxy().seen();
    return static_cast<std::size_t>(std::count_if(
        seen.requests.begin(), seen.requests.end(),
        [](const auto& request) { return request.target == "/webapi/connectionupgrade"; }));
  }

 private:
  std::unique_ptr<lab::L7Balancer> balancer_;
};

class BotBalancerAlpn : public BotBalancer, public testing::WithParamInterface<Alpn> {};

TEST_P(BotBalancerAlpn, joins_renews_and_serves_whatever_the_balancer_makes_of_alpn) {
  ASSERT_NO_FATAL_FAILURE(start_behind(GetParam()));
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  ASSERT_TRUE(eventually([&] { return renewals() >= 4; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_GE(upgrades(), 1u);
  // The bot speaks to Auth itself, with its own certificate.
  EXPECT_FALSE(auth().calls().last("GenerateUserCerts")->through_proxy);
  EXPECT_TRUE(auth().calls().last("GenerateUserCerts")->identity);
}

INSTANTIATE_TEST_SUITE_P(Balancers, BotBalancerAlpn,
                         testing::Values(Alpn{}, Alpn{"h2", "http/1.1"}, Alpn{"http/1.1"}));

TEST_F(BotBalancer, outages_of_auth_and_cut_connections_are_survived) {
  ASSERT_NO_FATAL_FAILURE(start_behind({}));
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  for (int i = 0; i < 3; ++i) {
    std::size_t before = renewals();
    balancer().cut_all();
    EXPECT_TRUE(eventually([&] { return renewals() > before; })) << "cut " << i;
    auth().stop();
    before = renewals();
    auth().start();
    EXPECT_TRUE(eventually([&] { return renewals() > before; })) << "outage " << i;
  }
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotBalancer, one_that_takes_no_upgrades_is_named) {
  start_teleport();
  lab::L7Balancer other(proxy().port(), {});
  other.refuse_upgrades(403);
  web_address = other.address();
  web_ca_pem = other.ca_pem();
  start_kubelane(bot_config());
  const auto line = kubelane().wait_for_line("the bot cannot renew");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find("host CA does not vouch for"), std::string::npos) << *line;
  EXPECT_NE(line->find("terminates TLS"), std::string::npos) << *line;
  // Once the balancer lets them through, the bot finds its way.
  other.refuse_upgrades(0);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  stop_kubelane();
}

TEST_F(BotBalancer, the_environment_decides_as_for_tbot) {
  environment["TELEPORT_TLS_ROUTING_CONN_UPGRADE"] = "no";
  ASSERT_NO_FATAL_FAILURE(start_behind({}));
  EXPECT_TRUE(kubelane().wait_for_line("the bot cannot renew"));
  EXPECT_EQ(upgrades(), 0u);
}

TEST_F(BotBalancer, without_one_the_upgrade_can_be_had_all_the_same) {
  environment["TELEPORT_TLS_ROUTING_CONN_UPGRADE"] = "yes";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_GE(upgrades(), 1u);
}

}  // namespace
