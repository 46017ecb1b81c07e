// The lab's HTTP/2 misbehaves exactly as it is told.
#include <chrono>
#include <cstdint>
#include <string>

#include "tests/support/lab_h2_fixture.hpp"

namespace {

namespace h2 = lab::h2;
using lab::H2GoAway;
using support::H2Client;
using support::H2GoAwayFrame;
using support::H2Response;

constexpr std::int32_t kHighestStream = 0x7fffffff;
// How long something that must not come is waited for.
constexpr std::chrono::milliseconds kNothing{100};

class LabH2Faults : public support::LabH2Fixture {
 protected:
  H2Client::StreamId start_watch(H2Client& client, const std::string& path = "/watch?events=1") {
    const auto watch = client.send({.path = path});
    EXPECT_TRUE(client.wait_head(watch));
    return watch;
  }
};

TEST_F(LabH2Faults, refused_streams_are_never_seen) {
  const auto client = connect();
  proxy().h2().refuse_streams(2);
  for (int i = 0; i < 2; ++i) {
    const H2Response refused = client->get("/bytes/1");
    EXPECT_EQ(refused.reset, h2::error_code::refused_stream);
    EXPECT_EQ(refused.status, 0);
  }
  EXPECT_EQ(proxy().seen().request_count, 0u);
  EXPECT_EQ(client->get("/bytes/1").status, 200);
  EXPECT_EQ(connection_of("/bytes/1").h2.streams_refused, 2u);
}

TEST_F(LabH2Faults, a_graceful_goaway_lets_streams_run_and_then_closes) {
  const auto client = connect();
  const auto watch = start_watch(*client);
  EXPECT_EQ(proxy().h2().goaway({}), 1u);
  ASSERT_TRUE(
      client->wait_goaway([&](const H2GoAwayFrame& frame) { return frame.last_stream == watch; }));
  EXPECT_EQ(client->goaway()->code, h2::error_code::no_error);
  EXPECT_TRUE(client->open());
  EXPECT_THROW(client->send({.path = "/bytes/1"}), std::runtime_error);
  gate().release(1);
  EXPECT_TRUE(client->finish(watch).ended);
  EXPECT_TRUE(client->wait_closed());
}

TEST_F(LabH2Faults, a_graceful_goaway_begins_with_a_notice) {
  const auto client = connect_raw();
  client->settle();
  client->headers(1, support::H2RawClient::request("GET", "/watch?events=1", "kube"));
  ASSERT_TRUE(client->next(h2::frame_type::headers, 1));
  proxy().h2().goaway({});
  const auto notice = client->next(h2::frame_type::goaway);
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->number(0), static_cast<std::uint32_t>(kHighestStream));
  // A stream that crosses the notice is served; the answer to its PING brings the real GOAWAY.
  client->headers(3, support::H2RawClient::request("GET", "/bytes/3", "kube"));
  const auto final = client->next(h2::frame_type::goaway);
  ASSERT_TRUE(final);
  EXPECT_EQ(final->number(0), 3u);
}

TEST_F(LabH2Faults, goaway_now_with_a_code_serves_what_runs) {
  const auto client = connect();
  const auto watch = start_watch(*client);
  proxy().h2().goaway({.kind = H2GoAway::Kind::now,
                       .code = h2::error_code::enhance_your_calm,
                       .last_stream = {},
                       .debug = "too_many_pings"});
  ASSERT_TRUE(client->wait_goaway());
  EXPECT_EQ(client->goaway()->code, h2::error_code::enhance_your_calm);
  EXPECT_EQ(client->goaway()->last_stream, watch);
  EXPECT_EQ(client->goaway()->debug, "too_many_pings");
  gate().release(1);
  EXPECT_TRUE(client->finish(watch).ended);
  EXPECT_TRUE(client->wait_closed());
}

TEST_F(LabH2Faults, goaway_disowns_streams_above_its_last) {
  const auto client = connect();
  const auto kept = start_watch(*client);
  const auto lost = start_watch(*client, "/watch?events=1&lost");
  H2GoAway goaway;
  goaway.kind = H2GoAway::Kind::now;
  goaway.last_stream = kept;
  proxy().h2().goaway(goaway);
  const H2Response disowned = client->finish(lost);
  EXPECT_EQ(disowned.close_code, h2::error_code::refused_stream);
  EXPECT_FALSE(disowned.ended);
  ASSERT_TRUE(wait_arrived("&lost", [](const lab::RequestRecord& record) { return record.done; }));
  gate().release(1);
  EXPECT_TRUE(client->finish(kept).ended);
}

TEST_F(LabH2Faults, goaway_may_end_the_connection_with_its_streams) {
  const auto client = connect();
  const auto watch = start_watch(*client);
  H2GoAway goaway;
  goaway.kind = H2GoAway::Kind::terminate;
  goaway.code = h2::error_code::internal_error;
  proxy().h2().goaway(goaway);
  ASSERT_TRUE(client->wait_closed());
  EXPECT_EQ(client->goaway()->code, h2::error_code::internal_error);
  EXPECT_FALSE(client->response(watch).ended);
}

TEST_F(LabH2Faults, a_script_resets_in_the_middle_of_a_body) {
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.h2->send_head({{":status", "200"}, {"content-length", "100"}});
    exchange.h2->send_data("half of it");
    exchange.h2->send_reset(h2::error_code::enhance_your_calm);
    return lab::Verdict::keep;
  });
  const auto client = connect();
  const H2Response response = client->get("/bytes/100");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "half of it");
  EXPECT_EQ(response.reset, h2::error_code::enhance_your_calm);
  EXPECT_TRUE(client->open());
}

TEST_F(LabH2Faults, an_answer_left_incomplete_is_an_internal_error) {
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
    return lab::Verdict::close;
  });
  const auto client = connect();
  const H2Response response = client->get("/bytes/100");
  EXPECT_EQ(response.body, "part");
  EXPECT_EQ(response.reset, h2::error_code::internal_error);  // as some Teleports end watches
}

TEST_F(LabH2Faults, all_running_streams_can_be_reset) {
  const auto client = connect();
  const auto first = start_watch(*client);
  const auto second = start_watch(*client);
  EXPECT_EQ(proxy().h2().reset_streams(h2::error_code::internal_error), 1u);
  EXPECT_EQ(client->finish(first).reset, h2::error_code::internal_error);
  EXPECT_EQ(client->finish(second).reset, h2::error_code::internal_error);
  EXPECT_EQ(client->get("/bytes/1").status, 200);
}

TEST_F(LabH2Faults, a_script_may_answer_by_trailers_only) {
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.h2->send_head({{":status", "200"}, {"grpc-status", "0"}}, true);
    return lab::Verdict::keep;
  });
  const H2Response response = connect()->get("/any");
  EXPECT_TRUE(response.ended);
  EXPECT_EQ(response.header("grpc-status"), "0");
  EXPECT_EQ(response.body_bytes, 0u);
}

TEST_F(LabH2Faults, without_credit_an_upload_stops_and_goes_on_later) {
  proxy().h2().settings.stream_window = 65'535;
  proxy().h2().set_giving_credit(false);
  const auto client = connect();
  const std::string body = lab::pattern_bytes(200'000);
  const auto upload = client->send({.method = "POST", .path = "/echo", .body = body});
  ASSERT_TRUE(wait_arrived(
      "/echo", [](const lab::RequestRecord& record) { return record.h2.body_bytes == 65'535; }));
  EXPECT_TRUE(client->ping());
  EXPECT_EQ(client->unsent(upload), 200'000u - 65'535u);
  proxy().h2().set_giving_credit(true);
  EXPECT_TRUE(client->finish(upload).body == body);
}

TEST_F(LabH2Faults, pings_go_unanswered_while_requests_are_served) {
  const auto client = connect();
  proxy().h2().set_answering_pings(false);
  EXPECT_FALSE(client->ping(kNothing));
  EXPECT_EQ(client->get("/bytes/1").status, 200);
  proxy().h2().set_answering_pings(true);
  EXPECT_TRUE(client->ping());
}

TEST_F(LabH2Faults, a_frozen_connection_says_nothing_until_it_thaws) {
  const auto client = connect();
  client->get("/bytes/1");
  proxy().h2().set_frozen(true);
  EXPECT_FALSE(client->ping(kNothing));
  const auto stream = client->send({.path = "/bytes/3"});
  EXPECT_FALSE(client->wait(
      stream, [](const H2Response& response) { return response.status != 0; }, kNothing));
  EXPECT_TRUE(client->open());
  proxy().h2().set_frozen(false);
  EXPECT_EQ(client->finish(stream).body, "abc");
}

TEST_F(LabH2Faults, a_proxy_with_frozen_connections_can_end) {
  const auto client = connect();
  start_watch(*client);
  proxy().h2().set_frozen(true);
  proxy().stop();
  EXPECT_TRUE(client->wait_closed());
}

TEST_F(LabH2Faults, an_unread_connection_pushes_back) {
  const auto client = connect();
  client->get("/bytes/1");
  proxy().h2().set_reading(false);
  const auto watched = client->send({.path = "/bytes/3"});
  EXPECT_FALSE(client->wait(
      watched, [](const H2Response& response) { return response.status != 0; }, kNothing));
  proxy().h2().set_reading(true);
  EXPECT_EQ(client->finish(watched).body, "abc");
}

TEST_F(LabH2Faults, a_long_link_takes_its_time_and_makes_small_windows_slow) {
  using std::chrono::milliseconds;
  proxy().h2().set_delay(milliseconds(30));
  const auto client = connect({.stream_window = 65'535});
  EXPECT_GE(client->ping().value_or(milliseconds(0)), milliseconds(60));
  const auto start = std::chrono::steady_clock::now();
  const H2Response response = client->get("/bytes/655350");
  EXPECT_TRUE(response.body == lab::pattern_bytes(655'350));
  // Half a window is given back at a time: at least one round trip for each whole one.
  EXPECT_GE(response.closed_at - start, milliseconds(9 * 60));
}

TEST_F(LabH2Faults, settings_come_late_when_told) {
  proxy().h2().set_sending_preface(false);
  proxy().h2().settings.max_concurrent_streams = 7;
  const auto client = connect();
  const auto stream = client->send({.path = "/bytes/3"});
  ASSERT_TRUE(wait_arrived("/bytes/3"));
  EXPECT_FALSE(client->wait(
      stream, [](const H2Response& response) { return response.status != 0; }, kNothing));
  EXPECT_NE(client->peer_setting(h2::setting::max_concurrent_streams), 7u);
  proxy().h2().set_sending_preface(true);
  EXPECT_EQ(client->finish(stream).body, "abc");
  EXPECT_EQ(client->peer_setting(h2::setting::max_concurrent_streams), 7u);
}

TEST_F(LabH2Faults, connections_drop_in_the_middle) {
  for (const bool by_reset : {false, true}) {
    const auto client = connect();
    const auto watch = start_watch(*client);
    EXPECT_EQ(proxy().h2().drop(by_reset), 1u);
    ASSERT_TRUE(client->wait_closed());
    EXPECT_FALSE(client->response(watch).ended);
    EXPECT_FALSE(client->goaway());
    ASSERT_TRUE(proxy().wait_for(
        [](const lab::Observations& seen) { return seen.open_kube_connections() == 0; }));
  }
}

TEST_F(LabH2Faults, a_script_drops_the_connection_of_its_stream) {
  proxy().on_request([](lab::Exchange& exchange) {
    return exchange.request.path == "/drop" ? lab::Verdict::drop : lab::Verdict::pass;
  });
  const auto client = connect();
  const auto watch = start_watch(*client);
  client->send({.path = "/drop"});
  EXPECT_TRUE(client->wait_closed());
  EXPECT_FALSE(client->response(watch).ended);
}

TEST_F(LabH2Faults, one_of_two_connections_is_chosen_by_its_id) {
  const auto first = connect();
  const auto second = connect();
  first->get("/bytes/1");
  second->get("/bytes/2");
  H2GoAway goaway;
  goaway.kind = H2GoAway::Kind::now;
  EXPECT_EQ(proxy().h2().goaway(goaway, arrived("/bytes/2").connection), 1u);
  EXPECT_TRUE(second->wait_closed());
  EXPECT_TRUE(first->ping());
}

TEST_F(LabH2Faults, raw_frames_reach_the_peer_between_others) {
  const auto client = connect();
  const auto watch = start_watch(*client);
  std::string frames = h2::frame(0xbe, 0x5a, 0, "a type that nobody knows");
  for (int i = 0; i < 100; ++i) frames += h2::ping_frame("floods..");
  EXPECT_EQ(proxy().h2().write_raw(frames), 1u);
  EXPECT_TRUE(support::eventually([&] { return client->pings_received() == 100; }));
  EXPECT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.connections.rbegin()->second.h2.ping_acks == 100;
  }));
  gate().release(1);
  EXPECT_TRUE(client->finish(watch).ended);
}

TEST_F(LabH2Faults, violations_of_a_raw_client_are_on_record) {
  const auto client = connect_raw();
  client->settle();
  client->headers(
      1, support::H2RawClient::request("GET", "/bytes/1", "kube", {{"connection", "close"}}));
  EXPECT_EQ(client->wait_end(1).reset_code, h2::error_code::protocol_error);
  EXPECT_TRUE(client->alive());
  client->write(h2::frame(h2::frame_type::ping, 0, 0, "short"));
  const auto end = client->wait_closed();
  EXPECT_EQ(end.goaway_code, h2::error_code::frame_size_error);
  EXPECT_EQ(proxy().seen().request_count, 0u);
  EXPECT_FALSE(proxy().seen().connections.rbegin()->second.h2.violations.empty());
}

}  // namespace
