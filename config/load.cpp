#include "config/load.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "config/settings.hpp"
#include "config/values.hpp"

namespace kubelane {
namespace {

constexpr std::size_t max_text_bytes = 1 << 20;
constexpr std::size_t max_nesting = 64;

using Names = std::vector<std::string>;

// tbot's service types that kubelane leaves to tbot.
const Names foreign_types = {
    "identity",          "application",          "application-tunnel",
    "application-proxy", "database",             "database-tunnel",
    "ssh-multiplexer",   "ssh_host",             "workload-identity-x509",
    "workload-identity-jwt", "workload-identity-api", "workload-identity-aws-roles-anywhere",
    "spiffe-svid",       "spiffe-workload-api",  "kubernetes/argo-cd",
    "example",           "noop"};

std::string quote(const std::string& text) { return "\"" + text.substr(0, 200) + "\""; }

// Where destinations and credentials stand, for the cross checks.
struct Place {
  int line = 0;
  int column = 0;
};

class Loader {
 public:
  Loader(const std::string& file, LoadResult& result) : file_(file), result_(result) {}

  void run(const std::string& yaml, const std::vector<Override>& overrides,
           const std::optional<CommandService>& service) {
    if (yaml.size() > max_text_bytes) {
      result_.errors.push_back({file_, 0, 0, "the configuration file is larger than 1 MiB"});
    } else if (too_deep(yaml)) {
      result_.errors.push_back({file_, 0, 0, "the configuration file is nested too deeply"});
    } else {
      read_text(yaml);
    }
    for (const Override& override : overrides) apply(override);
    if (service) add_command_service(*service);
    inherit_listener_settings();
    cross_check();
  }

 private:
  // ---- problems

  static Place place(const YAML::Node& node) {
    const YAML::Mark mark = node.Mark();
    return mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1};
  }
  void error(const Place& at, std::string message) {
    result_.errors.push_back({file_, at.line, at.column, std::move(message)});
  }
  void error(const YAML::Node& node, std::string message) {
    error(place(node), std::move(message));
  }
  void warning(const YAML::Node& node, std::string message) {
    const Place at = place(node);
    result_.warnings.push_back({file_, at.line, at.column, std::move(message)});
  }

  // ---- shapes

  // Flow collections and indentation that would exhaust the parser's recursion.
  static bool too_deep(const std::string& yaml) {
    std::size_t depth = 0;
    std::size_t dashes = 0;
    for (const char c : yaml) {
      if (c == '[' || c == '{') ++depth;
      if ((c == ']' || c == '}') && depth > 0) --depth;
      if (c == '\n') dashes = 0;
      if (c == '-' || c == '?' || c == ':') ++dashes;
      if (depth > max_nesting || dashes > 4096) return true;
    }
    return false;
  }

  void read_text(const std::string& yaml) {
    YAML::Node root;
    try {
      root = YAML::Load(yaml);
    } catch (const YAML::Exception& failure) {
      const YAML::Mark& mark = failure.mark;
      error(mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1},
            "not valid YAML: " + failure.msg);
      return;
    }
    if (root.IsNull()) return;
    if (!root.IsMap()) {
      error(root, "the configuration must be a map of keys");
      return;
    }
    try {
      read_root(root);
    } catch (const YAML::Exception& failure) {
      error(Place{}, "cannot be read: " + failure.msg);
    }
  }

  // Checks names and repetitions; calls `handle` with each known key.
  template <class Handle>
  void each(const YAML::Node& map, const Names& valid, const std::string& where, Handle handle) {
    std::set<std::string> seen;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar()) {
        error(entry.first, "a key must be plain text");
        continue;
      }
      const std::string key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        error(entry.first, quote(key) + " is given twice");
        continue;
      }
      if (std::find(valid.begin(), valid.end(), key) == valid.end()) {
        const std::string near = nearest_name(key, valid);
        error(entry.first, "unknown field " + quote(key) + where +
                               (near.empty() ? "" : " (did you mean \"" + near + "\"?)"));
        continue;
      }
      handle(key, entry.first, entry.second);
    }
  }

  bool scalar(const YAML::Node& node, const std::string& key, std::string& out) {
    if (!node.IsScalar()) {
      error(node, key + " must be a single value");
      return false;
    }
    out = node.Scalar();
    return true;
  }

  bool text(const YAML::Node& node, const std::string& key, std::string& out) {
    if (!scalar(node, key, out)) return false;
    if (out.empty()) {
      error(node, key + " must not be empty");
      return false;
    }
    if (std::any_of(out.begin(), out.end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
      error(node, key + " holds a control character");
      return false;
    }
    return true;
  }

  bool boolean(const YAML::Node& node, const std::string& key, bool& out) {
    std::string value;
    if (!scalar(node, key, value)) return false;
    const auto parsed = parse_bool(value);
    if (!parsed) {
      error(node, key + ": " + quote(value) + " is not true or false");
      return false;
    }
    out = *parsed;
    return true;
  }

  void set(const YAML::Node& node, const std::string& key) {
    std::string value;
    if (!scalar(node, key, value)) return;
    const std::string problem = find_setting(key)->set(result_.config, value);
    if (!problem.empty()) error(node, key + ": " + problem);
  }

  void not_acted_on(const YAML::Node& key_node, const std::string& key, const std::string& why) {
    warning(key_node, key + " is tbot's and has no effect here yet: " + why);
  }

  void check_duration(const YAML::Node& node, const std::string& key) {
    std::string value;
    if (scalar(node, key, value) && !parse_duration(value))
      error(node, key + ": " + quote(value) + " is not a duration such as 1h or 20m");
  }

  // ---- the file

  void read_root(const YAML::Node& root) {
    const Names valid = {
        "version",      "proxy_server",     "auth_server", "onboarding",   "storage",
        "services",     "outputs",          "credential_ttl", "certificate_ttl",
        "renewal_interval", "oneshot",      "diag_addr",   "debug",        "fips",
        "insecure",     "leeway",           "join_uri",    "scoped",       "pid_file",
        "listen",       "allow_remote",     "allowed_hosts", "local_auth", "local_tls",
        "proxy_ca",     "proxy_protocol",   "workers",     "log",          "limits",
        "timeouts"};
    each(root, valid, "", [&](const std::string& key, const YAML::Node& name,
                              const YAML::Node& node) { read_root_field(key, name, node); });
    if (const YAML::Node auth = root["auth_server"]; auth && root["proxy_server"])
      error(auth, "auth_server and proxy_server exclude each other; kubelane needs proxy_server");
  }

  void read_root_field(const std::string& key, const YAML::Node& name, const YAML::Node& node) {
    if (key == "version") {
      std::string value;
      if (scalar(node, key, value) && value != "v2")
        error(node, "version " + quote(value) +
                        " is not known; kubelane reads tbot's version: v2 (`tbot migrate` turns "
                        "an older file into it)");
    } else if (key == "storage") {
      read_storage(node);
    } else if (key == "services" || key == "outputs") {
      read_services(node, key);
    } else if (key == "log") {
      read_group(node, "log");
    } else if (key == "limits") {
      read_group(node, "limits");
    } else if (key == "timeouts") {
      read_group(node, "timeouts");
    } else if (key == "allowed_hosts") {
      read_allowed_hosts(node);
    } else if (find_setting(key) != nullptr) {
      set(node, key);
    } else if (key == "auth_server") {
      not_acted_on(name, key, "kubelane connects through proxy_server");
    } else if (key == "credential_ttl" || key == "certificate_ttl" || key == "renewal_interval" ||
               key == "leeway") {
      check_duration(node, key);
      not_acted_on(name, key, "credentials come from a directory that tbot renews");
    } else if (key == "onboarding" || key == "join_uri") {
      not_acted_on(name, key, "joining as a bot is tbot's part; kubelane reads what tbot writes");
    } else if (key == "diag_addr") {
      not_acted_on(name, key, "there is no diagnostics listener");
    } else {
      not_acted_on(name, key, "remove it, or leave it for tbot");
    }
  }

  void read_group(const YAML::Node& node, const std::string& group) {
    if (!node.IsMap()) {
      error(node, group + " must be a map");
      return;
    }
    Names valid;
    for (const Setting& setting : settings())
      if (setting.key.starts_with(group + ".")) valid.push_back(setting.key.substr(group.size() + 1));
    each(node, valid, " in " + group,
         [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
           set(value, group + "." + key);
         });
  }

  void read_allowed_hosts(const YAML::Node& node) {
    if (!node.IsSequence()) {
      error(node, "allowed_hosts must be a list of host names");
      return;
    }
    for (const YAML::Node& entry : node) {
      std::string host;
      if (!text(entry, "allowed_hosts", host)) continue;
      if (host.find_first_of(":/ ") != std::string::npos)
        error(entry, "allowed_hosts: " + quote(host) + " must be a host name without a port");
      else
        result_.config.allowed_hosts.push_back(host);
    }
  }

  void read_storage(const YAML::Node& node) {
    Destination storage;
    if (!read_destination(node, "storage", storage)) return;
    result_.config.storage_path =
        storage.type == Destination::Type::directory ? storage.path : std::string();
  }

  bool read_destination(const YAML::Node& node, const std::string& what, Destination& out) {
    if (node.IsScalar()) {
      std::string value;
      if (!text(node, what, value)) return false;
      if (value == "memory://") {
        out.type = Destination::Type::memory;
      } else if (value.starts_with("kubernetes-secret://")) {
        error(node, what + ": kubernetes-secret is not supported yet; use a directory");
        return false;
      } else {
        out.type = Destination::Type::directory;
        out.path = absolute_path(value);
      }
      return true;
    }
    if (!node.IsMap()) {
      error(node, what + " must be a map with type and path");
      return false;
    }
    bool good = true;
    std::string type;
    const Names valid = {"type", "path", "symlinks", "acls", "readers", "name", "namespace",
                         "labels", "kubeconfig_path", "kubeconfig_context"};
    each(node, valid, " in " + what,
         [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
           if (key == "type") {
             good = text(value, what + ".type", type) && good;
           } else if (key == "path") {
             std::string path;
             if (text(value, what + ".path", path)) {
               out.path = absolute_path(path);
             } else {
               good = false;
             }
           } else if (key == "symlinks") {
             read_symlinks(value, out);
           } else if (key == "acls") {
             read_acls(value, out);
           } else if (key == "readers") {
             read_readers(value, out);
           }
         });
    if (!node["type"]) {
      error(node, what + ": type is missing (directory or memory)");
      return false;
    }
    if (!good) return false;
    if (type == "directory") {
      out.type = Destination::Type::directory;
      if (out.path.empty()) {
        error(node, what + ": path is missing");
        return false;
      }
    } else if (type == "memory") {
      out.type = Destination::Type::memory;
    } else if (type == "kubernetes_secret") {
      error(node["type"], what + ": kubernetes_secret is not supported yet; use a directory");
      return false;
    } else {
      const std::string near = nearest_name(type, {"directory", "memory"});
      error(node["type"], what + ": unknown type " + quote(type) +
                              (near.empty() ? "" : " (did you mean \"" + near + "\"?)"));
      return false;
    }
    return true;
  }

  void read_symlinks(const YAML::Node& node, Destination& out) {
    std::string value;
    if (!scalar(node, "symlinks", value)) return;
    if (value == "insecure") {
      out.symlinks = Destination::Symlinks::insecure;
    } else if (value == "try-secure") {
      out.symlinks = Destination::Symlinks::try_secure;
    } else if (value == "secure") {
      out.symlinks = Destination::Symlinks::secure;
    } else {
      error(node, "symlinks: " + quote(value) + " is not one of try-secure, secure, insecure");
    }
  }

  void read_acls(const YAML::Node& node, Destination& out) {
    std::string value;
    if (!scalar(node, "acls", value)) return;
    if (value == "off" || value == "false") {
      out.acls = Destination::Acls::off;
    } else if (value == "try") {
      out.acls = Destination::Acls::try_acls;
    } else if (value == "required") {
      out.acls = Destination::Acls::required;
    } else {
      error(node, "acls: " + quote(value) + " is not one of try, off, required");
    }
  }

  void read_readers(const YAML::Node& node, Destination& out) {
    if (!node.IsSequence()) {
      error(node, "readers must be a list of {user: …} or {group: …}");
      return;
    }
    for (const YAML::Node& entry : node) {
      Destination::Reader reader;
      if (!entry.IsMap()) {
        error(entry, "a reader is {user: name} or {group: name}");
        continue;
      }
      each(entry, {"user", "group"}, " in readers",
           [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
             text(value, key, key == "user" ? reader.user : reader.group);
           });
      if (reader.user.empty() == reader.group.empty())
        error(entry, "a reader is exactly one of {user: name} and {group: name}");
      else
        out.readers.push_back(std::move(reader));
    }
  }

  // ---- services

  void read_services(const YAML::Node& node, const std::string& key) {
    if (node.IsNull()) return;
    if (!node.IsSequence()) {
      error(node, key + " must be a list");
      return;
    }
    for (const YAML::Node& entry : node) {
      if (!entry.IsMap()) {
        error(entry, "a service must be a map with a type");
        continue;
      }
      const YAML::Node type = entry["type"];
      std::string value;
      if (!type) {
        error(entry, "type is missing: kubernetes or kubernetes/v2");
      } else if (text(type, "type", value)) {
        read_service(entry, type, value);
      }
    }
  }

  void read_service(const YAML::Node& node, const YAML::Node& type_node, const std::string& type) {
    Service service;
    service.line = place(node).line;
    if (type == "kubernetes") {
      service.type = Service::Type::kubernetes;
    } else if (type == "kubernetes/v2") {
      service.type = Service::Type::kubernetes_v2;
    } else if (std::find(foreign_types.begin(), foreign_types.end(), type) !=
               foreign_types.end()) {
      warning(type_node, "services of type " + type +
                             " are not served by kubelane and skipped here; leave them to tbot");
      return;
    } else {
      const std::string near = nearest_name(type, {"kubernetes", "kubernetes/v2"});
      error(type_node, "unknown service type " + quote(type) +
                           (near.empty() ? "; kubelane serves kubernetes and kubernetes/v2"
                                         : " (did you mean \"" + near + "\"?)"));
      return;
    }
    const bool v2 = service.type == Service::Type::kubernetes_v2;
    Names valid = {"type",       "name",      "destination", "credential_ttl", "renewal_interval",
                   "credentials", "listen",   "local_auth",  "local_tls",      "impersonate",
                   "disable_exec_plugin"};
    const Names own = v2 ? Names{"selectors", "context_name_template", "relay_server"}
                         : Names{"kubernetes_cluster", "roles"};
    valid.insert(valid.end(), own.begin(), own.end());
    ServicePlaces places;
    places.service = place(node);
    each(node, valid, " in a service of type " + type,
         [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
           read_service_field(key, name, value, service, places);
         });
    if (service.clusters.empty() && !places.bad_clusters)
      error(node, v2 ? "selectors is missing: name at least one Kubernetes cluster"
                     : "kubernetes_cluster is missing");
    result_.config.services.push_back(std::move(service));
    places_.push_back(places);
  }

  struct ServicePlaces {
    Place service;
    Place destination;
    Place credentials;
    Place listen;
    bool bad_clusters = false;
    bool own_auth = false;
    bool own_tls = false;
  };

  void read_service_field(const std::string& key, const YAML::Node& name, const YAML::Node& node,
                          Service& service, ServicePlaces& places) {
    std::string value;
    if (key == "name") {
      if (text(node, key, value)) {
        const bool fits = std::all_of(value.begin(), value.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '+';
        });
        if (fits) {
          service.name = value;
        } else {
          error(node, "name: " + quote(value) + " may hold only letters, digits, - _ and +");
        }
      }
    } else if (key == "kubernetes_cluster") {
      if (text(node, key, value)) {
        service.clusters.push_back({value, {}});
      } else {
        places.bad_clusters = true;
      }
    } else if (key == "selectors") {
      read_selectors(node, service, places);
    } else if (key == "context_name_template") {
      if (text(node, key, value)) read_template(node, value, service);
    } else if (key == "destination") {
      places.destination = place(node);
      read_destination(node, "destination", service.destination);
    } else if (key == "credentials") {
      places.credentials = place(node);
      read_credentials(node, service);
    } else if (key == "listen") {
      places.listen = place(node);
      if (text(node, key, value)) {
        if (const auto address = parse_listen(value)) {
          service.listen = *address;
        } else {
          error(node, "listen: " + quote(value) +
                          " is not an address to listen on such as 127.0.0.1:8443");
        }
      }
    } else if (key == "local_auth") {
      places.own_auth = true;
      if (scalar(node, key, value)) {
        const std::string problem = set_local_auth(service.local_auth, value);
        if (!problem.empty()) error(node, "local_auth: " + problem);
      }
    } else if (key == "local_tls") {
      places.own_tls = true;
      boolean(node, key, service.local_tls);
    } else if (key == "impersonate") {
      read_impersonate(node, service);
    } else if (key == "disable_exec_plugin") {
      bool ignored = false;  // kubelane's kubeconfig never has one
      boolean(node, key, ignored);
    } else if (key == "roles" || key == "relay_server") {
      not_acted_on(name, key, "it matters where tbot makes the credentials");
    } else if (key == "credential_ttl" || key == "renewal_interval") {
      check_duration(node, key);
      not_acted_on(name, key, "credentials come from a directory that tbot renews");
    }
  }

  void read_selectors(const YAML::Node& node, Service& service, ServicePlaces& places) {
    if (!node.IsSequence() || node.size() == 0) {
      error(node, "selectors must be a list with at least one entry");
      places.bad_clusters = true;
      return;
    }
    for (const YAML::Node& entry : node) {
      ClusterSelector selector;
      bool labels = false;
      if (!entry.IsMap()) {
        error(entry, "a selector is a map with name");
        places.bad_clusters = true;
        continue;
      }
      each(entry, {"name", "labels", "default_namespace"}, " in selectors",
           [&](const std::string& key, const YAML::Node& key_node, const YAML::Node& value) {
             if (key == "labels") {
               labels = true;
               error(key_node,
                     "selecting by labels needs the list of clusters from Teleport, which only a "
                     "bot can read; name the clusters instead (name: …)");
             } else {
               text(value, key, key == "name" ? selector.name : selector.default_namespace);
             }
           });
      if (labels && !selector.name.empty())
        error(entry, "a selector has either name or labels, not both");
      if (selector.name.empty()) {
        places.bad_clusters = true;
        if (!labels && !entry["name"]) error(entry, "a selector needs a name");
        continue;
      }
      const bool known = std::any_of(
          service.clusters.begin(), service.clusters.end(),
          [&](const ClusterSelector& other) { return other.name == selector.name; });
      if (!known) service.clusters.push_back(std::move(selector));
    }
  }

  void read_template(const YAML::Node& node, const std::string& value, Service& service) {
    for (std::size_t at = value.find("{{"); at != std::string::npos; at = value.find("{{", at + 2)) {
      const std::size_t end = value.find("}}", at);
      std::string field = value.substr(at + 2, end == std::string::npos ? end : end - at - 2);
      field.erase(0, field.find_first_not_of(' '));
      field.erase(field.find_last_not_of(' ') + 1);
      if (end == std::string::npos || (field != ".ClusterName" && field != ".KubeName")) {
        error(node, "context_name_template: only {{.ClusterName}} and {{.KubeName}} are known, "
                    "not " + quote("{{" + field + "}}"));
        return;
      }
    }
    service.context_name_template = value;
  }

  void read_credentials(const YAML::Node& node, Service& service) {
    if (node.IsScalar()) {
      std::string value;
      if (text(node, "credentials", value)) service.credentials_path = absolute_path(value);
      return;
    }
    if (!node.IsMap()) {
      error(node, "credentials must be {type: directory, path: …}");
      return;
    }
    std::string type = "directory";
    each(node, {"type", "path"}, " in credentials",
         [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
           std::string content;
           if (!text(value, "credentials." + key, content)) return;
           if (key == "path") {
             service.credentials_path = absolute_path(content);
           } else if (type = content; type != "directory") {
             error(value, "credentials: type " + quote(type) +
                              " is not known; use directory (did you mean \"directory\"?)");
           }
         });
    if (!node["path"]) error(node, "credentials: path is missing");
  }

  void read_impersonate(const YAML::Node& node, Service& service) {
    if (!node.IsMap()) {
      error(node, "impersonate must be {user: …, groups: […]}");
      return;
    }
    each(node, {"user", "groups"}, " in impersonate",
         [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
           if (key == "user") {
             text(value, key, service.impersonate_user);
             return;
           }
           if (!value.IsSequence() || value.size() > 32) {
             error(value, "groups must be a list of at most 32 names");
             return;
           }
           for (const YAML::Node& group : value) {
             std::string name;
             if (text(group, "groups", name)) service.impersonate_groups.push_back(name);
           }
         });
    // RFC: the API server refuses groups without a user (Kubernetes user impersonation).
    if (service.impersonate_user.empty() && !service.impersonate_groups.empty())
      warning(node, "impersonate.groups without a user: Teleport then uses the role's one user");
  }

  // ---- command line and environment

  void apply(const Override& override) {
    const Setting* setting = find_setting(override.key);
    if (setting == nullptr) return;
    const std::string problem = setting->set(result_.config, override.value);
    if (!problem.empty())
      result_.errors.push_back({"", 0, 0, override.origin + ": " + problem});
  }

  void add_command_service(const CommandService& command) {
    Service service;
    service.type = command.type;
    for (const std::string& cluster : command.clusters) {
      if (cluster.empty())
        result_.errors.push_back({"", 0, 0, "a cluster name must not be empty"});
      else
        service.clusters.push_back({cluster, {}});
    }
    if (!command.credentials.empty()) service.credentials_path = absolute_path(command.credentials);
    if (!command.destination.empty()) {
      service.destination.type = command.destination == "memory://"
                                     ? Destination::Type::memory
                                     : Destination::Type::directory;
      if (service.destination.type == Destination::Type::directory)
        service.destination.path = absolute_path(command.destination);
    }
    for (const std::string& user : command.reader_users)
      service.destination.readers.push_back({user, {}});
    for (const std::string& group : command.reader_groups)
      service.destination.readers.push_back({{}, group});
    result_.config.services.push_back(std::move(service));
    places_.emplace_back();
  }

  void inherit_listener_settings() {
    for (std::size_t i = 0; i < result_.config.services.size(); ++i) {
      Service& service = result_.config.services[i];
      const ServicePlaces& places = places_[i];
      if (!service.listen && (places.own_auth || places.own_tls))
        error(places.service,
              "local_auth and local_tls belong to a listener: give this service its own listen, or "
              "set them at the top level");
      if (!places.own_auth || !service.listen) service.local_auth = result_.config.local_auth;
      if (!places.own_tls || !service.listen) service.local_tls = result_.config.local_tls;
    }
  }

  // ---- what must fit together

  static std::string canonical(const std::string& path) {
    std::error_code failed;
    const auto resolved = std::filesystem::weakly_canonical(path, failed);
    return failed ? path : resolved.string();
  }

  void check_listener(const ListenAddress& address, LocalAuth auth, bool tls, const Place& at,
                      const std::string& where) {
    if (!tls && auth != LocalAuth::none)
      error(at, where + "local_tls: false demands local_auth: none, because client-go silently "
                        "drops every credential for an http:// server");
    if (!is_loopback(address) && !result_.config.allow_remote)
      error(at, where + "listen address " + address.host +
                    " can be reached from other machines; set allow_remote: true if that is meant");
  }

  void cross_check() {
    const Config& config = result_.config;
    std::map<std::string, std::string> destinations;   // canonical path -> service
    std::map<std::string, std::string> shared_names;   // cluster -> service
    std::map<std::string, std::string> listeners;
    bool shared = false;
    const std::string storage =
        config.storage_path.empty() ? std::string() : canonical(config.storage_path);
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      const ServicePlaces& places = places_[i];
      const std::string credentials =
          service.credentials_path.empty() ? std::string() : canonical(service.credentials_path);
      if (service.destination.type == Destination::Type::directory &&
          !service.destination.path.empty()) {
        const std::string path = canonical(service.destination.path);
        if (path == credentials)
          error(places.destination,
                "the destination is also the credentials directory " + service.credentials_path +
                    ", where tbot would overwrite our kubeconfig.yaml; choose another directory");
        const auto [other, fresh] = destinations.emplace(path, service.label());
        if (!fresh)
          error(places.destination, "services " + quote(other->second) + " and " +
                                        quote(service.label()) + " share the destination " +
                                        service.destination.path +
                                        "; give each its own directory");
        if (path == storage)
          error(places.destination, "the destination is also the storage directory " +
                                        config.storage_path + "; choose another");
      }
      if (!credentials.empty() && credentials == storage)
        error(places.credentials, "the storage directory is also the credentials directory " +
                                      service.credentials_path + "; choose another");
      if (service.listen) {
        check_listener(*service.listen, service.local_auth, service.local_tls, places.listen, "");
        if (service.clusters.size() > 1)
          error(places.listen,
                "a listener of its own has no path prefix and so serves one cluster, but this "
                "service selects " + std::to_string(service.clusters.size()) +
                    "; remove listen, or make one service per cluster");
        add_listener(*service.listen, service.label(), places.listen, listeners);
      } else {
        shared = true;
        for (const ClusterSelector& cluster : service.clusters) {
          const auto [other, fresh] = shared_names.emplace(cluster.name, service.label());
          if (!fresh)
            error(places.service, "services " + quote(other->second) + " and " +
                                      quote(service.label()) + " both serve cluster " +
                                      quote(cluster.name) +
                                      " on the shared listener; give one of them its own listen");
        }
      }
    }
    if (shared) {
      check_listener(config.listen, config.local_auth, config.local_tls, {}, "");
      add_listener(config.listen, "the shared listener", {}, listeners);
    }
  }

  void add_listener(const ListenAddress& address, const std::string& owner, const Place& at,
                    std::map<std::string, std::string>& listeners) {
    if (address.port == 0) return;
    const std::string key = address.host + ":" + std::to_string(address.port);
    const auto [other, fresh] = listeners.emplace(key, owner);
    if (!fresh)
      error(at, quote(other->second) + " and " + quote(owner) + " listen on the same address " +
                    key);
  }

  const std::string& file_;
  LoadResult& result_;
  std::vector<ServicePlaces> places_;  // by service
};

}  // namespace

std::string Problem::text() const {
  std::string out = file;
  if (line > 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
  return out.empty() ? message : out + ": " + message;
}

LoadResult load_config(const std::string& yaml, const std::string& file,
                       const std::vector<Override>& overrides,
                       const std::optional<CommandService>& service) {
  LoadResult result;
  Loader(file, result).run(yaml, overrides, service);
  std::stable_sort(result.errors.begin(), result.errors.end(),
                   [](const Problem& a, const Problem& b) { return a.line < b.line; });
  return result;
}

std::vector<Problem> start_problems(const Config& config, const std::string& file) {
  std::vector<Problem> problems;
  if (config.proxy_server.empty())
    problems.push_back({file, 0, 0,
                        "proxy_server is missing: set it in the file, with --proxy-server or in "
                        "TELEPORT_PROXY, e.g. teleport.example.com:443"});
  if (config.services.empty())
    problems.push_back({file, 0, 0,
                        "there is no service of type kubernetes or kubernetes/v2: nothing to "
                        "serve"});
  for (const Service& service : config.services) {
    if (service.credentials_path.empty())
      problems.push_back({service.line > 0 ? file : "", service.line, service.line > 0 ? 1 : 0,
                          "service " + quote(service.label()) +
                              " has no credentials: add `credentials: {type: directory, path: …}` "
                              "(--credentials) naming a directory that tbot writes, and let its "
                              "destination (--destination) be another one"});
    if (service.destination.type != Destination::Type::directory)
      problems.push_back({service.line > 0 ? file : "", service.line, service.line > 0 ? 1 : 0,
                          "service " + quote(service.label()) +
                              " has no directory as its destination: the kubeconfig has to be "
                              "written somewhere (--destination)"});
  }
  return problems;
}

}  // namespace kubelane
