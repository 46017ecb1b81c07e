#include "config/suggest.hpp"

#include <algorithm>
#include <limits>

namespace kubelane {
namespace {

constexpr std::size_t readable_bytes = 80;
constexpr std::size_t longest_name = 64;  // longer ones are no misspelt name of ours

// How many letters differ, are missing, superfluous or swapped with their neighbour.
std::size_t distance(const std::string& left, const std::string& right) {
  std::vector<std::size_t> before_last(right.size() + 1);
  std::vector<std::size_t> last(right.size() + 1);
  std::vector<std::size_t> row(right.size() + 1);
  for (std::size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= left.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= right.size(); ++j) {
      const bool same = left[i - 1] == right[j - 1];
      row[j] = std::min({row[j - 1] + 1, last[j] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::string shorten(const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
  return text.substr(0, end) + "…";
}

std::string quote(const std::string& text) { return "\"" + shorten(text, readable_bytes) + "\""; }

std::string nearest_name(const std::string& name, const Names& valid) {
  std::string best;
  if (name.size() > longest_name) return best;
  const std::size_t tolerated = std::max<std::size_t>(2, name.size() / 3);
  std::size_t best_distance = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : valid) {
    const std::size_t letters = distance(name, candidate);
    // A name of which no letter is right is not near.
    if (letters > tolerated || letters >= std::min(name.size(), candidate.size())) continue;
    if (letters >= best_distance) continue;
    best_distance = letters;
    best = candidate;
  }
  return best;
}

std::string did_you_mean(const std::string& name, const Names& valid) {
  const std::string near = nearest_name(name, valid);
  return near.empty() ? near : " (did you mean " + quote(near) + "?)";
}

std::string not_one_of(const std::string& text, const Names& valid) {
  std::string message = quote(text) + " is not one of ";
  for (std::size_t i = 0; i < valid.size(); ++i) message += (i > 0 ? ", " : "") + valid[i];
  return message + did_you_mean(text, valid);
}

}  // namespace kubelane
