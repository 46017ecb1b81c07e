// Some thirty renewals, as many as ten hours bring, with ten outages and a rotation between them,
// under requests all the time.
#include <atomic>
#include <string>
#include <thread>

#include "tests/support/bot_fixture.hpp"

namespace {

using support::eventually;

class BotLife : public support::BotFixture {};

TEST_F(BotLife, renewals_outages_and_a_rotation_cost_no_request_and_leave_nothing_behind) {
  lifetimes = "credential_ttl: 60s\nrenewal_interval: 1s\nleeway: 0s\n";
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const auto renewals = [&] { return auth().calls().count_answered("GenerateUserCerts"); };
  ASSERT_TRUE(eventually([&] { return renewals() >= 3; }));
  const std::size_t descriptors = kubelane().open_descriptors();
  const std::size_t resident = kubelane().resident_bytes();

  std::atomic<bool> over{false};
  std::atomic<std::size_t> requests{0};
  std::atomic<std::size_t> failures{0};
  std::thread load([&] {
    while (!over) {
      if (get("/bytes/1000").status != 200) ++failures;
      ++requests;
    }
  });
  using lab::RotationPhase;
  auth().service().rotate(RotationPhase::init);
  auth().service().rotate(RotationPhase::update_clients);
  for (int outage = 0; outage < 10; ++outage) {
    const std::size_t before = renewals();
    EXPECT_TRUE(eventually([&] { return renewals() > before; })) << "outage " << outage;
    auth().stop();
    auth().start();
  }
  const std::size_t before = renewals();
  auth().service().rotate(RotationPhase::update_servers);
  EXPECT_TRUE(eventually([&] { return renewals() >= before + 12; }));
  auth().service().rotate(RotationPhase::standby);
  EXPECT_TRUE(eventually([&] { return renewals() >= before + 20; }));
  over = true;
  load.join();
  EXPECT_EQ(failures, 0u) << "of " << requests;
  EXPECT_GT(requests, 100u);
  EXPECT_TRUE(auth().service().locks().empty());
  EXPECT_TRUE(eventually([&] { return kubelane().open_descriptors() <= descriptors + 8; }))
      << descriptors << " then " << kubelane().open_descriptors();
  if (support::Process::sanitized) return;
  EXPECT_LT(kubelane().resident_bytes(), resident + (8UL << 20)) << "from " << resident;
}

}  // namespace
