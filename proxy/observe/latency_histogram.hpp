// How long something took, counted in buckets that double: 16 µs, 32 µs … 67 s. Recording is one
// shift and three additions; nothing is shared between threads.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kubelane::observe {

class LatencyHistogram {
 public:
  static constexpr unsigned first_exponent = 4;  // 2^4 µs
  static constexpr std::size_t bounded_buckets = 23;

  void record(std::chrono::nanoseconds took) noexcept {
    const auto nanoseconds = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
    // The bucket's bound belongs to it, as in Prometheus.
    const std::uint64_t micros = (nanoseconds + 999) / 1000;
    const auto exponent = static_cast<unsigned>(std::bit_width(micros <= 1 ? 0 : micros - 1));
    const unsigned bucket = exponent <= first_exponent ? 0 : exponent - first_exponent;
    ++counts_[std::min<std::size_t>(bucket, bounded_buckets)];
    sum_nanoseconds_ += nanoseconds;
  }
  void add(const LatencyHistogram& other) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    sum_nanoseconds_ += other.sum_nanoseconds_;
  }

  // Of one bucket alone; the last one, bounded_buckets, has no upper bound.
  std::uint64_t count(std::size_t bucket) const noexcept { return counts_[bucket]; }
  std::uint64_t total() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t each : counts_) all += each;
    return all;
  }
  static constexpr double bound_seconds(std::size_t bucket) noexcept {
    return static_cast<double>(std::uint64_t{1} << (first_exponent + bucket)) / 1e6;
  }
  double sum_seconds() const noexcept { return static_cast<double>(sum_nanoseconds_) / 1e9; }

 private:
  std::array<std::uint64_t, bounded_buckets + 1> counts_{};
  std::uint64_t sum_nanoseconds_ = 0;
};

}  // namespace kubelane::observe
