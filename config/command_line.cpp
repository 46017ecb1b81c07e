#include "config/command_line.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>

#include "config/settings.hpp"
#include "config/suggest.hpp"

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
    {"--token", "onboarding.token", "TELEPORT_BOT_TOKEN",
     "the bot's join token: its name, the secret, or an absolute path to a file that holds it",
     false},
    {"--join-method", "onboarding.join_method", "KUBELANE_JOIN_METHOD",
     "how the bot joins: kubernetes, token, github, gitlab, … (token)", false},
    {"--registration-secret", "onboarding.bound_keypair.registration_secret",
     "TBOT_REGISTRATION_SECRET",
     "bound_keypair: what lets the first join bind a key; the file or the variable hides it better",
     false},
    {"--registration-secret-path", "onboarding.bound_keypair.registration_secret_path",
     "KUBELANE_REGISTRATION_SECRET_PATH", "the same, in a file", false},
    {"--static-key-path", "onboarding.bound_keypair.static_private_key_path",
     "KUBELANE_STATIC_KEY_PATH",
     "bound_keypair: a private key of your own (PEM), registered in the token", false},
    {"--join-uri", "join_uri", "KUBELANE_JOIN_URI",
     "address, method and token in one: tbot+proxy+<method>://<token>@<host>:<port>", false},
    {"-a,--auth-server", "auth_server", "TELEPORT_AUTH_SERVER",
     "Teleport's Auth Service, host:port, instead of the Proxy; needs --ca-pin", false},
    {"--credential-ttl,--certificate-ttl", "credential_ttl", "KUBELANE_CREDENTIAL_TTL",
     "how long the bot's certificates shall live (1h)", false},
    {"--renewal-interval", "renewal_interval", "KUBELANE_RENEWAL_INTERVAL",
     "how often they are renewed (20m)", false},
    {"--oneshot", "oneshot", "KUBELANE_ONESHOT", "join, write the kubeconfigs once and exit", true},
    {"--proxy-server", "proxy_server", "TELEPORT_PROXY", "Teleport Proxy's web address, host:port",
     false},
    {"--proxy-ca", "proxy_ca", "KUBELANE_PROXY_CA",
     "PEM file to trust for the Proxy's web certificate instead of the system's roots", false},
    {"--insecure", "insecure", "KUBELANE_INSECURE",
     "do not verify the Proxy's web certificate (its Kubernetes listener is always verified)",
     true},
    {"--proxy-protocol", "proxy_protocol", "KUBELANE_PROXY_PROTOCOL",
     "what to speak with the Proxy and with local clients: auto, http1 or http2 (auto)", false},
    {"--listen", "listen", "KUBELANE_LISTEN", "address of the shared listener (127.0.0.1:7443)",
     false},
    {"--allow-remote", "allow_remote", "KUBELANE_ALLOW_REMOTE",
     "allow a listen address that other machines can reach", true},
    {"--diag-addr", "diag_addr", "KUBELANE_DIAG_ADDR",
     "address for probes and metrics, host:port or unix:///path (off)", false},
    {"--admin-addr", "admin_addr", "KUBELANE_ADMIN_ADDR",
     "address for changes at run time: loopback host:port or unix:///path (off)", false},
    {"--local-auth", "local_auth", "KUBELANE_LOCAL_AUTH",
     "how local clients authenticate: token, mtls or none (token)", false},
    {"--local-tls", "local_tls", "KUBELANE_LOCAL_TLS", "serve https: true or false (true)", false},
    {"--local-trust", "local_trust", "KUBELANE_LOCAL_TRUST",
     "directory with tls.crt, tls.key and token: a local CA and token to share with others", false},
    {"--storage", "storage", "KUBELANE_STORAGE",
     "directory that keeps the local CA and token across restarts; memory:// for none", false},
    {"--workers", "workers", "KUBELANE_WORKERS", "data threads (0: one per CPU, at most 2)", false},
    {"--log-format", "log.format", "KUBELANE_LOG_FORMAT", "text or json (text)", false},
    {"--log-level", "log.level", "KUBELANE_LOG_LEVEL", "debug, info, warn or error (info)", false},
    {"-d,--debug", "debug", "TBOT_DEBUG", "the same as --log-level debug", true},
};

// tbot's flags that are understood and have no effect yet.
constexpr const char* idle_flags[] = {"--pid-file"};
constexpr const char* idle_switches[] = {"--fips", "--scoped", "--disable-exec-plugin"};

// What else `tbot start` can be asked for.
constexpr const char* tbot_modes[] = {"legacy",
                                      "identity",
                                      "application",
                                      "application-tunnel",
                                      "application-proxy",
                                      "database",
                                      "database-tunnel",
                                      "kubernetes/argo-cd",
                                      "ssh-multiplexer",
                                      "workload-identity-x509",
                                      "workload-identity-jwt",
                                      "workload-identity-api",
                                      "workload-identity-aws-roles-anywhere",
                                      "spiffe-svid",
                                      "noop"};

// The long name; of several the first.
std::string flag_name(const char* flag) {
  const char* const begin = std::strstr(flag, "--");
  return {begin, std::strcspn(begin, ",")};
}

// What CLI11 fills.
struct Values {
  std::map<std::string, std::string> settings;  // flag -> value; of switches, too
  std::map<std::string, std::vector<std::string>> idle;
  std::map<std::string, bool> idle_switches;
  std::string config_path;
  CommandService service;
  std::vector<std::string> ca_pins;
};

void add_start_flags(CLI::App& app, Values& values) {
  app.add_option("-c,--config", values.config_path, "configuration file (TBOT_CONFIG_PATH)")
      ->type_name("FILE");
  for (const SettingFlag& flag : setting_flags) {
    const std::string help = std::string(flag.help) + " (" + flag.variable + ")";
    if (flag.is_switch) {
      // --insecure, and --insecure=false against the environment and the file.
      app.add_flag(flag.flag, values.settings[flag.flag], help)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    } else {
      app.add_option(flag.flag, values.settings[flag.flag], help)->type_name("VALUE");
    }
  }
  app.add_option("--ca-pin", values.ca_pins,
                 "pin of the cluster's CA (sha256:…), for --auth-server; repeatable")
      ->type_name("PIN");
  for (const char* flag : idle_flags) app.add_option(flag, values.idle[flag])->group("");
  for (const char* flag : idle_switches) app.add_flag(flag, values.idle_switches[flag])->group("");
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

// What the parser did not understand, said so that the next try succeeds. Values are not repeated:
// what follows a misspelt --token is a secret.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* current = &app;
  std::string command = "kubelane";
  Names valid;
  const auto add_options = [&] {
    for (const CLI::Option* option : current->get_options())
      for (const std::string& name : option->get_lnames()) valid.push_back("--" + name);
  };
  add_options();
  for (auto below = current->get_subcommands(); !below.empty();
       below = current->get_subcommands()) {
    current = below.front();
    command += " " + current->get_name();
    add_options();
  }
  for (const CLI::App* sub : current->get_subcommands({})) valid.push_back(sub->get_name());
  const std::string help = "\nTry `" + command + " --help`.\n";

  const std::vector<std::string> unknown = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !unknown.empty()) {
    const auto flag = std::find_if(unknown.begin(), unknown.end(),
                                   [](const std::string& word) { return word.starts_with('-'); });
    std::string word = flag == unknown.end() ? unknown.front() : *flag;
    word = word.substr(0, word.find('='));
    if (current->get_name() == "start" && flag == unknown.end() &&
        std::find(std::begin(tbot_modes), std::end(tbot_modes), word) != std::end(tbot_modes))
      return "kubelane: " + word +
             " is a mode of tbot's that kubelane does not have; it serves kubernetes and "
             "kubernetes/v2" +
             help;
    std::string near = nearest_name(word, valid);
    if (word == "help") near = "--help";
    return "kubelane: " + quote(word) + " is not known to `" + command + "`" +
           (near.empty() ? "" : "; did you mean " + near + "?") + help;
  }
  const std::string what = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && what.starts_with('-')) {
    const std::string flag = what.substr(0, what.find(':'));
    const bool repeated = what.find("At Most") != std::string::npos;
    return "kubelane: " + flag + (repeated ? " is given more than once" : " needs a value") + help;
  }
  return "kubelane: " + what + help;
}

void add_environment(const Environment& environment, Command& command) {
  for (const SettingFlag& flag : setting_flags) {
    if (const auto value = environment(flag.variable); value && !value->empty())
      command.overrides.push_back({flag.key, *value, flag.variable});
  }
  // A key itself: no flag, because other users read command lines.
  const char* const variable = "TBOT_BOUND_KEYPAIR_STATIC_KEY";
  if (const auto value = environment(variable); value && !value->empty())
    command.overrides.push_back({"onboarding.bound_keypair.static_key", *value, variable});
}

Command keypair_command(const std::string& storage, Command command) {
  Config config;
  std::string wrong = find_setting("storage")->set(config, storage);
  if (wrong.empty() && config.storage_path.empty()) wrong = "a key in memory would be lost at once";
  if (wrong.empty()) {
    command.kind = Command::Kind::keypair;
    command.storage_path = config.storage_path;
    return command;
  }
  command.exit_code = 2;
  command.output = "kubelane: --storage: " + wrong + "\n";
  return command;
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
  CLI::App* single = start->add_subcommand(
      "kubernetes", "one cluster, without a file; takes every option of `kubelane start`, too");
  single->fallthrough();
  std::string cluster;
  single->add_option("--kubernetes-cluster", cluster, "Teleport's name of the Kubernetes cluster")
      ->type_name("NAME")
      ->required();
  add_service_flags(*single, values);
  CLI::App* several = start->add_subcommand("kubernetes/v2",
                                            "several clusters with one identity, without a file; "
                                            "takes every option of `kubelane start`, too");
  several->alias("k8s/v2");
  several->fallthrough();
  several->add_option("--name-selector", values.service.clusters, "cluster name; repeatable")
      ->type_name("NAME");
  several
      ->add_option("--label-selector", values.service.labels,
                   "clusters with these labels, name=value,name=value; repeatable")
      ->type_name("LABELS");
  add_service_flags(*several, values);

  CLI::App* check = app.add_subcommand(
      "check", "read file, environment and flags as start does, and report all problems");
  add_start_flags(*check, values);
  CLI::App* keypair = app.add_subcommand("keypair", "keys of join method bound_keypair");
  keypair->require_subcommand(1);
  CLI::App* create = keypair->add_subcommand(
      "create", "make the bot's joining key, where there is none, and print its public half");
  std::string storage;
  create->add_option("--storage", storage, "the bot's storage directory")
      ->type_name("DIR")
      ->required();
  create->add_flag("--fips", command.fips, "a P-256 key, for clusters of suite fips-v1");
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
    command.output = usage_error(app, error);
    return command;
  }
  if (version->parsed()) {
    command.output = "kubelane " KUBELANE_VERSION "\n";
    return command;
  }
  if (create->parsed()) return keypair_command(storage, std::move(command));
  if (!start->parsed() && !check->parsed()) {
    command.output = app.help();
    return command;
  }
  const CLI::App* given = start->parsed() ? start : check;
  command.kind = start->parsed() ? Command::Kind::start : Command::Kind::check;
  command.config_path = values.config_path;
  add_environment(environment, command);
  if (command.config_path.empty() && !single->parsed() && !several->parsed())
    command.config_path = environment("TBOT_CONFIG_PATH").value_or("");
  for (const SettingFlag& flag : setting_flags) {
    const std::string name = flag_name(flag.flag);
    if (given->count(name) > 0)
      command.overrides.push_back({flag.key, values.settings[flag.flag], name});
  }
  if (!values.ca_pins.empty()) {
    std::string all;
    for (const std::string& pin : values.ca_pins) all += (all.empty() ? "" : ",") + pin;
    command.overrides.push_back({"onboarding.ca_pins", all, "--ca-pin"});
  }
  for (const char* flag : idle_flags) {
    if (given->count(flag) > 0)
      command.warnings.push_back({"", 0, 0, std::string(flag) + " has no effect here yet"});
  }
  for (const char* flag : {"--fips", "--scoped"}) {
    if (given->count(flag) > 0)
      command.warnings.push_back({"", 0, 0, std::string(flag) + " has no effect here yet"});
  }
  if (single->parsed() || several->parsed()) {
    CommandService& service = values.service;
    service.type = single->parsed() ? Service::Type::kubernetes : Service::Type::kubernetes_v2;
    if (single->parsed()) service.clusters = {cluster};
    if (service.labels.empty() && service.clusters.empty()) {
      command.kind = Command::Kind::exit;
      command.exit_code = 2;
      command.output =
          "kubelane: --name-selector or --label-selector is missing: select at least one cluster\n";
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

namespace {

// Returns why it cannot be read, or an empty string. Leaves what is too large unread.
std::string read_config_file(const std::string& path, std::string& text) {
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rbe"), close);
  if (!file) return std::strerror(errno);
  text.resize(max_config_bytes + 1);
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) == 0) return {};
  text.clear();
  return std::strerror(errno);
}

}  // namespace

LoadResult resolve(const Command& command) {
  std::string yaml;
  std::string unreadable;
  if (!command.config_path.empty()) unreadable = read_config_file(command.config_path, yaml);
  LoadResult result = load_config(yaml, command.config_path, command.overrides, command.service);
  if (!unreadable.empty()) {
    result.errors.insert(result.errors.begin(),
                         {command.config_path, 0, 0, "cannot be read: " + unreadable});
    result.missing.clear();  // who knows
  }
  result.warnings.insert(result.warnings.begin(), command.warnings.begin(), command.warnings.end());
  return result;
}

}  // namespace kubelane
