#include "config/client_commands.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>

#include "config/settings.hpp"
#include "config/suggest.hpp"
#include "config/values.hpp"

namespace kubelane {
namespace {

constexpr std::chrono::milliseconds shortest_interval{100};

std::string take_storage(const std::string& text, Command& command) {
  Config config;
  std::string wrong = find_setting("storage")->set(config, text);
  if (wrong.empty() && config.storage_path.empty()) wrong = "a key in memory would be lost at once";
  command.storage_path = config.storage_path;
  return wrong.empty() ? wrong : "--storage: " + wrong;
}

}  // namespace

ClientCommands::ClientCommands(CLI::App& app, const std::string& footer) {
  add_wait(app);
  add_status(app);
  add_shutdown(app);
  add_kubeconfig(app);
  add_install(app);
  add_keypair(app);
  add_printed(app);
  for (const Entry& entry : entries_) entry.app->footer(footer);
}

CLI::App* ClientCommands::add(CLI::App& parent, const std::string& name, const std::string& help,
                              Command::Kind kind) {
  CLI::App* const command = parent.add_subcommand(name, help);
  entries_.push_back({command, kind});
  return command;
}

void ClientCommands::add_config(CLI::App& command) {
  command
      .add_option("-c,--config", config_path_,
                  "configuration file (TBOT_CONFIG_PATH, KUBELANE_CONFIG)")
      ->type_name("FILE");
}

void ClientCommands::add_wait(CLI::App& app) {
  CLI::App* const wait =
      add(app, "wait", "wait until a kubelane that runs is ready", Command::Kind::wait);
  add_config(*wait);
  wait->add_option("--diag-addr", diag_addr_,
                   "where it answers probes (KUBELANE_DIAG_ADDR, the file's diag_addr)")
      ->type_name("ADDRESS");
  wait->add_option("--timeout", timeout_, "how long to wait (1m)")->type_name("DURATION");
  wait->add_option("--service,SERVICE", options_.services, "wait for these services only");
}

void ClientCommands::add_status(CLI::App& app) {
  CLI::App* const status =
      add(app, "status", "show services, clusters, readiness, certificates and requests",
          Command::Kind::status);
  add_config(*status);
  status
      ->add_option("--diag-addr", diag_addr_,
                   "where it answers probes (KUBELANE_DIAG_ADDR, the file's diag_addr)")
      ->type_name("ADDRESS");
  status->add_option("--timeout", timeout_, "how long to wait for an answer (10s)")
      ->type_name("DURATION");
  status->add_flag("--json", options_.json, "as JSON");
  status->add_flag("-w,--watch", options_.watch, "again and again, until stopped");
  status->add_option("--interval", interval_, "of --watch (2s)")->type_name("DURATION");
}

void ClientCommands::add_shutdown(CLI::App& app) {
  CLI::App* const shutdown =
      add(app, "shutdown", "let a kubelane that runs finish what it does, and end",
          Command::Kind::shutdown);
  add_config(*shutdown);
  shutdown
      ->add_option("--admin-addr", admin_addr_,
                   "where it is administered (KUBELANE_ADMIN_ADDR, the file's admin_addr)")
      ->type_name("ADDRESS");
  shutdown->add_option("--timeout", timeout_, "how long to wait for an answer (10s)")
      ->type_name("DURATION");
}

void ClientCommands::add_kubeconfig(CLI::App& app) {
  CLI::App* const kubeconfig =
      add(app, "kubeconfig", "print the kubeconfig that kubelane has written",
          Command::Kind::kubeconfig);
  add_config(*kubeconfig);
  kubeconfig
      ->add_option("--destination", options_.destination,
                   "directory that holds it, instead of the configuration's "
                   "(KUBELANE_DESTINATION)")
      ->type_name("DIR");
  kubeconfig->add_option("SERVICE", options_.services, "of this service")->expected(0, 1);
}

void ClientCommands::add_install(CLI::App& app) {
  CLI::App* const install = app.add_subcommand("install", "files for the system");
  install->require_subcommand(1);
  CLI::App* const systemd =
      add(*install, "systemd", "print or write a hardened unit file for a configuration file",
          Command::Kind::install_systemd);
  add_config(*systemd);
  systemd->add_option("--name", unit_.name, "of the unit (kubelane)")->type_name("NAME");
  systemd->add_option("--user", unit_.user, "run as this user (a dynamic one)")->type_name("USER");
  systemd->add_option("--group", unit_.group, "run in this group (the user's)")->type_name("GROUP");
  systemd
      ->add_option("--systemd-directory", unit_.directory, "where units are (/etc/systemd/system)")
      ->type_name("DIR");
  systemd->add_flag("--write", unit_.write, "write the file instead of printing it");
  systemd->add_flag("--force", unit_.force, "write over a file that differs");
}

void ClientCommands::add_keypair(CLI::App& app) {
  CLI::App* const keypair = app.add_subcommand("keypair", "keys of join method bound_keypair");
  keypair->require_subcommand(1);
  CLI::App* const create =
      add(*keypair, "create",
          "make the bot's joining key, where there is none, and print its public half",
          Command::Kind::keypair);
  create->add_option("--storage", storage_, "the bot's storage directory")
      ->type_name("DIR")
      ->required();
  create->add_flag("--fips", fips_, "a P-256 key, for clusters of suite fips-v1");
}

void ClientCommands::add_printed(CLI::App& app) {
  add(app, "version", "print version, build and libraries", Command::Kind::version);
  add(app, "completion", "print a script that completes kubelane's command line in a shell",
      Command::Kind::completion)
      ->add_option("SHELL", shell_, "bash, zsh or fish")
      ->type_name("bash|zsh|fish")
      ->required();
  add(app, "man", "print the manual page (roff)", Command::Kind::man);
}

bool ClientCommands::parsed() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.app->parsed(); });
}

std::string ClientCommands::take(Command& command) const {
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [](const Entry& each) { return each.app->parsed(); });
  command.kind = entry->kind;
  command.client = options_;
  command.unit = unit_;
  command.shell = shell_;
  command.fips = fips_;
  if (command.kind == Command::Kind::keypair) return take_storage(storage_, command);
  if (command.kind == Command::Kind::completion && shell_ != "bash" && shell_ != "zsh" &&
      shell_ != "fish")
    return "completion: " + not_one_of(shell_, {"bash", "zsh", "fish"});
  if (command.kind != Command::Kind::wait) command.client.timeout = std::chrono::seconds(10);
  for (const auto& [flag, text, value] :
       {std::tuple(std::string("--timeout"), timeout_, &command.client.timeout),
        std::tuple(std::string("--interval"), interval_, &command.client.interval)}) {
    if (text.empty()) continue;
    const auto duration = parse_duration(text);
    if (!duration) return flag + ": " + quote(text) + " is not a duration such as 30s or 5m";
    *value = *duration;
  }
  command.client.interval = std::max(command.client.interval, shortest_interval);
  if (!diag_addr_.empty()) command.overrides.push_back({"diag_addr", diag_addr_, "--diag-addr"});
  if (!admin_addr_.empty())
    command.overrides.push_back({"admin_addr", admin_addr_, "--admin-addr"});
  return {};
}

}  // namespace kubelane
