// exec, attach, cp and port-forward: after 101 a transparent tunnel, before it an ordinary request.
#include <string>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class Upgrade : public support::KubelaneFixture {
 protected:
  Upgrade() { proxy_protocol = "http1"; }  // connections are counted
  static constexpr const char* fields =
      "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io"
      "\r\nContent-Length: 0\r\n";
  static constexpr const char* switching =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"
      "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";

  // The Proxy switches and then echoes until the client's end, then says "bye" and ends.
  void echo_after_switching() {
    proxy().on_request([](lab::Exchange& exchange) {
      exchange.stream.write(std::string(switching) + "first");
      char bytes[4096];
      while (const std::size_t got = exchange.stream.read(bytes, sizeof bytes))
        exchange.stream.write({bytes, got});
      exchange.stream.write("bye");
      exchange.stream.close_write();
      return lab::Verdict::close;
    });
  }
};

TEST_F(Upgrade, bytes_pass_both_ways_and_half_close_is_kept) {
  ASSERT_NO_FATAL_FAILURE(start());
  echo_after_switching();
  TlsClient caller = connect();
  caller.write(request("POST", "/exec", fields) + "early bytes ");
  EXPECT_EQ(caller.read_until("\r\n\r\n"), switching);
  EXPECT_EQ(caller.read_exactly(5 + 12), "firstearly bytes ");
  const std::string large = lab::pattern_bytes(300'000);
  caller.write(large);
  EXPECT_TRUE(caller.read_exactly(large.size()) == large);
  caller.half_close();
  EXPECT_EQ(caller.read_to_end(), "bye");
  const auto seen = proxy().seen();
  const auto* arrived = seen.last_request("/exec");
  ASSERT_NE(arrived, nullptr);
  EXPECT_NE(arrived->raw_head.find("\r\nUpgrade: SPDY/3.1\r\n"), std::string::npos);
  EXPECT_NE(arrived->raw_head.find("\r\nConnection: Upgrade\r\n"), std::string::npos);
}

TEST_F(Upgrade, a_refusal_passes_unchanged_so_that_kubectl_falls_back) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    lab::answer(exchange.stream, 403, "text/plain", "unable to upgrade: no subprotocol",
                {{"X-Reason", "a  b"}});
    return lab::Verdict::keep;
  });
  TlsClient caller = connect();
  caller.write(request("GET", "/exec",
                       "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"));
  const Response refused = caller.read_response();
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.body, "unable to upgrade: no subprotocol");
  EXPECT_EQ(refused.header("X-Reason"), "a  b");
  proxy().on_request({});
  caller.write(request("GET", "/bytes/3"));  // the same connection goes on
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(3));
}

TEST_F(Upgrade, the_end_of_either_side_reaches_the_other) {
  ASSERT_NO_FATAL_FAILURE(start());
  echo_after_switching();
  {
    TlsClient caller = connect();
    caller.write(request("POST", "/exec", fields));
    EXPECT_EQ(caller.read_until("first").size(), std::string(switching).size() + 5);
    caller.reset();
  }
  EXPECT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.open_kube_connections() == 0; }));
  TlsClient caller = connect();
  caller.write(request("POST", "/exec", fields));
  caller.read_until("first");
  proxy().close_all();
  EXPECT_TRUE(caller.ended());
}

TEST_F(Upgrade, a_101_that_nobody_asked_for_is_an_error) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write(switching);
    return lab::Verdict::close;
  });
  EXPECT_EQ(get("/x").status, 502);
}

}  // namespace
