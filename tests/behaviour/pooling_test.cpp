// Upstream connections are few, are shared by requests and never by identities, and a lost one is
// replaced without the client noticing where that is safe.
#include <atomic>
#include <string>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class Pooling : public support::KubelaneFixture {
 protected:
  Pooling() { proxy_protocol = "http1"; }  // connections are counted
  static std::size_t handshakes(const lab::Observations& seen) {
    return seen.kube_handshakes_full + seen.kube_handshakes_resumed;
  }
};

TEST_F(Pooling, ten_thousand_requests_need_at_most_two_handshakes) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  const std::string text = request("GET", "/bytes/10");
  for (int i = 0; i < 10'000; ++i) {
    caller.write(text);
    ASSERT_EQ(caller.read_response().status, 200);
  }
  EXPECT_LE(handshakes(proxy().seen()), 2u);
}

TEST_F(Pooling, new_connections_resume_the_tls_session) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  // The ping has come and gone: its connection would be closed, and counted, too.
  ASSERT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.idle_kube_connections() == 1 && seen.web_request_count > 0 &&
           seen.open_connections() == 1;
  }));
  EXPECT_EQ(proxy().close_idle(), 1u);
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.open_kube_connections() == 0; }));
  EXPECT_EQ(get("/bytes/2").status, 200);
  EXPECT_EQ(proxy().seen().kube_handshakes_resumed, 1u);
}

TEST_F(Pooling, an_idle_connection_that_the_proxy_closed_is_not_used) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (const bool by_reset : {false, true}) {
    EXPECT_EQ(get("/bytes/1").status, 200);
    ASSERT_TRUE(proxy().wait_for(
        [](const lab::Observations& seen) { return seen.idle_kube_connections() == 1; }));
    proxy().close_idle(by_reset);
    // Even a request that must not be repeated goes through: it never met the dead connection, or
    // met it before a byte left.
    const Response response = exchange("GET", "/bytes/3");
    EXPECT_EQ(response.status, 200) << by_reset;
  }
}

TEST_F(Pooling, a_get_on_a_connection_that_dies_is_sent_once_more) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  std::atomic<int> dropped{0};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (exchange.on_connection < 2) return lab::Verdict::pass;
    ++dropped;
    return lab::Verdict::drop;
  });
  EXPECT_EQ(get("/bytes/7").body, lab::pattern_bytes(7));
  EXPECT_EQ(dropped, 1);
}

TEST_F(Pooling, a_post_that_may_have_been_processed_is_never_repeated) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  std::atomic<int> arrived{0};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (exchange.request.method == "GET") return lab::Verdict::pass;
    ++arrived;
    return lab::Verdict::drop;
  });
  for (const char* method : {"POST", "PATCH", "PUT", "DELETE"}) {
    arrived = 0;
    EXPECT_EQ(get("/bytes/1").status, 200);  // so that a pooled connection is there
    const Response response = exchange(method, "/x", "Content-Length: 2\r\n", "{}");
    EXPECT_EQ(response.status, 503) << method;
    EXPECT_EQ(response.header("Retry-After"), "") << "a client would repeat it";
    EXPECT_EQ(arrived, 1) << method;
  }
}

TEST_F(Pooling, a_get_that_was_half_answered_is_not_repeated) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  std::atomic<int> arrived{0};
  proxy().on_request([&](lab::Exchange& exchange) {
    ++arrived;
    exchange.stream.write("HTTP/1.1 2");
    return lab::Verdict::drop;
  });
  EXPECT_EQ(get("/bytes/1").status, 503);
  EXPECT_EQ(arrived, 1);
}

TEST_F(Pooling, an_answer_that_says_close_is_the_last_on_its_connection) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    return lab::Verdict::close;
  });
  TlsClient caller = connect();
  for (int i = 0; i < 5; ++i) {
    caller.write(request("GET", "/x"));
    const Response response = caller.read_response();
    EXPECT_EQ(response.body, "ok");
    EXPECT_EQ(response.header("Connection"), "");  // ours stays open
  }
  EXPECT_EQ(handshakes(proxy().seen()), 5u);
}

TEST_F(Pooling, idle_connections_close_below_the_proxys_limit) {
  more_yaml = "timeouts: {upstream_idle: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  EXPECT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.request_count == 1 && seen.open_kube_connections() == 0;
  }));
}

TEST_F(Pooling, one_certificate_sni_alpn_and_cipher_are_right) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const auto seen = proxy().seen();
  const auto* found = seen.last_request("/bytes/1");
  ASSERT_NE(found, nullptr);
  const lab::ConnectionRecord& connection = seen.connections.at(found->connection);
  EXPECT_EQ(connection.sni, "kube-teleport-proxy-alpn.teleport.cluster.local");
  EXPECT_EQ(connection.alpn_offered, std::vector<std::string>{"http/1.1"});
  EXPECT_EQ(connection.peer_certificates, 1);
  EXPECT_EQ(connection.tls_version, "TLSv1.3");
  if (__builtin_cpu_supports("aes") != 0) {
    EXPECT_EQ(connection.cipher, "TLS_AES_128_GCM_SHA256");
  }
}

}  // namespace
