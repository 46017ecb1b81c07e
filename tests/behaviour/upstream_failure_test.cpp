// A Proxy that is down, silent, foreign or broken: each gets one clear Status that names the
// cluster, the cause and the remedy, and everything works again by itself.
#include <string>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Response;

class UpstreamFailure : public support::KubelaneFixture {
 protected:
  void expect(const Response& response, int status, const std::string& words) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_NE(response.body.find(words), std::string::npos) << response.body;
    EXPECT_NE(response.body.find("\\\"demo\\\""), std::string::npos) << response.body;
    EXPECT_NE(response.body.find("\"kind\":\"Status\""), std::string::npos) << response.body;
  }
};

TEST_F(UpstreamFailure, a_proxy_that_is_down) {
  more_yaml = "timeouts: {connect: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  proxy().stop();
  expect(get("/bytes/1"), 503, "cannot connect");
  EXPECT_EQ(get("/bytes/1").header("Retry-After"), "1");
  proxy().start();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(UpstreamFailure, a_proxy_that_restarts_between_requests_is_not_noticed) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(get("/bytes/1").status, 200);
    proxy().restart();
  }
}

// Nothing of a request was sent while nobody listens: it waits, whatever it asks for.
TEST_F(UpstreamFailure, a_proxy_that_is_away_for_a_moment_is_waited_for) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  proxy().stop();
  support::TlsClient reading = connect();
  support::TlsClient writing = connect();
  reading.write(request("GET", "/bytes/1"));
  writing.write(request("POST", "/echo", "Content-Length: 5\r\n", "hello"));
  // No answer comes while nobody is there.
  EXPECT_FALSE(reading.readable(std::chrono::milliseconds(300)));
  proxy().start();
  EXPECT_EQ(reading.read_response().status, 200);
  EXPECT_EQ(writing.read_response().body, "hello");
}

// But not for ever, and not each request anew: who asks in the middle of an outage is told at once.
TEST_F(UpstreamFailure, a_proxy_that_stays_away_costs_the_wait_once) {
  more_yaml = "timeouts: {connect: 700ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().stop();
  const auto begin = std::chrono::steady_clock::now();
  expect(get("/bytes/1"), 503, "cannot connect");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(400));
  const std::size_t before = kubelane().error_lines().size();
  for (int i = 0; i < 20; ++i) expect(get("/bytes/1"), 503, "cannot connect");
  std::size_t quick = 0;
  for (std::size_t i = before; i < kubelane().error_lines().size(); ++i) {
    const std::string line = kubelane().error_lines()[i];
    const std::size_t at = line.find("\"total_us\":");
    if (at != line.npos && std::stoul(line.substr(at + 11)) < 200'000) ++quick;
  }
  EXPECT_GE(quick, 19u);
  proxy().start();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(UpstreamFailure, a_proxy_that_drops_packets) {
  more_yaml = "timeouts: {connect: 300ms, upstream_handshake: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().close_all();
  proxy().set_accept(lab::AcceptMode::silent);
  expect(get("/bytes/1"), 503, "did not answer in time");
  proxy().set_accept(lab::AcceptMode::normal);
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(UpstreamFailure, a_certificate_that_the_host_ca_does_not_vouch_for) {
  ASSERT_NO_FATAL_FAILURE(start());
  lab::Pki foreign("root.example.com");
  proxy().serve_certificate(foreign.issue_proxy({"127.0.0.1"}));
  proxy().close_all();
  expect(get("/bytes/1"), 502, "host CA");
  proxy().serve_certificate({});
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(UpstreamFailure, a_certificate_for_another_name) {
  ASSERT_NO_FATAL_FAILURE(start());
  lab::Pki same("root.example.com");
  // Signed by the trusted CA, but a bot's: only CA and name tell them apart (DP 2.3).
  proxy().serve_certificate(proxy().issue({}));
  proxy().close_all();
  EXPECT_EQ(get("/bytes/1").status, 502);
}

TEST_F(UpstreamFailure, a_client_certificate_that_the_proxy_refuses) {
  start_lab();
  lab::TbotMaterial material = proxy().renew(kind, client);
  material.client = lab::Proxy::issue_foreign(client);
  lab::TbotDirectory(credentials_path()).write(material);
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect(get("/bytes/1"), 502, "refused our client certificate");
  write_credentials();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(UpstreamFailure, a_proxy_without_kubernetes) {
  more_yaml = "timeouts: {connect: 500ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().set_kube_enabled(false);
  proxy().close_all();
  expect(get("/bytes/1"), 503, "is Kubernetes access enabled");
}

TEST_F(UpstreamFailure, an_answer_that_never_comes) {
  more_yaml = "timeouts: {response_head: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    char byte;
    exchange.stream.read(&byte, 1);
    return lab::Verdict::close;
  });
  const Response response = get("/x");
  expect(response, 504, "no answer in time");
}

TEST_F(UpstreamFailure, an_answer_that_is_not_http) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const std::string& garbage :
       {std::string("SSH-2.0-x\r\n\r\n"), std::string("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        std::string("HTTP/1.1 200 OK\r\nX: ") + std::string(70'000, 'a')}) {
    // A copy: the lab may still write when the client has its answer.
    proxy().on_request([garbage](lab::Exchange& exchange) {
      exchange.stream.write(garbage);
      return lab::Verdict::close;
    });
    expect(get("/x"), 502, "not proper HTTP");
  }
}

}  // namespace
