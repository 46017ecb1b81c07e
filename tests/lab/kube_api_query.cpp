#include "tests/lab/kube_api_query.hpp"

#include <algorithm>
#include <charconv>

#include "tests/lab/kube_api_resources.hpp"

namespace lab {
namespace {

namespace json = boost::json;

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// At commas outside parentheses.
std::vector<std::string_view> split_terms(std::string_view text) {
  std::vector<std::string_view> terms;
  int depth = 0;
  std::size_t start = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != ',' || depth > 0)) continue;
    if (const auto term = trim(text.substr(start, i - start)); !term.empty()) {
      terms.push_back(term);
    }
    start = i + 1;
  }
  return terms;
}

}  // namespace

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      decoded += static_cast<char>(value);
      i += 2;
    } else {
      decoded += text[i] == '+' && plus_is_space ? ' ' : text[i];
    }
  }
  return decoded;
}

QueryParameters::QueryParameters(std::string_view query) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = pair.find('=');
    parameters_.emplace_back(
        percent_decode(pair.substr(0, equals), true),
        equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1), true));
  }
}

std::string QueryParameters::get(std::string_view name) const {
  for (const auto& [key, value] : parameters_) {
    if (key == name) return value;
  }
  return "";
}

std::vector<std::string> QueryParameters::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : parameters_) {
    if (key == name) values.push_back(value);
  }
  return values;
}

bool QueryParameters::flag(std::string_view name) const {
  const std::string value = get(name);
  return value == "true" || value == "1";
}

std::optional<std::uint64_t> QueryParameters::number(std::string_view name) const {
  const std::string text = get(name);
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw bad_request(std::string(name) + ": invalid number \"" + text + "\"");
  }
  return value;
}

Selector::Selector(std::string_view labels, std::string_view fields) {
  const auto parse = [](std::string_view text) {
    Term term;
    const auto operand = [&](std::size_t at, std::size_t size, Term::Kind kind) {
      term.key = trim(text.substr(0, at));
      term.kind = kind;
      term.values = {std::string(trim(text.substr(at + size)))};
    };
    if (const auto set = text.find('('); set != std::string_view::npos && text.back() == ')') {
      const std::string_view head = trim(text.substr(0, set));
      const bool in = head.ends_with(" in");
      if (!in && !head.ends_with(" notin")) throw bad_request("unable to parse the selector");
      term.key = trim(head.substr(0, head.size() - (in ? 3 : 6)));
      term.kind = in ? Term::Kind::in : Term::Kind::not_in;
      for (const auto value : split_terms(text.substr(set + 1, text.size() - set - 2))) {
        term.values.emplace_back(value);
      }
    } else if (const auto differs = text.find("!="); differs != std::string_view::npos) {
      operand(differs, 2, Term::Kind::not_in);
    } else if (const auto same = text.find("=="); same != std::string_view::npos) {
      operand(same, 2, Term::Kind::in);
    } else if (const auto equals = text.find('='); equals != std::string_view::npos) {
      operand(equals, 1, Term::Kind::in);
    } else if (text.front() == '!') {
      term.key = trim(text.substr(1));
      term.kind = Term::Kind::absent;
    } else {
      term.key = text;
    }
    if (term.key.empty() || term.key.find_first_of(" ()") != std::string::npos) {
      throw bad_request("unable to parse the selector");
    }
    return term;
  };
  for (const auto text : split_terms(labels)) labels_.push_back(parse(text));
  for (const auto text : split_terms(fields)) fields_.push_back(parse(text));
}

bool Selector::holds(const Term& term, const std::optional<std::string>& value) {
  const bool listed =
      value && std::find(term.values.begin(), term.values.end(), *value) != term.values.end();
  switch (term.kind) {
    case Term::Kind::in:
      return listed;
    case Term::Kind::not_in:
      return !listed;
    case Term::Kind::exists:
      return value.has_value();
    case Term::Kind::absent:
      return !value.has_value();
  }
  return false;
}

bool Selector::matches(const json::object& object) const {
  const json::value* const found = value_at(object, "metadata.labels");
  const json::object* const labels = found == nullptr ? nullptr : found->if_object();
  for (const auto& term : labels_) {
    const json::value* const label = labels == nullptr ? nullptr : labels->if_contains(term.key);
    std::optional<std::string> value;
    if (label != nullptr && label->is_string()) value = std::string(label->get_string());
    if (!holds(term, value)) return false;
  }
  return std::all_of(fields_.begin(), fields_.end(), [&](const Term& term) {
    return holds(term, text_at(object, term.key).value_or(""));
  });
}

const json::value* value_at(const json::object& object, std::string_view path) {
  const json::object* level = &object;
  for (;;) {
    const std::size_t dot = path.find('.');
    const json::value* const value = level->if_contains(path.substr(0, dot));
    if (value == nullptr || dot == std::string_view::npos) return value;
    level = value->if_object();
    if (level == nullptr) return nullptr;
    path.remove_prefix(dot + 1);
  }
}

std::optional<std::string> text_at(const json::object& object, std::string_view path) {
  const json::value* const value = value_at(object, path);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string());
  return json::serialize(*value);
}

}  // namespace lab
