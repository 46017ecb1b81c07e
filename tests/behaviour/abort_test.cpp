// Who gives up is heard on the other side at once, over both protocols and in both directions,
// without anything else having to happen. Meant are 50 ms; on a busy machine the measure is what a
// plain request takes there at the same time. Medians, so that one pause of the machine decides
// nothing.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tests/support/http2_fixture.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using support::H2Response;
using support::TlsClient;

constexpr int rounds = 15;

class Abort : public support::Http2Fixture {
 protected:
  // For each round the time of an abort beside that of a plain request.
  template <class OneAbort, class OneRequest>
  void compare(OneAbort abort, OneRequest request) {
    std::vector<microseconds> aborts;
    std::vector<microseconds> requests;
    for (int i = 0; i < rounds && !HasFatalFailure(); ++i) {
      const auto begin = Clock::now();
      request();
      requests.push_back(std::chrono::duration_cast<microseconds>(Clock::now() - begin));
      aborts.push_back(std::chrono::duration_cast<microseconds>(abort(i)));
    }
    const auto median = [](std::vector<microseconds>& of) {
      std::nth_element(of.begin(), of.begin() + rounds / 2, of.end());
      return of[rounds / 2];
    };
    const microseconds abort_takes = median(aborts);
    const microseconds request_takes = median(requests);
    RecordProperty("abort_us", static_cast<int>(abort_takes.count()));
    RecordProperty("request_us", static_cast<int>(request_takes.count()));
    EXPECT_LT(abort_takes.count(), std::max<long>(50'000, 10 * request_takes.count()))
        << "a request takes " << request_takes.count() << " us";
  }
  static std::string watch(int round) {
    return "/watch?watch=1&events=5&n=" + std::to_string(round);
  }
  // When the lab's connection of that request saw its peer end.
  Clock::time_point upstream_end(const std::string& target) {
    Clock::time_point at{};
    EXPECT_TRUE(proxy().wait_for([&](const lab::Observations& seen) {
      const auto* found = seen.last_request(target);
      if (found == nullptr) return false;
      const auto& ended = seen.connections.at(found->connection).peer_ended_at;
      if (ended) at = *ended;
      return ended.has_value();
    })) << target;
    return at;
  }
};

TEST_F(Abort, a_client_of_http_2_reaches_upstream) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  compare(
      [&](int round) {
        const auto stream = local->send(h2_request("GET", watch(round)));
        EXPECT_TRUE(local->wait_head(stream));
        const auto begin = Clock::now();
        local->cancel(stream);
        EXPECT_TRUE(wait_arrived(watch(round), [](const lab::RequestRecord& record) {
          return record.h2.reset_at.has_value();
        }));
        return arrived(watch(round)).h2.reset_at.value_or(Clock::time_point::max()) - begin;
      },
      [&] { EXPECT_EQ(get_h2(*local, "/bytes/1").status, 200); });
}

TEST_F(Abort, a_proxy_of_http_2_reaches_the_client) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  compare(
      [&](int round) {
        const auto stream = local->send(h2_request("GET", watch(round)));
        EXPECT_TRUE(local->wait_head(stream));
        const auto begin = Clock::now();
        EXPECT_EQ(proxy().h2().reset_streams(lab::h2::error_code::internal_error), 1u);
        return local->finish(stream).closed_at - begin;
      },
      [&] { EXPECT_EQ(get_h2(*local, "/bytes/1").status, 200); });
}

TEST_F(Abort, a_client_of_http_1_reaches_upstream) {
  proxy_protocol = "http1";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient plain = connect();
  compare(
      [&](int round) {
        TlsClient caller = connect();
        caller.write(request("GET", watch(round)));
        EXPECT_EQ(caller.read_response_head().status, 200);
        const auto begin = Clock::now();
        caller.reset();
        return upstream_end(watch(round)) - begin;
      },
      [&] {
        plain.write(request("GET", "/bytes/1"));
        EXPECT_EQ(plain.read_response().status, 200);
      });
}

TEST_F(Abort, a_proxy_of_http_1_reaches_the_client) {
  proxy_protocol = "http1";
  ASSERT_NO_FATAL_FAILURE(start());
  Clock::time_point dropped{};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (!exchange.request.target.ends_with("/dropped")) return lab::Verdict::pass;
    exchange.stream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n");
    char byte = 0;
    exchange.stream.read(&byte, 1);  // the client's word that it has read this
    dropped = Clock::now();
    return lab::Verdict::drop;
  });
  TlsClient plain = connect();
  compare(
      [&](int) {
        TlsClient caller = connect();
        caller.write(request("POST", "/dropped", "Content-Length: 1\r\n"));
        EXPECT_EQ(caller.read_response_head().status, 200);
        EXPECT_EQ(caller.read_until("{}\r\n"), "2\r\n{}\r\n");
        caller.write("x");
        EXPECT_TRUE(caller.ended());
        return Clock::now() - dropped;
      },
      [&] {
        plain.write(request("GET", "/bytes/1"));
        EXPECT_EQ(plain.read_response().status, 200);
      });
}

}  // namespace
