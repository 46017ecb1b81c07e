#include "config/load.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "config/onboarding.hpp"
#include "config/settings.hpp"
#include "config/suggest.hpp"
#include "config/text.hpp"
#include "config/values.hpp"
#include "config/yaml_reader.hpp"

namespace kubelane {
namespace {

constexpr int max_nesting = 64;
constexpr std::size_t max_values = 100'000;  // with aliases followed
constexpr std::size_t max_problems = 100;    // to print

// tbot's service types that kubelane leaves to tbot.
const Names foreign_types = {"identity",
                             "application",
                             "application-tunnel",
                             "application-proxy",
                             "database",
                             "database-tunnel",
                             "ssh-multiplexer",
                             "ssh_host",
                             "workload-identity-x509",
                             "workload-identity-jwt",
                             "workload-identity-api",
                             "workload-identity-aws-roles-anywhere",
                             "spiffe-svid",
                             "spiffe-workload-api",
                             "kubernetes/argo-cd",
                             "example",
                             "noop"};

const Names served_types = {"kubernetes", "kubernetes/v2"};

const Names destination_types = {"directory", "memory", "kubernetes_secret"};

const Names secret_fields = {"name", "namespace", "labels", "kubeconfig_path",
                             "kubeconfig_context"};

// What a YAML document begins with.
class FirstEvent : public YAML::EventHandler {
 public:
  YAML::Mark mark = YAML::Mark::null_mark();
  bool is_null = false;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t) override {
    is_null = mark.is_null();
    saw(at);
  }
  void OnAlias(const YAML::Mark& at, YAML::anchor_t) override { saw(at); }
  void OnScalar(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                const std::string&) override {
    saw(at);
  }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    saw(at);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    saw(at);
  }
  void OnMapEnd() override {}

 private:
  void saw(const YAML::Mark& at) {
    if (mark.is_null()) mark = at;
  }
};

class Loader : private YamlReader {
 public:
  Loader(const std::string& file, LoadResult& result)
      : YamlReader(file, result), file_(file), result_(result) {}

  void run(const std::string& yaml, const std::vector<Override>& overrides,
           const std::optional<CommandService>& service, const std::string& spare_destination) {
    read_text(yaml);
    finish(overrides, service, spare_destination);
  }
  void run(const YAML::Node& root) {
    read_document(root);
    finish({}, {}, {});
  }

 private:
  void finish(const std::vector<Override>& overrides, const std::optional<CommandService>& service,
              const std::string& spare_destination) {
    apply(overrides);
    if (result_.config.debug) result_.config.log_level = LogLevel::debug;
    for (const auto& [key, at] : said_)
      if (!at.origin.empty()) named_.erase(key);
    if (service) add_command_service(*service);
    if (!spare_destination.empty()) spare_destinations(spare_destination);
    inherit_listener_settings();
    check_bot();
    cross_check();
    if (whole_) find_missing();
    for (std::vector<Problem>* problems : {&result_.errors, &result_.warnings, &result_.missing})
      arrange(*problems);
  }

  // ---- problems

  void file_error(const std::string& message) {
    whole_ = false;
    result_.errors.push_back({file_, 0, 0, shorten(message, max_message_bytes)});
  }
  // In the order of the file; not more than somebody reads.
  void arrange(std::vector<Problem>& problems) const {
    std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
      return std::pair(a.line, a.column) < std::pair(b.line, b.column);
    });
    if (problems.size() <= max_problems) return;
    const std::size_t more = problems.size() - max_problems;
    problems.resize(max_problems);
    problems.push_back({file_, 0, 0, "and " + std::to_string(more) + " more of them"});
  }

  // ---- shapes

  // Aliases make a small file large, and even endless: every value counts as often as it is named.
  bool within_bounds(const YAML::Node& node, int depth, std::size_t& values) {
    if (depth > max_nesting) {
      error(node, "the configuration is nested more than " + std::to_string(max_nesting) +
                      " levels deep");
      return false;
    }
    if (++values > max_values) {
      error(node, "the configuration has more than " + std::to_string(max_values) +
                      " values, those repeated by aliases (*name) included");
      return false;
    }
    if (node.IsMap()) {
      for (const auto& entry : node)
        if (!within_bounds(entry.first, depth + 1, values) ||
            !within_bounds(entry.second, depth + 1, values))
          return false;
    } else if (node.IsSequence()) {
      for (const YAML::Node& entry : node)
        if (!within_bounds(entry, depth + 1, values)) return false;
    }
    return true;
  }

  // Where more than the first document begins, if there is more. YAML::LoadAll() would for some
  // files go on to find empty documents for ever.
  static std::optional<Place> after_first_document(const std::string& yaml) {
    std::istringstream stream(yaml);
    YAML::Parser parser(stream);
    FirstEvent first;
    FirstEvent second;
    FirstEvent third;
    if (!parser.HandleNextDocument(first) || !parser.HandleNextDocument(second))
      return std::nullopt;
    // A last --- begins an empty document, which is none.
    if (second.is_null && !parser.HandleNextDocument(third)) return std::nullopt;
    return place(second.mark);
  }

  void read_text(const std::string& yaml) {
    if (yaml.size() > max_config_bytes) {
      file_error("the configuration file is larger than 1 MiB");
      return;
    }
    try {
      if (const auto rest = after_first_document(yaml))
        error(*rest,
              "what stands here is no part of the configuration; if it is a second YAML "
              "document (after ---), keep one");
      read_document(YAML::Load(yaml));
    } catch (const YAML::DeepRecursion& failure) {
      whole_ = false;
      error(place(failure.mark), "the configuration is nested too deeply");
    } catch (const YAML::Exception& failure) {
      whole_ = false;
      if (failure.mark.is_null())
        file_error("not valid YAML: " + failure.msg);
      else
        error(place(failure.mark), "not valid YAML: " + failure.msg);
    }
  }

  void read_document(const YAML::Node& root) {
    std::size_t values = 0;
    if (root.IsNull()) return;
    whole_ = within_bounds(root, 0, values);
    if (!whole_) return;
    whole_ = root.IsMap();
    if (whole_)
      read_root(root);
    else
      error(root, "the configuration must be a map of keys such as proxy_server: …");
  }

  void set(const YAML::Node& node, const std::string& key) {
    said_[key] = place(node);
    std::string value;
    if (!scalar(node, key, value)) return;
    const std::string problem = find_setting(key)->set(result_.config, value);
    if (!problem.empty()) error(node, key + ": " + problem);
  }

  void check_boolean(const YAML::Node& node, const std::string& key) {
    bool ignored = false;
    boolean(node, key, ignored);
  }

  // ---- the file

  void read_root(const YAML::Node& root) {
    const Names valid = {"version",
                         "proxy_server",
                         "auth_server",
                         "onboarding",
                         "storage",
                         "services",
                         "outputs",
                         "credential_ttl",
                         "certificate_ttl",
                         "renewal_interval",
                         "oneshot",
                         "diag_addr",
                         "debug",
                         "fips",
                         "insecure",
                         "leeway",
                         "join_uri",
                         "scoped",
                         "pid_file",
                         "listen",
                         "allow_remote",
                         "allowed_hosts",
                         "local_auth",
                         "local_tls",
                         "proxy_ca",
                         "proxy_protocol",
                         "workers",
                         "log",
                         "limits",
                         "timeouts",
                         "exit",
                         "sandbox",
                         "admin_addr",
                         "local_trust"};
    each(root, valid, "",
         [&](const std::string& key, const YAML::Node& name, const YAML::Node& node) {
           read_root_field(key, name, node);
         });
    if (const YAML::Node auth = root["auth_server"]; auth && root["proxy_server"])
      error(auth,
            "auth_server and proxy_server exclude each other; give proxy_server where you can: "
            "clusters are reached through the Proxy in any case");
    if (const YAML::Node old = root["certificate_ttl"]; old && root["credential_ttl"])
      error(old, "certificate_ttl is the old name of credential_ttl; give one of them");
  }

  void read_root_field(const std::string& key, const YAML::Node& name, const YAML::Node& node) {
    named_[key] = place(name);
    if (key == "version") {
      std::string value;
      if (scalar(node, key, value) && value != "v2")
        error(node,
              "version " + quote(value) +
                  " is not known; kubelane reads tbot's version: v2 (`kubelane migrate` turns "
                  "an older file into it)");
    } else if (key == "storage") {
      read_storage(node);
    } else if (key == "services" || key == "outputs") {
      read_services(node, key);
    } else if (key == "log" || key == "limits" || key == "timeouts" || key == "exit") {
      read_group(node, key);
    } else if (key == "allowed_hosts") {
      read_allowed_hosts(node);
    } else if (find_setting(key) != nullptr) {
      set(node, key);
    } else if (key == "onboarding") {
      said_[key] = place(node.IsNull() ? name : node);
      read_onboarding(*this, node, result_.config.onboarding);
    } else {
      if (key != "pid_file") check_boolean(node, key);  // fips, scoped
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
      if (setting.key.starts_with(group + "."))
        valid.push_back(setting.key.substr(group.size() + 1));
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
      if (!is_host_name(host))
        error(entry, "allowed_hosts: " + quote(host) +
                         " is not a host name: letters, digits, dots and hyphens, no port, no "
                         "wildcard");
      else
        result_.config.allowed_hosts.push_back(host);
    }
  }

  void read_storage(const YAML::Node& node) {
    Destination storage;
    said_["storage"] = place(node);
    if (!read_destination(node, "storage", storage)) return;
    result_.config.storage_path =
        storage.type == Destination::Type::directory ? storage.path : std::string();
    result_.config.storage_secret = storage.secret;
  }

  bool read_destination(const YAML::Node& node, const std::string& what, Destination& out) {
    if (node.IsScalar()) {
      std::string value;
      if (!text(node, what, value)) return false;
      const std::string wrong = parse_destination(value, out);
      if (!wrong.empty()) error(node, what + ": " + wrong);
      return wrong.empty();
    }
    if (!node.IsMap()) {
      error(node, what + " must be a map with type and path");
      return false;
    }
    bool good = true;
    const YAML::Node type_node = node["type"];
    std::string type;
    if (type_node && !text(type_node, what + ".type", type)) return false;
    const bool secret = type == "kubernetes_secret";
    Names valid = {"type", "path", "symlinks", "acls", "readers"};
    valid.insert(valid.end(), secret_fields.begin(), secret_fields.end());
    each(node, valid, " in " + what,
         [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
           const bool of_secret =
               std::find(secret_fields.begin(), secret_fields.end(), key) != secret_fields.end();
           if (key == "type") return;
           if (of_secret != secret) {
             warning(name, what + "." + key +
                               " has no effect: it belongs to destinations of type " +
                               (of_secret ? "kubernetes_secret" : "directory"));
           } else if (of_secret) {
             good = read_secret_field(key, name, value, what, out.secret) && good;
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
           } else {
             read_readers(value, out);
           }
           if (what == "storage" && !of_secret && !secret && key != "path")
             not_acted_on(name, what + "." + key, "the directory is for kubelane's user only");
         });
    if (!type_node) {
      error(node, what + ": type is missing (directory, memory or kubernetes_secret)");
      return false;
    }
    if (!good) return false;
    if (type == "directory") {
      if (out.path.empty()) {
        error(node, what + ": path is missing");
        return false;
      }
      out.type = Destination::Type::directory;
    } else if (type == "memory") {
      out.type = Destination::Type::memory;
    } else if (secret) {
      if (out.secret.name.empty()) {
        error(node, what + ": name is missing: that of the Secret");
        return false;
      }
      out.type = Destination::Type::kubernetes_secret;
    } else {
      error(type_node, what + ".type: " + not_one_of(type, destination_types));
      return false;
    }
    return true;
  }

  bool read_secret_field(const std::string& key, const YAML::Node& name, const YAML::Node& node,
                         const std::string& what, SecretName& out) {
    if (key == "labels") return read_labels(node, out.labels);
    if (key == "kubeconfig_path" || key == "kubeconfig_context") {
      error(name, what + "." + key +
                      " is not supported: kubelane reaches the API server as its pod's service "
                      "account; leave it out");
      return false;
    }
    std::string value;
    if (!text(node, what + "." + key, value)) return false;
    if (!is_object_name(value)) {
      error(node, what + "." + key + ": " + quote(value) +
                      " is not a name that Kubernetes takes: lower-case letters, digits, hyphens "
                      "and dots");
      return false;
    }
    (key == "name" ? out.name : out.name_space) = value;
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
      error(node, "symlinks: " + not_one_of(value, {"try-secure", "secure", "insecure"}));
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
      error(node, "acls: " + not_one_of(value, {"try", "off", "required"}));
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
      wrong_service_ = true;
      return;
    }
    for (const YAML::Node& entry : node) {
      if (!entry.IsMap()) {
        error(entry, "a service must be a map with a type");
        wrong_service_ = true;
        continue;
      }
      const YAML::Node type = entry["type"];
      std::string value;
      if (!type) {
        error(entry, "type is missing: kubernetes or kubernetes/v2");
        wrong_service_ = true;
      } else if (text(type, "type", value)) {
        read_service(entry, type, value);
      } else {
        wrong_service_ = true;
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
    } else if (std::find(foreign_types.begin(), foreign_types.end(), type) != foreign_types.end()) {
      warning(type_node, "services of type " + type +
                             " are not served by kubelane and skipped here; leave them to tbot");
      return;
    } else {
      Names all = served_types;
      all.insert(all.end(), foreign_types.begin(), foreign_types.end());
      const std::string meant = did_you_mean(type, all);
      error(type_node,
            "unknown service type " + quote(type) +
                (meant.empty() ? "; kubelane serves kubernetes and kubernetes/v2" : meant));
      wrong_service_ = true;
      return;
    }
    const bool v2 = service.type == Service::Type::kubernetes_v2;
    Names valid = {"type",
                   "name",
                   "destination",
                   "credential_ttl",
                   "renewal_interval",
                   "credentials",
                   "listen",
                   "local_auth",
                   "local_tls",
                   "impersonate",
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
    if ((service.clusters.size() > 1 || places.labels) &&
        service.context_name_template.find(".KubeName") == std::string::npos)
      error(places.name_template,
            "context_name_template: without {{.KubeName}} all clusters would get the same name");
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
    Place name_template;
    std::optional<Place> local_auth;
    std::optional<Place> local_tls;
    std::vector<std::pair<Place, std::string>> of_bot;  // fields for the bot's credentials
    std::optional<Place> labels;
    bool bad_clusters = false;
    bool bad_credentials = false;
    bool bad_destination = false;
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
        service.clusters.push_back({value, {}, {}});
      } else {
        places.bad_clusters = true;
      }
    } else if (key == "selectors") {
      read_selectors(node, service, places);
    } else if (key == "context_name_template") {
      places.name_template = place(node);
      if (text(node, key, value)) read_template(node, value, service);
    } else if (key == "destination") {
      places.destination = place(node);
      places.bad_destination = !read_destination(node, "destination", service.destination);
    } else if (key == "credentials") {
      places.credentials = place(node);
      places.bad_credentials = !read_credentials(node, service);
    } else if (key == "listen") {
      places.listen = place(node);
      if (text(node, key, value)) {
        if (const auto address = parse_listen(value)) {
          service.listen = *address;
        } else {
          error(node, "listen: " + quote(value) +
                          " is not an address to listen on such as 127.0.0.1:8443 (an IP address "
                          "or localhost, and a port)");
        }
      }
    } else if (key == "local_auth") {
      places.local_auth = place(node);
      if (scalar(node, key, value)) {
        const std::string wrong = set_local_auth(service.local_auth, value);
        if (!wrong.empty()) error(node, "local_auth: " + wrong);
      }
    } else if (key == "local_tls") {
      places.local_tls = place(node);
      boolean(node, key, service.local_tls);
    } else if (key == "impersonate") {
      read_impersonate(node, service);
    } else if (key == "disable_exec_plugin") {
      check_boolean(node, key);  // kubelane's kubeconfig never has one
    } else if (key == "roles") {
      places.of_bot.emplace_back(place(name), key);
      texts(node, key, service.roles);
    } else if (key == "relay_server") {
      not_acted_on(name, key, "kubelane connects through the Proxy");
    } else if (key == "credential_ttl" || key == "renewal_interval") {
      places.of_bot.emplace_back(place(name), key);
      duration(node, key,
               key == "credential_ttl" ? service.credential_ttl : service.renewal_interval);
    }
  }

  void read_selectors(const YAML::Node& node, Service& service, ServicePlaces& places) {
    if (!node.IsSequence() || node.size() == 0) {
      error(node, "selectors must be a list with at least one entry");
      places.bad_clusters = true;
      return;
    }
    std::set<std::string> seen;
    for (const YAML::Node& entry : node) {
      ClusterSelector selector;
      if (!entry.IsMap()) {
        error(entry, "a selector is a map with name or labels");
        places.bad_clusters = true;
        continue;
      }
      bool good = true;
      each(entry, {"name", "labels", "default_namespace"}, " in selectors",
           [&](const std::string& key, const YAML::Node& key_node, const YAML::Node& value) {
             if (key == "labels") {
               places.labels = place(key_node);
               good = read_labels(value, selector.labels) && good;
             } else {
               good =
                   text(value, key, key == "name" ? selector.name : selector.default_namespace) &&
                   good;
             }
           });
      if (good && !selector.labels.empty() == !selector.name.empty()) {
        error(entry, selector.name.empty() ? "a selector needs a name or labels"
                                           : "a selector has either name or labels, not both");
        good = false;
      }
      if (!good) {
        places.bad_clusters = true;
        continue;
      }
      if (selector.name.empty() || seen.insert(selector.name).second)
        service.clusters.push_back(std::move(selector));
      else
        warning(entry, "cluster " + quote(selector.name) + " is selected twice");
    }
  }

  bool read_labels(const YAML::Node& node, std::map<std::string, std::string>& labels) {
    if (!node.IsMap() || node.size() == 0) {
      error(node, "labels must be a map of at least one label, e.g. {env: prod}");
      return false;
    }
    bool good = true;
    for (const auto& entry : node) {
      std::string label;
      std::string value;
      if (text(entry.first, "a label", label) && text(entry.second, "label " + quote(label), value))
        good = labels.emplace(label, value).second && good;
      else
        good = false;
    }
    return good;
  }

  void read_template(const YAML::Node& node, const std::string& value, Service& service) {
    for (std::size_t at = value.find("{{"); at != std::string::npos;
         at = value.find("{{", at + 2)) {
      const std::size_t end = value.find("}}", at);
      std::string field = value.substr(at + 2, end == std::string::npos ? end : end - at - 2);
      field.erase(0, field.find_first_not_of(' '));
      field.erase(field.find_last_not_of(' ') + 1);
      if (end == std::string::npos || (field != ".ClusterName" && field != ".KubeName")) {
        error(node,
              "context_name_template: only {{.ClusterName}} and {{.KubeName}} are known, "
              "not " +
                  quote("{{" + field + "}}"));
        return;
      }
    }
    service.context_name_template = value;
  }

  bool read_credentials(const YAML::Node& node, Service& service) {
    if (node.IsScalar()) {
      std::string value;
      if (!text(node, "credentials", value)) return false;
      const std::string wrong = set_credentials(value, service);
      if (!wrong.empty()) error(node, "credentials: " + wrong);
      return wrong.empty();
    }
    if (!node.IsMap()) {
      error(node, "credentials must be {type: directory, path: …}");
      return false;
    }
    bool good = true;
    each(node, {"type", "path"}, " in credentials",
         [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
           std::string content;
           if (!text(value, "credentials." + key, content)) {
             good = false;
           } else if (key == "path") {
             service.credentials_path = absolute_path(content);
           } else if (content != "directory") {
             error(value,
                   "credentials.type: " + quote(content) + " is not supported; use directory");
             good = false;
           }
         });
    if (!node["path"]) {
      error(node, "credentials: path is missing");
      good = false;
    }
    return good;
  }

  static std::string set_credentials(const std::string& text, Service& service) {
    Destination directory;
    std::string wrong = parse_destination(text, directory);
    if (wrong.empty() && directory.type != Destination::Type::directory)
      wrong = quote(text) + " is not a directory that tbot writes";
    if (wrong.empty()) service.credentials_path = directory.path;
    return wrong;
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
    if (service.impersonate_user.empty() && !service.impersonate_groups.empty())
      warning(node, "impersonate.groups without a user: Teleport then uses the role's one user");
  }

  // ---- command line and environment

  // tbot's rule: any of these replaces the whole section of the file.
  void replace_onboarding(const std::vector<Override>& overrides) {
    for (const Override& override : overrides) {
      if (override.key != "onboarding.token" && override.key != "onboarding.join_method" &&
          override.key != "onboarding.ca_pins")
        continue;
      result_.config.onboarding = {};
      said_["onboarding"] = {0, 0, override.origin};
    }
  }

  void apply(const std::vector<Override>& overrides) {
    replace_onboarding(overrides);
    for (std::size_t i = 0; i < overrides.size(); ++i) {
      const Override& override = overrides[i];
      const auto same = [&](const Override& later) { return later.key == override.key; };
      const auto next = overrides.begin() + static_cast<std::ptrdiff_t>(i) + 1;
      const Setting* setting = find_setting(override.key);
      if (setting == nullptr || std::any_of(next, overrides.end(), same)) continue;
      // A level that is stronger than the place where debug: true stands ends it.
      if (override.key == "log.level") result_.config.debug = false;
      said_[override.key] = {0, 0, override.origin};
      // Of a bound key the environment may tell whether or not there is a bot.
      if (override.key.starts_with("onboarding.") &&
          !override.key.starts_with("onboarding.bound_keypair."))
        result_.config.onboarding.given = true;
      const std::string wrong = setting->set(result_.config, override.value);
      if (!wrong.empty()) error(said_[override.key], wrong);
    }
  }

  static bool parse_labels(const std::string& text, std::map<std::string, std::string>& labels) {
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      const std::string label = text.substr(at, comma - at);
      const std::size_t equals = label.find('=');
      if (equals == std::string::npos || equals == 0 || equals + 1 == label.size() ||
          has_control_character(label))
        return false;
      labels[label.substr(0, equals)] = label.substr(equals + 1);
      at = comma + 1;
    }
    return true;
  }

  void add_command_service(const CommandService& command) {
    Service service;
    ServicePlaces places;
    service.type = command.type;
    const std::string cluster_flag =
        command.type == Service::Type::kubernetes ? "--kubernetes-cluster" : "--name-selector";
    std::set<std::string> seen;
    for (const std::string& cluster : command.clusters) {
      if (cluster.empty() || cluster.size() > max_value_bytes || has_control_character(cluster))
        error({0, 0, cluster_flag}, quote(cluster) + " is not the name of a cluster");
      else if (seen.insert(cluster).second)
        service.clusters.push_back({cluster, {}, {}});
    }
    for (const std::string& labels : command.labels) {
      ClusterSelector selector;
      places.labels = Place{0, 0, "--label-selector"};
      if (parse_labels(labels, selector.labels))
        service.clusters.push_back(std::move(selector));
      else
        error(*places.labels, quote(labels) + " is not of the form name=value,name=value");
    }
    places.credentials.origin = "--credentials";
    if (!command.credentials.empty()) {
      const std::string wrong = set_credentials(command.credentials, service);
      places.bad_credentials = !wrong.empty();
      if (!wrong.empty()) error(places.credentials, wrong);
    }
    places.destination.origin = "--destination";
    if (!command.destination.empty()) {
      const std::string wrong = parse_destination(command.destination, service.destination);
      places.bad_destination = !wrong.empty();
      if (!wrong.empty()) error(places.destination, wrong);
    }
    for (const std::string& user : command.reader_users)
      service.destination.readers.push_back({user, {}});
    for (const std::string& group : command.reader_groups)
      service.destination.readers.push_back({{}, group});
    result_.config.services.push_back(std::move(service));
    places_.push_back(std::move(places));
  }

  void inherit_listener_settings() {
    for (std::size_t i = 0; i < result_.config.services.size(); ++i) {
      Service& service = result_.config.services[i];
      const ServicePlaces& places = places_[i];
      if (!service.listen && places.listen.line == 0)
        for (const auto& own : {places.local_auth, places.local_tls})
          if (own)
            error(
                *own,
                "local_auth and local_tls belong to a listener: give this service its own listen, "
                "or set them at the top level");
      if (!places.local_auth || !service.listen) service.local_auth = result_.config.local_auth;
      if (!places.local_tls || !service.listen) service.local_tls = result_.config.local_tls;
    }
  }

  // ---- the bot

  void check_bot() {
    Config& config = result_.config;
    if (!config.join_uri.empty()) {
      const Place at = said("join_uri");
      if (config.onboarding.given)
        error(at, "join_uri and onboarding (or --token, --join-method) exclude each other");
      else if (std::string wrong = apply_join_uri(config.join_uri, config); !wrong.empty())
        error(at, "join_uri " + wrong);
    }
    const bool wanted = std::any_of(config.services.begin(), config.services.end(),
                                    [](const Service& service) { return service.by_bot(); });
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      if (service.by_bot()) continue;
      for (const auto& [at, key] : places_[i].of_bot)
        warning(at, key + " has no effect: this service's credentials are of tbot's making");
      if (places_[i].labels && !places_[i].bad_credentials)
        error(*places_[i].labels,
              "selecting by labels needs the list of clusters from Teleport, which only a bot can "
              "read: leave credentials out and let kubelane join itself (onboarding), or name the "
              "clusters (name: …)");
    }
    if (!wanted && (!config.services.empty() || !config.onboarding.given)) {
      for (const char* key : {"onboarding", "join_uri", "auth_server", "credential_ttl",
                              "certificate_ttl", "renewal_interval", "leeway", "oneshot"})
        if (said_.contains(key))
          warning(named_.contains(key) ? named_[key] : said_[key],
                  std::string(key) +
                      " has no effect: no service is left to kubelane's own bot "
                      "(all name credentials that tbot renews)");
      config.onboarding.given = false;
      config.oneshot = false;
      return;
    }
    if (!config.onboarding.given || !wanted) return;
    if (const std::string wrong = check_onboarding(config); !wrong.empty())
      error(config.join_uri.empty() ? said("onboarding") : said("join_uri"), wrong);
    check_lifetimes();
  }

  void check_lifetimes() {
    const Config& config = result_.config;
    constexpr std::chrono::hours most{24 * 7};
    const auto check = [&](std::chrono::milliseconds ttl, std::chrono::milliseconds interval,
                           const Place& at) {
      if (ttl <= interval)
        warning(at,
                "renewal_interval is not shorter than credential_ttl: certificates would expire "
                "before they are renewed");
      if (ttl > most)
        warning(at,
                "credential_ttl is longer than Teleport grants (7 days; 24 hours before "
                "Teleport 17): the certificates will be shorter");
    };
    check(config.credential_ttl, config.renewal_interval,
          said_.contains("renewal_interval") ? said("renewal_interval")
          : said_.contains("credential_ttl") ? said("credential_ttl")
                                             : said("certificate_ttl"));
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      if (!service.by_bot() || places_[i].of_bot.empty()) continue;
      check(
          service.credential_ttl.count() > 0 ? service.credential_ttl : config.credential_ttl,
          service.renewal_interval.count() > 0 ? service.renewal_interval : config.renewal_interval,
          places_[i].of_bot.front().first);
    }
  }

  // ---- what must fit together

  static std::string canonical(const std::string& path) {
    std::error_code failed;
    const auto resolved = std::filesystem::weakly_canonical(path, failed);
    return failed ? path : resolved.string();
  }

  Place said(const std::string& key) const {
    const auto found = said_.find(key);
    return found == said_.end() ? Place{} : found->second;
  }

  void check_auth(LocalAuth auth, bool tls, const Place& at) {
    if (!tls && auth != LocalAuth::none)
      error(at,
            "local_tls: false demands local_auth: none, because client-go silently drops every "
            "credential for an http:// server");
  }

  void check_reach(const ListenAddress& address, const Place& at) {
    if (!is_loopback(address) && !result_.config.allow_remote)
      error(at, "listen address " + address.host +
                    " can be reached from other machines; set allow_remote: true (--allow-remote) "
                    "if that is meant");
  }

  void cross_check() {
    const Config& config = result_.config;
    check_directories();
    std::map<std::string, std::string> shared_names;  // cluster -> service
    std::map<std::string, std::string> listeners;
    bool shared = config.services.empty();     // somebody is served on the shared listener
    bool inherited = config.services.empty();  // the top level's authentication is used
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      const ServicePlaces& places = places_[i];
      if (service.listen) {
        check_reach(*service.listen, places.listen);
        if (places.local_tls || places.local_auth)
          check_auth(service.local_auth, service.local_tls,
                     places.local_tls ? *places.local_tls : *places.local_auth);
        else
          inherited = true;
        if (service.clusters.size() > 1 || places.labels)
          error(places.listen,
                "a listener of its own has no path prefix and so serves one cluster, but this "
                "service selects " +
                    (places.labels ? std::string("by labels")
                                   : std::to_string(service.clusters.size())) +
                    "; remove listen, or make one service per cluster");
        add_listener(*service.listen, "service " + quote(service.label()), places.listen,
                     listeners);
        continue;
      }
      shared = inherited = true;
      for (const ClusterSelector& cluster : service.clusters) {
        if (cluster.name.empty()) continue;
        const auto [other, fresh] = shared_names.emplace(cluster.name, service.label());
        if (!fresh)
          error(places.service, "services " + quote(other->second) + " and " +
                                    quote(service.label()) + " both serve cluster " +
                                    quote(cluster.name) +
                                    " on the shared listener; give one of them its own listen");
      }
    }
    check_control_addresses(listeners);
    if (inherited) check_auth(config.local_auth, config.local_tls, said("local_tls"));
    if (!shared) return;
    check_reach(config.listen, said("listen"));
    add_listener(config.listen, "the shared listener", said("listen"), listeners);
  }

  // Whoever reaches the admin listener may end the process.
  void check_control_addresses(std::map<std::string, std::string>& listeners) {
    const Config& config = result_.config;
    if (config.diag_addr && config.diag_addr->unix_path.empty())
      add_listener(config.diag_addr->tcp, "diag_addr", said("diag_addr"), listeners);
    if (!config.admin_addr || !config.admin_addr->unix_path.empty()) return;
    add_listener(config.admin_addr->tcp, "admin_addr", said("admin_addr"), listeners);
    if (!is_loopback(config.admin_addr->tcp))
      error(said("admin_addr"),
            "admin_addr " + config.admin_addr->tcp.host +
                " can be reached from other machines, and whoever reaches it may end kubelane: "
                "give it a loopback address or unix:///path; probes and metrics belong to "
                "diag_addr");
  }

  void check_directories() {
    const Config& config = result_.config;
    std::map<std::string, std::string> destinations;  // canonical path -> service
    std::map<std::string, std::string> credentials;   // the same
    std::map<std::string, std::string> secrets;       // namespace/name -> who writes it
    if (const SecretName& secret = config.storage_secret; !secret.name.empty())
      secrets.emplace(secret.name_space + "/" + secret.name, "storage");
    const std::string storage =
        config.storage_path.empty() ? std::string() : canonical(config.storage_path);
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      if (service.credentials_path.empty()) continue;
      const std::string path = canonical(service.credentials_path);
      credentials.emplace(path, service.label());
      if (path == storage)
        error(places_[i].credentials, "the storage directory is also the credentials directory " +
                                          service.credentials_path + "; choose another");
    }
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      const Place& at = places_[i].destination;
      check_secret(service, at, secrets);
      if (service.destination.type != Destination::Type::directory) continue;
      const std::string& written = service.destination.path;
      const std::string path = canonical(written);
      if (const auto tbots = credentials.find(path); tbots != credentials.end())
        error(at, "the destination " + written + " is also the credentials directory of service " +
                      quote(tbots->second) +
                      ", where tbot would overwrite our kubeconfig.yaml; choose another directory");
      const auto [other, fresh] = destinations.emplace(path, service.label());
      if (!fresh)
        error(at, "services " + quote(other->second) + " and " + quote(service.label()) +
                      " share the destination " + written + "; give each its own directory");
      if (path == storage)
        error(at, "the destination is also the storage directory " + config.storage_path +
                      "; choose another");
    }
  }

  // One writer each: what one applies would take away what the other did.
  void check_secret(const Service& service, const Place& at,
                    std::map<std::string, std::string>& secrets) {
    const SecretName& secret = service.destination.secret;
    if (service.destination.type != Destination::Type::kubernetes_secret) return;
    const auto [other, fresh] =
        secrets.emplace(secret.name_space + "/" + secret.name, "service " + quote(service.label()));
    if (!fresh)
      error(at, "the Secret " + quote(secret.name) + " is already that of " + other->second +
                    "; choose another name");
  }

  void add_listener(const ListenAddress& address, const std::string& owner, const Place& at,
                    std::map<std::string, std::string>& listeners) {
    if (address.port == 0 && address.passed.empty()) return;
    const std::string host = address.host == "localhost" ? "127.0.0.1" : address.host;
    const std::string key = address.passed.empty() ? host + ":" + std::to_string(address.port)
                                                   : "systemd:" + address.passed;
    const auto [other, fresh] = listeners.emplace(key, owner);
    if (!fresh) error(at, other->second + " and " + owner + " listen on the same address " + key);
  }

  // For services that nobody but our own child wants to find.
  void spare_destinations(const std::string& directory) {
    for (std::size_t i = 0; i < result_.config.services.size(); ++i) {
      Destination& destination = result_.config.services[i].destination;
      if (destination.type == Destination::Type::directory ||
          destination.type == Destination::Type::kubernetes_secret || places_[i].bad_destination)
        continue;
      destination.type = Destination::Type::directory;
      destination.path = directory + "/" + std::to_string(i + 1);
    }
  }

  void find_missing() {
    const Config& config = result_.config;
    const auto add = [&](const Place& at, const std::string& message) {
      Problem missing = problem(at, message);
      missing.file = at.line > 0 || at.origin.empty() ? file_ : std::string();
      result_.missing.push_back(std::move(missing));
    };
    const bool by_auth = !config.auth_server.empty() && config.onboarding.given;
    if (config.proxy_server.empty() && !by_auth && !said_.contains("proxy_server"))
      add({},
          "proxy_server is missing: set it in the file, with --proxy-server or in "
          "TELEPORT_PROXY, e.g. teleport.example.com:443");
    if (config.services.empty() && !wrong_service_)
      add({}, "there is no service of type kubernetes or kubernetes/v2: nothing to serve");
    for (std::size_t i = 0; i < config.services.size(); ++i) {
      const Service& service = config.services[i];
      const ServicePlaces& places = places_[i];
      const bool by_flags = places.service.line == 0;
      if (service.by_bot() && !config.onboarding.given && !places.bad_credentials)
        add(by_flags ? places.credentials : places.service,
            by_flags
                ? "missing: name a directory that tbot writes (or set KUBELANE_CREDENTIALS), or "
                  "let kubelane join itself with --token and --join-method"
                : "service " + quote(service.label()) +
                      " has no credentials: let kubelane join as a bot (`onboarding: {join_method: "
                      "…, token: …}`), or add `credentials: {type: directory, path: …}` naming a "
                      "directory that tbot writes, and let its destination be another one");
      if (service.destination.type != Destination::Type::directory &&
          service.destination.type != Destination::Type::kubernetes_secret &&
          !places.bad_destination)
        add(by_flags ? places.destination : places.service,
            by_flags ? "missing: name a directory for kubelane's kubeconfig.yaml (or set "
                       "KUBELANE_DESTINATION)"
                     : "service " + quote(service.label()) +
                           " has no directory and no Secret as its destination: add `destination: "
                           "{type: "
                           "directory, path: …}`, where kubelane writes kubeconfig.yaml");
    }
  }

  const std::string& file_;
  LoadResult& result_;
  std::vector<ServicePlaces> places_;   // by service
  std::map<std::string, Place> named_;  // top-level keys of the file
  std::map<std::string, Place> said_;   // where a top-level setting was given, rightly or wrongly
  bool whole_ = true;           // the file could be read, so that what is not there is missing
  bool wrong_service_ = false;  // a service was left out because of an error
};

}  // namespace

std::string Problem::text() const {
  std::string out = file;
  if (line > 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
  if (!out.empty()) out += ": ";
  constexpr const char* digits = "0123456789abcdef";
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15u];
    } else {
      out += c;
    }
  }
  return out;
}

LoadResult load_config(const std::string& yaml, const std::string& file,
                       const std::vector<Override>& overrides,
                       const std::optional<CommandService>& service,
                       const std::string& spare_destination) {
  LoadResult result;
  Loader(file, result).run(yaml, overrides, service, spare_destination);
  return result;
}

LoadResult load_config(const YAML::Node& root, const std::string& file) {
  LoadResult result;
  Loader(file, result).run(root);
  return result;
}

}  // namespace kubelane
