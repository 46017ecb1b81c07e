#include "proxy/observe/prometheus_text.hpp"

#include <charconv>

namespace kubelane::observe {
namespace {

void append_number(std::string& out, double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  out.append(text, error == std::errc() ? end : text);
}

// Backslash, quote and line feed are escaped; everything else stands as it is.
void append_label(std::string& out, const Label& label) {
  out.append(label.first).append("=\"");
  for (const char c : label.second) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

void PrometheusText::family(std::string_view name, std::string_view help, std::string_view type) {
  name_ = name;
  text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
  text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

void PrometheusText::line(std::string_view suffix, const Labels& labels, std::string_view bound,
                          double value) {
  text_.append(name_).append(suffix);
  bool any = false;
  const auto add = [&](const Label& label) {
    if (label.second.empty()) return;
    text_ += any ? ',' : '{';
    any = true;
    append_label(text_, label);
  };
  for (const Label& label : labels) add(label);
  add({"le", bound});
  if (any) text_ += '}';
  text_ += ' ';
  append_number(text_, value);
  text_ += '\n';
}

void PrometheusText::sample(const Labels& labels, double value) { line("", labels, "", value); }

void PrometheusText::sample(const Labels& labels, const LatencyHistogram& histogram) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < LatencyHistogram::bounded_buckets; ++i) {
    total += histogram.count(i);
    std::string bound;
    append_number(bound, LatencyHistogram::bound_seconds(i));
    line("_bucket", labels, bound, static_cast<double>(total));
  }
  total += histogram.count(LatencyHistogram::bounded_buckets);
  line("_bucket", labels, "+Inf", static_cast<double>(total));
  line("_sum", labels, "", histogram.sum_seconds());
  line("_count", labels, "", static_cast<double>(total));
}

}  // namespace kubelane::observe
