#include "config/onboarding.hpp"

#include <algorithm>
#include <optional>

#include "config/text.hpp"
#include "config/values.hpp"

namespace kubelane {
namespace {

constexpr JoinMethod methods[] = {
    JoinMethod::token,     JoinMethod::kubernetes,   JoinMethod::github,
    JoinMethod::gitlab,    JoinMethod::gcp,          JoinMethod::circleci,
    JoinMethod::bitbucket, JoinMethod::azure_devops, JoinMethod::terraform_cloud,
    JoinMethod::spacelift, JoinMethod::bound_keypair};

// Each needs a protocol of its own, with signatures of a cloud or a chip.
const Names foreign_methods = {"iam", "azure", "tpm", "ec2", "oracle", "env0", "generic_oidc"};

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
      return std::nullopt;
    out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
    i += 2;
  }
  return out;
}

// Reads one of the groups: a map of single values.
void read_group(YamlReader& reader, const YAML::Node& node, const std::string& where,
                const std::vector<std::pair<std::string, std::string*>>& fields) {
  if (node.IsNull()) return;
  if (!node.IsMap()) {
    reader.error(node, where + " must be a map");
    return;
  }
  Names valid;
  for (const auto& [field, target] : fields) valid.push_back(field);
  reader.each(node, valid, std::string(" in ").append(where),
              [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
                const std::string whole = where + "." + key;
                for (const auto& [field, target] : fields) {
                  if (field != key) continue;
                  if (target == nullptr) {
                    reader.not_acted_on(name, whole, "it belongs to another method");
                  } else {
                    reader.text(value, whole, *target);
                  }
                }
              });
}

void read_bound_keypair(YamlReader& reader, const YAML::Node& node, const std::string& where,
                        BoundKeypairOptions& options) {
  // tbot has had both names of the last one.
  read_group(reader, node, where,
             {{"registration_secret", &options.registration_secret},
              {"registration_secret_path", &options.registration_secret_path},
              {"static_private_key_path", &options.static_key_path},
              {"static_key_path", &options.static_key_path}});
  for (std::string* path : {&options.registration_secret_path, &options.static_key_path})
    if (!path->empty()) *path = absolute_path(*path);
}

std::string check_bound_keypair(const Config& config) {
  const BoundKeypairOptions& options = config.onboarding.bound_keypair;
  const bool secret = !options.registration_secret.empty();
  const bool secret_path = !options.registration_secret_path.empty();
  if (secret && secret_path)
    return "onboarding.bound_keypair: registration_secret and registration_secret_path exclude "
           "each "
           "other";
  if (!options.static_key_path.empty() && !options.static_key.empty())
    return "onboarding.bound_keypair: static_private_key_path and TBOT_BOUND_KEYPAIR_STATIC_KEY "
           "exclude each other";
  if (options.has_static_key() && (secret || secret_path))
    return "onboarding.bound_keypair: a static key is registered in the token "
           "(initial_public_key), "
           "and takes no registration secret";
  if (config.onboarding.join_path == JoinPath::web)
    return "onboarding.join_path: web excludes join_method bound_keypair, which joins by gRPC: "
           "auto "
           "or grpc";
  if (config.storage_path.empty() && !options.has_static_key())
    return "join_method bound_keypair keeps its key, and what Teleport says of the last join, in "
           "storage; in memory they would be lost with the process, and the bot with them: give "
           "storage a directory, or the key yourself "
           "(onboarding.bound_keypair.static_private_key_path)";
  return {};
}

}  // namespace

std::string set_join_method(Onboarding& onboarding, const std::string& text) {
  Names known;
  for (const JoinMethod method : methods) {
    if (text == name(method)) {
      onboarding.join_method = method;
      return {};
    }
    known.emplace_back(name(method));
  }
  if (std::find(foreign_methods.begin(), foreign_methods.end(), text) != foreign_methods.end())
    return "join_method " + text +
           " is not supported by kubelane: let tbot join, and name the directory that it writes in "
           "the services' `credentials: {type: directory, path: …}`";
  return not_one_of(text, known);
}

std::string set_ca_pins(Onboarding& onboarding, const std::string& text) {
  std::vector<std::string> pins;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string pin = text.substr(at, comma - at);
    constexpr std::string_view prefix = "sha256:";
    const bool hex =
        std::all_of(pin.begin() + std::min<std::ptrdiff_t>(std::ssize(pin), 7), pin.end(),
                    [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (!pin.starts_with(prefix) || pin.size() != prefix.size() + 64 || !hex)
      return quote(pin) +
             " is not a CA pin: sha256: and 64 hexadecimal digits in lower case, as `tctl status` "
             "prints it";
    pins.push_back(pin);
    at = comma + 1;
  }
  onboarding.ca_pins = std::move(pins);
  return {};
}

void read_onboarding(YamlReader& reader, const YAML::Node& node, Onboarding& onboarding) {
  if (node.IsNull()) return;
  if (!node.IsMap()) {
    reader.error(node, "onboarding must be a map");
    return;
  }
  onboarding.given = true;
  const Names valid = {"token",      "join_method", "join_path", "ca_pins", "ca_path",
                       "kubernetes", "azure",       "terraform", "gitlab",  "bound_keypair"};
  reader.each(
      node, valid, " in onboarding",
      [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
        const std::string where = "onboarding." + key;
        std::string text;
        if (key == "token") {
          reader.text(value, where, onboarding.token);
        } else if (key == "join_method") {
          if (!reader.text(value, where, text)) return;
          const std::string wrong = set_join_method(onboarding, text);
          if (!wrong.empty()) reader.error(value, where + ": " + wrong);
        } else if (key == "join_path") {
          if (!reader.text(value, where, text)) return;
          if (text == "auto") {
            onboarding.join_path = JoinPath::automatic;
          } else if (text == "web") {
            onboarding.join_path = JoinPath::web;
          } else if (text == "grpc") {
            onboarding.join_path = JoinPath::grpc;
          } else {
            reader.error(value, where + ": " + not_one_of(text, {"auto", "web", "grpc"}));
          }
        } else if (key == "ca_pins") {
          std::vector<std::string> pins;
          if (value.IsNull() || !reader.texts(value, where, pins) || pins.empty()) return;
          for (std::size_t i = 0; i < pins.size(); ++i) {
            Onboarding one;
            const std::string wrong = set_ca_pins(one, pins[i]);
            if (!wrong.empty()) {
              reader.error(value[i], std::string(where).append(": ").append(wrong));
            } else {
              onboarding.ca_pins.push_back(pins[i]);
            }
          }
        } else if (key == "ca_path") {
          if (reader.text(value, where, text)) onboarding.ca_path = absolute_path(text);
        } else if (key == "kubernetes") {
          read_group(reader, value, where, {{"token_path", &onboarding.kubernetes_token_path}});
        } else if (key == "gitlab") {
          read_group(reader, value, where,
                     {{"token_env_var_name", &onboarding.gitlab_token_variable}});
        } else if (key == "terraform") {
          read_group(reader, value, where, {{"audience_tag", &onboarding.terraform_audience_tag}});
        } else if (key == "azure") {
          read_group(reader, value, where, {{"client_id", nullptr}});
        } else {
          read_bound_keypair(reader, value, where, onboarding.bound_keypair);
        }
      });
}

std::string apply_join_uri(const std::string& uri, Config& config) {
  static const char* const form =
      "is not of the form tbot+proxy+<method>://<token>[:<parameter>]@<host>[:port] (or "
      "tbot+auth+…)";
  const std::size_t scheme_end = uri.find("://");
  if (scheme_end == std::string::npos) return form;
  std::string scheme = uri.substr(0, scheme_end);
  std::string rest = uri.substr(scheme_end + 3);
  if (rest.ends_with('/')) rest.pop_back();
  if (!scheme.starts_with("tbot+")) return form;
  scheme.erase(0, 5);
  const std::size_t plus = scheme.find('+');
  if (plus == std::string::npos) return form;
  const std::string kind = scheme.substr(0, plus);
  std::string method = scheme.substr(plus + 1);
  std::replace(method.begin(), method.end(), '-', '_');
  if (kind != "proxy" && kind != "auth") return form;
  Onboarding& onboarding = config.onboarding;
  if (std::string wrong = set_join_method(onboarding, method); !wrong.empty()) return wrong;
  const std::size_t at = rest.rfind('@');
  if (at == std::string::npos || at == 0) return form;
  const std::string user = rest.substr(0, at);
  const std::size_t colon = user.find(':');
  const auto token = percent_decoded(std::string_view(user).substr(0, colon));
  const auto parameter = colon == std::string::npos
                             ? std::optional<std::string>("")
                             : percent_decoded(std::string_view(user).substr(colon + 1));
  if (!token || token->empty() || !parameter) return form;
  const auto address = parse_proxy_server(rest.substr(at + 1));
  if (!address) return form;
  (kind == "proxy" ? config.proxy_server : config.auth_server) = *address;
  onboarding.given = true;
  onboarding.token = *token;
  if (parameter->empty()) return {};
  switch (onboarding.join_method) {
    case JoinMethod::gitlab:
      onboarding.gitlab_token_variable = *parameter;
      return {};
    case JoinMethod::terraform_cloud:
      onboarding.terraform_audience_tag = *parameter;
      return {};
    case JoinMethod::bound_keypair:
      onboarding.bound_keypair.registration_secret = *parameter;
      return {};
    default:
      return "has a parameter behind the token, which join method " +
             std::string(name(onboarding.join_method)) + " does not take";
  }
}

std::string check_onboarding(const Config& config) {
  const Onboarding& onboarding = config.onboarding;
  if (onboarding.token.empty())
    return "onboarding.token is missing: the secret or the name of the join token (or --token, "
           "TELEPORT_BOT_TOKEN)";
  if (!onboarding.ca_pins.empty() && !onboarding.ca_path.empty())
    return "onboarding.ca_pins and onboarding.ca_path exclude each other";
  if (config.insecure && !config.auth_server.empty() &&
      (!onboarding.ca_pins.empty() || !onboarding.ca_path.empty()))
    return "insecure excludes onboarding.ca_pins and onboarding.ca_path";
  if (!config.auth_server.empty() && !config.insecure && onboarding.ca_pins.empty() &&
      onboarding.ca_path.empty())
    return "auth_server needs onboarding.ca_pins (see `tctl status`) or onboarding.ca_path, so "
           "that "
           "kubelane can tell the real Auth Service from another";
  if (onboarding.join_method == JoinMethod::bound_keypair) return check_bound_keypair(config);
  return {};
}

}  // namespace kubelane
