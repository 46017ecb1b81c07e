// Base64 (RFC 4648): the standard alphabet with padding, and the one for URLs without.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kubelane::tls {

std::string base64(std::string_view bytes);
// The alphabet for URLs and file names, no padding (RFC 4648 section 5).
std::string base64url(std::string_view bytes);
// Standard alphabet. Nothing when it is malformed; line breaks are malformed.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace kubelane::tls
