#include "proxy/teleport/connection_upgrade.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <string_view>

namespace kubelane::teleport {
namespace {

// Teleport's own words, in any case; anything else is unreadable.
std::optional<bool> truth(std::string_view text) {
  constexpr std::array<std::string_view, 6> yes{"yes", "yeah", "y", "true", "1", "on"};
  constexpr std::array<std::string_view, 6> no{"no", "nope", "n", "false", "0", "off"};
  std::string lower;
  for (const char c : text) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (std::find(yes.begin(), yes.end(), lower) != yes.end()) return true;
  if (std::find(no.begin(), no.end(), lower) != no.end()) return false;
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

ConnectionUpgrade::Mode upgrade_mode(const std::string& variable, const std::string& address) {
  using Mode = ConnectionUpgrade::Mode;
  if (variable.empty()) return Mode::automatic;
  std::optional<bool> by_name;
  std::optional<bool> bare;
  for (std::string_view rest = variable; !rest.empty();) {
    const std::size_t end = std::min(rest.find_first_of(",;"), rest.size());
    const std::string_view entry = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = entry.rfind('=');
    if (equals == std::string_view::npos) {
      if (!entry.empty()) bare = truth(entry);
    } else if (trimmed(entry.substr(0, equals)) == address) {
      by_name = truth(trimmed(entry.substr(equals + 1))).value_or(false);
    }
  }
  return by_name.value_or(bare.value_or(false)) ? Mode::always : Mode::never;
}

}  // namespace kubelane::teleport
