// Watches end one after the other in a drain, however many there are.
#include <algorithm>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/relay/watch_turns.hpp"

namespace {

using kubelane::relay::watch_turn;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(WatchTurns, a_few_end_soon_and_one_by_one) {
  for (std::size_t i = 0; i < 250; ++i)
    EXPECT_EQ(watch_turn(i, milliseconds(5000)), milliseconds(20) * i);
}

TEST(WatchTurns, many_fill_the_window_evenly) {
  constexpr milliseconds window{5000};
  for (const std::size_t watches : {300u, 1000u, 1777u, 20'000u}) {
    std::map<long, std::size_t> in_bucket;
    for (std::size_t i = 0; i < watches; ++i) {
      const nanoseconds turn = watch_turn(i, window);
      ASSERT_GE(turn.count(), 0);
      ASSERT_LT(turn, window);
      ++in_bucket[turn / milliseconds(100)];
    }
    for (const auto& [bucket, count] : in_bucket)
      EXPECT_LE(count, watches / 50 + 5 + 5) << watches << " watches, bucket " << bucket;
  }
}

TEST(WatchTurns, a_short_drain_has_a_short_window) {
  for (std::size_t i = 0; i < 1000; ++i)
    EXPECT_LT(watch_turn(i, milliseconds(125)), milliseconds(125));
  EXPECT_EQ(watch_turn(0, milliseconds(125)).count(), 0);
}

}  // namespace
