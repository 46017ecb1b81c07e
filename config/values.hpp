// Values of configuration fields: text to addresses, durations, sizes and names.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "config/config.hpp"

namespace kubelane {

// Go's syntax, as tbot: "1h30m", "20s", "500ms". Not negative, below 10 years.
std::optional<std::chrono::milliseconds> parse_duration(const std::string& text);

// Bytes: "1048576", "64KiB", "16MiB", "1GiB".
std::optional<std::size_t> parse_size(const std::string& text);

// host:port with an IP literal (IPv6 in brackets) or localhost; ":7443" is 127.0.0.1, a bare port
// too. "systemd:NAME" is a socket that systemd passes.
std::optional<ListenAddress> parse_listen(const std::string& text);
// Of a passed socket nothing is known here: it counts as loopback.
bool is_loopback(const ListenAddress& address);
// The same, or unix:///path. Without a host it is every address, as in Go and so in tbot's
// diag_addr.
std::optional<ControlAddress> parse_control_address(const std::string& text);

// true/false, yes/no, on/off as YAML 1.1 has them.
std::optional<bool> parse_bool(const std::string& text);

// "host:port", "host", "https://host[:port][/]" → host:port with 443 by default. nullopt:
// malformed.
std::optional<std::string> parse_proxy_server(const std::string& text);

// A DNS name or an IPv4 address, by its letters.
bool is_host_name(std::string_view text);

// Absolute and lexically normal; relative to the current directory.
std::string absolute_path(const std::string& text);

// What Kubernetes takes as the name of a Secret or a namespace: a lower-case DNS name.
bool is_object_name(std::string_view text);

// tbot's short forms of a destination: "memory://", "kubernetes-secret:///name", "file:///path" or
// a path. Sets the type and what belongs to it; returns why it cannot, or an empty string.
std::string parse_destination(const std::string& text, Destination& out);

}  // namespace kubelane
