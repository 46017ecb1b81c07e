#include <gtest/gtest.h>

#include "proxy/observe/prometheus_text.hpp"

namespace {

using kubelane::observe::LatencyHistogram;
using kubelane::observe::PrometheusText;

TEST(PrometheusText, families_have_help_type_and_samples) {
  PrometheusText text;
  text.counter("x_total", "Things.");
  text.sample(3);
  text.sample({{"a", "b"}, {"left_out", ""}, {"c", "d"}}, 1.5);
  EXPECT_EQ(text.text(),
            "# HELP x_total Things.\n# TYPE x_total counter\nx_total 3\nx_total{a=\"b\",c=\"d\"} "
            "1.5\n");
}

TEST(PrometheusText, what_would_end_a_label_is_escaped) {
  PrometheusText text;
  text.gauge("x", "X.");
  text.sample({{"a", "q\"b\\n\n"}}, 1);
  EXPECT_TRUE(text.text().ends_with("x{a=\"q\\\"b\\\\n\\n\"} 1\n")) << text.text();
}

TEST(PrometheusText, buckets_are_cumulative) {
  LatencyHistogram histogram;
  histogram.record(std::chrono::microseconds(1));
  histogram.record(std::chrono::microseconds(20));
  PrometheusText text;
  text.histogram("x_seconds", "X.");
  text.sample({{"a", "b"}}, histogram);
  EXPECT_NE(text.text().find("x_seconds_bucket{a=\"b\",le=\"1.6e-05\"} 1\n"), std::string::npos)
      << text.text();
  EXPECT_NE(text.text().find("x_seconds_bucket{a=\"b\",le=\"3.2e-05\"} 2\n"), std::string::npos);
  EXPECT_NE(text.text().find("x_seconds_bucket{a=\"b\",le=\"+Inf\"} 2\n"), std::string::npos);
  EXPECT_TRUE(text.text().ends_with("x_seconds_count{a=\"b\"} 2\n"));
}

}  // namespace
