#include "config/values.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include <arpa/inet.h>

#include "config/suggest.hpp"

namespace kubelane {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || value > 65535)
    return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

bool is_ip(int family, const std::string& text) {
  in6_addr address{};
  return ::inet_pton(family, text.c_str(), &address) == 1;
}

// The length of a unit of time at the front of the text, and its milliseconds; 0 when there is
// none.
std::pair<std::size_t, double> take_unit(std::string_view text) {
  if (text.starts_with("ms")) return {2, 1};
  if (text.starts_with("us")) return {2, 0.001};
  if (text.starts_with("µs")) return {std::string_view("µs").size(), 0.001};
  if (text.starts_with("ns")) return {2, 0.000001};
  if (text.starts_with("h")) return {1, 3'600'000};
  if (text.starts_with("m")) return {1, 60'000};
  if (text.starts_with("s")) return {1, 1000};
  return {0, 0};
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(const std::string& text) {
  if (text == "0") return std::chrono::milliseconds(0);
  if (text.empty()) return std::nullopt;
  double total = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    // from_chars would take "inf" and "nan", too.
    if ((*at < '0' || *at > '9') && *at != '.') return std::nullopt;
    double number = 0;
    const auto [after, error] = std::from_chars(at, end, number, std::chars_format::fixed);
    if (error != std::errc()) return std::nullopt;
    at = after;
    const auto [length, unit] = take_unit({at, static_cast<std::size_t>(end - at)});
    if (length == 0) return std::nullopt;
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
  if (constexpr std::string_view passed = "systemd:"; text.starts_with(passed)) {
    address.passed = text.substr(passed.size());
    if (address.passed.empty()) return std::nullopt;
    return address;
  }
  if (text.starts_with('[')) {
    const std::size_t end = text.find("]:");
    if (end == std::string::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    port = text.substr(end + 2);
    if (!is_ip(AF_INET6, host)) return std::nullopt;
  } else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    // "::1:7443" is an address of its own.
    if (!host.empty() && host != "localhost" && !is_ip(AF_INET, host)) return std::nullopt;
  } else {
    port = text;
  }
  const auto number = parse_port(port);
  if (!number) return std::nullopt;
  address.port = *number;
  if (!host.empty()) address.host = host;
  return address;
}

std::optional<ControlAddress> parse_control_address(const std::string& text) {
  constexpr std::string_view scheme = "unix://";
  constexpr std::size_t longest_path = 107;  // sockaddr_un
  ControlAddress address;
  if (text.starts_with(scheme)) {
    const std::string path = text.substr(scheme.size());
    if (!path.starts_with('/') || path.ends_with('/')) return std::nullopt;
    address.unix_path = absolute_path(path);
    if (address.unix_path.size() > longest_path) return std::nullopt;
    return address;
  }
  const auto tcp = parse_listen(text);
  if (!tcp) return std::nullopt;
  address.tcp = *tcp;
  if (text.starts_with(':')) address.tcp.host = "0.0.0.0";
  return address;
}

bool is_loopback(const ListenAddress& address) {
  if (!address.passed.empty()) return true;
  in6_addr six{};
  if (::inet_pton(AF_INET6, address.host.c_str(), &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
  return address.host == "localhost" || address.host.starts_with("127.");
}

std::optional<bool> parse_bool(const std::string& text) {
  for (const char* yes : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "1"})
    if (text == yes) return true;
  for (const char* no :
       {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "0"})
    if (text == no) return false;
  return std::nullopt;
}

std::optional<std::string> parse_proxy_server(const std::string& text) {
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    if (rest.ends_with('/')) rest.remove_suffix(1);
  }
  std::string_view host = rest;
  std::string_view port;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos || !is_ip(AF_INET6, std::string(rest.substr(1, end - 1))))
      return std::nullopt;
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
  if (!host.starts_with('[') && !is_host_name(host)) return std::nullopt;
  std::string out(host);
  if (port.empty()) return out + ":443";
  const auto number = parse_port(port);
  if (!number || *number == 0) return std::nullopt;
  return out + ":" + std::to_string(*number);
}

bool is_host_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

std::string absolute_path(const std::string& text) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(text, error);
  if (error) return text;
  std::string normal = absolute.lexically_normal().string();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

bool is_object_name(std::string_view text) {
  constexpr std::size_t longest = 253;
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  const auto edge = [](char c) { return c != '-' && c != '.'; };
  return !text.empty() && text.size() <= longest && std::all_of(text.begin(), text.end(), inner) &&
         edge(text.front()) && edge(text.back());
}

std::string parse_destination(const std::string& text, Destination& out) {
  const std::size_t end = text.find("://");
  const std::string scheme = text.substr(0, end == std::string::npos ? 0 : end);
  if (text == "memory://") {
    out.type = Destination::Type::memory;
    return {};
  }
  if (scheme == "kubernetes-secret") {
    const std::string name = text.substr(end + 3);
    if (!name.starts_with('/') || !is_object_name(name.substr(1)))
      return quote(text) + " is not of the form kubernetes-secret:///name";
    out.type = Destination::Type::kubernetes_secret;
    out.secret.name = name.substr(1);
    return {};
  }
  std::string path = text;
  if (scheme == "file") {
    path = text.substr(end + 3);
    if (!path.starts_with('/')) return quote(text) + " needs three slashes: file:///path";
  } else if (!scheme.empty() && scheme.find('/') == std::string::npos) {
    return quote(text) +
           " is not a directory: give a path, file:///path, memory:// or kubernetes-secret:///name";
  }
  out.type = Destination::Type::directory;
  out.path = absolute_path(path);
  return {};
}

}  // namespace kubelane
