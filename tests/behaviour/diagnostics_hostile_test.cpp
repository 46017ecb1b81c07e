// Who reaches the diagnostics listener may be hostile: it has limits, and probes get through.
#include <string>
#include <vector>

#include "tests/support/control_client.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::ControlClient;
using support::eventually;
using support::Response;
using support::TlsClient;

class DiagnosticsHostile : public support::KubelaneFixture {
 protected:
  DiagnosticsHostile() { more_yaml = "diag_addr: 127.0.0.1:0\n"; }
  ControlClient diagnostics() { return {kubelane(), "diagnostics"}; }
};

TEST_F(DiagnosticsHostile, a_thousand_silent_connections_keep_no_probe_out) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  const std::size_t descriptors = kubelane().open_descriptors();
  std::vector<TlsClient> silent;
  for (int i = 0; i < 1000; ++i) {
    silent.push_back(probe.connect());
    if (i % 100 == 0) {
      EXPECT_EQ(probe.get("/livez").status, 200) << i;
    }
  }
  EXPECT_EQ(probe.get("/livez").status, 200);
  EXPECT_EQ(probe.get("/readyz").status, 200);
  EXPECT_LE(kubelane().open_descriptors(), descriptors + 70);
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(DiagnosticsHostile, a_head_that_never_ends_is_cut_off_in_size_and_in_time) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  const Response huge =
      probe.send("GET /livez HTTP/1.1\r\nHost: x\r\nX: " + std::string(9000, 'x') + "\r\n\r\n");
  EXPECT_EQ(huge.status, 431);

  TlsClient slow = probe.connect();
  slow.write("GET /livez HTTP/1.1\r\n");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(slow.ended());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

TEST_F(DiagnosticsHostile, what_is_no_request_is_refused) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  for (const std::string bytes :
       {"\x16\x03\x01\x02\x01 TLS\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n"}) {
    TlsClient stranger = probe.connect();
    stranger.write(bytes);
    EXPECT_EQ(stranger.read_response().status, 400) << bytes;
    EXPECT_TRUE(stranger.ended());
  }
  const Response body =
      probe.send("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
  EXPECT_EQ(body.status, 413);
  EXPECT_EQ(probe.get("/livez").status, 200);
}

TEST_F(DiagnosticsHostile, a_client_that_does_not_read_costs_one_answer) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe = diagnostics();
  TlsClient deaf = probe.connect();
  std::string many;
  for (int i = 0; i < 2000; ++i) many += ControlClient::request("GET", "/metrics");
  try {
    deaf.write(many);
  } catch (const std::runtime_error&) {  // cut off: fine as well
  }
  EXPECT_EQ(probe.get("/livez").status, 200);
  EXPECT_EQ(get("/bytes/10").status, 200);
}

}  // namespace
