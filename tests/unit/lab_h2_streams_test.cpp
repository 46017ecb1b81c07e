// HTTP/2 of the lab in good order: the handlers' answers arrive as over HTTP/1.1, and what the
// client did is on record.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/lab_h2_fixture.hpp"

namespace {

namespace h2 = lab::h2;
using support::H2Client;
using support::H2Response;

class LabH2Streams : public support::LabH2Fixture {};

TEST_F(LabH2Streams, alpn_follows_the_switch_for_new_connections) {
  const auto alpn = [&](std::vector<std::string> offered) {
    auto options = identity();
    options.alpn = std::move(offered);
    return support::TlsClient("127.0.0.1", proxy().kube_port(), options).alpn();
  };
  EXPECT_EQ(alpn({"http/1.1", "h2"}), "h2");  // the server's order counts, as in Go
  EXPECT_EQ(alpn({"http/1.1"}), "http/1.1");
  EXPECT_EQ(alpn({}), "");
  const auto old = connect();
  proxy().offer_http2(false);
  EXPECT_EQ(alpn({"http/1.1", "h2"}), "http/1.1");
  EXPECT_THROW(alpn({"h2"}), std::runtime_error);  // no_application_protocol
  EXPECT_EQ(old->get("/bytes/3").body, "abc");
  proxy().offer_http2(true);
  EXPECT_EQ(alpn({"h2", "http/1.1"}), "h2");
}

TEST_F(LabH2Streams, http_1_stays_beside_it) {
  auto options = identity();
  options.alpn = {"http/1.1"};
  support::TlsClient client("127.0.0.1", proxy().kube_port(), options);
  client.write("GET /bytes/3 HTTP/1.1\r\nHost: kube\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "abc");
  EXPECT_EQ(arrived("/bytes/3").h2.stream, 0);
}

TEST_F(LabH2Streams, requests_are_on_record_with_identity_fields_and_stream) {
  const auto client = connect({.authority = "kube.example.com"});
  const H2Response response = client->exchange(
      {.path = "/bytes/5?a=b",
       .fields = {{"accept", "application/json"}, {"x-twice", "1"}, {"x-twice", "2"}}});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, lab::pattern_bytes(5));
  EXPECT_EQ(response.header("content-length"), "5");
  EXPECT_TRUE(response.ended);
  const auto record = arrived("/bytes/5?a=b");
  EXPECT_EQ(record.raw_head,
            ":method: GET\n:scheme: https\n:authority: kube.example.com\n:path: /bytes/5?a=b\n"
            "accept: application/json\nx-twice: 1\nx-twice: 2\n");
  EXPECT_EQ(record.h2.stream, 1);
  EXPECT_TRUE(record.h2.end_stream);
  EXPECT_EQ(record.kube_cluster, "demo");
  EXPECT_EQ(record.user, "ci");
  EXPECT_FALSE(record.client_serial.empty());
  EXPECT_EQ(proxy().seen().connections.at(record.connection).alpn, "h2");
  EXPECT_EQ(proxy().seen().authorization_seen, 0u);
}

TEST_F(LabH2Streams, a_leaked_authorization_is_counted) {
  const auto client = connect();
  client->exchange({.path = "/bytes/1", .fields = {{"authorization", "Bearer x"}}});
  EXPECT_EQ(proxy().seen().authorization_seen, 1u);
}

TEST_F(LabH2Streams, teleport_refuses_as_over_http_1) {
  auto options = identity();
  options.certificate_pem.clear();
  options.key_pem.clear();
  H2Client stranger("127.0.0.1", proxy().kube_port(), options);
  const H2Response response = stranger.get("/bytes/1");
  EXPECT_EQ(response.status, 403);
  EXPECT_NE(response.body.find("[00] access denied"), std::string::npos) << response.body;
}

TEST_F(LabH2Streams, bodies_of_every_framing_come_whole) {
  const auto client = connect();
  EXPECT_EQ(client->get("/bytes/300000").body, lab::pattern_bytes(300'000));
  EXPECT_EQ(client->get("/chunked/300000?chunk=7001").body, lab::pattern_bytes(300'000));
  EXPECT_EQ(client->get("/until-close/300000").body, lab::pattern_bytes(300'000));
  EXPECT_EQ(client->get("/bytes/0").body, "");
  const H2Response head = client->exchange({.method = "HEAD", .path = "/bytes/1000"});
  EXPECT_EQ(head.header("content-length"), "1000");
  EXPECT_EQ(head.body_bytes, 0u);
  EXPECT_EQ(client->get("/status/204").status, 204);
  EXPECT_EQ(client->get("/status/304").status, 304);
  EXPECT_TRUE(client->open());
}

TEST_F(LabH2Streams, trailers_and_interim_answers_arrive) {
  const auto client = connect();
  const H2Response trailers = client->get("/trailers/26");
  EXPECT_EQ(trailers.body_bytes, 26u);
  EXPECT_EQ(trailers.trailers, (h2::Fields{{"x-checksum", "26"}, {"x-done", "yes"}}));
  const H2Response hints = client->get("/hints");
  ASSERT_EQ(hints.interim.size(), 1u);
  EXPECT_EQ(hints.interim[0], (h2::Fields{{":status", "103"}, {"link", "</style>; rel=preload"}}));
  EXPECT_EQ(hints.status, 200);
}

TEST_F(LabH2Streams, an_echo_runs_both_ways_at_once_with_trailers) {
  const auto client = connect();
  const auto stream = client->send({.method = "POST", .path = "/echo", .keep_open = true});
  client->write(stream, "one");
  ASSERT_TRUE(client->wait_body(stream, 3));
  client->write(stream, "two");
  ASSERT_TRUE(client->wait_body(stream, 6));
  client->write_trailers(stream, {{"x-sum", "6"}});
  const H2Response response = client->finish(stream);
  EXPECT_EQ(response.body, "onetwo");
  EXPECT_EQ(response.trailers, (h2::Fields{{"x-sum", "6"}}));
  const auto record = arrived("/echo");
  EXPECT_EQ(record.h2.body_bytes, 6u);
  EXPECT_EQ(record.h2.trailers, (h2::Fields{{"x-sum", "6"}}));
  EXPECT_TRUE(record.h2.end_stream);
}

TEST_F(LabH2Streams, large_uploads_pass_through_the_windows) {
  const auto client = connect();
  const std::string body = lab::pattern_bytes(5'000'000);
  const H2Response counted = client->exchange({.method = "POST", .path = "/echo", .body = body});
  EXPECT_TRUE(counted.body == body);
  const H2Response exact =
      client->exchange({.method = "PUT",
                        .path = "/echo",
                        .fields = {{"content-length", std::to_string(body.size())}},
                        .body = body});
  EXPECT_TRUE(exact.body == body);
  EXPECT_EQ(exact.header("content-length"), std::to_string(body.size()));
}

TEST_F(LabH2Streams, expect_continue_is_answered) {
  const auto client = connect();
  const auto stream = client->send({.method = "POST",
                                    .path = "/echo",
                                    .fields = {{"expect", "100-continue"}},
                                    .keep_open = true});
  ASSERT_TRUE(
      client->wait(stream, [](const H2Response& so_far) { return !so_far.interim.empty(); }));
  EXPECT_EQ(client->response(stream).interim[0], (h2::Fields{{":status", "100"}}));
  client->write(stream, "go", true);
  EXPECT_EQ(client->finish(stream).body, "go");
}

TEST_F(LabH2Streams, an_early_answer_stops_the_upload_without_an_error) {
  const auto client = connect();
  const auto stream =
      client->send({.method = "POST", .path = "/early/413", .body = "part", .keep_open = true});
  const H2Response response = client->finish(stream);
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.body, "too early\n");
  EXPECT_TRUE(response.ended);
  EXPECT_EQ(response.reset, h2::error_code::no_error);
}

TEST_F(LabH2Streams, events_of_many_watches_come_at_once_and_cancels_are_on_record) {
  const auto client = connect();
  std::vector<H2Client::StreamId> watches;
  for (int i = 0; i < 50; ++i) {
    watches.push_back(client->send({.path = "/watch?events=1000&watch=" + std::to_string(i)}));
  }
  for (const auto watch : watches) ASSERT_TRUE(client->wait_head(watch));
  EXPECT_EQ(connection_of("watch=49").h2.streams_open, 50u);
  gate().release(75);
  ASSERT_TRUE(support::eventually([&] {
    std::ptrdiff_t events = 0;
    for (const auto watch : watches) {
      const std::string body = client->response(watch).body;
      events += std::count(body.begin(), body.end(), '\n');
    }
    return events == 75;
  }));
  client->cancel(watches[7]);
  ASSERT_TRUE(wait_arrived("watch=7", [](const lab::RequestRecord& record) {
    return record.h2.reset_code == h2::error_code::cancel && record.done;
  }));
  EXPECT_EQ(connection_of("watch=49").h2.streams_open, 49u);
  EXPECT_FALSE(client->response(watches[8]).closed);
  EXPECT_EQ(client->get("/bytes/3").body, "abc");
  EXPECT_TRUE(connection_of("watch=49").h2.violations.empty());
}

TEST_F(LabH2Streams, a_thousand_watches_fit) {
  std::vector<std::unique_ptr<H2Client>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(connect());
    for (int j = 0; j < 250; ++j) clients.back()->send({.path = "/watch?events=1"});
  }
  for (const auto& client : clients) ASSERT_TRUE(client->wait_head(499));
  gate().release(1000);
  for (const auto& client : clients) {
    for (int j = 0; j < 250; ++j) EXPECT_TRUE(client->finish(2 * j + 1).ended);
  }
}

TEST_F(LabH2Streams, a_paused_stream_holds_its_window_and_its_neighbours_go_on) {
  const auto client = connect({.stream_window = 70'000});
  const auto stalled = client->send({.path = "/bytes/1000000", .paused = true});
  ASSERT_TRUE(client->wait_body(stalled, 70'000));
  EXPECT_EQ(client->get("/bytes/500000").body_bytes, 500'000u);
  EXPECT_EQ(client->response(stalled).body_bytes, 70'000u);
  client->unpause(stalled);
  EXPECT_TRUE(client->finish(stalled).body == lab::pattern_bytes(1'000'000));
}

TEST_F(LabH2Streams, a_connection_without_credit_stalls_all_its_streams) {
  const auto client = connect({.connection_window = 100'000});
  client->hold_connection_credit(true);
  const auto first = client->send({.path = "/bytes/1000000"});
  ASSERT_TRUE(client->wait_body(first, 100'000));
  EXPECT_TRUE(client->ping().has_value());
  EXPECT_EQ(client->response(first).body_bytes, 100'000u);
  client->hold_connection_credit(false);
  EXPECT_EQ(client->finish(first).body_bytes, 1'000'000u);
}

TEST_F(LabH2Streams, a_handler_that_does_not_read_stalls_its_own_upload_only) {
  proxy().h2().settings.stream_window = 65'535;
  proxy().on_request([this](lab::Exchange& exchange) {
    if (exchange.request.path != "/stalled") return lab::Verdict::pass;
    while (!gate().take(20)) {
      if (exchange.stream.peer_ended()) return lab::Verdict::close;
    }
    lab::read_body(exchange.stream, exchange.request);
    lab::answer(exchange.stream, 200, "text/plain", "read\n");
    return lab::Verdict::keep;
  });
  const auto client = connect();
  const auto stalled =
      client->send({.method = "POST", .path = "/stalled", .body = lab::pattern_bytes(200'000)});
  ASSERT_TRUE(wait_arrived(
      "/stalled", [](const lab::RequestRecord& record) { return record.h2.body_bytes == 65'535; }));
  const std::string body = lab::pattern_bytes(300'000);
  EXPECT_TRUE(client->exchange({.method = "POST", .path = "/echo", .body = body}).body == body);
  EXPECT_EQ(arrived("/stalled").h2.body_bytes, 65'535u);
  EXPECT_EQ(client->unsent(stalled), 200'000u - 65'535u);
  gate().release(1);
  EXPECT_EQ(client->finish(stalled).status, 200);
}

TEST_F(LabH2Streams, the_limit_of_streams_is_said_and_can_change) {
  proxy().h2().settings.max_concurrent_streams = 3;
  const auto client = connect();
  ASSERT_TRUE(client->wait_peer_setting(h2::setting::max_concurrent_streams, 3));
  std::vector<H2Client::StreamId> streams;
  for (int i = 0; i < 5; ++i) streams.push_back(client->send({.path = "/watch?events=1"}));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(client->wait_head(streams[static_cast<std::size_t>(i)]));
  ASSERT_TRUE(client->ping());
  EXPECT_EQ(connection_of("/watch?events=1").h2.streams_open, 3u);
  proxy().h2().set_max_concurrent_streams(5);
  for (const auto stream : streams) ASSERT_TRUE(client->wait_head(stream));
  ASSERT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.connections.rbegin()->second.h2.settings_acked >= 2;
  }));
  gate().release(5);
  for (const auto stream : streams) EXPECT_TRUE(client->finish(stream).ended);
  EXPECT_EQ(connection_of("/watch?events=1").h2.streams_most, 5u);
}

TEST_F(LabH2Streams, the_clients_settings_pings_and_goaway_are_on_record) {
  const auto client = connect({.stream_window = 123'456});
  EXPECT_TRUE(client->ping());
  client->get("/bytes/1");
  client->send_goaway(h2::error_code::no_error);
  ASSERT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.connections.rbegin()->second.h2.goaway_code.has_value();
  }));
  const auto record = connection_of("/bytes/1").h2;
  EXPECT_EQ(record.settings.at(h2::setting::initial_window_size), 123'456u);
  EXPECT_EQ(record.settings.at(h2::setting::enable_push), 0u);
  EXPECT_EQ(record.pings, 1u);
  EXPECT_GE(record.settings_acked, 1u);
  EXPECT_TRUE(client->wait_closed());
}

TEST_F(LabH2Streams, an_idle_connection_is_told_and_closed) {
  const auto client = connect();
  client->get("/bytes/1");
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.idle_kube_connections() == 1; }));
  EXPECT_EQ(proxy().close_idle(), 1u);
  EXPECT_TRUE(client->wait_closed());
}

// Go looks at a certificate's time in the handshake only: what comes later on such a connection is
// served, and told apart.
TEST_F(LabH2Streams, requests_past_the_end_of_a_certificate_are_counted) {
  lab::ClientSpec spec;
  spec.valid_until = 4;
  const lab::Issued issued = proxy().renew(lab::TbotKind::kubernetes, spec).client;
  auto options = identity();
  options.certificate_pem = issued.pem();
  options.key_pem = issued.private_pem();
  H2Client client("127.0.0.1", proxy().kube_port(), options);
  EXPECT_EQ(client.get("/bytes/1").status, 200);
  const auto record = [&] { return proxy().seen().certificates.at(issued.serial); };
  EXPECT_EQ(record().connections, 1u);
  ASSERT_TRUE(support::eventually([&] {
    EXPECT_EQ(client.get("/bytes/1").status, 200);
    return record().requests_late > 0;
  }));
  EXPECT_GE(std::chrono::system_clock::now(), record().not_after + std::chrono::seconds(1));
  EXPECT_GT(record().requests, record().requests_late);
}

TEST_F(LabH2Streams, a_proxy_that_ends_takes_running_streams_along) {
  const auto client = connect();
  const auto watch = client->send({.path = "/watch?events=1"});
  ASSERT_TRUE(client->wait_head(watch));
  proxy().stop();
  const H2Response response = client->finish(watch);
  EXPECT_FALSE(response.ended);
  EXPECT_FALSE(client->open());
}

}  // namespace
