// The lane from end to end: a request goes through the real binary and arrives as it should.
#include "tests/lab/kube_api.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

class Smoke : public support::KubelaneFixture {
 protected:
  void start_with_api() {
    proxy_options.clusters = {{"demo", lab::standard_paths(gate(), api_.handler())}};
    start();
  }
  // The head of the newest request, as the lab received it.
  std::string arrived(const std::string& target) {
    const auto seen = proxy().seen();
    const auto* request = seen.last_request(target);
    return request == nullptr ? std::string() : request->raw_head;
  }

 private:
  lab::KubeApi api_;
};

TEST_F(Smoke, api_discovery_goes_through_with_the_route_and_without_the_token) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  const auto response = exchange("GET", "/api", "Accept: application/json\r\n");
  EXPECT_EQ(response.status, 200) << response.raw_head << response.body;
  EXPECT_NE(response.body.find("APIVersions"), std::string::npos) << response.body;

  const std::string head = arrived("/api");
  EXPECT_TRUE(head.starts_with("GET " + upstream_prefix() + "/api HTTP/1.1\r\n")) << head;
  EXPECT_NE(head.find("\r\nAccept: application/json\r\n"), std::string::npos) << head;
  EXPECT_EQ(head.find("uthorization"), std::string::npos) << head;
  EXPECT_EQ(head.find(endpoint().token), std::string::npos) << "the token is in the head";
}

TEST_F(Smoke, host_names_the_proxy_and_not_the_local_listener) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const std::string head = arrived("/bytes/1");
  const std::size_t host = head.find("\r\nHost: ");
  ASSERT_NE(host, std::string::npos) << head;
  const std::string value = head.substr(host + 8, head.find("\r\n", host + 2) - host - 8);
  EXPECT_NE(value, endpoint().host_header());
  EXPECT_TRUE(value == proxy().address() || value.starts_with("kube-teleport-proxy-alpn."))
      << value;
}

TEST_F(Smoke, a_v1_directory_sends_no_route) {
  kind = lab::TbotKind::kubernetes;
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  EXPECT_EQ(get("/bytes/10").body, lab::pattern_bytes(10));
  EXPECT_TRUE(arrived("/bytes/10").starts_with("GET /bytes/10 HTTP/1.1\r\n"));
}

TEST_F(Smoke, separate_mode_reaches_the_kubernetes_port) {
  proxy_options.tls_routing = false;
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  EXPECT_EQ(get("/bytes/10").body, lab::pattern_bytes(10));
}

TEST_F(Smoke, bodies_of_all_sizes_arrive_whole) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  for (const std::size_t size : {0u, 1u, 1000u, 65'536u, 3'000'000u}) {
    const auto fixed = get("/bytes/" + std::to_string(size));
    EXPECT_EQ(fixed.status, 200);
    EXPECT_TRUE(fixed.complete && fixed.body == lab::pattern_bytes(size)) << size;
    const auto chunked = get("/chunked/" + std::to_string(size) + "?chunk=777");
    EXPECT_TRUE(chunked.complete && chunked.body == lab::pattern_bytes(size)) << size;
  }
}

TEST_F(Smoke, echo_returns_fixed_and_chunked_uploads) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  const std::string body = lab::pattern_bytes(100'000);
  const auto fixed =
      exchange("POST", "/echo", "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
  EXPECT_TRUE(fixed.complete && fixed.body == body) << fixed.raw_head;

  const std::string framed = "3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n";
  const auto chunked = exchange("POST", "/echo", "Transfer-Encoding: chunked\r\n", framed);
  EXPECT_TRUE(chunked.complete) << chunked.raw_body;
  EXPECT_EQ(chunked.body, "abcdefg");
  ASSERT_EQ(chunked.trailers.size(), 1u);
  EXPECT_EQ(chunked.trailers[0].first + "=" + chunked.trailers[0].second, "X-Sum=7");
}

TEST_F(Smoke, a_watch_delivers_each_event_when_it_happens) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  auto watcher = connect();
  watcher.write(request("GET", "/watch?events=2"));
  auto response = watcher.read_response_head();
  EXPECT_EQ(response.status, 200);
  gate().release(1);
  EXPECT_NE(watcher.read_until("\n\r\n").find("\"number\":1"), std::string::npos);
  gate().release(1);
  watcher.read_response_body(response);
  EXPECT_TRUE(response.complete);
  EXPECT_NE(response.body.find("\"number\":2"), std::string::npos);
}

TEST_F(Smoke, a_request_without_the_token_stays_here) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  auto stranger = connect();
  stranger.write("GET " + endpoint().prefix +
                 "/bytes/1 HTTP/1.1\r\nHost: " + endpoint().host_header() + "\r\n\r\n");
  EXPECT_EQ(stranger.read_response().status, 401);
  EXPECT_EQ(proxy().seen().request_count, 0u);
}

TEST_F(Smoke, sigterm_ends_it_with_status_0) {
  ASSERT_NO_FATAL_FAILURE(start_with_api());
  EXPECT_EQ(get("/bytes/1").status, 200);
  EXPECT_EQ(stop_kubelane(), 0);
}

}  // namespace
