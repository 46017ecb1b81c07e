#include "config/write_config.hpp"

#include <functional>

#include <yaml-cpp/yaml.h>

namespace kubelane {
namespace {

using std::chrono::milliseconds;

// A scalar setting: how it is written, and what a reader of the file wants to know about it.
struct Entry {
  std::string key;
  const char* comment;
  std::function<std::string(const Config&)> text;
};

std::string scalar(const std::string& text) {
  YAML::Emitter out;
  out << text;
  return out.c_str();
}

std::string truth(bool value) { return value ? "true" : "false"; }

std::string duration(milliseconds value) {
  struct Unit {
    milliseconds::rep size;
    const char* name;
  };
  for (const Unit& unit : {Unit{3'600'000, "h"}, Unit{60'000, "m"}, Unit{1'000, "s"}})
    if (value.count() > 0 && value.count() % unit.size == 0)
      return std::to_string(value.count() / unit.size) + unit.name;
  return std::to_string(value.count()) + "ms";
}

std::string address(const ListenAddress& listen) {
  const bool v6 = listen.host.find(':') != std::string::npos;
  return (v6 ? "[" + listen.host + "]" : listen.host) + ":" + std::to_string(listen.port);
}

std::string address(const std::optional<ControlAddress>& given) {
  if (!given) return {};
  return given->unix_path.empty() ? address(given->tcp) : "unix://" + given->unix_path;
}

std::string auth(LocalAuth value) {
  switch (value) {
    case LocalAuth::mtls:
      return "mtls";
    case LocalAuth::none:
      return "none";
    default:
      return "token";
  }
}

std::string protocol(ProxyProtocol value) {
  switch (value) {
    case ProxyProtocol::http1:
      return "http1";
    case ProxyProtocol::http2:
      return "http2";
    default:
      return "auto";
  }
}

std::string level(const Config& config) {
  // debug: true stands for it.
  if (config.debug) return "info";
  constexpr const char* names[] = {"debug", "info", "warn", "error"};
  return names[static_cast<std::size_t>(config.log_level)];
}

Entry timeout(const char* name, const char* comment, milliseconds Timeouts::*member) {
  return {std::string("timeouts.") + name, comment,
          [member](const Config& config) { return duration(config.timeouts.*member); }};
}

Entry limit(const char* name, const char* comment, std::size_t Limits::*member) {
  return {std::string("limits.") + name, comment,
          [member](const Config& config) { return std::to_string(config.limits.*member); }};
}

const std::vector<Entry>& reaching() {
  static const std::vector<Entry> all = {
      {"proxy_server", "The Teleport Proxy's web address.",
       [](const Config& config) { return config.proxy_server; }},
      {"auth_server", "Teleport's Auth Service instead of the Proxy.",
       [](const Config& config) { return config.auth_server; }},
      {"proxy_ca", "PEM file to trust for the Proxy's web certificate.",
       [](const Config& config) { return config.proxy_ca; }},
      {"proxy_protocol", "What to speak with the Proxy: auto, http1 or http2.",
       [](const Config& config) { return protocol(config.proxy_protocol); }},
      {"insecure", "Do not verify the Proxy's web certificate.",
       [](const Config& config) { return truth(config.insecure); }},
  };
  return all;
}

const std::vector<Entry>& lifetimes() {
  static const std::vector<Entry> all = {
      {"credential_ttl", "How long the bot's certificates live.",
       [](const Config& config) { return duration(config.credential_ttl); }},
      {"renewal_interval", "How often they are renewed.",
       [](const Config& config) { return duration(config.renewal_interval); }},
      {"leeway", "How close to its end an identity of the bot's counts as over.",
       [](const Config& config) { return duration(config.leeway); }},
      {"oneshot", "Join, write the kubeconfigs, exit.",
       [](const Config& config) { return truth(config.oneshot); }},
  };
  return all;
}

const std::vector<Entry>& local_side() {
  static const std::vector<Entry> all = {
      {"listen", "The shared listener: one path per cluster.",
       [](const Config& config) { return address(config.listen); }},
      {"allow_remote", "Permit an address that other machines reach.",
       [](const Config& config) { return truth(config.allow_remote); }},
      {"local_auth", "How local clients authenticate: token, mtls or none.",
       [](const Config& config) { return auth(config.local_auth); }},
      {"local_tls", "false serves http://, without any credentials.",
       [](const Config& config) { return truth(config.local_tls); }},
      {"local_trust", "Directory with a CA and a token that replicas share.",
       [](const Config& config) { return config.local_trust; }},
      {"diag_addr", "Where probes and metrics are answered.",
       [](const Config& config) { return address(config.diag_addr); }},
      {"admin_addr", "Where the administrator looks in and changes things.",
       [](const Config& config) { return address(config.admin_addr); }},
      {"sandbox", "After the start, open only files that are needed.",
       [](const Config& config) { return truth(config.sandbox); }},
      {"workers", "Data threads; 0: one per CPU, at most 2.",
       [](const Config& config) { return std::to_string(config.workers); }},
      {"debug", "The same as log: {level: debug}.",
       [](const Config& config) { return truth(config.debug); }},
      {"log.format", "text or json.",
       [](const Config& config) {
         return std::string(config.log_format == LogFormat::json ? "json" : "text");
       }},
      {"log.level", "debug, info, warn or error.", level},
      limit("max_connections", "Local connections at once.", &Limits::max_connections),
      limit("max_header_bytes", "Request line and header block.", &Limits::max_header_bytes),
      limit("max_header_fields", "At most 256.", &Limits::max_header_fields),
      limit("max_upstream_connections", "Per service and worker.",
            &Limits::max_upstream_connections),
      limit("max_idle_upstream_connections", "Per service and worker.",
            &Limits::max_idle_upstream_connections),
      limit("buffer_memory_bytes", "Read buffers over all workers.", &Limits::buffer_memory_bytes),
      {"exit.zero_on_sigterm", "Exit code 0 even when the drain had to cut something.",
       [](const Config& config) {
         return config.exit.zero_on_sigterm ? truth(*config.exit.zero_on_sigterm) : "";
       }},
      {"exit.min_sigterm_delay", "Serve on for that long after a SIGTERM.",
       [](const Config& config) { return duration(config.exit.min_sigterm_delay); }},
      {"exit.when_file", "Drain and exit as soon as this file exists.",
       [](const Config& config) { return config.exit.when_file; }},
      {"exit.when_idle", "Drain and exit after this time without a request.",
       [](const Config& config) { return duration(config.exit.when_idle); }},
      {"exit.with_pid", "Drain and exit when this process ends.",
       [](const Config& config) {
         return config.exit.with_pid > 0 ? std::to_string(config.exit.with_pid) : "";
       }},
      timeout("local_handshake", "TLS with a local client.", &Timeouts::local_handshake),
      timeout("request_head", "First to last byte of a request's head.", &Timeouts::request_head),
      timeout("local_idle", "Between two requests of a local client.", &Timeouts::local_idle),
      timeout("connect", "TCP to the Proxy.", &Timeouts::connect),
      timeout("upstream_handshake", "TLS with the Proxy.", &Timeouts::upstream_handshake),
      timeout("response_head", "Until an answer begins.", &Timeouts::response_head),
      timeout("progress", "Data is pending and the peer takes none.", &Timeouts::progress),
      timeout("upstream_idle", "Of connections kept for later.", &Timeouts::upstream_idle),
      timeout("half_closed", "A tunnel with one end closed.", &Timeouts::half_closed),
      timeout("drain", "Until what runs is ended, on SIGTERM.", &Timeouts::drain),
      timeout("credentials_poll", "Looking at tbot's files, beside inotify.",
              &Timeouts::credentials_poll),
  };
  return all;
}

const std::string& method_help() {
  static const std::string text = "# How the bot joins Teleport.";
  return text;
}

class Writer {
 public:
  explicit Writer(const Config& config) : config_(config) {}

  std::string run(const std::vector<std::string>& heading) {
    for (const std::string& line : heading) out_ += "# " + line + "\n";
    line(0, "version", "v2");
    reach();
    bot();
    storage();
    settings(local_side());
    hosts();
    services();
    return std::move(out_);
  }

 private:
  void line(int depth, const std::string& key, const std::string& value) {
    out_ += std::string(static_cast<std::size_t>(depth), ' ') + key + ": " + scalar(value) + "\n";
  }
  void open(int depth, const std::string& key) {
    out_ += std::string(static_cast<std::size_t>(depth), ' ') + key + ":\n";
  }
  void comment(int depth, const std::string& text) {
    out_ += std::string(static_cast<std::size_t>(depth), ' ') + "# " + text + "\n";
  }
  void list(int depth, const std::string& key, const std::vector<std::string>& values) {
    open(depth, key);
    for (const std::string& value : values)
      out_ += std::string(static_cast<std::size_t>(depth), ' ') + "  - " + scalar(value) + "\n";
  }

  // Those that differ from their defaults; groups follow each other in the table.
  void settings(const std::vector<Entry>& entries) {
    static const Config defaults;
    std::string group;
    for (const Entry& entry : entries) {
      const std::string text = entry.text(config_);
      if (text == entry.text(defaults)) continue;
      const std::size_t dot = entry.key.find('.');
      if (dot == std::string::npos) {
        comment(0, entry.comment);
        line(0, entry.key, text);
        continue;
      }
      if (entry.key.substr(0, dot) != group) {
        group = entry.key.substr(0, dot);
        open(0, group);
      }
      comment(2, entry.comment);
      line(2, entry.key.substr(dot + 1), text);
    }
  }

  void reach() {
    // join_uri says it, too.
    if (config_.proxy_server.empty() && config_.auth_server.empty())
      out_ += "# The Teleport Proxy's web address.\n# proxy_server: teleport.example.com:443\n";
    settings(reaching());
  }

  void bot() {
    const Onboarding& onboarding = config_.onboarding;
    if (!config_.join_uri.empty() && onboarding.given) {
      out_ += method_help() + "\n";
      secret_comment(0);
      line(0, "join_uri", config_.join_uri);
    } else if (onboarding.given) {
      out_ += method_help() + "\n";
      open(0, "onboarding");
      line(2, "join_method", std::string(name(onboarding.join_method)));
      join();
    } else if (config_.services.empty()) {
      out_ += method_help() + "\n# onboarding: {join_method: kubernetes, token: kubelane}\n";
    }
    if (onboarding.given) settings(lifetimes());
  }

  void secret_comment(int depth) {
    if (!holds_join_secret(config_)) return;
    comment(depth, "This is the secret itself: let nobody else read this file, or keep the secret");
    comment(depth, "in a file of its own and give that file's absolute path (token,");
    comment(depth, "bound_keypair.registration_secret_path).");
  }

  void join() {
    const Onboarding& onboarding = config_.onboarding;
    secret_comment(2);
    if (!onboarding.token.empty()) line(2, "token", onboarding.token);
    if (onboarding.join_path == JoinPath::web) line(2, "join_path", "web");
    if (onboarding.join_path == JoinPath::grpc) line(2, "join_path", "grpc");
    if (!onboarding.ca_pins.empty()) list(2, "ca_pins", onboarding.ca_pins);
    if (!onboarding.ca_path.empty()) line(2, "ca_path", onboarding.ca_path);
    const auto one = [&](const char* group, const char* key, const std::string& value,
                         const std::string& usual) {
      if (value == usual) return;
      open(2, group);
      line(4, key, value);
    };
    one("kubernetes", "token_path", onboarding.kubernetes_token_path, "");
    one("gitlab", "token_env_var_name", onboarding.gitlab_token_variable,
        Onboarding().gitlab_token_variable);
    one("terraform", "audience_tag", onboarding.terraform_audience_tag, "");
    bound_keypair(onboarding.bound_keypair);
  }

  // A static key itself comes from the environment only, and stays there.
  void bound_keypair(const BoundKeypairOptions& options) {
    if (options.registration_secret.empty() && options.registration_secret_path.empty() &&
        options.static_key_path.empty())
      return;
    open(2, "bound_keypair");
    if (!options.registration_secret.empty())
      line(4, "registration_secret", options.registration_secret);
    if (!options.registration_secret_path.empty())
      line(4, "registration_secret_path", options.registration_secret_path);
    if (!options.static_key_path.empty())
      line(4, "static_private_key_path", options.static_key_path);
  }

  void storage() {
    comment(0, "Keeps the bot's identity, the local CA and the token over restarts.");
    Destination storage;
    storage.type =
        config_.storage_path.empty() ? Destination::Type::memory : Destination::Type::directory;
    storage.path = config_.storage_path;
    storage.secret = config_.storage_secret;
    if (!storage.secret.name.empty()) storage.type = Destination::Type::kubernetes_secret;
    destination(0, "storage", storage);
  }

  void hosts() {
    if (config_.allowed_hosts.empty()) return;
    comment(0, "More Host names to accept.");
    list(0, "allowed_hosts", config_.allowed_hosts);
  }

  void destination(int depth, const std::string& key, const Destination& destination) {
    if (destination.type == Destination::Type::none) return;
    open(depth, key);
    if (destination.type == Destination::Type::memory) return line(depth + 2, "type", "memory");
    if (destination.type == Destination::Type::kubernetes_secret)
      return secret(depth + 2, destination.secret);
    line(depth + 2, "type", "directory");
    line(depth + 2, "path", destination.path);
    if (destination.symlinks == Destination::Symlinks::insecure)
      line(depth + 2, "symlinks", "insecure");
    if (destination.symlinks == Destination::Symlinks::secure)
      line(depth + 2, "symlinks", "secure");
    if (destination.acls == Destination::Acls::off) line(depth + 2, "acls", "off");
    if (destination.acls == Destination::Acls::required) line(depth + 2, "acls", "required");
    if (destination.readers.empty()) return;
    open(depth + 2, "readers");
    for (const Destination::Reader& reader : destination.readers)
      line(depth + 4, reader.user.empty() ? "- group" : "- user",
           reader.user.empty() ? reader.group : reader.user);
  }

  void secret(int depth, const SecretName& secret) {
    line(depth, "type", "kubernetes_secret");
    line(depth, "name", secret.name);
    if (!secret.name_space.empty()) line(depth, "namespace", secret.name_space);
    if (secret.labels.empty()) return;
    open(depth, "labels");
    for (const auto& [label, value] : secret.labels) line(depth + 2, scalar(label), value);
  }

  void services() {
    if (config_.services.empty()) {
      out_ +=
          "# What is served; kubeconfig.yaml is written to the destination.\n"
          "# services:\n"
          "#   - type: kubernetes/v2\n"
          "#     selectors:\n"
          "#       - name: prod\n"
          "#     destination: {type: directory, path: /run/kubelane}\n";
      return;
    }
    comment(0, "What is served; kubeconfig.yaml is written to the destination.");
    open(0, "services");
    for (const Service& each : config_.services) service(each);
  }

  void service(const Service& service) {
    const bool v2 = service.type == Service::Type::kubernetes_v2;
    line(2, "- type", v2 ? "kubernetes/v2" : "kubernetes");
    if (!service.name.empty()) line(4, "name", service.name);
    if (!v2 && !service.clusters.empty())
      line(4, "kubernetes_cluster", service.clusters.front().name);
    if (v2) selectors(service);
    if (v2 && service.context_name_template != Service().context_name_template)
      line(4, "context_name_template", service.context_name_template);
    if (!service.roles.empty()) list(4, "roles", service.roles);
    if (service.credential_ttl.count() > 0)
      line(4, "credential_ttl", duration(service.credential_ttl));
    if (service.renewal_interval.count() > 0)
      line(4, "renewal_interval", duration(service.renewal_interval));
    if (service.listen) own_listener(service);
    impersonation(service);
    if (!service.credentials_path.empty()) {
      comment(4, "tbot writes here; kubelane only reads.");
      Destination credentials;
      credentials.type = Destination::Type::directory;
      credentials.path = service.credentials_path;
      destination(4, "credentials", credentials);
    }
    destination(4, "destination", service.destination);
  }

  void selectors(const Service& service) {
    if (service.clusters.empty()) return;
    open(4, "selectors");
    for (const ClusterSelector& selector : service.clusters) {
      if (selector.labels.empty()) {
        line(6, "- name", selector.name);
      } else {
        open(6, "- labels");
        for (const auto& [label, value] : selector.labels) line(10, scalar(label), value);
      }
      if (!selector.default_namespace.empty())
        line(8, "default_namespace", selector.default_namespace);
    }
  }

  void own_listener(const Service& service) {
    comment(4, "A port of its own, without a path.");
    line(4, "listen", address(*service.listen));
    if (service.local_auth != config_.local_auth) line(4, "local_auth", auth(service.local_auth));
    if (service.local_tls != config_.local_tls) line(4, "local_tls", truth(service.local_tls));
  }

  void impersonation(const Service& service) {
    if (service.impersonate_user.empty() && service.impersonate_groups.empty()) return;
    comment(4, "Sent when the client sends no Impersonate-* of its own.");
    open(4, "impersonate");
    if (!service.impersonate_user.empty()) line(6, "user", service.impersonate_user);
    if (!service.impersonate_groups.empty()) list(6, "groups", service.impersonate_groups);
  }

  const Config& config_;
  std::string out_;
};

}  // namespace

bool holds_join_secret(const Config& config) {
  const Onboarding& onboarding = config.onboarding;
  const bool token = onboarding.join_method == JoinMethod::token && !onboarding.token.empty() &&
                     !onboarding.token.starts_with('/');
  return onboarding.given && (token || !onboarding.bound_keypair.registration_secret.empty());
}

std::vector<std::string> written_settings() {
  std::vector<std::string> keys;
  for (const auto* part : {&reaching(), &lifetimes(), &local_side()})
    for (const Entry& entry : *part) keys.push_back(entry.key);
  return keys;
}

std::string write_config(const Config& config, const std::vector<std::string>& heading) {
  return Writer(config).run(heading);
}

}  // namespace kubelane
