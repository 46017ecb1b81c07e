// Base64 in the two alphabets that Teleport and Kubernetes use.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lab {

std::string base64(std::string_view bytes);     // standard alphabet, padded
std::string base64url(std::string_view bytes);  // URL alphabet, no padding
// Of unpadded URL-alphabet text; nothing when it is not that.
std::optional<std::string> from_base64url(std::string_view text);

// Of standard-alphabet text, padding optional; nothing when it is not that.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace lab
