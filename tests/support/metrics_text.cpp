#include "tests/support/metrics_text.hpp"

#include <cctype>
#include <cstdlib>
#include <sstream>

namespace support {
namespace {

bool is_name(const std::string& text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) != 0) return false;
  for (const char c : text)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') return false;
  return true;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

MetricsText::MetricsText(const std::string& text) {
  if (!text.empty() && text.back() != '\n') problems_.push_back("no line feed at the end");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# "))
      read_comment(line);
    else
      read_sample(line);
  }
  check_histograms();
}

double MetricsText::value(const std::string& sample) const {
  const auto found = samples_.find(sample);
  return found == samples_.end() ? -1 : found->second;
}

double MetricsText::sum(const std::string& name) const {
  double sum = 0;
  for (const auto& [sample, value] : samples_)
    if (sample == name || sample.starts_with(name + "{")) sum += value;
  return sum;
}

void MetricsText::read_comment(const std::string& line) {
  std::istringstream words(line);
  std::string hash, kind, name, rest;
  words >> hash >> kind >> name;
  std::getline(words, rest);
  if (rest.size() < 2 || !is_name(name)) return complain("not HELP or TYPE with a name", line);
  if (kind == "HELP") {
    if (!helped_.insert(name).second) complain("a second HELP", line);
    family_ = name;
  } else if (kind == "TYPE") {
    rest.erase(0, 1);
    if (family_ != name) complain("TYPE without HELP before it", line);
    if (rest != "counter" && rest != "gauge" && rest != "histogram") complain("type", line);
    if (!types_.emplace(name, rest).second) complain("a second TYPE", line);
    if (rest == "counter" && !ends_with(name, "_total")) complain("a counter's name", line);
    if (rest == "gauge" && ends_with(name, "_total")) complain("a gauge's name", line);
  } else {
    complain("comment", line);
  }
}

void MetricsText::read_sample(const std::string& line) {
  const std::size_t space = line.rfind(' ');
  if (space == std::string::npos) return complain("no value", line);
  const std::string sample = line.substr(0, space);
  const std::string number = line.substr(space + 1);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') complain("not a number", line);
  const std::size_t brace = sample.find('{');
  const std::string name = sample.substr(0, brace);
  std::string bound;
  if (!is_name(name)) complain("name", line);
  if (brace != std::string::npos && !read_labels(sample.substr(brace), bound))
    complain("labels", line);
  const std::string type = types_[family_];
  if (type == "histogram") {
    const bool fits =
        name == family_ + "_bucket" || name == family_ + "_sum" || name == family_ + "_count";
    if (!fits || (name == family_ + "_bucket") == bound.empty()) complain("histogram", line);
    if (!bound.empty()) {
      std::string series = sample;
      const std::size_t at = series.find("le=\"");
      series.erase(at, series.find('"', at + 4) - at + 1);
      buckets_[series].push_back(value);
    }
  } else if (name != family_) {
    complain("outside of its family", line);
  }
  if (type == "counter" && value < 0) complain("a negative counter", line);
  if (!samples_.emplace(sample, value).second) complain("said twice", line);
}

// {a="b",c="d"}
bool MetricsText::read_labels(const std::string& text, std::string& bound) {
  std::set<std::string> seen;
  std::size_t at = 1;
  while (at < text.size() && text[at] != '}') {
    const std::size_t equals = text.find("=\"", at);
    if (equals == std::string::npos) return false;
    const std::string name = text.substr(at, equals - at);
    if (!is_name(name) || !seen.insert(name).second) return false;
    std::string value;
    for (at = equals + 2; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\') {
        if (++at >= text.size()) return false;
        if (text[at] != '\\' && text[at] != '"' && text[at] != 'n') return false;
      }
      value += text[at];
    }
    if (value.empty() || at >= text.size()) return false;
    labels_[name].insert(value);
    if (name == "le") bound = value;
    ++at;
    if (at < text.size() && text[at] == ',') ++at;
  }
  return at + 1 == text.size() && !seen.empty();
}

// Cumulative, and the last bucket is the count.
void MetricsText::check_histograms() {
  for (const auto& [series, counts] : buckets_)
    for (std::size_t i = 1; i < counts.size(); ++i)
      if (counts[i] < counts[i - 1]) complain("buckets are not cumulative", series);
  for (const auto& [sample, value] : samples_) {
    const std::size_t at = sample.find("le=\"+Inf\"");
    if (at == std::string::npos) continue;
    std::string count = sample;
    count.erase(at, 9);
    const std::size_t suffix = count.find("_bucket{");
    count.replace(suffix, 8, "_count{");
    if (const std::size_t comma = count.find(",}"); comma != std::string::npos)
      count.erase(comma, 1);
    if (ends_with(count, "{}")) count.erase(count.size() - 2);
    if (this->value(count) != value) complain("the last bucket is not the count", sample);
  }
}

}  // namespace support
