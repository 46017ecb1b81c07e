// The alphabets of HTTP: what a token, a field value, a request target and an authority consist of.
// One strict reading for both versions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace kubelane::http {

namespace syntax {
constexpr std::array<bool, 256> make_table(std::string_view extra) {
  std::array<bool, 256> table{};
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (const char c : extra) table[static_cast<unsigned char>(c)] = true;
  return table;
}
inline bool consists_of(const std::array<bool, 256>& table, std::string_view text) noexcept {
  for (const char c : text)
    if (!table[static_cast<unsigned char>(c)]) return false;
  return !text.empty();
}
}  // namespace syntax

// RFC 9110 section 5.6.2.
inline constexpr std::array<bool, 256> token_table = syntax::make_table("!#$%&'*+-.^_`|~");
// What a host name, an IP literal and a port consist of (RFC 3986 section 3.2.2), without user
// information and list separators.
inline constexpr std::array<bool, 256> host_table = syntax::make_table("-._~%[]:");

inline bool is_token(std::string_view text) noexcept {
  return syntax::consists_of(token_table, text);
}

inline bool is_authority(std::string_view text) noexcept {
  return syntax::consists_of(host_table, text);
}

// A field value: visible ASCII, obs-text, space and tab (RFC 9110 section 5.5).
inline bool is_value_byte(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

inline bool is_value(std::string_view text) noexcept {
  // Eight bytes at a time: values are most of a head. A tab only leads to the slow path.
  constexpr std::uint64_t ones = 0x0101010101010101;
  constexpr std::uint64_t high = 0x8080808080808080;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    const std::uint64_t control = (word - 0x20 * ones) & ~word;
    const std::uint64_t del = word ^ (0x7f * ones);
    if (((control | ((del - ones) & ~del)) & high) == 0) continue;
    for (std::size_t i = at; i < at + 8; ++i)
      if (!is_value_byte(text[i])) return false;
  }
  for (; at < text.size(); ++at)
    if (!is_value_byte(text[at])) return false;
  return true;
}

// A request target: visible ASCII but for '#'.
inline bool is_target(std::string_view text) noexcept {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || byte == '#') return false;
  }
  return !text.empty();
}

}  // namespace kubelane::http
