#include "proxy/http/route_path.hpp"

#include <cstdint>

#include "config/text.hpp"

namespace kubelane::http {
namespace {

constexpr std::string_view hex_digits = "0123456789ABCDEF";
constexpr std::string_view base64_url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool plain(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-' || c == ':';
}

std::string encode_base64_url(std::string_view bytes) {
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = (bits << 8) | static_cast<unsigned char>(c);
    count += 8;
    while (count >= 6) {
      count -= 6;
      text += base64_url[(bits >> count) & 63u];
    }
  }
  if (count > 0) text += base64_url[(bits << (6 - count)) & 63u];
  return text;
}

std::optional<std::string> decode_base64_url(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  if (text.size() % 4 == 1) return std::nullopt;
  for (const char c : text) {
    const std::size_t value = base64_url.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>((bits >> count) & 0xffu);
    }
  }
  return bytes;
}

}  // namespace

std::string local_prefix(std::string_view cluster) {
  std::string path = "/";
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const char c = cluster[i];
    // A leading dot is escaped too: no segment may mean "here" or "up".
    if (plain(c) && !(c == '.' && i == 0)) {
      path += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      path += '~';
      path += hex_digits[byte >> 4];
      path += hex_digits[byte & 15u];
    }
  }
  return path;
}

std::optional<FirstSegment> first_segment(std::string_view path) {
  if (path.size() < 2 || path.front() != '/') return std::nullopt;
  const std::size_t end = path.find('/', 1);
  const std::string_view segment = path.substr(1, end == std::string_view::npos ? end : end - 1);
  if (segment.empty()) return std::nullopt;
  FirstSegment found;
  found.length = segment.size() + 1;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    if (segment[i] != '%') {
      found.name += segment[i];
      continue;
    }
    if (i + 2 >= segment.size()) return std::nullopt;
    const int high = hex_value(segment[i + 1]);
    const int low = hex_value(segment[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    found.name += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return found;
}

std::string teleport_prefix(std::string_view teleport_cluster, std::string_view kube_cluster) {
  return "/v1/teleport/" + encode_base64_url(teleport_cluster) + "/" +
         encode_base64_url(kube_cluster);
}

std::optional<TeleportRoute> parse_teleport_prefix(std::string_view path) {
  constexpr std::string_view prefix = "/v1/teleport/";
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto teleport = decode_base64_url(path.substr(0, slash));
  path.remove_prefix(slash + 1);
  const auto kube = decode_base64_url(path.substr(0, path.find('/')));
  if (!teleport || !kube || teleport->empty() || kube->empty()) return std::nullopt;
  return TeleportRoute{*teleport, *kube};
}

}  // namespace kubelane::http
