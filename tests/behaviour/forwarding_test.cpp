// Requests and responses pass as HTTP/1.1 allows, byte for byte, in every shape that clients use.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/comparable_exchanges.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class Forwarding : public support::KubelaneFixture {
 protected:
  std::string arrived(const std::string& target) {
    const auto seen = proxy().seen();
    const auto* found = seen.last_request(target);
    return found == nullptr ? std::string() : found->raw_head;
  }
};

TEST_F(Forwarding, path_and_query_arrive_byte_for_byte) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string target = "/status/200/a%2Fb//c/../d;x=1?label=%3D%20a&b=c+d&&e";
  exchange("GET", target);
  EXPECT_TRUE(arrived(target).starts_with("GET " + upstream_prefix() + target + " HTTP/1.1\r\n"))
      << arrived(target);
}

TEST_F(Forwarding, only_what_may_leave_leaves) {
  ASSERT_NO_FATAL_FAILURE(start());
  exchange("GET", "/bytes/1",
           "teleport-impersonate-ip: 1.2.3.4\r\nX-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n"
           "Proxy-Authorization: Basic x\r\nKeep-Alive: 5\r\nConnection: X-Mine\r\nX-Mine: 1\r\n"
           "Impersonate-User: ci\r\nAccept-Encoding: gzip\r\ntraceparent: 00-1-2-01\r\n");
  const std::string head = arrived("/bytes/1");
  for (const char* gone :
       {"teleport-", "Forwarded", "Real-IP", "Proxy-Auth", "Keep-Alive", "X-Mine", "uthorization"})
    EXPECT_EQ(head.find(gone), std::string::npos) << gone << " in " << head;
  for (const char* kept :
       {"Impersonate-User: ci", "Accept-Encoding: gzip", "traceparent: 00-1-2-01"})
    EXPECT_NE(head.find(kept), std::string::npos) << kept << " not in " << head;
}

TEST_F(Forwarding, credentials_in_trailers_do_not_leave_either) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Response response =
      exchange("POST", "/echo", "Transfer-Encoding: chunked\r\n",
               "3\r\nabc\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer x\r\nTeleport-Y: z\r\n\r\n");
  EXPECT_EQ(response.body, "abc");
  ASSERT_EQ(response.trailers.size(), 1u) << response.raw_body;
  EXPECT_EQ(response.trailers[0].first, "X-Sum");
}

TEST_F(Forwarding, answers_without_a_body_have_none) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("HEAD", "/bytes/1000"));
  const Response head = caller.read_response(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("Content-Length"), "1000");
  for (const int status : {204, 304}) {
    caller.write(request("GET", "/status/" + std::to_string(status)));
    EXPECT_EQ(caller.read_response().status, status);
  }
  caller.write(request("GET", "/bytes/3"));  // and the connection is still in step
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(3));
}

TEST_F(Forwarding, every_method_passes) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* method : {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}) {
    const Response response = exchange(method, "/status/200", "Content-Length: 2\r\n", "{}");
    EXPECT_EQ(response.status, 200) << method;
    EXPECT_TRUE(arrived("/status/200").starts_with(std::string(method) + " ")) << method;
  }
}

TEST_F(Forwarding, pipelined_requests_are_answered_in_order) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  std::string all;
  for (int i = 1; i <= 20; ++i) {
    all += request("GET", "/bytes/" + std::to_string(i));
    all += request("POST", "/echo", "Content-Length: 3\r\n", "abc");
  }
  caller.write(all);
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(static_cast<std::size_t>(i)));
    EXPECT_EQ(caller.read_response().body, "abc");
  }
}

TEST_F(Forwarding, interim_answers_come_through) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Response response = get("/hints");
  EXPECT_EQ(response.status, 200);
  ASSERT_EQ(response.interim.size(), 1u);
  EXPECT_TRUE(response.interim[0].starts_with("HTTP/1.1 103")) << response.interim[0];
}

TEST_F(Forwarding, expect_continue_is_the_proxys_to_answer) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/echo", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
  EXPECT_TRUE(caller.read_until("\r\n\r\n").starts_with("HTTP/1.1 100"));
  caller.write("hello");
  EXPECT_EQ(caller.read_response().body, "hello");
}

TEST_F(Forwarding, an_early_answer_reaches_a_client_that_still_sends) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/early/413", "Content-Length: 50000000\r\n", "begin"));
  const Response response = caller.read_response();
  EXPECT_EQ(response.status, 413);
  EXPECT_TRUE(response.complete);
  EXPECT_TRUE(caller.ended());
}

TEST_F(Forwarding, a_body_that_ends_with_the_connection_is_passed_so) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("GET", "/until-close/100000"));
  const Response response = caller.read_response();
  EXPECT_EQ(response.body, lab::pattern_bytes(100'000));
  EXPECT_EQ(response.header("Connection"), "close");
}

TEST_F(Forwarding, a_truncated_answer_does_not_look_complete) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    return lab::Verdict::drop;
  });
  TlsClient caller = connect();
  caller.write(request("GET", "/x"));
  Response response = caller.read_response_head();
  EXPECT_EQ(response.status, 200);
  try {
    caller.read_response_body(response);
  } catch (const support::PatienceOver&) {
    FAIL() << "the client was left waiting";
  } catch (const std::runtime_error&) {  // reset: as good
  }
  EXPECT_FALSE(response.complete);
}

TEST_F(Forwarding, large_lists_pass_whole_and_uploads_too) {
  ASSERT_NO_FATAL_FAILURE(start());
  constexpr std::size_t size = 100'000'000;
  TlsClient caller = connect();
  caller.write(request("GET", "/chunked/" + std::to_string(size) + "?chunk=100000"));
  const Response list = caller.read_response();
  EXPECT_TRUE(list.complete);
  EXPECT_TRUE(list.body == lab::pattern_bytes(size));
  if (!kubelane().sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), 64u << 20) << "a body was held";
  }
}

TEST_F(Forwarding, a_client_that_stops_reading_costs_a_bounded_buffer) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::size_t before = kubelane().resident_bytes();
  std::vector<TlsClient> stalled;
  for (int i = 0; i < 10; ++i) {
    stalled.push_back(connect());
    stalled.back().write(request("GET", "/bytes/50000000"));
    ASSERT_TRUE(stalled.back().readable());
  }
  // Others are served meanwhile, again and again.
  for (int i = 0; i < 200; ++i) ASSERT_EQ(get("/bytes/1000").status, 200);
  if (!kubelane().sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), before + (16u << 20));
  }
  const Response late = stalled.front().read_response();
  EXPECT_TRUE(late.complete);
  EXPECT_EQ(late.body.size(), 50'000'000u);
}

TEST_F(Forwarding, a_client_that_goes_away_is_noticed_upstream) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const bool by_reset : {false, true}) {
    TlsClient caller = connect();
    caller.write(request("GET", "/watch?events=1000"));
    EXPECT_EQ(caller.read_response_head().status, 200);
    const auto open = [](const lab::Observations& seen) {
      const auto* watch = seen.last_request("/watch?events=1000");
      return watch == nullptr ? nullptr : &seen.connections.at(watch->connection);
    };
    if (by_reset) {
      caller.reset();
    } else {
      caller.close();
    }
    ASSERT_TRUE(proxy().wait_for([&](const lab::Observations& seen) {
      const auto* connection = open(seen);
      return connection != nullptr && connection->peer_ended_at.has_value();
    })) << (by_reset ? "reset" : "close");
  }
}

TEST_F(Forwarding, the_proxy_that_goes_away_is_noticed_by_the_client) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("GET", "/watch?events=1000"));
  EXPECT_EQ(caller.read_response_head().status, 200);
  proxy().close_all();
  EXPECT_TRUE(caller.ended());
}

TEST_F(Forwarding, half_close_after_the_request_still_gets_the_answer) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/echo", "Content-Length: 5\r\n", "hello"));
  caller.half_close();
  const Response response = caller.read_response();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "hello");
}

TEST_F(Forwarding, both_error_bodies_of_teleport_pass_untouched) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const std::string& body :
       {std::string(R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
                    R"("message":"[00] access denied","reason":"Forbidden","code":403})"),
        std::string("{\n    \"error\": {\n        \"message\": \"x\"\n    }\n}")}) {
    proxy().on_request([&body](lab::Exchange& exchange) {
      lab::answer(exchange.stream, 403, "application/json", body);
      return lab::Verdict::keep;
    });
    const Response response = get("/api");
    EXPECT_EQ(response.status, 403);
    EXPECT_EQ(response.body, body);
  }
}

TEST_F(Forwarding, default_impersonation_applies_when_the_client_names_none) {
  more_service_yaml = "    impersonate: {user: ci, groups: [developers]}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  get("/bytes/1");
  EXPECT_NE(arrived("/bytes/1").find("\r\nImpersonate-User: ci\r\nImpersonate-Group: developers"),
            std::string::npos)
      << arrived("/bytes/1");
  exchange("GET", "/bytes/2", "Impersonate-User: other\r\n");
  EXPECT_EQ(arrived("/bytes/2").find("developers"), std::string::npos);
}

TEST_F(Forwarding, names_with_slashes_colons_and_percents_have_a_path) {
  const std::string arn = "arn:aws:eks:eu-west-1:123456789012:cluster/prod%1";
  proxy_options.clusters = {{arn, lab::standard_paths(gate())},
                            {"demo", lab::standard_paths(gate())}};
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(endpoint(arn).prefix, "/arn:aws:eks:eu-west-1:123456789012:cluster~2Fprod~251");
  EXPECT_EQ(get("/bytes/5", arn).body, lab::pattern_bytes(5));
  EXPECT_TRUE(arrived("/bytes/5").starts_with("GET " + upstream_prefix(arn) + "/bytes/5 "));
  EXPECT_EQ(get("/bytes/6").body, lab::pattern_bytes(6));
}

// Byte for byte what the Proxy said, direct and through us, over many shapes of exchange.
TEST_F(Forwarding, two_hundred_exchanges_equal_the_direct_ones) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto targets = support::comparable_exchanges();
  ASSERT_GE(targets.size(), 200u);
  // The lab directly, with the bot's certificate, as kubelane reaches it.
  const lab::TbotMaterial material = proxy().renew(kind, client);
  support::ClientOptions direct;
  direct.server_name = "kube-teleport-proxy-alpn.teleport.cluster.local";
  direct.certificate_pem = material.client.pem();
  direct.key_pem = material.client.private_pem();
  const auto comparable = [](const Response& response) {
    std::string text = std::to_string(response.status) + "\n";
    for (const std::string& interim : response.interim) text += interim;
    for (const auto& [field, value] : response.headers)
      if (field != "Connection" && field != "Date") text += field + ": " + value + "\n";
    return text + "\n" + response.raw_body;
  };
  for (const auto& [method, target] : targets) {
    TlsClient straight("127.0.0.1", proxy().kube_port(), direct);
    straight.write(method + " " + upstream_prefix() + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
    const Response expected = straight.read_response(method == "HEAD");
    const Response got = exchange(method, target);
    ASSERT_EQ(comparable(got), comparable(expected)) << method << " " << target;
    ASSERT_EQ(got.complete, expected.complete) << method << " " << target;
  }
}

}  // namespace
