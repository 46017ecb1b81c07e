// SIGTERM: no new work, what runs finishes, watches and tunnels end properly, exit status 0.
#include <csignal>
#include <string>
#include <vector>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class Drain : public support::KubelaneFixture {};

TEST_F(Drain, idle_connections_close_and_the_process_ends_with_0) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient idle = connect();
  idle.write(request("GET", "/bytes/1"));
  EXPECT_EQ(idle.read_response().status, 200);
  kubelane().signal(SIGTERM);
  EXPECT_TRUE(idle.ended());
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Drain, a_running_request_finishes) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/echo", "Content-Length: 6\r\n", "abc"));
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.last_request("/echo") != nullptr; }));
  kubelane().signal(SIGTERM);
  ASSERT_TRUE(kubelane().wait_for_line("stopping"));
  caller.write("def");
  const Response response = caller.read_response();
  EXPECT_EQ(response.body, "abcdef");
  EXPECT_TRUE(caller.ended());
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Drain, watches_end_between_two_events_as_a_proper_end) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<TlsClient> watchers;
  std::vector<Response> watches;
  for (int i = 0; i < 20; ++i) {
    watchers.push_back(connect());
    watchers.back().write(request("GET", "/watch?events=1000&watch=true"));
    watches.push_back(watchers.back().read_response_head());
  }
  gate().release(50);
  kubelane().signal(SIGTERM);
  for (std::size_t i = 0; i < watchers.size(); ++i) {
    watchers[i].read_response_body(watches[i]);
    EXPECT_TRUE(watches[i].complete) << "cut, not ended";
    EXPECT_TRUE(watches[i].body.empty() || watches[i].body.back() == '\n');
  }
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Drain, what_outlives_the_deadline_is_ended_and_the_status_is_still_0) {
  more_yaml = "timeouts: {drain: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    char byte;
    exchange.stream.read(&byte, 1);
    return lab::Verdict::close;
  });
  TlsClient tunnel = connect();
  tunnel.write(request("GET", "/exec", "Connection: Upgrade\r\nUpgrade: x\r\n"));
  EXPECT_TRUE(tunnel.read_until("\r\n\r\n").starts_with("HTTP/1.1 101"));
  kubelane().signal(SIGTERM);
  EXPECT_TRUE(tunnel.ended());
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

// Requests that wait for a Proxy that says nothing, and clients that take nothing: neither holds
// the process beyond the deadline.
TEST_F(Drain, who_waits_or_does_not_read_is_not_waited_for) {
  more_yaml = "timeouts: {drain: 500ms, connect: 60s, upstream_handshake: 60s}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient stalled = connect();
  stalled.write(request("GET", "/bytes/50000000"));
  ASSERT_TRUE(stalled.readable());
  proxy().set_accept(lab::AcceptMode::silent);
  const auto accepted = [](const lab::Observations& seen) { return seen.connections.size(); };
  const std::size_t before = accepted(proxy().seen());
  TlsClient waiting = connect();
  waiting.write(request("GET", "/bytes/1"));
  ASSERT_TRUE(
      proxy().wait_for([&](const lab::Observations& seen) { return accepted(seen) > before; }));
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 0);
  EXPECT_TRUE(waiting.ended());
  EXPECT_TRUE(stalled.ended());
}

TEST_F(Drain, a_second_signal_stops_at_once) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/echo", "Content-Length: 6\r\n", "abc"));
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.last_request("/echo") != nullptr; }));
  kubelane().signal(SIGINT);
  ASSERT_TRUE(kubelane().wait_for_line("stopping"));
  kubelane().signal(SIGINT);
  EXPECT_EQ(kubelane().wait_exit(), 1);
}

TEST_F(Drain, hangup_reads_credentials_and_does_not_stop) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const int signal : {SIGHUP, SIGUSR1}) {
    const std::size_t from = kubelane().error_lines().size();
    kubelane().signal(signal);
    EXPECT_TRUE(kubelane().wait_for_line("reading the credentials again", from));
  }
  EXPECT_EQ(get("/bytes/1").status, 200);
}

}  // namespace
