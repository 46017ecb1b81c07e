// /metrics as Prometheus reads it: the format, what is counted, what is bounded, and that a scrape
// does no harm.
#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/control_client.hpp"
#include "tests/support/http2_fixture.hpp"
#include "tests/support/metrics_text.hpp"

namespace {

using support::ControlClient;
using support::eventually;
using support::MetricsText;
using support::TlsClient;

const std::string of_demo = "{service=\"kubernetes-v2-1\",cluster=\"demo\",";

class Metrics : public support::KubelaneFixture {
 protected:
  Metrics() { more_yaml = "diag_addr: 127.0.0.1:0\n"; }
  ControlClient diagnostics() { return {kubelane(), "diagnostics"}; }
  MetricsText scrape() { return MetricsText(diagnostics().get("/metrics").body); }
  double requests(const std::string& verb, const std::string& code) {
    return scrape().value("kubelane_requests_total" + of_demo + "verb_class=\"" + verb +
                          "\",code_class=\"" + code + "\"}");
  }
};

TEST_F(Metrics, the_format_is_prometheus_own_before_and_after_traffic) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(diagnostics().get("/metrics").header("Content-Type"),
            "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(scrape().problems(), std::vector<std::string>());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(get("/status/503").status, 503);
  const MetricsText after = scrape();
  EXPECT_EQ(after.problems(), std::vector<std::string>());
  for (const char* name :
       {"kubelane_build_info", "kubelane_requests_total", "kubelane_request_duration_seconds",
        "kubelane_request_added_seconds", "kubelane_inflight_requests", "kubelane_active_streams",
        "kubelane_bytes_total", "kubelane_local_errors_total", "kubelane_rejected_total",
        "kubelane_upstream_connections", "kubelane_upstream_handshakes_total",
        "kubelane_upstream_dial_failures_total", "kubelane_upstream_retries_total",
        "kubelane_certificate_expiry_timestamp_seconds", "kubelane_certificate_renewals_total",
        "kubelane_cluster_ready", "process_cpu_seconds_total", "process_resident_memory_bytes",
        "process_open_fds"})
    EXPECT_TRUE(after.types().contains(name)) << name;
  EXPECT_EQ(after.sum("kubelane_build_info"), 1);
  EXPECT_GT(after.value("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(after.value("process_open_fds"), 5);
}

TEST_F(Metrics, requests_are_counted_by_verb_and_class_of_the_code) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(exchange("POST", "/echo", "Content-Length: 3\r\n", "abc").status, 200);
  EXPECT_EQ(get("/status/404").status, 404);
  EXPECT_EQ(exchange("DELETE", "/status/500").status, 500);
  EXPECT_EQ(exchange("PATCH", "/status/422").status, 422);
  EXPECT_EQ(requests("get", "2xx"), 3);
  EXPECT_EQ(requests("get", "4xx"), 1);
  EXPECT_EQ(requests("create", "2xx"), 1);
  EXPECT_EQ(requests("delete", "5xx"), 1);
  EXPECT_EQ(requests("patch", "4xx"), 1);
  const MetricsText page = scrape();
  EXPECT_EQ(page.sum("kubelane_request_duration_seconds_count"), 7);
  EXPECT_EQ(page.value("kubelane_request_added_seconds_count"), 7);
  EXPECT_GE(page.value("kubelane_bytes_total{direction=\"down\"}"), 30);
  EXPECT_GE(page.value("kubelane_bytes_total{direction=\"up\"}"), 3);
  EXPECT_EQ(page.sum("kubelane_upstream_handshakes_total"),
            static_cast<double>(proxy().seen().kube_handshakes_full +
                                proxy().seen().kube_handshakes_resumed));
}

TEST_F(Metrics, watches_are_seen_while_they_run) {
  ASSERT_NO_FATAL_FAILURE(start());
  {
    TlsClient watcher = connect();
    watcher.write(request("GET", "/watch?watch=true&events=2"));
    watcher.read_response_head();
    EXPECT_TRUE(
        eventually([&] { return scrape().value("kubelane_active_streams{kind=\"watch\"}") == 1; }));
    EXPECT_EQ(scrape().value("kubelane_inflight_requests"), 1);
  }
  EXPECT_TRUE(
      eventually([&] { return scrape().value("kubelane_active_streams{kind=\"watch\"}") == 0; }));
  EXPECT_EQ(requests("watch", "2xx"), 1);
  EXPECT_EQ(scrape().value("kubelane_inflight_requests"), 0);
}

TEST_F(Metrics, what_is_refused_or_fails_has_its_reason) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient stranger = connect();
  stranger.write("GET / HTTP/1.1\r\nHost: " + endpoint().host_header() + "\r\n\r\n");
  EXPECT_EQ(stranger.read_response().status, 401);
  EXPECT_EQ(scrape().value("kubelane_rejected_total{reason=\"unauthorized\"}"), 1);
  proxy().stop();
  EXPECT_EQ(get("/bytes/10").status, 503);
  const MetricsText page = scrape();
  EXPECT_EQ(page.sum("kubelane_local_errors_total"), 1);
  EXPECT_GE(page.sum("kubelane_upstream_dial_failures_total"), 1);
  EXPECT_EQ(page.sum("kubelane_cluster_ready"), 0);
  EXPECT_EQ(requests("get", "5xx"), 1);
}

// A label must not grow with what clients send.
TEST_F(Metrics, labels_are_bounded) {
  ASSERT_NO_FATAL_FAILURE(start());
  get("/bytes/1");
  const std::size_t before = scrape().samples();
  for (int i = 0; i < 50; ++i) {
    const std::string odd = std::to_string(i);
    exchange("GET", "/nosuch/" + odd + "?x=" + odd, "X-Odd: " + odd + "\r\n");
    exchange("GET", "/api/v1/namespaces/" + odd + "/pods/" + odd);
  }
  MetricsText page = scrape();
  EXPECT_LE(page.samples(), before + 10);
  EXPECT_EQ(page.label_values("cluster"), std::set<std::string>{"demo"});
  EXPECT_EQ(page.label_values("service"), std::set<std::string>{"kubernetes-v2-1"});
}

TEST_F(Metrics, the_end_of_each_certificate_is_told_and_renewals_are_counted) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string expiry =
      "kubelane_certificate_expiry_timestamp_seconds{kind=\"upstream\",service=\"kubernetes-v2-"
      "1\"}";
  const std::string renewals = "kubelane_certificate_renewals_total{result=\"success\"}";
  const double first = scrape().value(expiry);
  const double now = static_cast<double>(std::time(nullptr));
  EXPECT_GT(first, now + 3000);
  EXPECT_LT(first, now + 3700);
  EXPECT_EQ(scrape().value(renewals), 1);
  client.valid_until = 7200;
  write_credentials();
  EXPECT_TRUE(eventually([&] { return scrape().value(expiry) > now + 7000; }));
  EXPECT_EQ(scrape().value(renewals), 2);
}

TEST_F(Metrics, scrapes_under_load_lose_nothing_and_never_go_back) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::atomic<int> sent{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 4; ++i) {
    load.emplace_back([&] {
      TlsClient client_connection = connect();
      while (!stop) {
        client_connection.write(request("GET", "/bytes/1000"));
        if (client_connection.read_response().status != 200) ++failures;
        ++sent;
      }
    });
  }
  double last = 0;
  for (int i = 0; i < 50; ++i) {
    const MetricsText page = scrape();
    EXPECT_EQ(page.problems(), std::vector<std::string>());
    const double now = page.sum("kubelane_requests_total");
    EXPECT_GE(now, last);
    last = now;
  }
  stop = true;
  for (std::thread& thread : load) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_TRUE(eventually([&] { return scrape().sum("kubelane_requests_total") == sent.load(); }));
}

class MetricsHttp2 : public support::Http2Fixture {
 protected:
  MetricsHttp2() { more_yaml += "diag_addr: 127.0.0.1:0\n"; }
};

TEST_F(MetricsHttp2, streams_count_like_requests) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto client_connection = connect_h2();
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(client_connection->exchange(h2_request("GET", "/bytes/10")).status, 200);
  const ControlClient probe(kubelane(), "diagnostics");
  MetricsText page(probe.get("/metrics").body);
  EXPECT_EQ(page.problems(), std::vector<std::string>());
  EXPECT_EQ(
      page.value("kubelane_requests_total" + of_demo + "verb_class=\"get\",code_class=\"2xx\"}"),
      5);
  EXPECT_EQ(page.value("kubelane_request_added_seconds_count"), 5);
  EXPECT_GE(
      page.value("kubelane_upstream_connections{service=\"kubernetes-v2-1\",state=\"http2\"}"), 1);
  EXPECT_EQ(probe.get("/readyz").status, 200);
}

class BotMetrics : public support::BotFixture {};

TEST_F(BotMetrics, the_bots_own_renewals_and_certificates_are_there) {
  more_yaml = "diag_addr: 127.0.0.1:0\n";
  lifetimes = "credential_ttl: 20s\nrenewal_interval: 1s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const ControlClient probe(kubelane(), "diagnostics");
  const auto scrape = [&] { return MetricsText(probe.get("/metrics").body); };
  EXPECT_TRUE(eventually([&] {
    return scrape().value("kubelane_certificate_renewals_total{result=\"success\"}") >= 4;
  }));
  const MetricsText page = scrape();
  EXPECT_EQ(page.problems(), std::vector<std::string>());
  EXPECT_GT(page.value("kubelane_certificate_expiry_timestamp_seconds{kind=\"bot\"}"), 1e9);
  EXPECT_GE(page.value("kubelane_renewal_duration_seconds_count"), 1);
  auth().stop();
  EXPECT_TRUE(eventually([&] {
    return scrape().value("kubelane_certificate_renewals_total{result=\"failure\"}") >= 1;
  }));
}

// Clusters that come and go leave nothing behind.
TEST_F(BotMetrics, a_cluster_that_is_gone_leaves_the_page) {
  more_yaml = "diag_addr: 127.0.0.1:0\n";
  add_cluster("demo");
  selectors = "[{name: demo}, {labels: {env: prod}}]";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const ControlClient probe(kubelane(), "diagnostics");
  lab::KubeResource late;
  late.name = "late";
  late.labels = {{"env", "prod"}};
  late.handler = lab::standard_paths(gate());
  const auto clusters = [&] {
    MetricsText page(probe.get("/metrics").body);
    return page.label_values("cluster");
  };
  auth().service().put_cluster(late);
  EXPECT_TRUE(eventually([&] { return clusters().contains("late"); }));
  auth().service().remove_cluster("late");
  EXPECT_TRUE(eventually([&] { return !clusters().contains("late"); }));
  EXPECT_TRUE(clusters().contains("demo"));
  EXPECT_EQ(probe.get("/readyz").status, 200);
}

}  // namespace
