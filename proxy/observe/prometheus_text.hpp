// Prometheus' text format 0.0.4: families of samples, one after the other.
// https://prometheus.io/docs/instrumenting/exposition_formats/
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/observe/latency_histogram.hpp"

namespace kubelane::observe {

using Label = std::pair<std::string_view, std::string_view>;
using Labels = std::vector<Label>;

class PrometheusText {
 public:
  // Begins a family; its samples follow. `help` is one line.
  void counter(std::string_view name, std::string_view help) { family(name, help, "counter"); }
  void gauge(std::string_view name, std::string_view help) { family(name, help, "gauge"); }
  // One sample of the family begun last. A label with an empty value is left out.
  void sample(const Labels& labels, double value);
  void sample(double value) { sample({}, value); }

  void histogram(std::string_view name, std::string_view help) { family(name, help, "histogram"); }
  void sample(const Labels& labels, const LatencyHistogram& histogram);

  const std::string& text() const noexcept { return text_; }

 private:
  void family(std::string_view name, std::string_view help, std::string_view type);
  void line(std::string_view suffix, const Labels& labels, std::string_view bound, double value);

  std::string text_;
  std::string name_;
};

}  // namespace kubelane::observe
