// What idle watches cost, and certificates that end while streams run.
#include <memory>
#include <string>
#include <vector>

#include "tests/support/http2_fixture.hpp"

namespace {

using support::eventually;
using support::H2Client;
using support::TlsClient;

class Http2Resources : public support::Http2Fixture {
 protected:
  Http2Resources() { log_level = "info"; }
};

TEST_F(Http2Resources, a_thousand_idle_watches_from_ten_clients_cost_little) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto first = connect_h2();
  get_h2(*first, "/bytes/1");
  const std::size_t idle = kubelane().resident_bytes();
  std::vector<std::unique_ptr<H2Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(connect_h2());
    for (int j = 0; j < 100; ++j) {
      const auto stream = clients.back()->send(
          h2_request("GET", "/watch?watch=1&events=1&n=" + std::to_string(i * 100 + j)));
      ASSERT_TRUE(clients.back()->wait_head(stream)) << i << " " << j;
    }
  }
  if (!support::Process::sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), idle + (12u << 20))
        << (kubelane().resident_bytes() - idle) / 1024 << " KiB";
  }
  RecordProperty("kib", std::to_string((kubelane().resident_bytes() - idle) / 1024));
  gate().release(1000);
}

TEST_F(Http2Resources, a_thousand_idle_watches_over_http_1_cost_what_they_may) {
  proxy_protocol = "http1";
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const std::size_t idle = kubelane().resident_bytes();
  std::vector<std::unique_ptr<TlsClient>> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(std::make_unique<TlsClient>(connect()));
    clients.back()->write(request("GET", "/watch?watch=1&events=1&n=" + std::to_string(i)));
    clients.back()->read_until("\r\n\r\n");
  }
  if (!support::Process::sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), idle + (40u << 20))
        << (kubelane().resident_bytes() - idle) / 1024 << " KiB";
  }
  RecordProperty("kib", std::to_string((kubelane().resident_bytes() - idle) / 1024));
  gate().release(1000);
}

TEST_F(Http2Resources, no_stream_begins_on_a_certificate_past_its_end) {
  client.valid_until = 3;
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto watch = local->send(h2_request("GET", "/watch?watch=1&events=1"));
  ASSERT_TRUE(local->wait_head(watch));
  ASSERT_TRUE(eventually([&] { return get_h2(*local, "/bytes/2").status == 503; }));
  const std::size_t seen = proxy().seen().request_count;
  const auto refused = get_h2(*local, "/bytes/3");
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.body.find("expired at"), std::string::npos) << refused.body;
  EXPECT_EQ(proxy().seen().request_count, seen);
  client.valid_until = 3600;
  write_credentials();
  EXPECT_TRUE(eventually([&] { return get_h2(*local, "/bytes/4").status == 200; }));
  gate().release(1);
  EXPECT_TRUE(local->finish(watch).ended) << "what ran was left alone";
}

}  // namespace
