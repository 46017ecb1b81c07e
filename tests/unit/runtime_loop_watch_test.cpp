// All is well while all loops come round, and not while one is stuck; which one is told.
#include <gtest/gtest.h>

#include "proxy/runtime/loop_watch.hpp"

namespace kubelane::runtime {
namespace {

using std::chrono::milliseconds;

struct Loops {
  explicit Loops(bool second_is_stuck) : stuck(second_is_stuck) {}
  boost::asio::io_context io;
  std::function<void()> kept;  // what the stuck loop was asked
  bool stuck;
  int told = 0;
  LoopWatch watch{io,
                  milliseconds(1),
                  {[](const std::function<void()>& then) { then(); },
                   [this](const std::function<void()>& then) {
                     if (stuck) {
                       kept = then;
                     } else {
                       then();
                     }
                   }},
                  [this] { ++told; }};
  // Until something has happened, or that many turns are over.
  template <class Done>
  bool turn_until(Done done, int turns) {
    for (int i = 0; i < turns && !done(); ++i) io.run_one();
    return done();
  }
};

TEST(LoopWatch, tells_again_and_again) {
  Loops loops(false);
  EXPECT_TRUE(loops.turn_until([&] { return loops.told >= 5; }, 1000));
  EXPECT_EQ(loops.watch.stuck(1), "");
}

TEST(LoopWatch, is_silent_while_one_loop_is_stuck_and_knows_which) {
  Loops loops(true);
  EXPECT_FALSE(loops.turn_until([&] { return loops.told > 0; }, 50));
  EXPECT_EQ(loops.watch.stuck(10), "1");
  loops.stuck = false;
  loops.kept();
  EXPECT_TRUE(loops.turn_until([&] { return loops.told >= 2; }, 1000)) << "it turns again";
  EXPECT_EQ(loops.watch.stuck(10), "");
}

}  // namespace
}  // namespace kubelane::runtime
