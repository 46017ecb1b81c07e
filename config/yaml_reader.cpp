#include "config/yaml_reader.hpp"

#include <algorithm>
#include <set>

#include "config/text.hpp"
#include "config/values.hpp"

namespace kubelane {
Place YamlReader::place(const YAML::Mark& mark) {
  return mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1, {}};
}

Problem YamlReader::problem(const Place& at, const std::string& message) const {
  return {
      at.line > 0 ? file_ : std::string(), at.line, at.column,
      (at.origin.empty() ? std::string() : at.origin + ": ") + shorten(message, max_message_bytes)};
}

void YamlReader::error(const Place& at, const std::string& message) {
  result_.errors.push_back(problem(at, message));
}

void YamlReader::error(const YAML::Node& node, const std::string& message) {
  error(node.IsNull() ? key_ : place(node), message);
}

void YamlReader::warning(const Place& at, const std::string& message) {
  result_.warnings.push_back(problem(at, message));
}

void YamlReader::not_acted_on(const YAML::Node& key_node, const std::string& key,
                              const std::string& why) {
  warning(key_node, key + " is tbot's and has no effect here yet: " + why);
}

void YamlReader::each(const YAML::Node& map, const Names& valid, const std::string& where,
                      const Handle& handle) {
  std::set<std::string> seen;
  for (const auto& entry : map) {
    if (!entry.first.IsScalar()) {
      error(entry.first, "a key must be plain text");
      continue;
    }
    const std::string key = entry.first.Scalar();
    if (!seen.insert(key).second) {
      error(entry.first, quote(key) + " is given twice");
      continue;
    }
    if (key == "<<") {
      error(entry.first, "merge keys (<<) are not supported; write the fields out");
      continue;
    }
    if (std::find(valid.begin(), valid.end(), key) == valid.end()) {
      error(entry.first, "unknown field " + quote(key) + where + did_you_mean(key, valid));
      continue;
    }
    key_ = place(entry.first);
    handle(key, entry.first, entry.second);
  }
}

bool YamlReader::scalar(const YAML::Node& node, const std::string& key, std::string& out) {
  if (!node.IsScalar()) {
    error(node, key + (node.IsNull() ? " has no value" : " must be a single value"));
    return false;
  }
  if (node.Scalar().size() > max_value_bytes) {
    error(node, key + " is longer than " + std::to_string(max_value_bytes) + " bytes");
    return false;
  }
  out = node.Scalar();
  return true;
}

bool YamlReader::text(const YAML::Node& node, const std::string& key, std::string& out) {
  if (!scalar(node, key, out)) return false;
  if (out.empty()) {
    error(node, key + " must not be empty");
    return false;
  }
  if (has_control_character(out)) {
    error(node, key + " holds a control character");
    return false;
  }
  return true;
}

bool YamlReader::texts(const YAML::Node& node, const std::string& key,
                       std::vector<std::string>& out) {
  if (!node.IsSequence()) {
    error(node, key + " must be a list");
    return false;
  }
  bool good = true;
  for (const YAML::Node& entry : node) {
    std::string value;
    if (text(entry, key, value)) {
      out.push_back(std::move(value));
    } else {
      good = false;
    }
  }
  return good;
}

bool YamlReader::boolean(const YAML::Node& node, const std::string& key, bool& out) {
  std::string value;
  if (!scalar(node, key, value)) return false;
  const auto parsed = parse_bool(value);
  if (!parsed) {
    error(node, key + ": " + quote(value) + " is not true or false");
    return false;
  }
  out = *parsed;
  return true;
}

bool YamlReader::duration(const YAML::Node& node, const std::string& key,
                          std::chrono::milliseconds& out) {
  std::string value;
  if (!scalar(node, key, value)) return false;
  const auto parsed = parse_duration(value);
  if (!parsed || parsed->count() == 0) {
    error(node, key + ": " + quote(value) + " is not a duration such as 1h or 20m");
    return false;
  }
  out = *parsed;
  return true;
}

}  // namespace kubelane
