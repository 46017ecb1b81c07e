// Reading YAML nodes into values: names, repetitions, scalars, with a problem at its place for
// whatever does not fit. What the sections of the configuration file share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "config/load.hpp"
#include "config/suggest.hpp"

namespace kubelane {

// Where something was said: in the file, or in a flag or variable with that name.
struct Place {
  int line = 0;  // 0: not in the file
  int column = 0;
  std::string origin;
};

// Refers to the file's name and the result, which must outlive it.
class YamlReader {
 public:
  // Called with each known key of a map.
  using Handle =
      std::function<void(const std::string& key, const YAML::Node& name, const YAML::Node& value)>;

  YamlReader(const std::string& file, LoadResult& result) : file_(file), result_(result) {}

  static Place place(const YAML::Mark& mark);
  static Place place(const YAML::Node& node) { return place(node.Mark()); }
  Problem problem(const Place& at, const std::string& message) const;
  void error(const Place& at, const std::string& message);
  // yaml-cpp places a value that is not there behind it, on some later line: its key's place then.
  void error(const YAML::Node& node, const std::string& message);
  void warning(const Place& at, const std::string& message);
  void warning(const YAML::Node& node, const std::string& message) {
    warning(place(node), message);
  }
  // A field that is understood, and why it changes nothing.
  void not_acted_on(const YAML::Node& key_node, const std::string& key, const std::string& why);

  // Checks names and repetitions. `where`: " in selectors", or empty.
  void each(const YAML::Node& map, const Names& valid, const std::string& where,
            const Handle& handle);

  // Each returns false, and has said why, when the value does not fit.
  bool scalar(const YAML::Node& node, const std::string& key, std::string& out);
  // Not empty, without control characters.
  bool text(const YAML::Node& node, const std::string& key, std::string& out);
  bool texts(const YAML::Node& node, const std::string& key, std::vector<std::string>& out);
  bool boolean(const YAML::Node& node, const std::string& key, bool& out);
  // More than zero.
  bool duration(const YAML::Node& node, const std::string& key, std::chrono::milliseconds& out);

  const std::string& file() const noexcept { return file_; }
  LoadResult& result() noexcept { return result_; }

 private:
  const std::string& file_;
  LoadResult& result_;
  Place key_;  // of the value that is being read
};

constexpr std::size_t max_value_bytes = 4096;    // of one field
constexpr std::size_t max_message_bytes = 1000;  // of one problem

}  // namespace kubelane
