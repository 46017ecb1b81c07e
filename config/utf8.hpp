// UTF-8 as it may appear in what others sent, for everything that writes text for somebody to read.
#pragma once

#include <cstddef>
#include <string_view>

namespace kubelane {

// Length of the well-formed sequence at the front, 0 when there is none (RFC 3629: shortest forms,
// no surrogates, nothing above U+10FFFF) or nothing at all.
std::size_t utf8_length(std::string_view text) noexcept;

}  // namespace kubelane
