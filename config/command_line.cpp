#include "config/command_line.hpp"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

namespace kubelane {
namespace {

constexpr const char* about =
    "kubelane: Kubernetes behind Teleport on localhost.\n"
    "It takes the short-lived credentials that tbot writes, keeps them current, and serves every\n"
    "cluster at https://127.0.0.1:7443/<cluster> with a plain kubeconfig that any client can use.";

constexpr const char* examples =
    "Examples:\n"
    "  kubelane start -c kubelane.yaml\n"
    "  kubelane start kubernetes --proxy-server teleport.example.com:443 \\\n"
    "      --kubernetes-cluster prod --credentials /opt/machine-id --destination /run/kubelane\n"
    "  kubelane check -c kubelane.yaml\n"
    "Then: export KUBECONFIG=/run/kubelane/kubeconfig.yaml; kubectl get pods -A\n"
    "\n"
    "Settings: flags win over the environment, which wins over the file. The file is tbot's\n"
    "(version: v2) with a few keys more. Signals: SIGTERM and SIGINT drain and stop, a second one\n"
    "stops at once; SIGHUP and SIGUSR1 read the credentials again.\n"
    "Exit codes: 0 stopped as asked, 1 cannot run (listener, storage), 2 wrong usage or "
    "configuration.";

// A flag that sets a top-level setting; with its environment variable.
struct SettingFlag {
  const char* flag;
  const char* key;
  const char* variable;
  const char* help;
  bool is_switch;
};

constexpr SettingFlag setting_flags[] = {
    {"--proxy-server", "proxy_server", "TELEPORT_PROXY", "Teleport Proxy's web address, host:port",
     false},
    {"--proxy-ca", "proxy_ca", "KUBELANE_PROXY_CA",
     "PEM file to trust for the Proxy's web certificate instead of the system's roots", false},
    {"--insecure", "insecure", "KUBELANE_INSECURE",
     "do not verify the Proxy's web certificate (its Kubernetes listener is always verified)", true},
    {"--proxy-protocol", "proxy_protocol", "KUBELANE_PROXY_PROTOCOL",
     "what to speak with the Proxy and with local clients: auto, http1 or http2 (auto)", false},
    {"--listen", "listen", "KUBELANE_LISTEN", "address of the shared listener (127.0.0.1:7443)",
     false},
    {"--allow-remote", "allow_remote", "KUBELANE_ALLOW_REMOTE",
     "allow a listen address that other machines can reach", true},
    {"--local-auth", "local_auth", "KUBELANE_LOCAL_AUTH",
     "how local clients authenticate: token, mtls or none (token)", false},
    {"--local-tls", "local_tls", "KUBELANE_LOCAL_TLS", "serve https: true or false (true)", false},
    {"--storage", "storage", "KUBELANE_STORAGE",
     "directory that keeps the local CA and token across restarts; memory:// for none", false},
    {"--workers", "workers", "KUBELANE_WORKERS", "data threads (0: one per CPU, at most 2)", false},
    {"--log-format", "log.format", "KUBELANE_LOG_FORMAT", "text or json (text)", false},
    {"--log-level", "log.level", "KUBELANE_LOG_LEVEL", "debug, info, warn or error (info)", false},
    {"-d,--debug", "debug", "TBOT_DEBUG", "the same as --log-level debug", true},
};

// tbot's flags that are understood and have no effect yet.
constexpr const char* idle_flags[] = {
    "--token",        "--join-method",         "--join-uri",
    "--ca-pin",       "--certificate-ttl",     "--credential-ttl",
    "--renewal-interval", "--diag-addr",       "--pid-file",
    "--auth-server",  "--registration-secret", "--registration-secret-path",
    "--static-key-path"};
constexpr const char* idle_switches[] = {"--oneshot", "--fips", "--scoped", "--disable-exec-plugin"};

std::string flag_name(const char* flag) {
  const char* comma = std::strchr(flag, ',');
  return comma == nullptr ? flag : comma + 1;
}

// What CLI11 fills.
struct Values {
  std::map<std::string, std::string> settings;  // flag -> value
  std::map<std::string, bool> switches;
  std::map<std::string, std::vector<std::string>> idle;
  std::map<std::string, bool> idle_switches_given;
  std::string config_path;
  CommandService service;
  std::vector<std::string> labels;
};

void add_start_flags(CLI::App& app, Values& values) {
  app.add_option("-c,--config", values.config_path, "configuration file (TBOT_CONFIG_PATH)")
      ->type_name("FILE");
  for (const SettingFlag& flag : setting_flags) {
    const std::string help = std::string(flag.help) + " (" + flag.variable + ")";
    if (flag.is_switch) {
      app.add_flag(flag.flag, values.switches[flag.flag], help);
    } else {
      app.add_option(flag.flag, values.settings[flag.flag], help)->type_name("VALUE");
    }
  }
  for (const char* flag : idle_flags) app.add_option(flag, values.idle[flag])->group("");
  for (const char* flag : idle_switches)
    app.add_flag(flag, values.idle_switches_given[flag])->group("");
}

void add_service_flags(CLI::App& app, Values& values) {
  app.add_option("--credentials", values.service.credentials,
                 "directory that tbot writes (KUBELANE_CREDENTIALS)")
      ->type_name("DIR");
  app.add_option("--destination", values.service.destination,
                 "directory for kubelane's kubeconfig.yaml (KUBELANE_DESTINATION)")
      ->type_name("DIR");
  app.add_option("--reader-user", values.service.reader_users,
                 "user who may read the kubeconfig; repeatable")
      ->type_name("USER");
  app.add_option("--reader-group", values.service.reader_groups,
                 "group that may read the kubeconfig; repeatable")
      ->type_name("GROUP");
}

std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc,
                        const char* const* argv) {
  std::string message = "kubelane: " + std::string(error.what());
  // The nearest flag or command to what was not understood.
  std::vector<std::string> valid;
  const CLI::App* current = &app;
  for (const CLI::App* sub : app.get_subcommands()) current = sub;
  for (const CLI::App* at : {&app, current})
    for (const CLI::Option* option : at->get_options())
      for (const std::string& name : option->get_lnames()) valid.push_back("--" + name);
  for (const CLI::App* sub : current->get_subcommands({})) valid.push_back(sub->get_name());
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    for (int i = 1; i < argc; ++i) {
      const std::string word(argv[i], std::strcspn(argv[i], "="));
      if (message.find(word) == std::string::npos) continue;
      const std::string near = nearest_name(word, valid);
      if (near.empty() || near == word) continue;
      message = "kubelane: " + word + " is not known here; did you mean " + near + "?";
      break;
    }
  }
  return message + "\nTry `kubelane --help` or `kubelane start --help`.\n";
}

void add_environment(const Environment& environment, Command& command) {
  for (const SettingFlag& flag : setting_flags) {
    if (const auto value = environment(flag.variable); value && !value->empty())
      command.overrides.push_back({flag.key, *value, flag.variable});
  }
  if (const auto value = environment("TELEPORT_BOT_TOKEN"); value && !value->empty())
    command.warnings.push_back({"", 0, 0,
                                "TELEPORT_BOT_TOKEN has no effect here yet: joining as a bot is "
                                "tbot's part"});
}

}  // namespace

Command parse_command_line(int argc, const char* const* argv, const Environment& environment) {
  Command command;
  Values values;
  CLI::App app{about, "kubelane"};
  app.footer(examples);
  app.set_version_flag("--version", "kubelane " KUBELANE_VERSION);
  app.require_subcommand(0, 1);

  CLI::App* start = app.add_subcommand("start", "serve the configured clusters until stopped");
  add_start_flags(*start, values);
  start->require_subcommand(0, 1);
  start->footer(examples);
  CLI::App* single = start->add_subcommand("kubernetes", "one cluster, without a file");
  single->fallthrough();
  std::string cluster;
  single->add_option("--kubernetes-cluster", cluster, "Teleport's name of the Kubernetes cluster")
      ->type_name("NAME")
      ->required();
  add_service_flags(*single, values);
  CLI::App* several =
      start->add_subcommand("kubernetes/v2", "several clusters with one identity, without a file");
  several->alias("k8s/v2");
  several->fallthrough();
  several->add_option("--name-selector", values.service.clusters, "cluster name; repeatable")
      ->type_name("NAME");
  several->add_option("--label-selector", values.labels)->group("");
  add_service_flags(*several, values);

  CLI::App* check = app.add_subcommand("check", "read a configuration file and report problems");
  check->add_option("-c,--config", values.config_path, "configuration file (TBOT_CONFIG_PATH)")
      ->type_name("FILE");
  CLI::App* version = app.add_subcommand("version", "print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    std::ostringstream out;
    app.exit(success, out, out);
    command.output = out.str();
    return command;
  } catch (const CLI::ParseError& error) {
    command.exit_code = 2;
    command.output = usage_error(app, error, argc, argv);
    return command;
  }
  if (version->parsed()) {
    command.output = "kubelane " KUBELANE_VERSION "\n";
    return command;
  }
  if (!start->parsed() && !check->parsed()) {
    command.output = app.help();
    return command;
  }
  command.kind = start->parsed() ? Command::Kind::start : Command::Kind::check;
  command.config_path = values.config_path;
  add_environment(environment, command);
  if (command.config_path.empty() && !single->parsed() && !several->parsed())
    command.config_path = environment("TBOT_CONFIG_PATH").value_or("");
  for (const SettingFlag& flag : setting_flags) {
    const std::string name = flag_name(flag.flag);
    if (start->count(name) == 0) continue;
    command.overrides.push_back(
        {flag.key, flag.is_switch ? "true" : values.settings[flag.flag], name});
  }
  for (const char* flag : idle_flags) {
    if (start->count(flag) > 0)
      command.warnings.push_back({"", 0, 0,
                                  std::string(flag) +
                                      " has no effect here yet: credentials come from a directory "
                                      "that tbot writes"});
  }
  for (const char* flag : {"--oneshot", "--fips", "--scoped"}) {
    if (start->count(flag) > 0)
      command.warnings.push_back({"", 0, 0, std::string(flag) + " has no effect here yet"});
  }
  if (single->parsed() || several->parsed()) {
    CommandService& service = values.service;
    service.type = single->parsed() ? Service::Type::kubernetes : Service::Type::kubernetes_v2;
    if (single->parsed()) service.clusters = {cluster};
    if (!values.labels.empty() || service.clusters.empty()) {
      command.kind = Command::Kind::exit;
      command.exit_code = 2;
      command.output =
          values.labels.empty()
              ? "kubelane: --name-selector is missing: name at least one cluster\n"
              : "kubelane: --label-selector needs the list of clusters from Teleport, which only a "
                "bot can read; name the clusters with --name-selector\n";
      return command;
    }
    if (service.credentials.empty())
      service.credentials = environment("KUBELANE_CREDENTIALS").value_or("");
    if (service.destination.empty())
      service.destination = environment("KUBELANE_DESTINATION").value_or("");
    command.service = service;
  } else if (command.config_path.empty()) {
    command.kind = Command::Kind::exit;
    command.exit_code = 2;
    command.output =
        "kubelane: no configuration: give a file with -c, or name a cluster with `kubelane start "
        "kubernetes --kubernetes-cluster …`. Try `kubelane start --help`.\n";
  }
  return command;
}

LoadResult resolve(const Command& command) {
  std::string yaml;
  std::vector<Problem> unreadable;
  if (!command.config_path.empty()) {
    errno = 0;
    std::ifstream file(command.config_path, std::ios::binary);
    std::ostringstream text;
    if (file) text << file.rdbuf();
    if (!file || text.bad()) {
      unreadable.push_back({command.config_path, 0, 0,
                            std::string("cannot be read: ") +
                                (errno != 0 ? std::strerror(errno) : "not a file")});
    }
    yaml = text.str();
  }
  LoadResult result =
      load_config(yaml, command.config_path, command.overrides, command.service);
  result.errors.insert(result.errors.begin(), unreadable.begin(), unreadable.end());
  result.warnings.insert(result.warnings.begin(), command.warnings.begin(),
                         command.warnings.end());
  return result;
}

}  // namespace kubelane
