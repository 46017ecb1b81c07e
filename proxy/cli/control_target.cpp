#include "proxy/cli/control_target.hpp"

#include <algorithm>
#include <optional>

#include "config/suggest.hpp"
#include "config/values.hpp"

namespace kubelane::cli {
namespace {

std::string flag_of(const std::string& key) {
  return key == "diag_addr" ? "--diag-addr" : "--admin-addr";
}

std::string text_of(const ControlAddress& address) {
  if (!address.unix_path.empty()) return "unix://" + address.unix_path;
  const std::string& host = address.tcp.host;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
         std::to_string(address.tcp.port);
}

Outcome<ControlTarget> usable(ControlAddress address, const std::string& key,
                              const std::string& origin) {
  if (address.unix_path.empty() && address.tcp.port == 0)
    return Failure{Code::config, origin + ": port 0 is another one after each start: give " +
                                     flag_of(key) + " with the port that kubelane's log tells"};
  if (address.tcp.host == "0.0.0.0") address.tcp.host = "127.0.0.1";
  if (address.tcp.host == "::") address.tcp.host = "::1";
  ControlTarget target{std::move(address), {}};
  target.text = text_of(target.address) + " (" + origin + ")";
  return target;
}

}  // namespace

Outcome<ControlTarget> control_target(const Command& command, const std::string& key) {
  const auto given = std::find_if(command.overrides.rbegin(), command.overrides.rend(),
                                  [&key](const Override& each) { return each.key == key; });
  if (given != command.overrides.rend()) {
    const auto address = parse_control_address(given->value);
    if (!address)
      return Failure{Code::config, given->origin + ": " + quote(given->value) +
                                       " is not an address: give host:port with an IP address or "
                                       "localhost, or unix:///path"};
    return usable(*address, key, given->origin);
  }
  const std::string ask = "give " + flag_of(key) + " host:port or unix:///path, set " +
                          variable_of(flag_of(key)) + ", or name a file that has " + key +
                          " with -c";
  if (command.config_path.empty()) return Failure{Code::config, "no address: " + ask};
  const LoadResult loaded = resolve(command);
  const std::optional<ControlAddress>& address =
      key == "diag_addr" ? loaded.config.diag_addr : loaded.config.admin_addr;
  if (address) return usable(*address, key, command.config_path + ": " + key);
  if (!loaded.errors.empty()) return Failure{Code::config, loaded.errors.front().text()};
  return Failure{Code::config, command.config_path + " has no " + key + ": " + ask};
}

}  // namespace kubelane::cli
