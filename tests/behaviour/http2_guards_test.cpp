// HTTP/2 as attackers and broken peers speak it: refused on the stream or the connection, bounded,
// and without harm to the neighbours.
#include <algorithm>
#include <chrono>
#include <string>

#include <sys/ioctl.h>

#include "tests/lab/h2_bad_answers.hpp"
#include "tests/support/h2_bad_requests.hpp"
#include "tests/support/http2_fixture.hpp"

namespace {

using support::BadRequest;
using support::H2RawClient;
using support::H2Response;
namespace h2 = lab::h2;

class Http2Guards : public support::Http2Fixture {
 protected:
  h2::Fields good(const std::string& target) const {
    return H2RawClient::request("GET", endpoint().prefix + target, endpoint().host_header(),
                                {{"authorization", "Bearer " + endpoint().token}});
  }
  static int unread(H2RawClient& raw) {
    int bytes = 0;
    ::ioctl(raw.tls().fd(), FIONREAD, &bytes);
    return bytes;
  }
  // Until the sockets are full: nothing more came while a neighbour was served many times.
  void wait_blocked(H2RawClient& raw, support::H2Client& neighbour) {
    ASSERT_TRUE(support::eventually([&] {
      const int before = unread(raw);
      for (int round = 0; round < 20; ++round) get_h2(neighbour, "/bytes/4");
      return before > 0 && unread(raw) == before;
    }));
  }
  // A frame that carries nothing, as often as wanted; then how the connection ended.
  support::H2RawEnd flood(const std::string& frame, int count) {
    const auto attacker = connect_h2_raw();
    attacker->settle();
    std::string burst;
    for (int i = 0; i < 100; ++i) burst += frame;
    for (int i = 0; i < count / 100; ++i)
      if (!attacker->write(burst)) break;
    return attacker->wait_closed();
  }
};

TEST_F(Http2Guards, forbidden_requests_never_reach_the_proxy) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  for (const auto& bad : support::bad_requests()) {
    const auto attacker = connect_h2_raw();
    attacker->settle();
    const std::string target = "/watch?events=1&bad";
    const auto refusal = support::provoke(*attacker, bad, good(target));
    if (bad.harm == BadRequest::Harm::stream) {
      EXPECT_TRUE(refusal.refused()) << bad.name;
    } else {
      EXPECT_TRUE(refusal.connection_ended()) << bad.name;
    }
    EXPECT_EQ(get_h2(*neighbour, "/bytes/4").body, "abcd") << "after " << bad.name;
  }
}

TEST_F(Http2Guards, forbidden_answers_do_not_reach_the_client) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  for (const auto& bad : lab::bad_answers()) {
    if (bad.name.find("immense") != std::string::npos) continue;
    proxy().on_request(lab::answer_badly(bad, "/bad"));
    const auto local = connect_h2();
    const auto stream = local->send(h2_request("GET", "/bad"));
    const H2Response response = local->finish(stream);
    EXPECT_TRUE(!response.ended || response.status >= 500 ||
                bad.harm == lab::BadAnswer::Harm::limit)
        << bad.name << " " << response.status;
    EXPECT_EQ(get_h2(*local, "/bytes/4").body, "abcd") << "after " << bad.name;
  }
}

TEST_F(Http2Guards, wrong_tokens_are_unauthorized_and_three_end_the_connection) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  for (int i = 0; i < 3; ++i) {
    auto request = h2_request("GET", "/bytes/1");
    request.fields = {{"authorization", "Bearer wrong"}};
    const H2Response response = local->exchange(request);
    EXPECT_EQ(response.status, 401);
    EXPECT_EQ(response.header("www-authenticate"), "Bearer realm=\"kubelane\"");
    EXPECT_NE(response.body.find("\"kind\":\"Status\""), std::string::npos);
  }
  EXPECT_TRUE(local->wait_closed());
  EXPECT_EQ(proxy().seen().request_count, 0u);
}

TEST_F(Http2Guards, a_foreign_authority_and_an_unknown_cluster_are_refused) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2("demo", {.authority = "evil.example.com"});
  EXPECT_EQ(get_h2(*local, "/bytes/1").status, 403);
  const auto other = connect_h2();
  auto request = h2_request("GET", "/bytes/1");
  request.method = "CONNECT_";
  EXPECT_EQ(other->exchange(request).status / 100, 2) << "any token is a method";
}

TEST_F(Http2Guards, a_host_that_is_not_the_authority_is_refused) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response response =
      local->exchange(h2_request("GET", "/bytes/1", {{"host", "other.example.com"}}));
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("Host is not the authority"), std::string::npos);
  EXPECT_EQ(proxy().seen().request_count, 0u);
}

TEST_F(Http2Guards, large_heads_are_refused_on_their_stream) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response large = local->exchange(
      h2_request("GET", "/bytes/1",
                 {{"x-large", std::string(60'000, 'x')}, {"x-larger", std::string(10'000, 'y')}}));
  EXPECT_EQ(large.status, 431);
  h2::Fields many;
  for (int i = 0; i < 120; ++i) many.emplace_back("x-" + std::to_string(i), "1");
  EXPECT_EQ(local->exchange(h2_request("GET", "/bytes/1", many)).status, 431);
  EXPECT_EQ(get_h2(*local, "/bytes/2").status, 200) << "the connection goes on";
}

TEST_F(Http2Guards, exec_over_http_2_gets_a_clear_answer) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response response = local->exchange(
      h2_request("POST", "/api/v1/namespaces/default/pods/demo/exec?command=ls&stdout=true"));
  EXPECT_EQ(response.status, 403);
  EXPECT_NE(response.body.find("http/1.1"), std::string::npos) << response.body;
}

TEST_F(Http2Guards, a_broken_preface_ends_the_connection) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(attacker->wait_closed().closed);
}

TEST_F(Http2Guards, a_client_that_never_speaks_is_given_up) {
  more_yaml += "timeouts: {request_head: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto silent = connect_h2_raw();
  EXPECT_TRUE(silent->wait_closed().closed);
  const auto slow = connect_h2_raw();
  slow->settle();
  slow->write(h2::frame(h2::frame_type::headers, 0, 1, "\x82"));  // without END_HEADERS
  EXPECT_TRUE(slow->wait_closed().closed);
}

TEST_F(Http2Guards, floods_end_the_connection_and_nobody_elses) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  const auto watch = neighbour->send(h2_request("GET", "/watch?events=1"));
  ASSERT_TRUE(neighbour->wait_head(watch));
  const std::size_t before = kubelane().resident_bytes();
  EXPECT_TRUE(flood(h2::frame(h2::frame_type::ping, 0, 0, std::string(8, 'x')), 100'000).closed);
  EXPECT_TRUE(flood(h2::frame(h2::frame_type::settings, 0, 0, ""), 100'000).closed);
  EXPECT_TRUE(
      flood(h2::frame(h2::frame_type::priority, 0, 1, std::string("\0\0\0\3\x10", 5)), 100'000)
          .closed);
  EXPECT_TRUE(
      flood(h2::frame(h2::frame_type::rst_stream, 0, 1, std::string(4, '\0')), 100'000).closed);
  if (!support::Process::sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), before + (8u << 20));
  }
  EXPECT_EQ(get_h2(*neighbour, "/bytes/9").status, 200);
  gate().release(1);
  EXPECT_TRUE(neighbour->finish(watch).ended);
}

TEST_F(Http2Guards, rapid_resets_are_bounded) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  const auto attacker = connect_h2_raw();
  attacker->settle();
  bool open = true;
  const auto begun = std::chrono::steady_clock::now();
  for (std::uint32_t stream = 1; open && stream < 20'000; stream += 2) {
    open = attacker->headers(stream, good("/watch?events=1&rapid")) &&
           attacker->write(
               h2::frame(h2::frame_type::rst_stream, 0, stream, std::string("\0\0\0\x08", 4)));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  if (open && took.count() > 8) {
    // On a slow machine it was not rapid: 10,000, of which 1,000 a second are allowed. Then they
    // must all have been served and ended.
    EXPECT_TRUE(attacker->alive());
    EXPECT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
      return std::all_of(seen.connections.begin(), seen.connections.end(),
                         [](const auto& each) { return each.second.h2.streams_open == 0; });
    }));
  } else {
    EXPECT_TRUE(attacker->wait_closed().closed);
  }
  EXPECT_EQ(get_h2(*neighbour, "/bytes/9").status, 200);
}

// Below: clients that make kubelane say more than they read.

TEST_F(Http2Guards, streams_refused_without_end_end_the_connection) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->settle({{h2::setting::initial_window_size, 0}});
  std::uint32_t stream = 1;
  for (; stream < 501; stream += 2) attacker->headers(stream, good("/bytes/5"));
  // The table of streams is full, their answers have no window: each of these makes a RST_STREAM.
  bool open = true;
  for (int burst = 0; open && burst < 5000; ++burst) {
    std::string frames;
    for (int i = 0; i < 1000; ++i, stream += 2)
      frames += h2::frame(h2::frame_type::headers, h2::flag::end_headers | h2::flag::end_stream,
                          stream, "\x82");
    open = attacker->write(frames);
  }
  EXPECT_TRUE(attacker->wait_closed().closed);
  EXPECT_EQ(get_h2(*connect_h2(), "/bytes/9").status, 200);
}

TEST_F(Http2Guards, what_a_queued_goaway_leaves_out_is_not_carried_out) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  const auto sender = connect_h2_raw();
  sender->settle({{h2::setting::initial_window_size, 0x7fffffff}});
  sender->write(h2::window_update_frame(0, 0x7fff0000));
  sender->headers(1, good("/bytes/50000000"));
  ASSERT_TRUE(sender->next(h2::frame_type::data, 1));
  ASSERT_NO_FATAL_FAILURE(wait_blocked(*sender, *neighbour));
  auto wrong = H2RawClient::request("GET", endpoint().prefix + "/bytes/3", endpoint().host_header(),
                                    {{"authorization", "Bearer wrong"}});
  for (const std::uint32_t stream : {3u, 5u, 7u}) sender->headers(stream, wrong);
  // The third queued a GOAWAY that cannot leave. This one comes behind it.
  sender->headers(
      9, H2RawClient::request("POST", endpoint().prefix + "/echo?late", endpoint().host_header(),
                              {{"authorization", "Bearer " + endpoint().token}}));
  const support::H2RawEnd end = sender->wait_closed();
  ASSERT_TRUE(end.goaway_code.has_value());
  EXPECT_LT(end.last_stream, 9u);
  EXPECT_TRUE(arrived("/echo?late").method.empty()) << "a client may repeat it now";
}

TEST_F(Http2Guards, answers_of_our_own_that_nobody_takes_end_the_connection) {
  more_yaml += "timeouts: {progress: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->settle({{h2::setting::initial_window_size, 0}});
  attacker->headers(1, H2RawClient::request("GET", "/nowhere", endpoint().host_header()));
  const support::H2RawEnd end = attacker->wait_closed();
  EXPECT_TRUE(end.closed);
  EXPECT_EQ(end.goaway_code, h2::error_code::enhance_your_calm);
}

TEST_F(Http2Guards, a_client_that_sends_nothing_but_nonsense_is_sent_away) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->settle();
  bool open = true;
  for (std::uint32_t stream = 1; open && stream < 400; stream += 2) {
    auto fields = good("/bytes/5");
    for (auto& [name, value] : fields)
      if (name == ":scheme") value = "ftp";
    open = attacker->headers(stream, fields);
  }
  const support::H2RawEnd end = attacker->wait_closed();
  EXPECT_TRUE(end.closed);
  EXPECT_EQ(end.goaway_code, h2::error_code::enhance_your_calm);
}

TEST_F(Http2Guards, a_request_that_cannot_be_read_leaves_its_neighbours_alone) {
  more_yaml += "timeouts: {request_head: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  const auto sender = connect_h2_raw();
  sender->settle();
  sender->headers(1, good("/watch?events=1"));
  ASSERT_TRUE(sender->next(h2::frame_type::headers, 1));
  auto bad = good("/bytes/5");
  bad.emplace_back("X-Upper", "1");
  sender->headers(3, bad);
  ASSERT_TRUE(sender->next(h2::frame_type::rst_stream, 3));
  // Well past the deadline of a head that was not complete.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  while (std::chrono::steady_clock::now() < until) get_h2(*neighbour, "/bytes/4");
  ASSERT_TRUE(sender->alive());
  gate().release(1);
  EXPECT_TRUE(sender->next(h2::frame_type::data, 1)) << "the watch goes on";
}

TEST_F(Http2Guards, a_flooder_that_reads_nothing_loses_its_streams) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  const auto attacker = connect_h2_raw();
  attacker->settle({{h2::setting::initial_window_size, 0x7fffffff}});
  attacker->write(h2::window_update_frame(0, 0x7fff0000));
  attacker->headers(1, good("/bytes/50000000"));
  ASSERT_TRUE(attacker->next(h2::frame_type::data, 1));
  ASSERT_NO_FATAL_FAILURE(wait_blocked(*attacker, *neighbour));
  std::string flood;
  for (int i = 0; i < 20'000; ++i)
    flood += h2::frame(h2::frame_type::ping, 0, 0, std::string("12345678"));
  attacker->write(flood);
  EXPECT_TRUE(wait_arrived("/bytes/50000000", [](const lab::RequestRecord& record) {
    return record.h2.closed_at.has_value();
  })) << "its stream at the Proxy is not held";
}

TEST_F(Http2Guards, a_continuation_flood_is_bounded) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->settle();
  attacker->write(h2::frame(h2::frame_type::headers, 0, 1, "\x82"));
  for (int i = 0; i < 10'000; ++i)
    if (!attacker->write(h2::frame(h2::frame_type::continuation, 0, 1, ""))) break;
  const support::H2RawEnd end = attacker->wait_closed();
  EXPECT_TRUE(end.closed);
  EXPECT_EQ(end.goaway_code, h2::error_code::enhance_your_calm);
}

// The limit counts frames, not the pieces in which they happen to arrive.
TEST_F(Http2Guards, a_head_in_many_frames_is_served_byte_by_byte) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto sender = connect_h2_raw();
  sender->settle();
  const std::string block = h2::header_block(good("/bytes/5"));
  constexpr std::size_t frames = 16;
  const std::size_t piece = block.size() / frames;
  std::string all = h2::frame(h2::frame_type::headers, h2::flag::end_stream, 1, "");
  for (std::size_t i = 0; i < frames; ++i) {
    const bool last = i + 1 == frames;
    all += h2::frame(h2::frame_type::continuation, last ? h2::flag::end_headers : 0, 1,
                     block.substr(i * piece, last ? std::string::npos : piece));
  }
  // Every byte is taken in by itself: the answer to a PING shows that the bytes before it were.
  // None may stand between the frames of a head, so that a neighbour's does it.
  const auto neighbour = connect_h2();
  for (const char byte : all) {
    ASSERT_TRUE(sender->write({&byte, 1}));
    ASSERT_TRUE(neighbour->ping());
  }
  const auto answer = sender->next(h2::frame_type::data, 1);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->payload, "abcde");
}

TEST_F(Http2Guards, empty_data_frames_are_bounded) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto attacker = connect_h2_raw();
  attacker->settle();
  auto fields = H2RawClient::request("POST", endpoint().prefix + "/echo", endpoint().host_header(),
                                     {{"authorization", "Bearer " + endpoint().token}});
  attacker->headers(1, fields, false);
  for (int i = 0; i < 100'000; ++i)
    if (!attacker->data(1, "")) break;
  EXPECT_TRUE(attacker->wait_closed().closed);
}

TEST_F(Http2Guards, a_client_that_ends_while_its_answer_is_blocked_harms_nobody) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto neighbour = connect_h2();
  for (int i = 0; i < 5; ++i) {
    const auto leaving = connect_h2_raw();
    leaving->settle({{h2::setting::initial_window_size, 0x7fffffff}});
    leaving->write(h2::window_update_frame(0, 0x7fff0000));
    leaving->headers(1, good("/bytes/50000000"));
    ASSERT_TRUE(leaving->next(h2::frame_type::data, 1));
    ASSERT_NO_FATAL_FAILURE(wait_blocked(*leaving, *neighbour));
    leaving->tls().half_close();
    leaving->wait_closed();
    EXPECT_EQ(get_h2(*neighbour, "/bytes/4").body, "abcd");
  }
}

TEST_F(Http2Guards, a_client_that_gives_credit_in_small_pieces_is_honest) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto honest = connect_h2_raw();
  honest->settle();
  honest->headers(1, good("/bytes/60000000"));
  std::size_t got = 0;
  std::string credit;
  for (int i = 0; i < 4; ++i)
    credit += h2::window_update_frame(0, 4096) + h2::window_update_frame(1, 4096);
  while (got < 60'000'000) {  // as Go's client: 4 KiB at a time, 29,000 frames in all
    const auto frame = honest->next(h2::frame_type::data, 1);
    ASSERT_TRUE(frame) << "ended after " << got;
    got += frame->payload.size();
    ASSERT_TRUE(honest->write(credit));
  }
  EXPECT_TRUE(honest->alive());
}

TEST_F(Http2Guards, window_updates_for_nothing_are_a_flood) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  EXPECT_TRUE(flood(h2::window_update_frame(0, 1), 200'000).closed);
}

}  // namespace
