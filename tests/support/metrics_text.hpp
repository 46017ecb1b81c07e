// A strict reader of Prometheus' text format, as far as metrics pages need it: every family has
// HELP and TYPE before its samples, stands in one piece, and its samples fit its type; names and
// labels have their letters; nothing is said twice.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace support {

class MetricsText {
 public:
  explicit MetricsText(const std::string& text);

  // What is wrong with the text; empty: nothing.
  const std::vector<std::string>& problems() const { return problems_; }
  // Of a sample by its name and labels as they stand: `x_total{a="b"}`. -1: there is none.
  double value(const std::string& sample) const;
  // Of all samples of that name together.
  double sum(const std::string& name) const;
  std::size_t samples() const { return samples_.size(); }
  const std::map<std::string, std::string>& types() const { return types_; }
  // Values that a label takes in the whole text.
  const std::set<std::string>& label_values(const std::string& label) { return labels_[label]; }

 private:
  void read_comment(const std::string& line);
  void read_sample(const std::string& line);
  bool read_labels(const std::string& text, std::string& bound);
  void check_histograms();
  void complain(const std::string& what, const std::string& line) {
    problems_.push_back(what + ": " + line);
  }

  std::vector<std::string> problems_;
  std::map<std::string, std::string> types_;  // family -> type
  std::set<std::string> helped_;
  std::string family_;  // that is being read
  std::map<std::string, double> samples_;
  std::map<std::string, std::vector<double>> buckets_;  // in their order
  std::map<std::string, std::set<std::string>> labels_;
};

}  // namespace support
