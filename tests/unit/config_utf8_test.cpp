// Well-formed UTF-8 by RFC 3629, held to a decoder that is written the other way round.
#include <string>

#include <gtest/gtest.h>

#include "config/utf8.hpp"

namespace {

using kubelane::utf8_length;

std::string encode(unsigned point) {
  std::string text;
  if (point < 0x80) return {static_cast<char>(point)};
  int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr unsigned marks[] = {0, 0xc0, 0xe0, 0xf0};
  text += static_cast<char>(marks[more] | point >> (6 * more));
  while (more-- > 0) text += static_cast<char>(0x80 | ((point >> (6 * more)) & 0x3f));
  return text;
}

TEST(Utf8, every_character_has_its_length_and_surrogates_have_none) {
  for (unsigned point = 0; point < 0x110000; ++point) {
    const std::string text = encode(point);
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    ASSERT_EQ(utf8_length(text + "x"), surrogate ? 0 : text.size()) << point;
    const std::string_view cut = std::string_view(text).substr(0, text.size() - 1);
    ASSERT_EQ(utf8_length(cut), 0u) << point;
  }
}

TEST(Utf8, what_is_no_character_has_no_length) {
  EXPECT_EQ(utf8_length(""), 0u);
  for (const char* text :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3x", "\xe2\x82x", "\xf0\x9f\x98x"})
    EXPECT_EQ(utf8_length(text), 0u) << text;
}

}  // namespace
