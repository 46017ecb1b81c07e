#include "config/settings.hpp"

#include <charconv>

#include "config/onboarding.hpp"
#include "config/suggest.hpp"
#include "config/values.hpp"

namespace kubelane {
namespace {

Setting boolean(std::string key, bool Config::*member) {
  return {std::move(key), [member](Config& config, const std::string& text) -> std::string {
            const auto value = parse_bool(text);
            if (!value) return quote(text) + " is not true or false";
            config.*member = *value;
            return {};
          }};
}

Setting duration(const std::string& name, std::chrono::milliseconds Timeouts::*member) {
  return {"timeouts." + name, [member](Config& config, const std::string& text) -> std::string {
            const auto value = parse_duration(text);
            if (!value || value->count() == 0)
              return quote(text) + " is not a duration such as 10s, 500ms or 1m30s";
            config.timeouts.*member = *value;
            return {};
          }};
}

// May be 0, which is none.
Setting exit_delay(const std::string& name, std::chrono::milliseconds ExitRules::*member) {
  return {"exit." + name, [member](Config& config, const std::string& text) -> std::string {
            const auto value = parse_duration(text);
            if (!value) return quote(text) + " is not a duration such as 10s, 500ms or 1m30s";
            config.exit.*member = *value;
            return {};
          }};
}

Setting size(const std::string& name, std::size_t Limits::*member, std::size_t least,
             std::size_t most) {
  return {"limits." + name,
          [member, least, most](Config& config, const std::string& text) -> std::string {
            const auto value = parse_size(text);
            if (!value || *value < least || *value > most)
              return quote(text) + " is not a number from " + std::to_string(least) + " to " +
                     std::to_string(most) + " (sizes may end in KiB, MiB or GiB)";
            config.limits.*member = *value;
            return {};
          }};
}

Setting lifetime(std::string key, std::chrono::milliseconds Config::*member, bool may_be_zero) {
  return {std::move(key),
          [member, may_be_zero](Config& config, const std::string& text) -> std::string {
            const auto value = parse_duration(text);
            if (!value || (value->count() == 0 && !may_be_zero))
              return quote(text) + " is not a duration such as 1h or 20m";
            config.*member = *value;
            return {};
          }};
}

Setting control_address(std::string key, std::optional<ControlAddress> Config::*member) {
  return {std::move(key), [member](Config& config, const std::string& text) -> std::string {
            if (text.empty()) {
              config.*member = std::nullopt;
              return {};
            }
            const auto value = parse_control_address(text);
            if (!value)
              return quote(text) +
                     " is not an address to listen on such as 127.0.0.1:3001 or "
                     "unix:///run/kubelane/admin.sock";
            config.*member = *value;
            return {};
          }};
}

Setting onboarding_text(const std::string& name, std::string Onboarding::*member) {
  return {"onboarding." + name, [member](Config& config, const std::string& text) -> std::string {
            config.onboarding.*member = text;
            return {};
          }};
}

// `other`: says the same in another way, so that the stronger place ends it.
Setting bound_keypair_text(const std::string& name, std::string BoundKeypairOptions::*member,
                           std::string BoundKeypairOptions::*other) {
  return {"onboarding.bound_keypair." + name,
          [name, member, other](Config& config, const std::string& text) -> std::string {
            BoundKeypairOptions& options = config.onboarding.bound_keypair;
            options.*member = name.ends_with("_path") ? absolute_path(text) : text;
            (options.*other).clear();
            return {};
          }};
}

// The bot's.
void add_bot_settings(std::vector<Setting>& all) {
  all.push_back({"auth_server", [](Config& config, const std::string& text) -> std::string {
                   const bool with_port = text.find(':') != std::string::npos;
                   const auto value = parse_proxy_server(with_port ? text : text + ":3025");
                   if (!value)
                     return quote(text) + " is not an address such as auth.example.com:3025";
                   config.auth_server = *value;
                   return {};
                 }});
  all.push_back({"join_uri", [](Config& config, const std::string& text) -> std::string {
                   config.join_uri = text;
                   return {};
                 }});
  for (const char* key : {"credential_ttl", "certificate_ttl"})
    all.push_back(lifetime(key, &Config::credential_ttl, false));
  all.push_back(lifetime("renewal_interval", &Config::renewal_interval, false));
  all.push_back(lifetime("leeway", &Config::leeway, true));
  all.push_back(boolean("oneshot", &Config::oneshot));
  all.push_back(onboarding_text("token", &Onboarding::token));
  all.push_back({"onboarding.join_method", [](Config& config, const std::string& text) {
                   return set_join_method(config.onboarding, text);
                 }});
  using Keypair = BoundKeypairOptions;
  all.push_back(bound_keypair_text("registration_secret", &Keypair::registration_secret,
                                   &Keypair::registration_secret_path));
  all.push_back(bound_keypair_text("registration_secret_path", &Keypair::registration_secret_path,
                                   &Keypair::registration_secret));
  all.push_back(bound_keypair_text("static_private_key_path", &Keypair::static_key_path,
                                   &Keypair::static_key));
  all.push_back(bound_keypair_text("static_key", &Keypair::static_key, &Keypair::static_key_path));
  all.push_back({"onboarding.ca_pins", [](Config& config, const std::string& text) {
                   return set_ca_pins(config.onboarding, text);
                 }});
}

std::vector<Setting> make_settings() {
  std::vector<Setting> all;
  add_bot_settings(all);
  all.push_back({"proxy_server", [](Config& config, const std::string& text) -> std::string {
                   const auto value = parse_proxy_server(text);
                   if (!value)
                     return quote(text) + " is not an address such as teleport.example.com:443";
                   config.proxy_server = *value;
                   return {};
                 }});
  all.push_back({"proxy_ca", [](Config& config, const std::string& text) -> std::string {
                   config.proxy_ca = text.empty() ? text : absolute_path(text);
                   return {};
                 }});
  all.push_back(boolean("insecure", &Config::insecure));
  all.push_back({"proxy_protocol", [](Config& config, const std::string& text) -> std::string {
                   if (text == "auto") {
                     config.proxy_protocol = ProxyProtocol::automatic;
                   } else if (text == "http1") {
                     config.proxy_protocol = ProxyProtocol::http1;
                   } else if (text == "http2") {
                     config.proxy_protocol = ProxyProtocol::http2;
                   } else {
                     return not_one_of(text, {"auto", "http1", "http2"});
                   }
                   return {};
                 }});
  all.push_back({"listen", [](Config& config, const std::string& text) -> std::string {
                   const auto value = parse_listen(text);
                   if (!value)
                     return quote(text) +
                            " is not an address to listen on such as "
                            "127.0.0.1:7443 (an IP address or localhost, and a port)";
                   config.listen = *value;
                   return {};
                 }});
  all.push_back(boolean("allow_remote", &Config::allow_remote));
  all.push_back(control_address("diag_addr", &Config::diag_addr));
  all.push_back(control_address("admin_addr", &Config::admin_addr));
  all.push_back({"local_auth", [](Config& config, const std::string& text) {
                   return set_local_auth(config.local_auth, text);
                 }});
  all.push_back(boolean("local_tls", &Config::local_tls));
  all.push_back({"local_trust", [](Config& config, const std::string& text) -> std::string {
                   config.local_trust = text.empty() ? text : absolute_path(text);
                   return {};
                 }});
  all.push_back({"storage", [](Config& config, const std::string& text) -> std::string {
                   Destination storage;
                   std::string problem =
                       text.empty() ? std::string() : parse_destination(text, storage);
                   if (!problem.empty()) return problem;
                   config.storage_path = storage.path;
                   config.storage_secret = storage.secret;
                   return problem;
                 }});
  all.push_back({"workers", [](Config& config, const std::string& text) -> std::string {
                   unsigned value = 0;
                   const auto [end, error] =
                       std::from_chars(text.data(), text.data() + text.size(), value);
                   if (error != std::errc() || end != text.data() + text.size() || value > 64)
                     return quote(text) + " is not a number from 0 (automatic) to 64";
                   config.workers = value;
                   return {};
                 }});
  all.push_back({"log.format", [](Config& config, const std::string& text) -> std::string {
                   if (text == "text") {
                     config.log_format = LogFormat::text;
                   } else if (text == "json") {
                     config.log_format = LogFormat::json;
                   } else {
                     return not_one_of(text, {"text", "json"});
                   }
                   return {};
                 }});
  all.push_back({"log.level", [](Config& config, const std::string& text) -> std::string {
                   const std::vector<std::string> valid = {"debug", "info", "warn", "error"};
                   for (std::size_t i = 0; i < valid.size(); ++i) {
                     if (text != valid[i]) continue;
                     config.log_level = static_cast<LogLevel>(i);
                     return {};
                   }
                   return not_one_of(text, valid);
                 }});
  all.push_back(boolean("sandbox", &Config::sandbox));
  all.push_back(boolean("debug", &Config::debug));
  all.push_back({"exit.zero_on_sigterm", [](Config& config, const std::string& text) {
                   config.exit.zero_on_sigterm = parse_bool(text);
                   return config.exit.zero_on_sigterm ? std::string()
                                                      : quote(text) + " is not true or false";
                 }});
  all.push_back(exit_delay("min_sigterm_delay", &ExitRules::min_sigterm_delay));
  all.push_back(exit_delay("when_idle", &ExitRules::when_idle));
  all.push_back({"exit.when_file", [](Config& config, const std::string& text) -> std::string {
                   config.exit.when_file = text.empty() ? text : absolute_path(text);
                   return {};
                 }});
  all.push_back(
      {"exit.with_pid", [](Config& config, const std::string& text) -> std::string {
         const auto [end, error] =
             std::from_chars(text.data(), text.data() + text.size(), config.exit.with_pid);
         if (error != std::errc() || end != text.data() + text.size() || config.exit.with_pid <= 0)
           return quote(text) + " is not the number of a process";
         return {};
       }});
  all.push_back(size("max_connections", &Limits::max_connections, 1, 1'000'000));
  all.push_back(size("max_header_bytes", &Limits::max_header_bytes, 1024, 64u << 10));
  all.push_back(size("max_header_fields", &Limits::max_header_fields, 8, 256));
  all.push_back(size("max_upstream_connections", &Limits::max_upstream_connections, 1, 1'000'000));
  all.push_back(
      size("max_idle_upstream_connections", &Limits::max_idle_upstream_connections, 0, 10'000));
  all.push_back(
      size("buffer_memory_bytes", &Limits::buffer_memory_bytes, 1 << 20, std::size_t{1} << 40));
  all.push_back(duration("local_handshake", &Timeouts::local_handshake));
  all.push_back(duration("request_head", &Timeouts::request_head));
  all.push_back(duration("local_idle", &Timeouts::local_idle));
  all.push_back(duration("connect", &Timeouts::connect));
  all.push_back(duration("upstream_handshake", &Timeouts::upstream_handshake));
  all.push_back(duration("response_head", &Timeouts::response_head));
  all.push_back(duration("progress", &Timeouts::progress));
  all.push_back(duration("upstream_idle", &Timeouts::upstream_idle));
  all.push_back(duration("half_closed", &Timeouts::half_closed));
  all.push_back(duration("drain", &Timeouts::drain));
  all.push_back(duration("credentials_poll", &Timeouts::credentials_poll));
  return all;
}

}  // namespace

std::string set_local_auth(LocalAuth& auth, const std::string& text) {
  if (text == "token") {
    auth = LocalAuth::token;
  } else if (text == "mtls") {
    auth = LocalAuth::mtls;
  } else if (text == "none") {
    auth = LocalAuth::none;
  } else {
    return not_one_of(text, {"token", "mtls", "none"});
  }
  return {};
}

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = make_settings();
  return all;
}

const Setting* find_setting(const std::string& key) {
  for (const Setting& setting : settings())
    if (setting.key == key) return &setting;
  return nullptr;
}

}  // namespace kubelane
