// What ends the process beside signals: always by a drain, always with exit status 0.
#include <csignal>
#include <fstream>
#include <string>
#include <thread>

#include <spawn.h>
#include <sys/wait.h>

#include "tests/support/http2_fixture.hpp"

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using support::TlsClient;

class ExitTriggers : public support::Http2Fixture {
 protected:
  // A request in flight when it triggers is finished.
  void expect_drain_of(TlsClient& caller) {
    ASSERT_TRUE(kubelane().wait_for_line("stopping: finishing what is running"));
    gate().release(1);
    EXPECT_TRUE(caller.read_response().complete);
    EXPECT_EQ(kubelane().wait_exit(), 0);
  }
  TlsClient start_request() {
    TlsClient caller = connect();
    caller.write(request("GET", "/watch?events=1"));
    EXPECT_TRUE(wait_arrived("/watch?events=1"));
    return caller;
  }
};

TEST_F(ExitTriggers, a_file_appears) {
  environment["KUBELANE_EXIT_WHEN_FILE"] = (directory() / "done").string();
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = start_request();
  EXPECT_TRUE(kubelane().running());
  std::ofstream(directory() / "done").flush();
  expect_drain_of(caller);
}

TEST_F(ExitTriggers, a_process_ends) {
  char program[] = "/bin/sleep";
  char argument[] = "1000";
  char* const words[] = {program, argument, nullptr};
  pid_t other = 0;
  ASSERT_EQ(posix_spawn(&other, program, nullptr, nullptr, words, nullptr), 0);
  environment["KUBELANE_EXIT_WITH_PID"] = std::to_string(other);
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = start_request();
  EXPECT_TRUE(kubelane().running());
  kill(other, SIGKILL);
  int status = 0;
  waitpid(other, &status, 0);
  expect_drain_of(caller);
}

TEST_F(ExitTriggers, a_process_that_is_gone_already) {
  char program[] = "/bin/true";
  char* const words[] = {program, nullptr};
  pid_t other = 0;
  ASSERT_EQ(posix_spawn(&other, program, nullptr, nullptr, words, nullptr), 0);
  int status = 0;
  waitpid(other, &status, 0);
  environment["KUBELANE_EXIT_WITH_PID"] = std::to_string(other);
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(ExitTriggers, no_request_for_a_while) {
  more_yaml = "exit: {when_idle: 2s}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  // Far longer than that, but never without a request; an open connection is none.
  TlsClient idle = connect();
  const auto begin = steady_clock::now();
  auto last = begin;
  while (steady_clock::now() - begin < milliseconds(3000)) {
    last = steady_clock::now();
    ASSERT_EQ(get("/bytes/1").status, 200);
    std::this_thread::sleep_until(last + milliseconds(100));
  }
  EXPECT_EQ(kubelane().wait_exit(), 0);
  EXPECT_GE(steady_clock::now() - last, milliseconds(2000));
  EXPECT_TRUE(kubelane().wait_for_line("there was no request for 2000 ms"));
}

TEST_F(ExitTriggers, a_watch_is_not_idle_over_either_protocol) {
  for (const bool http2 : {false, true}) {
    more_yaml = "exit: {when_idle: 500ms}\n";
    proxy_protocol = http2 ? "http2" : "http1";
    if (!http2) {
      start_lab();
      write_credentials();
    }
    start_kubelane(default_config());
    ASSERT_NO_FATAL_FAILURE(wait_ready());
    const auto begin = steady_clock::now();
    if (http2) {
      const auto local = connect_h2();
      const auto stream = local->send(h2_request("GET", "/watch?watch=1&events=1"));
      ASSERT_TRUE(local->wait_head(stream));
      EXPECT_FALSE(kubelane().wait_for_line("stopping", 0, milliseconds(1500)));
      gate().release(1);
      local->finish(stream);
    } else {
      TlsClient watcher = connect();
      watcher.write(request("GET", "/watch?watch=1&events=1"));
      auto head = watcher.read_response_head();
      EXPECT_FALSE(kubelane().wait_for_line("stopping", 0, milliseconds(1500)));
      gate().release(1);
      watcher.read_response_body(head);
    }
    EXPECT_EQ(kubelane().wait_exit(), 0);
    EXPECT_GE(steady_clock::now() - begin, milliseconds(1500 + 500));
  }
}

TEST_F(ExitTriggers, what_is_no_process_is_told_at_the_start) {
  start_lab();
  write_credentials();
  environment["KUBELANE_EXIT_WITH_PID"] = "me";
  start_kubelane(default_config());
  EXPECT_EQ(kubelane().wait_exit(), 2);
  EXPECT_TRUE(kubelane().wait_for_line("KUBELANE_EXIT_WITH_PID"));
}

}  // namespace
