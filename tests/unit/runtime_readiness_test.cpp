// Coroutines that wait: woken by events, by others, by their deadline, or destroyed while they
// wait.
#include <array>
#include <coroutine>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/runtime/event_loop.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::runtime {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class Action final : public Runnable {
 public:
  std::function<void()> then;
  int runs = 0;
  void run() noexcept override {
    ++runs;
    if (then) then();
  }
};

class ReadinessTest : public testing::Test {
 protected:
  void turns(int count) {
    Action action;
    action.then = [this, &action, count] {
      if (action.runs < count)
        loop_.queue(action);
      else
        loop_.stop();
    };
    loop_.queue(action);
    loop_.run();
  }

  EventLoop loop_;
};

// What a coroutine of the tests noticed; lives longer than it.
struct Diary {
  std::vector<std::string> lines;
  int alive = 0;  // locals in frames
};

struct Local {
  explicit Local(Diary& into) : diary(into) { ++diary.alive; }
  Local(const Local&) = delete;
  Local& operator=(const Local&) = delete;
  ~Local() { --diary.alive; }
  Diary& diary;
};

Detached wait_once(Readiness& readiness, Clock::time_point deadline, Diary& diary) {
  const Local local(diary);
  diary.lines.emplace_back("waits");
  const bool in_time = co_await readiness.wait(deadline);
  diary.lines.emplace_back(in_time ? "woken" : "expired");
}

TEST_F(ReadinessTest, a_coroutine_runs_until_it_waits_and_frees_its_frame_at_its_end) {
  Diary diary;
  Readiness readiness(loop_);
  wait_once(readiness, Clock::now() + hours(1), diary);
  EXPECT_EQ(diary.lines, (std::vector<std::string>{"waits"}));
  EXPECT_EQ(diary.alive, 1);
  readiness.wake();
  EXPECT_EQ(diary.lines.size(), 1u) << "resumed inline";
  turns(2);
  EXPECT_EQ(diary.lines, (std::vector<std::string>{"waits", "woken"}));
  EXPECT_EQ(diary.alive, 0);
}

TEST_F(ReadinessTest, woken_many_times_in_a_round_it_runs_once) {
  Diary diary;
  Readiness readiness(loop_);
  wait_once(readiness, Clock::now() + hours(1), diary);
  for (int i = 0; i < 5; ++i) readiness.wake();
  turns(3);
  EXPECT_EQ(diary.lines.size(), 2u);
  readiness.wake();  // nobody waits
  turns(3);
  EXPECT_EQ(diary.lines.size(), 2u);
}

Detached wait_and_stop(EventLoop& loop, Readiness& readiness, Clock::time_point deadline,
                       std::vector<bool>& in_time) {
  in_time.push_back(co_await readiness.wait(deadline));
  loop.stop();
}

TEST_F(ReadinessTest, the_deadline_ends_a_wait) {
  Readiness readiness(loop_);
  std::vector<bool> in_time;
  const Clock::time_point deadline = Clock::now() + milliseconds(20);
  wait_and_stop(loop_, readiness, deadline, in_time);
  loop_.run();
  EXPECT_EQ(in_time, std::vector<bool>{false});
  EXPECT_GE(Clock::now(), deadline);
}

TEST_F(ReadinessTest, a_deadline_in_the_past_ends_a_wait_too) {
  Readiness readiness(loop_);
  std::vector<bool> in_time;
  wait_and_stop(loop_, readiness, Clock::now() - hours(1), in_time);
  loop_.run();
  EXPECT_EQ(in_time, std::vector<bool>{false});
}

Detached wait_in_turn(EventLoop& loop, Readiness& readiness, Readiness& other,
                      std::vector<bool>& in_time) {
  // Woken early: the deadline stays in the wheel, and passes while we wait for something else.
  in_time.push_back(co_await readiness.wait(Clock::now() + milliseconds(10)));
  in_time.push_back(co_await other.wait(Clock::now() + milliseconds(300)));
  readiness.wake();
  in_time.push_back(co_await readiness.wait(Clock::now() + hours(1)));
  loop.stop();
}

TEST_F(ReadinessTest, an_expiry_that_nobody_waited_for_does_not_end_a_later_wait) {
  Readiness readiness(loop_);
  Readiness other(loop_);
  std::vector<bool> in_time;
  wait_in_turn(loop_, readiness, other, in_time);
  readiness.wake();
  loop_.run();
  EXPECT_EQ(in_time, (std::vector<bool>{true, false, true}));
}

Detached wait_without_deadline(EventLoop& loop, Readiness& readiness, std::vector<bool>& in_time) {
  in_time.push_back(co_await readiness.wait(Clock::now() + milliseconds(1)));
  in_time.push_back(co_await readiness.wait());
  loop.stop();
}

TEST_F(ReadinessTest, a_wait_without_deadline_outlasts_the_one_before) {
  Readiness readiness(loop_);
  Readiness clock(loop_);
  std::vector<bool> in_time;
  std::vector<bool> later;
  wait_without_deadline(loop_, readiness, in_time);
  readiness.wake();
  wait_and_stop(loop_, clock, Clock::now() + milliseconds(300), later);
  loop_.run();
  EXPECT_EQ(in_time, std::vector<bool>{true}) << "the old deadline ended it";
  readiness.wake();
  loop_.run();
  EXPECT_EQ(in_time, (std::vector<bool>{true, true}));
}

// --- Tasks
// ----------------------------------------------------------------------------------------

Task<std::string> answer(Diary& diary, std::string text) {
  const Local local(diary);
  diary.lines.push_back("starts " + text);
  co_return text;
}

Task<std::string> answer_later(Diary& diary, Readiness& readiness, std::string text) {
  const Local local(diary);
  co_await readiness.wait();
  co_return text;
}

Task<std::unique_ptr<int>> move_only() { co_return std::make_unique<int>(7); }

Detached ask(Diary& diary, Readiness& readiness) {
  Task<std::string> lazy = answer(diary, "first");
  diary.lines.emplace_back("asks");
  diary.lines.push_back(co_await std::move(lazy));
  diary.lines.push_back(co_await answer_later(diary, readiness, "second"));
  diary.lines.push_back(std::to_string(*co_await move_only()));
}

TEST_F(ReadinessTest, tasks_start_when_awaited_and_hand_back_their_value) {
  Diary diary;
  Readiness readiness(loop_);
  ask(diary, readiness);
  EXPECT_EQ(diary.lines, (std::vector<std::string>{"asks", "starts first", "first"}));
  readiness.wake();
  turns(2);
  ASSERT_EQ(diary.lines.size(), 5u);
  EXPECT_EQ(diary.lines[3], "second");
  EXPECT_EQ(diary.lines[4], "7");
  EXPECT_EQ(diary.alive, 0);
}

TEST_F(ReadinessTest, a_task_that_nobody_awaits_never_starts_and_leaks_nothing) {
  Diary diary;
  { const Task<std::string> unused = answer(diary, "never"); }
  EXPECT_TRUE(diary.lines.empty());
  EXPECT_EQ(diary.alive, 0);
}

Task<int> count_down(int from) {
  if (from == 0) co_return 0;
  co_return 1 + co_await count_down(from - 1);
}

Detached start_count(int from, int& result) { result = co_await count_down(from); }

TEST_F(ReadinessTest, tasks_nest) {
  int result = 0;
  start_count(200, result);
  EXPECT_EQ(result, 200);
}

Detached loop_over_tasks(Diary& diary, int rounds, std::size_t& bytes) {
  for (int i = 0; i < rounds; ++i) bytes += (co_await answer(diary, "x")).size();
}

// The hand-over to a task is a jump only where the compiler optimizes; elsewhere it is a call.
#ifdef __OPTIMIZE__
constexpr int tasks_in_a_row = 200'000;
#else
constexpr int tasks_in_a_row = 200;
#endif

TEST_F(ReadinessTest, many_tasks_in_a_row_do_not_grow_the_stack) {
  Diary diary;
  std::size_t bytes = 0;
  loop_over_tasks(diary, tasks_in_a_row, bytes);
  EXPECT_EQ(bytes, static_cast<std::size_t>(tasks_in_a_row));
  EXPECT_EQ(diary.alive, 0);
}

Task<int> wait_inside(EventLoop& loop, Diary& diary, Readiness*& inner) {
  const Local local(diary);
  Readiness readiness(loop);
  inner = &readiness;
  co_await readiness.wait(Clock::now() + milliseconds(1));
  diary.lines.emplace_back("resumed");
  co_return 0;
}

Task<int> wait_deep_inside(EventLoop& loop, Diary& diary, Readiness*& inner) {
  const Local local(diary);
  co_return co_await wait_inside(loop, diary, inner);
}

// A coroutine is cancelled by destroying its frame: its deadline and its place in the run list go
// with it, at whatever point it stood.
TEST_F(ReadinessTest, destroyed_while_it_waits_it_is_never_resumed) {
  Diary diary;
  for (const bool queued : {false, true}) {
    Readiness* inner = nullptr;
    {
      Task<int> task = wait_deep_inside(loop_, diary, inner);
      task.await_suspend(std::noop_coroutine()).resume();
      ASSERT_NE(inner, nullptr);
      EXPECT_EQ(diary.alive, 2);
      if (queued) inner->wake();
    }
    EXPECT_EQ(diary.alive, 0) << queued;
  }
  // Past the deadline of both.
  Readiness clock(loop_);
  std::vector<bool> in_time;
  wait_and_stop(loop_, clock, Clock::now() + milliseconds(300), in_time);
  loop_.run();
  EXPECT_TRUE(diary.lines.empty());
}

TEST_F(ReadinessTest, one_coroutine_may_end_another_that_is_about_to_run) {
  Diary diary;
  Readiness* inner = nullptr;
  auto task = std::make_unique<Task<int>>(wait_deep_inside(loop_, diary, inner));
  task->await_suspend(std::noop_coroutine()).resume();
  Action killer;
  killer.then = [&] { task.reset(); };
  loop_.queue(killer);
  inner->wake();  // behind it, in the same round
  turns(3);
  EXPECT_EQ(killer.runs, 1);
  EXPECT_EQ(diary.alive, 0);
  EXPECT_TRUE(diary.lines.empty());
}

}  // namespace
}  // namespace kubelane::runtime
