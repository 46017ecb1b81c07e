#include "proxy/cli/systemd_unit.hpp"

#include <algorithm>
#include <set>

namespace kubelane::cli {
namespace {

constexpr std::chrono::seconds after_drain{10};
constexpr std::uint16_t first_unprivileged_port = 1024;

// What holds for every configuration (systemd.exec(5)).
constexpr const char* hardening =
    R"(UMask=0077
LimitCORE=0
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
DevicePolicy=closed
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
)";

// A word of ExecStart and the like (systemd.syntax(7), systemd.service(5)).
std::string unit_word(const std::string& text, bool command_line = true) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '%' || (c == '$' && command_line)) out += c;
    out += c;
  }
  return out + "\"";
}

bool below(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder);
}

bool in_a_home(const std::string& path) {
  constexpr const char* homes[] = {"/home/", "/root/", "/run/user/"};
  return std::any_of(std::begin(homes), std::end(homes),
                     [&path](const char* home) { return path.starts_with(home); });
}

// The directories that kubelane writes to, by the way in which systemd provides them.
struct Places {
  std::set<std::string> state;    // below /var/lib
  std::set<std::string> runtime;  // below /run
  std::set<std::string> other;

  void add(std::string path) {
    if (path.empty()) return;
    if (below(path, "/var/run/")) path.erase(0, std::string("/var").size());
    if (below(path, "/var/lib/"))
      state.insert(path.substr(std::string("/var/lib/").size()));
    else if (below(path, "/run/") && !path.starts_with("/run/user/"))
      runtime.insert(path.substr(std::string("/run/").size()));
    else
      other.insert(path);
  }
};

std::string parent(const std::string& path) { return path.substr(0, path.rfind('/')); }

Places places_of(const Config& config) {
  Places places;
  places.add(config.storage_path);
  for (const Service& service : config.services) places.add(service.destination.path);
  for (const auto& address : {config.diag_addr, config.admin_addr})
    if (address && !address->unix_path.empty()) places.add(parent(address->unix_path));
  return places;
}

bool needs_low_port(const Config& config) {
  const auto low = [](const ListenAddress& address) {
    return address.port != 0 && address.port < first_unprivileged_port;
  };
  bool any = low(config.listen);
  for (const Service& service : config.services) any |= service.listen && low(*service.listen);
  for (const auto& address : {config.diag_addr, config.admin_addr})
    any |= address && address->unix_path.empty() && low(address->tcp);
  return any;
}

std::string line(const std::string& key, const std::set<std::string>& values) {
  if (values.empty()) return {};
  std::string text = key + "=";
  for (const std::string& value : values)
    text += (text.back() == '=' ? "" : " ") + unit_word(value, false);
  return text + "\n";
}

std::string service_lines(const Config& config, const std::string& program,
                          const std::string& config_path) {
  const auto stop =
      std::chrono::duration_cast<std::chrono::seconds>(config.timeouts.drain) + after_drain;
  return "Type=notify\nExecStart=" + unit_word(program) + " start --config " +
         unit_word(config_path) +
         "\nExecReload=/bin/kill -HUP $MAINPID\nWatchdogSec=30\nRestart=on-failure\nRestartSec=2\n"
         // Another try would fail as well.
         "RestartPreventExitStatus=2\nTimeoutStopSec=" +
         std::to_string(stop.count()) + "\n";
}

std::string home_line(const Config& config, const std::string& config_path,
                      const std::set<std::string>& written) {
  std::vector<std::string> used{config_path, config.proxy_ca, config.onboarding.ca_path};
  used.insert(used.end(), written.begin(), written.end());
  for (const Service& service : config.services) used.push_back(service.credentials_path);
  const bool any = std::any_of(used.begin(), used.end(), in_a_home);
  return any ? "ProtectHome=read-only\n" : "ProtectHome=yes\n";
}

}  // namespace

SystemdUnit systemd_unit(const Config& config, const std::string& program,
                         const std::string& config_path, const UnitOptions& options) {
  SystemdUnit unit;
  const Places places = places_of(config);
  std::string& text = unit.text;
  text =
      "# Written by `kubelane install systemd`.\n[Unit]\nDescription=kubelane: Kubernetes behind "
      "Teleport on localhost\nWants=network-online.target\nAfter=network-online.target\n\n"
      "[Service]\n" +
      service_lines(config, program, config_path);
  const bool dynamic = options.user.empty();
  text += dynamic ? "DynamicUser=yes\n" : "User=" + options.user + "\n";
  if (!options.group.empty()) text += "Group=" + options.group + "\n";
  text += line("StateDirectory", places.state);
  if (!places.state.empty()) text += "StateDirectoryMode=0700\n";
  text += line("RuntimeDirectory", places.runtime);
  // Readers come through; the files are 0600 and carry an ACL for them.
  if (!places.runtime.empty()) text += "RuntimeDirectoryMode=0755\n";
  text += line("ReadWritePaths", places.other);
  for (const std::string& path : places.other)
    unit.notes.push_back(path +
                         " must be there, and the service's user must be able to write it; "
                         "below /run or /var/lib systemd makes it");
  if (config.onboarding.token.starts_with('/')) {
    text += "LoadCredential=" + unit_word("token:" + config.onboarding.token, false) +
            "\nEnvironment=KUBELANE_TOKEN=%d/token\n";
  } else if (config.onboarding.given && config.onboarding.join_method == JoinMethod::token) {
    unit.notes.emplace_back(
        "the join token stands in the configuration: put it into a file that only root can read, "
        "and its path into onboarding.token; the unit passes it on as a credential");
  }
  text += hardening + home_line(config, config_path, places.other);
  const bool low_port = needs_low_port(config);
  text += low_port ? "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
                     "AmbientCapabilities=CAP_NET_BIND_SERVICE\n"
                   : "CapabilityBoundingSet=\nAmbientCapabilities=\n";
  const bool readers =
      std::any_of(config.services.begin(), config.services.end(),
                  [](const Service& service) { return !service.destination.readers.empty(); });
  // Other accounts do not exist in a user namespace: no ACL can name them there.
  if (!readers && !low_port) text += "PrivateUsers=yes\n";
  if (dynamic) {
    if (!readers)
      unit.notes.emplace_back(
          "only the service's own user can read the kubeconfig: give the destination `readers`, or "
          "use --user");
    for (const Service& service : config.services)
      if (!service.by_bot())
        unit.notes.push_back("let tbot's destination " + service.credentials_path +
                             " have a reader, and name it with --user or --group");
  }
  text += "\n[Install]\nWantedBy=multi-user.target\n";
  return unit;
}

}  // namespace kubelane::cli
