#include "config/migrate.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <yaml-cpp/yaml.h>

#include "config/onboarding.hpp"
#include "config/suggest.hpp"
#include "config/tbot_v1.hpp"
#include "config/write_config.hpp"
#include "config/yaml_reader.hpp"

namespace kubelane {
namespace {

constexpr const char* tbot_storage = "/var/lib/teleport/bot";
constexpr int first_spare_port = 7444;  // behind that of the shared listener

YAML::Node field(const YAML::Node& map, const std::string& key) {
  return map.IsMap() ? map[key] : YAML::Node(YAML::NodeType::Undefined);
}

std::string text_of(const YAML::Node& node) {
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : std::string();
}

bool serves_kubernetes(const YAML::Node& service) {
  const std::string type = text_of(field(service, "type"));
  return type == "kubernetes" || type == "kubernetes/v2";
}

// A directory's path; empty: of another type, or none.
std::string directory_of(const YAML::Node& destination) {
  if (!destination.IsDefined()) return {};
  if (destination.IsScalar()) {
    const std::string text = destination.Scalar();
    if (text.starts_with("file://")) return text.substr(7);
    return text.find("://") == std::string::npos ? text : std::string();
  }
  return text_of(field(destination, "type")) == "directory" ? text_of(field(destination, "path"))
                                                            : std::string();
}

YAML::Node directory(const std::string& path) {
  YAML::Node out(YAML::NodeType::Map);
  out["type"] = "directory";
  out["path"] = path;
  return out;
}

// Another path for a destination, all else as it is.
void move_to(YAML::Node service, const std::string& path) {
  YAML::Node destination = service["destination"];
  if (destination.IsMap())
    destination["path"] = path;
  else
    service["destination"] = directory(path);
}

// Turns what tbot accepts and kubelane does not into what both mean.
class Migrator {
 public:
  Migrator(const std::string& file, Migration& out) : file_(file), out_(out) {}

  YAML::Node run(YAML::Node root) {
    if (!root.IsMap()) return root;
    if (is_tbot_v1(root))
      root = from_tbot_v1(
          root, {[this](const YAML::Node& at, const std::string& what) { changed(at, what); },
                 [this](const YAML::Node& at, const std::string& what) { dropped(at, what); }});
    root_ = root;
    gather_services();
    address();
    const bool by_tbot = method_is_foreign();
    for (YAML::Node& service : services_) adjust(service);
    storage(by_tbot);
    if (by_tbot) leave_joining_to_tbot();
    keep_destinations_apart();
    keep_clusters_apart();
    put_services_back();
    return root_;
  }

 private:
  Problem note(const YAML::Node& at, const std::string& what) const {
    const Place place = at.IsDefined() ? YamlReader::place(at) : Place{};
    return {file_, place.line, place.column, what};
  }
  void changed(const YAML::Node& at, const std::string& what) {
    out_.changed.push_back(note(at, what));
  }
  void dropped(const YAML::Node& at, const std::string& what) {
    out_.dropped.push_back(note(at, what));
  }

  void gather_services() {
    for (const char* key : {"services", "outputs"}) {
      const YAML::Node list = field(root_, key);
      if (!list.IsDefined() || !list.IsSequence()) continue;
      if (std::string(key) == "outputs" && list.size() > 0)
        changed(list, "outputs is the old name of services");
      for (const YAML::Node& service : list) {
        if (serves_kubernetes(service) || !service.IsMap()) {
          services_.push_back(service);
          continue;
        }
        const std::string type = text_of(field(service, "type"));
        if (type != "example" && type != "noop") others_ = true;
        foreign_.push_back(service);
      }
    }
    // The loader names each of them.
    for (const YAML::Node& service : foreign_) services_.push_back(service);
    if (const YAML::Node outputs = field(root_, "outputs");
        outputs.IsDefined() && outputs.IsSequence())
      root_.remove("outputs");
  }

  void put_services_back() {
    const YAML::Node given = field(root_, "services");
    // What is no list the loader refuses.
    if (given.IsDefined() && !given.IsNull() && !given.IsSequence()) return;
    YAML::Node list(YAML::NodeType::Sequence);
    for (const YAML::Node& service : services_) list.push_back(service);
    root_["services"] = list;
  }

  // tbot takes a Proxy's address in auth_server, too.
  void address() {
    const YAML::Node auth = field(root_, "auth_server");
    const std::string text = text_of(auth);
    if (!text.ends_with(":443") && !text.ends_with(":3080")) return;
    if (field(root_, "proxy_server").IsDefined()) return;
    changed(auth, "auth_server " + quote(text) + " is a Proxy's by its port: proxy_server");
    root_["proxy_server"] = text;
    root_.remove("auth_server");
  }

  bool method_is_foreign() const {
    const YAML::Node onboarding = field(root_, "onboarding");
    if (!onboarding.IsDefined()) return false;
    const std::string method = text_of(field(onboarding, "join_method"));
    Onboarding probe;
    return !method.empty() && !set_join_method(probe, method).empty();
  }

  void adjust(YAML::Node service) {
    if (!serves_kubernetes(service)) return;
    const bool v2 = text_of(service["type"]) == "kubernetes/v2";
    if (const YAML::Node roles = field(service, "roles"); v2 && roles.IsDefined()) {
      dropped(roles, "roles: a kubernetes/v2 service has all of the bot's");
      service.remove("roles");
    }
    if (const YAML::Node plugin = field(service, "disable_exec_plugin"); plugin.IsDefined())
      changed(plugin, "disable_exec_plugin: kubelane's kubeconfig never has a plugin");
    const YAML::Node name_template = field(service, "context_name_template");
    if (text_of(name_template).find(".Labels") != std::string::npos) {
      dropped(name_template,
              "context_name_template: .Labels is not known here; contexts get their usual names");
      service.remove("context_name_template");
    }
    YAML::Node destination = field(service, "destination");
    if (!destination.IsDefined() || !destination.IsMap()) return;
    for (const char* key : {"kubeconfig_path", "kubeconfig_context"}) {
      const YAML::Node kubeconfig = field(destination, key);
      if (!kubeconfig.IsDefined()) continue;
      dropped(kubeconfig,
              std::string(key) + ": kubelane reaches the API server as its pod's service account");
      destination.remove(key);
    }
  }

  // tbot's default is a directory, kubelane's is memory.
  void storage(bool by_tbot) {
    if (by_tbot) return;
    const YAML::Node given = field(root_, "storage");
    if (given.IsDefined() && given.IsMap() && directory_of(given).empty()) {
      const std::string name = text_of(field(given, "name"));
      if (!others_ || name.empty()) return;
      root_["storage"]["name"] = name + "-kubelane";
      return tell_of_own_storage(given, name + "-kubelane");
    }
    if (const std::string uri = text_of(given); others_ && uri.starts_with("kubernetes-secret:")) {
      root_["storage"] = uri + "-kubelane";
      return tell_of_own_storage(given, uri + "-kubelane");
    }
    if (given.IsDefined() && directory_of(given).empty()) return;
    std::string path = given.IsDefined() ? directory_of(given) : tbot_storage;
    if (others_) {
      path += "-kubelane";
      tell_of_own_storage(given, path);
    } else if (!given.IsDefined()) {
      changed({}, "storage: " + path +
                      " is tbot's default, and kubelane's is memory; kubelane takes the bot over "
                      "from there once tbot is stopped");
    }
    root_["storage"] = directory(path);
  }

  void tell_of_own_storage(const YAML::Node& at, const std::string& where) {
    changed(at, "storage: " + where +
                    ", because tbot goes on with its own for the services that are left to it; "
                    "kubelane joins as another instance of the bot (with join_method token: "
                    "`tctl bots instances add` makes a token)");
  }

  // kubelane cannot join this way: tbot does, and kubelane reads what it writes.
  void leave_joining_to_tbot() {
    const YAML::Node onboarding = field(root_, "onboarding");
    dropped(
        field(onboarding, "join_method"),
        "join_method " + text_of(field(onboarding, "join_method")) +
            ": keep tbot running with its file; kubelane reads what it writes (credentials) and "
            "has destinations of its own");
    for (const char* key : {"onboarding", "storage", "join_uri", "auth_server", "credential_ttl",
                            "certificate_ttl", "renewal_interval", "leeway", "oneshot"})
      root_.remove(key);
    std::vector<YAML::Node> kept;
    for (YAML::Node& service : services_)
      if (!serves_kubernetes(service) || read_from_tbot(service)) kept.push_back(service);
    services_ = kept;
  }

  // False: it cannot be served.
  bool read_from_tbot(YAML::Node service) {
    const std::string path = directory_of(field(service, "destination"));
    if (path.empty()) {
      dropped(service, "this service: tbot writes it to no directory that kubelane could read");
      return false;
    }
    for (const char* key : {"credential_ttl", "renewal_interval", "roles"}) service.remove(key);
    if (const YAML::Node selectors = field(service, "selectors");
        selectors.IsDefined() && selectors.IsSequence()) {
      YAML::Node named(YAML::NodeType::Sequence);
      for (const YAML::Node& selector : selectors) {
        if (field(selector, "labels").IsDefined())
          dropped(selector,
                  "a selector by labels: without a bot of its own kubelane does not know "
                  "which clusters there are; name them");
        else
          named.push_back(selector);
      }
      if (named.size() == 0 && selectors.size() > 0) return false;
      service["selectors"] = named;
    }
    service["credentials"] = directory(path);
    changed(field(service, "destination"),
            "destination: " + path + "-kubelane, because tbot goes on writing to " + path);
    move_to(service, path + "-kubelane");
    return true;
  }

  void keep_destinations_apart() {
    std::set<std::string> taken = {directory_of(field(root_, "storage"))};
    for (YAML::Node& service : services_) {
      if (!serves_kubernetes(service)) continue;
      const std::string path = directory_of(field(service, "destination"));
      if (path.empty() || taken.insert(path).second) continue;
      int number = 2;
      while (!taken.insert(path + "-" + std::to_string(number)).second) ++number;
      const std::string other = path + "-" + std::to_string(number);
      changed(field(service, "destination"),
              "destination: " + other + ", because " + path + " is another's");
      move_to(service, other);
    }
  }

  // On the shared listener a cluster has one path.
  void keep_clusters_apart() {
    std::set<std::string> taken;
    int port = first_spare_port;
    std::vector<YAML::Node> kept;
    for (YAML::Node& service : services_) {
      const std::string cluster = text_of(field(service, "kubernetes_cluster"));
      if (!cluster.empty() && serves_kubernetes(service) && !taken.insert(cluster).second) {
        const std::string listen = "127.0.0.1:" + std::to_string(port++);
        changed(service, "listen: " + listen + ", because another service has " + quote(cluster) +
                             " on the shared listener");
        service["listen"] = listen;
      }
      if (keep_selectors_apart(service, taken)) kept.push_back(service);
    }
    services_ = kept;
  }

  // False: nothing is left of it.
  bool keep_selectors_apart(YAML::Node service, std::set<std::string>& taken) {
    const YAML::Node selectors = field(service, "selectors");
    if (!serves_kubernetes(service) || !selectors.IsDefined() || !selectors.IsSequence() ||
        selectors.size() == 0)
      return true;
    YAML::Node own(YAML::NodeType::Sequence);
    std::set<std::string> here;
    for (const YAML::Node& selector : selectors) {
      const std::string name = text_of(field(selector, "name"));
      if (!name.empty() && here.insert(name).second && !taken.insert(name).second)
        dropped(selector, "selector " + quote(name) + ": another service serves this cluster");
      else
        own.push_back(selector);
    }
    service["selectors"] = own;
    return own.size() > 0;
  }

  const std::string& file_;
  Migration& out_;
  YAML::Node root_;
  std::vector<YAML::Node> services_;
  std::vector<YAML::Node> foreign_;  // of types that stay with tbot
  bool others_ = false;              // tbot has something left to do
};

void in_order(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
}

}  // namespace

Migration migrate(const std::string& yaml, const std::string& file) {
  Migration out;
  YAML::Node root;
  try {
    if (yaml.size() <= max_config_bytes) root = Migrator(file, out).run(YAML::Load(yaml));
  } catch (const YAML::Exception&) {
    root = {};  // the loader tells better
  }
  const LoadResult loaded =
      root.IsDefined() && root.IsMap() ? load_config(root, file) : load_config(yaml, file, {}, {});
  out.errors = loaded.errors;
  if (!root.IsMap() && out.errors.empty())
    out.errors.push_back({file, 0, 0, "there is no configuration in it"});
  if (!out.errors.empty()) return out;
  out.warnings = loaded.warnings;
  out.missing = loaded.missing;
  in_order(out.changed);
  in_order(out.dropped);
  out.yaml =
      write_config(loaded.config, {"Made from tbot's " + quote(file) + " by `kubelane migrate`.",
                                   "Every key is explained in kubelane's README."});
  // What was made must be good, too: paths that only together do not fit, for example.
  out.errors = load_config(out.yaml, "the new file", {}, {}).errors;
  if (!out.errors.empty()) out.yaml.clear();
  return out;
}

}  // namespace kubelane
