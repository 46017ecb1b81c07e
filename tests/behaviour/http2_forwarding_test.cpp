// HTTP/2 on both sides: what the lane promises of HTTP/1.1 holds for streams.
#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "tests/support/comparable_exchanges.hpp"
#include "tests/support/http2_fixture.hpp"
#include "tests/support/kubectl.hpp"

namespace {

using support::H2Client;
using support::H2Response;
namespace h2 = lab::h2;

class Http2Forwarding : public support::Http2Fixture {};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

TEST_F(Http2Forwarding, a_stream_goes_to_a_stream) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response response = get_h2(*local, "/bytes/1000");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, lab::pattern_bytes(1000));
  const auto record = arrived("/bytes/1000");
  EXPECT_GT(record.h2.stream, 0);
  EXPECT_EQ(record.target, upstream_prefix() + "/bytes/1000");
  EXPECT_EQ(links(), 1u) << "the link that found out the protocol serves the requests";
}

TEST_F(Http2Forwarding, http_1_stays_http_1) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  EXPECT_EQ(get("/bytes/7").body, lab::pattern_bytes(7));
  EXPECT_EQ(arrived("/bytes/7").h2.stream, 0);
}

TEST_F(Http2Forwarding, kubectl_speaks_http_2_by_itself) {
  if (!support::kubectl_program()) GTEST_SKIP() << "kubectl is not installed";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto result = support::run_kubectl(endpoint().kubeconfig_path, directory(),
                                           {"get", "--raw", endpoint().prefix + "/bytes/9"});
  EXPECT_EQ(result.output, lab::pattern_bytes(9)) << result.errors;
  EXPECT_GT(arrived("/bytes/9").h2.stream, 0);
}

TEST_F(Http2Forwarding, path_and_query_arrive_byte_for_byte) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  for (const std::string target :
       {"/bytes/1?a=b&c=%20%2F;d=%zz", "//bytes//1", "/a/../b/./c", "/%2e%2E/%2F%5C%00", "/x;y=z",
        "/bytes/1?", "/~user/!$&'()*+,;=:@", "/bytes/1?x=?&y=/"}) {
    local->exchange(h2_request("GET", target));
    EXPECT_EQ(arrived(target).target, upstream_prefix() + target);
  }
}

TEST_F(Http2Forwarding, only_what_may_leave_leaves) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response response = local->exchange(h2_request("GET", "/bytes/2",
                                                         {{"accept", "application/json"},
                                                          {"teleport-impersonate-user", "admin"},
                                                          {"x-teleport-anything", "1"},
                                                          {"x-forwarded-for", "10.0.0.1"},
                                                          {"x-real-ip", "10.0.0.1"},
                                                          {"forwarded", "for=1"},
                                                          {"proxy-authorization", "Basic x"},
                                                          {"te", "trailers"},
                                                          {"impersonate-group", "developers"},
                                                          {"cookie", "a=b"},
                                                          {"x-twice", "1"},
                                                          {"x-twice", "2"}}));
  ASSERT_EQ(response.status, 200) << response.body;
  auto lines = lines_of(arrived("/bytes/2").raw_head);
  EXPECT_EQ(lines, (std::vector<std::string>{
                       ":method: GET", ":scheme: https", ":authority: " + proxy().address(),
                       ":path: " + upstream_prefix() + "/bytes/2", "accept: application/json",
                       "te: trailers", "impersonate-group: developers", "cookie: a=b", "x-twice: 1",
                       "x-twice: 2"}));
}

TEST_F(Http2Forwarding, credentials_in_trailers_do_not_leave_either) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto request = h2_request("POST", "/echo");
  request.keep_open = true;
  const auto stream = local->send(request);
  local->write(stream, "data");
  local->write_trailers(stream, {{"x-sum", "4"},
                                 {"authorization", "Bearer secret"},
                                 {"impersonate-user", "root"},
                                 {"teleport-x", "y"}});
  const H2Response response = local->finish(stream);
  EXPECT_EQ(response.body, "data");
  EXPECT_EQ(response.trailers, (h2::Fields{{"x-sum", "4"}}));
  EXPECT_EQ(arrived("/echo").h2.trailers,
            (std::vector<std::pair<std::string, std::string>>{{"x-sum", "4"}}));
}

TEST_F(Http2Forwarding, default_impersonation_applies_when_the_client_names_none) {
  more_service_yaml = "    impersonate: {user: ci, groups: [developers]}\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  get_h2(*local, "/bytes/3");
  EXPECT_NE(
      arrived("/bytes/3").raw_head.find("impersonate-user: ci\nimpersonate-group: developers"),
      std::string::npos);
  local->exchange(h2_request("GET", "/bytes/4", {{"impersonate-group", "developers"}}));
  EXPECT_EQ(arrived("/bytes/4").raw_head.find("impersonate-user"), std::string::npos);
}

TEST_F(Http2Forwarding, two_hundred_exchanges_equal_the_direct_ones) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto targets = support::comparable_exchanges();
  ASSERT_GE(targets.size(), 200u);
  const lab::TbotMaterial material = proxy().renew(kind, client);
  support::ClientOptions direct;
  direct.server_name = "kube-teleport-proxy-alpn.teleport.cluster.local";
  direct.certificate_pem = material.client.pem();
  direct.key_pem = material.client.private_pem();
  H2Client straight("127.0.0.1", proxy().kube_port(), direct);
  const auto through = connect_h2();
  const auto comparable = [](const H2Response& response) {
    std::string text = std::to_string(response.status) + (response.ended ? " ended\n" : "\n");
    for (const h2::Fields& interim : response.interim)
      for (const auto& [name, value] : interim) text += name + ": " + value + "\n";
    for (const auto& [name, value] : response.fields)
      if (name != "date") text += name + ": " + value + "\n";
    text += "\n" + response.body + "\n";
    for (const auto& [name, value] : response.trailers) text += name + ": " + value + "\n";
    return text;
  };
  for (const auto& [method, target] : targets) {
    const H2Response expected =
        straight.exchange({.method = method, .path = upstream_prefix() + target});
    const H2Response got = through->exchange(h2_request(method, target));
    ASSERT_EQ(comparable(got), comparable(expected)) << method << " " << target;
  }
}

TEST_F(Http2Forwarding, every_method_passes) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  for (const std::string method : {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
    local->exchange(h2_request(method, "/status/200?m=" + method));
    EXPECT_EQ(arrived("/status/200?m=" + method).method, method);
  }
}

TEST_F(Http2Forwarding, a_watch_delivers_each_event_when_it_happens) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto stream = local->send(h2_request("GET", "/watch?events=3"));
  ASSERT_TRUE(local->wait_head(stream));
  std::size_t bytes = 0;
  for (int event = 0; event < 3; ++event) {
    gate().release(1);
    ASSERT_TRUE(local->wait_body(stream, bytes + 1)) << "event " << event;
    ASSERT_TRUE(local->wait(
        stream, [](const H2Response& response) { return response.body.ends_with('\n'); }));
    bytes = local->response(stream).body_bytes;
    const auto events = lines_of(local->response(stream).body);
    EXPECT_EQ(events.size(), static_cast<std::size_t>(event + 1));
  }
  EXPECT_TRUE(local->finish(stream).ended);
}

TEST_F(Http2Forwarding, an_echo_runs_both_ways_at_once) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto request = h2_request("POST", "/echo");
  request.keep_open = true;
  const auto stream = local->send(request);
  local->write(stream, "one");
  ASSERT_TRUE(local->wait_body(stream, 3));
  local->write(stream, "two");
  ASSERT_TRUE(local->wait_body(stream, 6));
  local->write(stream, "", true);
  EXPECT_EQ(local->finish(stream).body, "onetwo");
}

TEST_F(Http2Forwarding, large_lists_and_uploads_pass_whole) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  std::size_t got = 0;
  auto list = h2_request("GET", "/bytes/100000000");
  std::size_t mismatches = 0;
  list.sink = [&](std::string_view bytes) {
    for (const char byte : bytes)
      if (byte != static_cast<char>('a' + got++ % 26)) ++mismatches;
  };
  const H2Response response = local->exchange(list);
  EXPECT_TRUE(response.ended);
  EXPECT_EQ(got, 100'000'000u);
  EXPECT_EQ(mismatches, 0u);
  const std::string body = lab::pattern_bytes(10'000'000);
  const H2Response echoed = local->exchange(h2_request("POST", "/echo", {}, body));
  EXPECT_TRUE(echoed.body == body) << echoed.body.size();
}

TEST_F(Http2Forwarding, an_early_answer_reaches_a_client_that_still_sends) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto request = h2_request("POST", "/early/413");
  request.keep_open = true;
  const auto stream = local->send(request);
  local->write(stream, lab::pattern_bytes(100'000));
  const H2Response response = local->finish(stream);
  EXPECT_EQ(response.status, 413);
  EXPECT_TRUE(response.ended);
  EXPECT_EQ(get_h2(*local, "/bytes/5").status, 200) << "the connection goes on";
}

TEST_F(Http2Forwarding, a_cancelled_stream_reaches_upstream_at_once) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto stream = local->send(h2_request("GET", "/watch?events=5"));
  ASSERT_TRUE(local->wait_head(stream));
  local->cancel(stream);
  ASSERT_TRUE(wait_arrived("/watch?events=5", [](const lab::RequestRecord& record) {
    return record.h2.reset_at.has_value();
  }));
  const auto record = arrived("/watch?events=5");
  EXPECT_EQ(record.h2.reset_code, h2::error_code::cancel);
  EXPECT_EQ(get_h2(*local, "/bytes/5").status, 200);
}

TEST_F(Http2Forwarding, a_client_that_goes_away_cancels_all_its_streams) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  auto local = connect_h2();
  for (int i = 0; i < 10; ++i) {
    const auto stream = local->send(h2_request("GET", "/watch?events=5&n=" + std::to_string(i)));
    ASSERT_TRUE(local->wait_head(stream));
  }
  local->reset();
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(wait_arrived("&n=" + std::to_string(i), [](const lab::RequestRecord& record) {
      return record.h2.reset_code == h2::error_code::cancel;
    }));
}

TEST_F(Http2Forwarding, a_stream_that_the_proxy_resets_does_not_look_complete) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  proxy().on_request([](lab::Exchange& exchange) {
    if (!exchange.request.target.ends_with("/half")) return lab::Verdict::pass;
    exchange.stream.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    return lab::Verdict::keep;
  });
  const H2Response half = get_h2(*local, "/half");
  EXPECT_EQ(half.status, 200);
  EXPECT_FALSE(half.ended);
  EXPECT_TRUE(half.reset.has_value());
  EXPECT_EQ(half.body, "half of it") << "what came is delivered first";
}

TEST_F(Http2Forwarding, both_error_bodies_of_teleport_pass_untouched) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const H2Response denied =
      local->exchange(h2_request("GET", "/bytes/1", {{"impersonate-user", "nobody"}}));
  EXPECT_EQ(denied.status, 403);
  EXPECT_NE(denied.body.find("impersonation request has been denied"), std::string::npos)
      << denied.body;
}

TEST_F(Http2Forwarding, a_stalled_reader_holds_a_bounded_amount_and_stops_nobody) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto stalled = h2_request("GET", "/bytes/100000000");
  stalled.paused = true;
  std::vector<H2Client::StreamId> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(local->send(stalled));
  for (const auto stream : streams) ASSERT_TRUE(local->wait_body(stream, 1 << 20));
  const std::size_t before = kubelane().resident_bytes();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(get_h2(*local, "/bytes/30000").body_bytes, 30'000u);
  if (!support::Process::sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), before + (16u << 20));
  }
  for (const auto stream : streams) local->cancel(stream);
}

TEST_F(Http2Forwarding, a_stalled_upload_stops_nobody) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  proxy().h2().set_giving_credit(false);
  const auto local = connect_h2();
  auto upload = h2_request("POST", "/echo");
  upload.keep_open = true;
  const auto stream = local->send(upload);
  local->write(stream, lab::pattern_bytes(5'000'000));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get_h2(*local, "/bytes/3000").status, 200);
  EXPECT_GT(local->unsent(stream), 2'000'000u) << "the client is held back";
  local->cancel(stream);
}

TEST_F(Http2Forwarding, a_long_link_is_not_bound_by_windows) {
  ASSERT_NO_FATAL_FAILURE(start_lab());
  proxy().h2().set_delay(std::chrono::milliseconds(150));
  write_credentials();
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  const auto local = connect_h2();
  // 32 MB in windows that never grew beyond 1 MiB would need 31 round trips of 300 ms.
  std::size_t got = 0;
  auto list = h2_request("GET", "/bytes/32000000");
  list.sink = [&](std::string_view bytes) { got += bytes.size(); };
  local->exchange(list);
  EXPECT_EQ(got, 32'000'000u);
  const lab::Observations seen = proxy().seen();
  const auto& link = seen.connections.at(arrived("/bytes/32000000").connection).h2;
  EXPECT_EQ(link.settings.at(h2::setting::initial_window_size), 1u << 20) << "for every stream";
  EXPECT_GE(link.stream_window_most, 2 << 20) << "for a stream that needs it";
  EXPECT_LE(link.stream_window_most, 8 << 20);
}

}  // namespace
