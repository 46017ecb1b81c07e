// The deadline wheel: nothing fires early, nothing is forgotten, and nothing is more than a slot
// late, whatever is armed, moved, cleared or destroyed in between. Time is given, never waited for.
#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/runtime/deadline.hpp"

namespace kubelane::runtime {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds slot{250};

class Alarm final : public Deadline {
 public:
  std::function<void()> then;
  int fired = 0;

 private:
  void on_deadline() noexcept override {
    ++fired;
    if (then) then();
  }
};

// A clock that runs as told, with the wheel looked at in steps.
class DeadlineWheelTest : public testing::Test {
 protected:
  void arm(Deadline& deadline, milliseconds in) { wheel_.arm(deadline, now_ + in); }
  void pass(milliseconds time, milliseconds step = milliseconds(10)) {
    for (const Clock::time_point end = now_ + time; now_ < end;) {
      now_ = std::min(end, now_ + step);
      wheel_.advance(now_);
    }
  }

  DeadlineWheel wheel_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point now_ = start_;
};

TEST_F(DeadlineWheelTest, nothing_armed_means_no_wake_up) {
  EXPECT_EQ(wheel_.timeout(now_), -1);
  pass(hours(1), seconds(1));
  EXPECT_EQ(wheel_.timeout(now_), -1);
}

TEST_F(DeadlineWheelTest, fires_once_never_early_and_at_most_a_slot_late) {
  for (int in = 0; in < 1500; in += 7) {
    Alarm alarm;
    arm(alarm, milliseconds(in));
    EXPECT_TRUE(alarm.armed());
    const Clock::time_point due = now_ + milliseconds(in);
    while (alarm.fired == 0 && now_ <= due + slot) pass(milliseconds(1), milliseconds(1));
    EXPECT_GE(now_, due) << in;
    EXPECT_LE(now_, due + slot + milliseconds(1)) << in;
    EXPECT_EQ(alarm.fired, 1) << in;
    EXPECT_FALSE(alarm.armed());
    pass(2 * slot);
    EXPECT_EQ(alarm.fired, 1) << in;
  }
}

// The loop sleeps exactly as long as the wheel says: that must do for the same promise.
TEST_F(DeadlineWheelTest, waking_up_when_told_is_enough) {
  for (const milliseconds in : {milliseconds(0), milliseconds(1), milliseconds(249), slot,
                                milliseconds(251), milliseconds(4'999), milliseconds(300'000)}) {
    Alarm alarm;
    arm(alarm, in);
    const Clock::time_point due = now_ + in;
    for (int wakes = 0; alarm.fired == 0; ++wakes) {
      ASSERT_LT(wakes, 10) << in.count();
      const int wait = wheel_.timeout(now_);
      ASSERT_GE(wait, 0);
      now_ += milliseconds(wait);
      wheel_.advance(now_);
    }
    EXPECT_GE(now_, due) << in.count();
    EXPECT_LE(now_, due + slot + milliseconds(1)) << in.count();
    EXPECT_EQ(wheel_.timeout(now_), -1);
  }
}

TEST_F(DeadlineWheelTest, expires_in_order_over_slots) {
  std::vector<int> order;
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (const int place : {4, 1, 3, 0, 2}) {
    alarms.push_back(std::make_unique<Alarm>());
    alarms.back()->then = [&order, place] { order.push_back(place); };
    arm(*alarms.back(), seconds(1 + place));
  }
  pass(seconds(10), seconds(10));  // all in one look
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_F(DeadlineWheelTest, a_past_deadline_fires_at_the_next_look_that_finds_it) {
  Alarm alarm;
  arm(alarm, -hours(5));
  pass(2 * slot);
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(DeadlineWheelTest, a_cleared_one_does_not_fire) {
  Alarm alarm;
  arm(alarm, seconds(1));
  alarm.clear();
  EXPECT_FALSE(alarm.armed());
  pass(seconds(5));
  EXPECT_EQ(alarm.fired, 0);
  EXPECT_EQ(wheel_.timeout(now_), -1);
  arm(alarm, seconds(1));
  pass(seconds(2));
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(DeadlineWheelTest, cleared_and_armed_again_before_its_old_time_keeps_the_new_one) {
  Alarm alarm;
  arm(alarm, seconds(1));
  alarm.clear();
  arm(alarm, seconds(3));
  pass(milliseconds(2'990));
  EXPECT_EQ(alarm.fired, 0);
  pass(slot + milliseconds(20));
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(DeadlineWheelTest, moved_away_again_and_again_it_waits) {
  Alarm alarm;
  for (int i = 0; i < 100; ++i) {
    arm(alarm, seconds(1));
    pass(milliseconds(900));
    ASSERT_EQ(alarm.fired, 0) << i;
  }
  pass(milliseconds(100) + slot);
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(DeadlineWheelTest, moved_nearer_it_comes_at_the_nearer_time) {
  Alarm alarm;
  arm(alarm, seconds(100));
  arm(alarm, seconds(1));
  EXPECT_LE(wheel_.timeout(now_), 1'000 + 2 * slot.count());
  pass(seconds(1) + slot);
  EXPECT_EQ(alarm.fired, 1);
  pass(seconds(100));
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(DeadlineWheelTest, moved_away_and_then_nearer_again_it_keeps_the_last_word) {
  Alarm alarm;
  arm(alarm, seconds(2));
  arm(alarm, seconds(50));  // lazily: stays where it is
  arm(alarm, seconds(10));
  pass(milliseconds(9'990));
  EXPECT_EQ(alarm.fired, 0);
  pass(slot + milliseconds(20));
  EXPECT_EQ(alarm.fired, 1);
}

// The wheel is 256 s around: what is further goes round, and does not fire with its namesakes.
TEST_F(DeadlineWheelTest, far_deadlines_go_round_the_wheel) {
  for (const seconds in :
       {seconds(255), seconds(256), seconds(257), seconds(512), seconds(1000), seconds(86'400)}) {
    Alarm far;
    arm(far, in);
    Alarm near;
    arm(near, in % seconds(256) / 2);
    pass(in - milliseconds(10), seconds(1));
    EXPECT_EQ(far.fired, 0) << in.count();
    EXPECT_EQ(near.fired, 1) << in.count();
    pass(milliseconds(10) + slot);
    EXPECT_EQ(far.fired, 1) << in.count();
  }
}

TEST_F(DeadlineWheelTest, a_look_after_a_long_stall_finds_everything) {
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < 2000; ++i) {
    alarms.push_back(std::make_unique<Alarm>());
    arm(*alarms.back(), milliseconds(i * 600));  // 20 minutes
  }
  pass(hours(1), hours(1));
  for (const auto& alarm : alarms) ASSERT_EQ(alarm->fired, 1);
  EXPECT_EQ(wheel_.timeout(now_), -1);
}

TEST_F(DeadlineWheelTest, a_handler_may_arm_itself_again) {
  Alarm alarm;
  alarm.then = [&] {
    if (alarm.fired < 5) arm(alarm, seconds(1));
  };
  arm(alarm, seconds(1));
  pass(seconds(10));
  EXPECT_EQ(alarm.fired, 5);
}

TEST_F(DeadlineWheelTest, a_handler_that_arms_the_past_does_not_hang_the_loop) {
  Alarm alarm;
  alarm.then = [&] { wheel_.arm(alarm, start_); };
  arm(alarm, milliseconds(0));
  pass(seconds(10), seconds(10));
  EXPECT_GE(alarm.fired, 1);
  EXPECT_LE(alarm.fired, 50);  // once per slot that was passed
  EXPECT_GE(wheel_.timeout(now_), 0);
}

TEST_F(DeadlineWheelTest, a_handler_may_clear_and_destroy_its_neighbours) {
  Alarm first;
  auto second = std::make_unique<Alarm>();
  auto third = std::make_unique<Alarm>();
  first.then = [&] {
    second.reset();
    third->clear();
  };
  for (Alarm* each : {&first, second.get(), third.get()}) arm(*each, seconds(1));
  pass(seconds(3));
  EXPECT_EQ(first.fired, 1);
  EXPECT_EQ(third->fired, 0);
}

TEST_F(DeadlineWheelTest, a_destroyed_one_leaves_the_wheel) {
  {
    Alarm alarm;
    arm(alarm, seconds(1));
  }
  Alarm neighbour;
  arm(neighbour, seconds(1));
  pass(seconds(2));
  EXPECT_EQ(neighbour.fired, 1);
}

TEST_F(DeadlineWheelTest, deadlines_may_outlive_the_wheel) {
  Alarm first;
  Alarm second;
  {
    DeadlineWheel wheel;
    wheel.arm(first, now_ + seconds(1));
    wheel.arm(second, now_ + seconds(1));
  }
  EXPECT_EQ(first.fired + second.fired, 0);
}

// Against a model that simply remembers.
TEST_F(DeadlineWheelTest, any_sequence_agrees_with_a_plain_list) {
  std::mt19937 random(20'240'611);
  const auto below = [&random](int limit) {
    return static_cast<int>(std::uniform_int_distribution<>(0, limit - 1)(random));
  };
  struct Entry {
    Alarm alarm;
    Clock::time_point at{};
    bool wanted = false;
    int fired = 0;
  };
  std::vector<std::unique_ptr<Entry>> entries(50);
  for (auto& entry : entries) entry = std::make_unique<Entry>();
  for (int step = 0; step < 20'000; ++step) {
    Entry& entry = *entries[static_cast<std::size_t>(below(50))];
    switch (below(4)) {
      case 0:
      case 1:
        entry.at = now_ + milliseconds(below(below(10) == 0 ? 600'000 : 3'000));
        entry.wanted = true;
        wheel_.arm(entry.alarm, entry.at);
        break;
      case 2:
        entry.wanted = false;
        entry.alarm.clear();
        break;
      default:
        now_ += milliseconds(below(400));
        wheel_.advance(now_);
        for (const auto& each : entries) {
          if (each->alarm.fired != each->fired) {
            each->fired = each->alarm.fired;
            ASSERT_TRUE(each->wanted) << "fired without being armed, step " << step;
            ASSERT_LE(each->at, now_) << "early, step " << step;
            each->wanted = false;
          }
          ASSERT_FALSE(each->wanted && each->at + slot < now_) << "late, step " << step;
        }
    }
  }
}

}  // namespace
}  // namespace kubelane::runtime
