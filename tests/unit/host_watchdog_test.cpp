// The watchdog speaks while all loops turn, and not while one is stuck.
#include <gtest/gtest.h>

#include "proxy/host/watchdog.hpp"

namespace kubelane::host {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct Loops {
  boost::asio::io_context io;
  std::function<void()> kept;  // what the stuck loop was asked
  bool stuck = false;
  int told = 0;
  Watchdog watchdog{io,
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

TEST(Watchdog, tells_again_and_again) {
  Loops loops;
  loops.watchdog.start();
  EXPECT_TRUE(loops.turn_until([&] { return loops.told >= 5; }, 1000));
}

TEST(Watchdog, is_silent_while_one_loop_is_stuck) {
  Loops loops;
  loops.stuck = true;
  loops.watchdog.start();
  EXPECT_FALSE(loops.turn_until([&] { return loops.told > 0; }, 50));
  loops.stuck = false;
  loops.kept();
  EXPECT_TRUE(loops.turn_until([&] { return loops.told >= 2; }, 1000)) << "it turns again";
}

}  // namespace
}  // namespace kubelane::host
