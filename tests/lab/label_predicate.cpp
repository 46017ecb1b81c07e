#include "tests/lab/label_predicate.hpp"

#include <cctype>
#include <cstdlib>
#include <string_view>

#include "tests/lab/call_error.hpp"

namespace lab {
namespace {

// Evaluates while it parses; both sides always, so that errors show.
class Parser {
 public:
  Parser(std::string_view text, const std::string& name,
         const std::map<std::string, std::string>& labels)
      : text_(text), name_(name), labels_(labels) {}

  bool whole() {
    const bool result = either();
    skip_space();
    if (at_ != text_.size()) bad("something behind the end");
    return result;
  }

 private:
  [[noreturn]] void bad(const char* what) const {
    throw CallError{grpc_code::invalid_argument, std::string("failed to parse predicate "
                                                             "expression: ") +
                                                     what + " at " + std::to_string(at_)};
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(std::string_view token) {
    skip_space();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void want(std::string_view token) {
    if (!take(token)) bad("a missing token");
  }

  bool either() {
    bool result = both();
    while (take("||")) {
      const bool right = both();
      result = result || right;
    }
    return result;
  }
  bool both() {
    bool result = single();
    while (take("&&")) {
      const bool right = single();
      result = result && right;
    }
    return result;
  }
  bool single() {
    skip_space();
    if (text_.substr(at_, 2) != "!=" && take("!")) return !single();
    if (take("(")) {
      const bool result = either();
      want(")");
      return result;
    }
    if (take("equals(")) {
      const std::string left = operand();
      want(",");
      const std::string right = operand();
      want(")");
      return left == right;
    }
    const std::string left = operand();
    if (take("==")) return left == operand();
    if (take("!=")) return left != operand();
    bad("no comparison");
  }

  std::string operand() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '"') return quoted();
    const std::string path = identifier();
    if (path == "name" || path == "resource.metadata.name") return name_;
    for (const std::string_view prefix : {"labels", "resource.metadata.labels"}) {
      if (path == prefix) {
        want("[");
        skip_space();
        const std::string key = quoted();
        want("]");
        return label(key);
      }
      if (path.starts_with(std::string(prefix) + ".")) return label(path.substr(prefix.size() + 1));
    }
    bad("an unknown name");
  }
  std::string identifier() {
    const std::size_t from = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '_' || text_[at_] == '.')) {
      ++at_;
    }
    if (at_ == from) bad("no operand");
    return std::string(text_.substr(from, at_ - from));
  }
  std::string label(const std::string& key) const {
    const auto found = labels_.find(key);
    return found == labels_.end() ? "" : found->second;
  }

  std::string quoted() {
    if (at_ >= text_.size() || text_[at_] != '"') bad("no string");
    ++at_;
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\n') bad("a line's end in a string");
      result += text_[at_] == '\\' ? escaped() : std::string(1, text_[at_++]);
    }
    if (at_ >= text_.size()) bad("a string without end");
    ++at_;
    return result;
  }
  std::string escaped() {
    ++at_;
    if (at_ >= text_.size()) bad("a string without end");
    const char kind = text_[at_++];
    switch (kind) {
      case 'n':
        return "\n";
      case 't':
        return "\t";
      case 'r':
        return "\r";
      case '\\':
      case '"':
        return {kind};
      case 'x':
        return {static_cast<char>(hexadecimal(2))};
      case 'u':
        return utf8(hexadecimal(4));
      case 'U':
        return utf8(hexadecimal(8));
      default:
        bad("an unknown escape");
    }
  }
  unsigned long hexadecimal(std::size_t digits) {
    const std::string part(text_.substr(at_, digits));
    char* end = nullptr;
    const unsigned long value = std::strtoul(part.c_str(), &end, 16);
    if (part.size() != digits || end != part.c_str() + digits) bad("a bad escape");
    at_ += digits;
    return value;
  }
  static std::string utf8(unsigned long point) {
    const auto byte = [](unsigned long value) { return static_cast<char>(value & 0xff); };
    if (point < 0x80) return {byte(point)};
    if (point < 0x800) return {byte(0xc0 | (point >> 6)), byte(0x80 | (point & 0x3f))};
    if (point < 0x10000) {
      return {byte(0xe0 | (point >> 12)), byte(0x80 | ((point >> 6) & 0x3f)),
              byte(0x80 | (point & 0x3f))};
    }
    return {byte(0xf0 | (point >> 18)), byte(0x80 | ((point >> 12) & 0x3f)),
            byte(0x80 | ((point >> 6) & 0x3f)), byte(0x80 | (point & 0x3f))};
  }

  std::string_view text_;
  const std::string& name_;
  const std::map<std::string, std::string>& labels_;
  std::size_t at_ = 0;
};

}  // namespace

bool matches_predicate(const std::string& text, const std::string& name,
                       const std::map<std::string, std::string>& labels) {
  return Parser(text, name, labels).whole();
}

}  // namespace lab
