#include "config/values.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <filesystem>

namespace kubelane {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || value > 65535)
    return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

bool is_ip(const std::string& text) {
  in6_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(const std::string& text) {
  if (text == "0") return std::chrono::milliseconds(0);
  if (text.empty()) return std::nullopt;
  double total = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    double number = 0;
    const auto [after, error] = std::from_chars(at, end, number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return std::nullopt;
    at = after;
    const std::string_view rest(at, static_cast<std::size_t>(end - at));
    double unit = 0;
    std::size_t length = 1;
    if (rest.starts_with("ms")) {
      unit = 1;
      length = 2;
    } else if (rest.starts_with("us")) {
      unit = 0.001;
      length = 2;
    } else if (rest.starts_with("ns")) {
      unit = 0.000001;
      length = 2;
    } else if (rest.starts_with("h")) {
      unit = 3'600'000;
    } else if (rest.starts_with("m")) {
      unit = 60'000;
    } else if (rest.starts_with("s")) {
      unit = 1000;
    } else {
      return std::nullopt;
    }
    at += length;
    total += number * unit;
  }
  constexpr double ten_years = 10.0 * 365 * 24 * 3'600'000;
  if (total > ten_years) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(total));
}

std::optional<std::size_t> parse_size(const std::string& text) {
  std::size_t value = 0;
  const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || after == text.data()) return std::nullopt;
  const std::string_view unit(after, static_cast<std::size_t>(text.data() + text.size() - after));
  unsigned shift = 0;
  if (unit == "KiB") {
    shift = 10;
  } else if (unit == "MiB") {
    shift = 20;
  } else if (unit == "GiB") {
    shift = 30;
  } else if (!unit.empty()) {
    return std::nullopt;
  }
  if (value > (std::size_t{1} << 40) >> shift) return std::nullopt;
  return value << shift;
}

std::optional<ListenAddress> parse_listen(const std::string& text) {
  ListenAddress address;
  std::string host;
  std::string port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find("]:");
    if (end == std::string::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    port = text.substr(end + 2);
  } else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  } else {
    port = text;
  }
  const auto number = parse_port(port);
  if (!number) return std::nullopt;
  address.port = *number;
  if (!host.empty()) {
    if (!is_ip(host) && host != "localhost") return std::nullopt;
    address.host = host;
  }
  return address;
}

bool is_loopback(const ListenAddress& address) {
  return address.host == "localhost" || address.host == "::1" || address.host.starts_with("127.");
}

std::optional<bool> parse_bool(const std::string& text) {
  for (const char* yes : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "1"})
    if (text == yes) return true;
  for (const char* no : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "0"})
    if (text == no) return false;
  return std::nullopt;
}

std::optional<std::string> parse_proxy_server(const std::string& text) {
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    if (rest.ends_with('/')) rest.remove_suffix(1);
  }
  if (rest.empty() || rest.find_first_of("/@?# \t") != std::string_view::npos) return std::nullopt;
  std::string_view host = rest;
  std::string_view port;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos || end == 1) return std::nullopt;
    host = rest.substr(0, end + 1);
    if (rest.size() > end + 1) {
      if (rest[end + 1] != ':') return std::nullopt;
      port = rest.substr(end + 2);
      if (port.empty()) return std::nullopt;
    }
  } else if (const std::size_t colon = rest.find(':'); colon != std::string_view::npos) {
    if (rest.find(':', colon + 1) != std::string_view::npos) return std::nullopt;
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
    if (port.empty()) return std::nullopt;
  }
  if (host.empty()) return std::nullopt;
  std::string out(host);
  if (port.empty()) return out + ":443";
  const auto number = parse_port(port);
  if (!number || *number == 0) return std::nullopt;
  return out + ":" + std::to_string(*number);
}

std::string absolute_path(const std::string& text) {
  std::string path = text;
  if (path.starts_with("file://")) path = path.substr(7);
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return path;
  std::string normal = absolute.lexically_normal().string();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

}  // namespace kubelane
