#include <gtest/gtest.h>

#include "proxy/observe/latency_histogram.hpp"

namespace {

using kubelane::observe::LatencyHistogram;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

std::size_t bucket_of(nanoseconds took) {
  LatencyHistogram histogram;
  histogram.record(took);
  std::size_t bucket = 0;
  while (histogram.count(bucket) == 0) ++bucket;
  return bucket;
}

TEST(LatencyHistogram, a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next) {
  for (std::size_t i = 0; i < LatencyHistogram::bounded_buckets; ++i) {
    const nanoseconds bound = microseconds(16) * (1LL << i);
    EXPECT_EQ(bucket_of(bound), i);
    EXPECT_EQ(bucket_of(bound + nanoseconds(1)), i + 1);
    EXPECT_DOUBLE_EQ(LatencyHistogram::bound_seconds(i), static_cast<double>(bound.count()) / 1e9);
  }
}

TEST(LatencyHistogram, nothing_is_out_of_bounds) {
  EXPECT_EQ(bucket_of(nanoseconds(0)), 0u);
  EXPECT_EQ(bucket_of(nanoseconds(-5)), 0u);
  EXPECT_EQ(bucket_of(nanoseconds::max()), LatencyHistogram::bounded_buckets);
}

TEST(LatencyHistogram, sums_add_up) {
  LatencyHistogram one;
  LatencyHistogram other;
  one.record(microseconds(10));
  other.record(microseconds(30));
  other.record(std::chrono::seconds(100));
  one.add(other);
  EXPECT_EQ(one.count(0), 1u);
  EXPECT_EQ(one.count(1), 1u);
  EXPECT_EQ(one.count(LatencyHistogram::bounded_buckets), 1u);
  EXPECT_NEAR(one.sum_seconds(), 100.00004, 1e-9);
}

}  // namespace
