// A Proxy that cuts, splits, overfills and lies: what is incomplete never looks complete, what is
// wrong for one request is wrong for no other, and what can be repeated safely is.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <sys/time.h>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

// Holds a script until the test opens it.
class Latch {
 public:
  void open() {
    {
      const std::scoped_lock lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, support::patience(), [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class HostileProxy : public support::KubelaneFixture {
 protected:
  HostileProxy() { proxy_protocol = "http1"; }  // connections are counted
  // Every request is answered by these bytes, then the connection ends so.
  void say(const std::string& bytes, lab::Verdict verdict = lab::Verdict::close) {
    proxy().on_request([bytes, verdict](lab::Exchange& exchange) {
      exchange.stream.write(bytes);
      return verdict;
    });
  }
  // A response as far as it comes; a reset in its body counts as its end.
  Response receive(TlsClient& caller, bool head_request = false) {
    Response response = caller.read_response_head();
    try {
      caller.read_response_body(response, head_request);
    } catch (const support::PatienceOver&) {
      ADD_FAILURE() << "the client was left waiting";
    } catch (const std::runtime_error&) {
    }
    return response;
  }
  Response ask(const std::string& method = "GET", const std::string& target = "/x") {
    TlsClient caller = connect();
    caller.write(request(method, target));
    return receive(caller, method == "HEAD");
  }
  // Leaves that many idle connections to the Proxy behind, of one worker.
  void make_idle(std::size_t count) {
    std::vector<TlsClient> watchers;
    std::vector<Response> watches;
    for (std::size_t i = 0; i < count; ++i) {
      watchers.push_back(connect());
      watchers.back().write(request("GET", "/watch?events=1"));
      watches.push_back(watchers.back().read_response_head());
    }
    gate().release(count);
    for (std::size_t i = 0; i < count; ++i) watchers[i].read_response_body(watches[i]);
    ASSERT_TRUE(proxy().wait_for(
        [&](const lab::Observations& seen) { return seen.idle_kube_connections() == count; }));
  }
};

struct Answer {
  const char* name;
  std::string bytes;
  std::string body;
};

const std::vector<Answer>& answers() {
  static const std::vector<Answer> all = {
      {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", "hello"},
      {"chunked",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
       "chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: "
       "1\r\n\r\n",
       "hello"},
      {"interim",
       "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
       "2\r\n\r\nok",
       "ok"},
  };
  return all;
}

// What has come of a chunk or of a body leaves, in both directions, though the rest is still to
// come.
TEST_F(HostileProxy, no_part_of_a_body_waits_for_the_rest) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const std::string& framing : {std::string("Transfer-Encoding: chunked\r\n\r\n5\r\n"),
                                     std::string("Content-Length: 5\r\n\r\n")}) {
    Latch half_seen;
    Latch half_sent;
    proxy().on_request([&](lab::Exchange& exchange) {
      const bool chunked = exchange.request.has("Transfer-Encoding");
      std::string body(chunked ? 5 : 2, '\0');
      exchange.stream.read_exactly(body.data(), body.size());
      EXPECT_TRUE(body.ends_with("he")) << body;
      half_seen.open();
      exchange.stream.write("HTTP/1.1 200 OK\r\n" + framing + "wo");
      half_sent.wait();
      exchange.stream.write(chunked ? "rld\r\n0\r\n\r\n" : "rld");
      return lab::Verdict::close;
    });
    TlsClient caller = connect();
    const std::string head = request("POST", "/x", framing.substr(0, framing.find("\r\n") + 2));
    caller.write(head + framing.substr(framing.find("\r\n\r\n") + 4) + "he");
    half_seen.wait();
    EXPECT_TRUE(caller.read_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    const std::string half = framing.substr(framing.find("\r\n\r\n") + 4) + "wo";
    EXPECT_EQ(caller.read_exactly(half.size()), half);
    half_sent.open();
    EXPECT_TRUE(caller.read_until("rld").ends_with("rld"));
  }
}

// The Proxy goes away behind every byte of its answer, in each way in which it can.
TEST_F(HostileProxy, an_answer_that_ends_anywhere_is_an_error_or_visibly_cut) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  for (const Answer& answer : answers()) {
    const std::size_t final_head = answer.bytes.find("HTTP/1.1 200");
    const std::size_t head_end = answer.bytes.find("\r\n\r\n", final_head) + 4;
    for (std::size_t cut = 0; cut < answer.bytes.size(); ++cut) {
      for (const lab::Verdict verdict : {lab::Verdict::close, lab::Verdict::drop}) {
        say(answer.bytes.substr(0, cut), verdict);
        const Response response = ask();
        const std::string where = std::string(answer.name) + " cut at " + std::to_string(cut);
        if (cut < head_end) {
          EXPECT_TRUE(response.status == 502 || response.status == 503)
              << where << ": " << response.status;
          EXPECT_TRUE(response.complete) << where;
          EXPECT_NE(response.body.find("\"kind\":\"Status\""), std::string::npos) << where;
        } else {
          EXPECT_EQ(response.status, 200) << where;
          EXPECT_FALSE(response.complete) << where;
          EXPECT_TRUE(answer.body.starts_with(response.body)) << where << ": " << response.body;
        }
      }
    }
    say(answer.bytes, lab::Verdict::keep);
    const Response whole = ask();
    EXPECT_TRUE(whole.complete) << answer.name;
    EXPECT_EQ(whole.body, answer.body) << answer.name;
  }
}

TEST_F(HostileProxy, an_answer_in_single_bytes_is_the_same_answer) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const Answer& answer : answers()) {
    proxy().on_request([&answer](lab::Exchange& exchange) {
      for (const char byte : answer.bytes) exchange.stream.write({&byte, 1});
      return lab::Verdict::keep;
    });
    TlsClient caller = connect();
    for (int i = 0; i < 2; ++i) {
      caller.write(request("GET", "/x"));
      const Response response = caller.read_response();
      EXPECT_TRUE(response.complete) << answer.name;
      EXPECT_EQ(response.body, answer.body) << answer.name;
    }
  }
}

TEST_F(HostileProxy, what_could_be_read_in_two_ways_is_not_passed_on) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bad : std::vector<std::string>{
           ok + "X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
           ok + "X: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
           ok + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
           ok + "X: a" + std::string(1, '\0') + "\r\nContent-Length: 0\r\n\r\n",
           ok + "X : a\r\nContent-Length: 0\r\n\r\n",
           ok + "Content-Length: 18446744073709551616\r\n\r\n",
           ok + "Content-Length: 99999999999999999999\r\n\r\n",
           ok + "Content-Length: 0x10\r\n\r\n",
           ok + "Content-Length: -1\r\n\r\n",
           ok + "Content-Length: 1, 1\r\n\r\na",
           ok + "Content-Length: \r\n\r\n",
           ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
           "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
           "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
           "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
           "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
           std::string(4096, '\xff') + "\r\n\r\n"}) {
    say(bad);
    const Response response = ask();
    EXPECT_EQ(response.status, 502) << bad;
    EXPECT_TRUE(response.complete) << bad;
    EXPECT_EQ(response.header("Set-Cookie"), "") << bad;
  }
}

TEST_F(HostileProxy, malformed_chunks_and_trailers_cut_the_answer) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& bad : std::vector<std::string>{
           "0x3\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n",
           "3 \r\nabc\r\n0\r\n\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n",
           "3;" + std::string(300, 'a') + "\r\nabc\r\n0\r\n\r\n",
           "10000000000000000\r\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n",
           "0\r\nX: a\r\n b\r\n\r\n", "0\r\nX: a\rb\r\n\r\n", "0\r\nX : a\r\n\r\n",
           "0\r\nX: a" + std::string(1, '\0') + "\r\n\r\n", "0\r\nno colon\r\n\r\n",
           "0\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n"}) {
    // The head alone and then the rest: too late for an answer of our own.
    proxy().on_request([&](lab::Exchange& exchange) {
      exchange.stream.write(head + "2\r\nok\r\n");
      exchange.stream.write(bad);
      return lab::Verdict::close;
    });
    const Response late = ask();
    EXPECT_FALSE(late.complete && late.status == 200) << bad;
    // Together with the head: either the error's answer or a cut.
    say(head + bad);
    const Response early = ask();
    EXPECT_TRUE(early.status == 502 || !early.complete) << bad << early.status;
  }
}

// Bytes behind an answer that has no body, or behind its end, are nobody's answer.
TEST_F(HostileProxy, bytes_behind_an_answer_reach_no_other_request) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string stray = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
  struct Case {
    const char* method;
    std::string bytes;
    int status;
  };
  for (const Case& each : std::vector<Case>{
           {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", 200},
           {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204},
           {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", 304},
           {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
           {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
           {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200}}) {
    for (const bool together : {true, false}) {
      std::atomic<bool> first{true};
      proxy().on_request([&](lab::Exchange& exchange) {
        if (!first.exchange(false)) return lab::Verdict::pass;
        exchange.stream.write(each.bytes + (together ? stray : ""));
        if (!together) exchange.stream.write(stray);
        return lab::Verdict::keep;
      });
      TlsClient caller = connect();
      caller.write(request(each.method, "/x"));
      const Response response = caller.read_response(std::string(each.method) == "HEAD");
      EXPECT_EQ(response.status, each.status) << each.bytes;
      EXPECT_TRUE(response.complete);
      // Bytes that come later still are found on the idle connection.
      if (!together) {
        ASSERT_TRUE(proxy().wait_for(
            [](const lab::Observations& seen) { return seen.open_kube_connections() == 0; }));
      }
      for (int i = 0; i < 3; ++i) {
        caller.write(request("GET", "/bytes/7"));
        const Response next = caller.read_response();
        EXPECT_EQ(next.body, lab::pattern_bytes(7)) << each.bytes;
      }
    }
  }
}

// Two connections in the pool have died unseen: the second try goes on a new one.
TEST_F(HostileProxy, a_pool_full_of_dead_connections_costs_no_request) {
  more_yaml = "workers: 1\n";
  for (const char* method : {"GET", "HEAD", "OPTIONS"}) {
    if (std::string(method) == "GET") {
      ASSERT_NO_FATAL_FAILURE(start());
    }
    proxy().on_request({});
    ASSERT_NO_FATAL_FAILURE(make_idle(3));
    std::atomic<int> dropped{0};
    proxy().on_request([&](lab::Exchange& exchange) {
      if (exchange.on_connection < 2) return lab::Verdict::pass;
      ++dropped;
      return lab::Verdict::drop;
    });
    TlsClient caller = connect();
    caller.write(request(method, "/bytes/7"));
    EXPECT_EQ(caller.read_response(std::string(method) == "HEAD").status, 200) << method;
    EXPECT_EQ(dropped, 1) << method;
    proxy().on_request({});
    ASSERT_TRUE(support::eventually([&] {
      proxy().close_idle();
      return proxy().seen().open_kube_connections() == 0;
    }));
  }
}

TEST_F(HostileProxy, requests_behind_a_repeated_one_are_sent_once_and_answered_in_order) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(make_idle(1));
  std::atomic<int> posts{0};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (exchange.request.method == "POST") ++posts;
    if (exchange.on_connection == 2 && exchange.request.method == "GET") return lab::Verdict::drop;
    return lab::Verdict::pass;
  });
  TlsClient caller = connect();
  caller.write(request("GET", "/bytes/7") +
               request("POST", "/echo", "Content-Length: 5\r\n", "hello") +
               request("GET", "/bytes/9"));
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(7));
  EXPECT_EQ(caller.read_response().body, "hello");
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(9));
  EXPECT_EQ(posts, 1);
}

// An error is shaped for the client that gets it, whoever spoke last.
TEST_F(HostileProxy, an_error_is_shaped_by_the_request_that_failed) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  Latch latch;
  proxy().on_request([&](lab::Exchange& exchange) {
    if (!exchange.request.target.ends_with("/slow")) return lab::Verdict::pass;
    latch.wait();
    return lab::Verdict::drop;
  });
  TlsClient plain = connect();
  plain.write(request("GET", "/slow"));
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.last_request("/slow") != nullptr; }));
  exchange("GET", "/bytes/1", "Accept: application/vnd.kubernetes.protobuf\r\n");
  latch.open();
  const Response response = plain.read_response();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.header("Content-Type"), "application/json");
}

// A Proxy that fills the way with interim answers and then falls silent: the client that reads so
// late gets whole heads, and then an end or a whole answer.
TEST_F(HostileProxy, an_error_never_stands_in_the_middle_of_an_interim_answer) {
  more_yaml = "local_auth: none\nlocal_tls: false\ntimeouts: {response_head: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string interim =
      "HTTP/1.1 103 Early Hints\r\nLink: " + std::string(60'000, 'l') + "\r\n\r\n";
  proxy().on_request([&](lab::Exchange& exchange) {
    for (int i = 0; i < 2000; ++i) exchange.stream.write(interim);
    return lab::Verdict::drop;
  });
  TlsClient caller = connect();
  caller.write(request("GET", "/x"));
  ASSERT_TRUE(kubelane().wait_for_line("\"request failed upstream\""));
  std::string all;
  try {
    for (;;) {
      const std::string more = caller.read_some();
      if (more.empty()) break;
      all += more;
    }
  } catch (const support::PatienceOver&) {
    FAIL() << "the client was left waiting";
  } catch (const std::runtime_error&) {  // reset
  }
  std::string_view rest = all;
  while (rest.starts_with(interim)) rest.remove_prefix(interim.size());
  EXPECT_TRUE(rest.starts_with("HTTP/1.1 504") || std::string_view(interim).starts_with(rest))
      << rest.substr(0, 200) << " … "
      << rest.substr(rest.size() - std::min<std::size_t>(rest.size(), 600));
}

TEST_F(HostileProxy, a_refused_expectation_is_answered_without_a_continue) {
  ASSERT_NO_FATAL_FAILURE(start());
  say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  TlsClient caller = connect();
  caller.write(request("POST", "/x", "Expect: 100-continue\r\nContent-Length: 5000\r\n"));
  const Response response = caller.read_response();
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(response.body, "no");
  EXPECT_TRUE(response.interim.empty());
  EXPECT_EQ(response.header("Connection"), "close") << "the body may come or not: no next request";
  EXPECT_TRUE(caller.ended());
}

// Neither the head's nor the idle deadlines touch what stands open: a watch without events, a
// tunnel without bytes.
TEST_F(HostileProxy, watches_and_tunnels_have_no_deadline) {
  more_yaml =
      "timeouts: {response_head: 200ms, progress: 200ms, local_idle: 200ms, upstream_idle: 200ms, "
      "request_head: 200ms, half_closed: 200ms, local_handshake: 1s}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient watcher = connect();
  watcher.write(request("GET", "/watch?events=1"));
  Response watch = watcher.read_response_head();
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    char byte = 0;
    while (exchange.stream.read(&byte, 1) == 1) exchange.stream.write({&byte, 1});
    return lab::Verdict::close;
  });
  TlsClient tunnel = connect();
  tunnel.write(request("GET", "/exec", "Connection: Upgrade\r\nUpgrade: x\r\n"));
  EXPECT_TRUE(tunnel.read_until("\r\n\r\n").starts_with("HTTP/1.1 101"));
  EXPECT_FALSE(tunnel.readable(std::chrono::milliseconds(1500)));
  tunnel.write("a");
  EXPECT_EQ(tunnel.read_exactly(1), "a");
  gate().release(1);
  watcher.read_response_body(watch);
  EXPECT_TRUE(watch.complete);
}

// The Proxy does not react to the client's end: nothing is held for ever.
TEST_F(HostileProxy, a_watch_whose_client_has_ended_is_given_up_after_a_while) {
  more_yaml = "timeouts: {half_closed: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  Latch latch;
  proxy().on_request([&](lab::Exchange& exchange) {
    exchange.stream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n");
    latch.wait();
    return lab::Verdict::drop;
  });
  TlsClient watcher = connect();
  watcher.write(request("GET", "/api/v1/pods?watch=1"));
  Response watch = watcher.read_response_head();
  EXPECT_EQ(watch.status, 200);
  watcher.half_close();
  EXPECT_TRUE(watcher.ended());
  latch.open();
}

TEST_F(HostileProxy, a_body_that_the_proxy_does_not_take_times_out) {
  more_yaml = "timeouts: {progress: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  Latch latch;
  proxy().on_request([&](lab::Exchange&) {
    latch.wait();
    return lab::Verdict::drop;
  });
  TlsClient caller = connect();
  // More than all sockets on the way hold, but written whole here: what kubelane reads after its
  // answer counts too.
  caller.write(request("POST", "/x", "Content-Length: 500000000\r\n"));
  const timeval limit{0, 300'000};
  ::setsockopt(caller.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  EXPECT_THROW(
      {
        for (;;) caller.write(std::string(1 << 20, 'x'));
      },
      std::runtime_error);
  EXPECT_TRUE(kubelane().wait_for_line("stopped taking the request body"));
  latch.open();
}

}  // namespace
