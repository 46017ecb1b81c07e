// SIGTERM: no new work, what runs finishes, watches and tunnels end properly; and what the exit
// status tells.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/http2_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class Drain : public support::KubelaneFixture {
 protected:
  Drain() { environment["KUBERNETES_SERVICE_HOST"] = ""; }

  // A connection that stays until the drain's deadline.
  TlsClient open_tunnel() {
    proxy().on_request([](lab::Exchange& exchange) {
      if (exchange.request.target.find("/exec") == std::string::npos) return lab::Verdict::pass;
      exchange.stream.write(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
      char byte;
      exchange.stream.read(&byte, 1);
      return lab::Verdict::close;
    });
    TlsClient tunnel = connect();
    tunnel.write(request("GET", "/exec", "Connection: Upgrade\r\nUpgrade: x\r\n"));
    EXPECT_TRUE(tunnel.read_until("\r\n\r\n").starts_with("HTTP/1.1 101"));
    return tunnel;
  }
};

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

TEST_F(Drain, what_outlives_the_deadline_is_ended_and_the_status_tells) {
  more_yaml = "timeouts: {drain: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient tunnel = open_tunnel();
  kubelane().signal(SIGTERM);
  EXPECT_TRUE(tunnel.ended());
  EXPECT_EQ(kubelane().wait_exit(), 1);
}

TEST_F(Drain, the_status_is_0_where_that_is_asked_for) {
  environment["KUBELANE_MAX_DRAIN"] = "500ms";
  environment["KUBELANE_EXIT_ZERO_ON_SIGTERM"] = "true";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient tunnel = open_tunnel();
  kubelane().signal(SIGTERM);
  EXPECT_TRUE(tunnel.ended());
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Drain, the_status_is_0_in_a_pod_unless_told_otherwise) {
  environment["KUBERNETES_SERVICE_HOST"] = "192.0.2.1";
  more_yaml = "timeouts: {drain: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  {
    TlsClient tunnel = open_tunnel();
    kubelane().signal(SIGTERM);
    EXPECT_TRUE(tunnel.ended());
    EXPECT_EQ(kubelane().wait_exit(), 0);
  }
  more_yaml += "exit: {zero_on_sigterm: false}\n";
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  TlsClient tunnel = open_tunnel();
  kubelane().signal(SIGTERM);
  EXPECT_TRUE(tunnel.ended());
  EXPECT_EQ(kubelane().wait_exit(), 1);
}

// Whoever sends requests hears of the end later than we do (endpoints, load balancers).
TEST_F(Drain, new_connections_are_served_until_the_delay_is_over) {
  more_yaml = "exit: {min_sigterm_delay: 2s}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const auto signalled = std::chrono::steady_clock::now();
  kubelane().signal(SIGTERM);
  ASSERT_TRUE(kubelane().wait_for_line("serving on before the drain"));
  const Response response = get("/bytes/10");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.header("Connection"), "close");
  EXPECT_EQ(kubelane().wait_exit(), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - signalled, std::chrono::seconds(2));
}

TEST_F(Drain, a_second_signal_ends_the_delay_too) {
  more_yaml = "exit: {min_sigterm_delay: 10m}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  kubelane().signal(SIGTERM);
  ASSERT_TRUE(kubelane().wait_for_line("serving on before the drain"));
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 1);
}

// A request that had come before the drain began, but was not looked at yet.
TEST_F(Drain, a_request_that_has_arrived_is_answered) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<TlsClient> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(connect());
    clients.back().write(request("GET", "/bytes/1"));
    ASSERT_EQ(clients.back().read_response().status, 200);
  }
  // Stopped, it sees signal and requests in one look.
  kubelane().signal(SIGSTOP);
  kubelane().signal(SIGTERM);
  for (TlsClient& each : clients) each.write(request("GET", "/bytes/1"));
  kubelane().signal(SIGCONT);
  for (TlsClient& each : clients) EXPECT_EQ(each.read_response().status, 200);
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
  EXPECT_EQ(kubelane().wait_exit(), 1) << "something was cut";
  EXPECT_TRUE(waiting.ended());
  EXPECT_TRUE(stalled.ended());
}

// Answers of our own that nobody reads are given up when the drain is over, not a minute later.
TEST_F(Drain, answers_that_nobody_reads_are_given_up_at_the_deadline) {
  more_yaml = "workers: 1\ntimeouts: {drain: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().set_accept(lab::AcceptMode::refuse);
  proxy().close_all();
  TlsClient stalled = connect();
  // More answers than the sockets hold; a thread, since at some point the requests stand still,
  // too.
  std::atomic<bool> stop{false};
  std::thread asking([&] {
    try {
      for (int i = 0; i < 60'000 && !stop; ++i) stalled.write(request("GET", "/x"));
    } catch (const std::runtime_error&) {
      return;  // its end
    }
  });
  const auto answered = [&] {
    std::size_t count = 0;
    for (const auto& line : kubelane().error_lines())
      if (line.find("\"resource\":\"/x\"") != std::string::npos) ++count;
    return count;
  };
  // Until none is answered any more while the same worker answers another client.
  TlsClient neighbour = connect();
  EXPECT_TRUE(support::eventually([&] {
    const std::size_t before = answered();
    for (int i = 0; i < 50; ++i) {
      neighbour.write(request("GET", "/y"));
      EXPECT_EQ(neighbour.read_response().status, 503);
    }
    return before > 1000 && before == answered();
  }));
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 1);
  stop = true;
  asking.join();
  EXPECT_TRUE(kubelane().wait_for_line("drain deadline passed")) << "it was stalled";
  for (const auto& line : kubelane().error_lines())
    EXPECT_EQ(line.find("cutting connections"), std::string::npos) << "it ended by itself";
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

class DrainOfMany : public support::Http2Fixture {};

TEST_F(DrainOfMany, a_thousand_slow_requests_finish) {
  constexpr std::size_t of_each = 500;
  constexpr std::size_t on_a_connection = 50;
  ASSERT_NO_FATAL_FAILURE(start_http2());
  std::vector<std::unique_ptr<support::H2Client>> clients;
  std::vector<std::pair<support::H2Client*, support::H2Client::StreamId>> streams;
  std::vector<TlsClient> callers;
  for (std::size_t i = 0; i < of_each; ++i) {
    if (i % on_a_connection == 0) clients.push_back(connect_h2());
    streams.emplace_back(clients.back().get(),
                         clients.back()->send(h2_request("GET", "/watch?events=1&slow=2")));
    callers.push_back(connect());
    callers.back().write(request("GET", "/watch?events=1&slow=1"));
  }
  ASSERT_TRUE(proxy().wait_for([&](const lab::Observations& seen) {
    return std::count_if(seen.requests.begin(), seen.requests.end(), [](const auto& each) {
             return each.target.find("slow=") != std::string::npos;
           }) == 2 * of_each;
  }));
  kubelane().signal(SIGTERM);
  for (const auto& each : clients) EXPECT_TRUE(each->wait_goaway());
  gate().release(2 * of_each);
  for (TlsClient& each : callers) {
    const Response response = each.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.complete);
    EXPECT_FALSE(response.body.empty());
    EXPECT_TRUE(each.ended());
  }
  for (const auto& [of, stream] : streams) {
    const support::H2Response response = of->finish(stream);
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.ended);
    EXPECT_FALSE(response.body.empty());
  }
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

// Hundreds of clients that come back in one instant would hurt whoever serves them next.
TEST_F(DrainOfMany, two_hundred_watches_end_one_after_the_other) {
  using Clock = std::chrono::steady_clock;
  constexpr std::size_t of_each = 100;
  ASSERT_NO_FATAL_FAILURE(start_http2());
  std::vector<std::unique_ptr<support::H2Client>> clients;
  std::vector<std::pair<support::H2Client*, support::H2Client::StreamId>> streams;
  for (std::size_t i = 0; i < of_each; ++i) {
    if (i % 25 == 0) clients.push_back(connect_h2());
    streams.emplace_back(clients.back().get(),
                         clients.back()->send(h2_request("GET", "/watch?watch=1&events=1")));
    ASSERT_TRUE(clients.back()->wait_head(streams.back().second));
  }
  std::vector<TlsClient> watchers;
  std::vector<Response> watches;
  for (std::size_t i = 0; i < of_each; ++i) {
    watchers.push_back(connect());
    watchers.back().write(request("GET", "/watch?watch=1&events=1"));
    watches.push_back(watchers.back().read_response_head());
  }
  const auto signalled = Clock::now();
  kubelane().signal(SIGTERM);
  std::vector<Clock::time_point> ends(of_each);
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < of_each; ++i) {
    readers.emplace_back([&, i] {
      watchers[i].read_response_body(watches[i]);
      ends[i] = Clock::now();
    });
  }
  for (auto& reader : readers) reader.join();
  for (const Response& watch : watches) EXPECT_TRUE(watch.complete) << "cut, not ended";
  for (const auto& [of, stream] : streams) {
    const support::H2Response watch = of->finish(stream);
    EXPECT_TRUE(watch.ended);
    ends.push_back(watch.closed_at);
  }
  EXPECT_EQ(kubelane().wait_exit(), 0);
  // A busy machine makes them later, never earlier: 20 ms for each that ended before.
  std::sort(ends.begin(), ends.end());
  for (std::size_t i = 0; i < ends.size(); ++i)
    EXPECT_GE(ends[i] - signalled, std::chrono::milliseconds(20) * i) << i << " were faster";
}

}  // namespace
