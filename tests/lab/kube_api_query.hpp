// Query parameters and selectors of the API.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace lab {

// %XX and, in a query, '+' decoded; wrong escapes stay as they are.
std::string percent_decode(std::string_view text, bool plus_is_space);

class QueryParameters {
 public:
  explicit QueryParameters(std::string_view query);
  std::string get(std::string_view name) const;  // the first, or ""
  std::vector<std::string> all(std::string_view name) const;
  bool flag(std::string_view name) const;  // "true" or "1"
  // The value as a number that is not negative; nothing when absent. Throws ApiError (400).
  std::optional<std::uint64_t> number(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> parameters_;
};

// labelSelector and fieldSelector of a request; empty ones match everything.
class Selector {
 public:
  Selector() = default;
  // Throws ApiError (400) for what is not a selector.
  Selector(std::string_view labels, std::string_view fields);
  bool matches(const boost::json::object& object) const;
  bool empty() const { return labels_.empty() && fields_.empty(); }

 private:
  struct Term {
    std::string key;
    enum class Kind { in, not_in, exists, absent } kind = Kind::exists;
    std::vector<std::string> values;
  };
  static bool holds(const Term& term, const std::optional<std::string>& value);

  std::vector<Term> labels_;
  std::vector<Term> fields_;
};

// The text at a dotted path of an object; nothing when there is none.
std::optional<std::string> text_at(const boost::json::object& object, std::string_view path);
// The value at a dotted path; null when there is none.
const boost::json::value* value_at(const boost::json::object& object, std::string_view path);

}  // namespace lab
