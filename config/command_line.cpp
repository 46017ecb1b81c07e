#include "config/command_line.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>

#include "config/client_commands.hpp"
#include "config/command_tree.hpp"
#include "config/exit_codes.hpp"
#include "config/usage_error.hpp"
#include "config/values.hpp"

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
    "  kubelane migrate /etc/tbot.yaml -o kubelane.yaml\n"
    "Then: export KUBECONFIG=/run/kubelane/kubeconfig.yaml; kubectl get pods -A\n"
    "\n"
    "Settings: flags win over the environment, which wins over the file. The file is tbot's\n"
    "(version: v2) with a few keys more. Signals: SIGTERM and SIGINT drain and stop, a second one\n"
    "stops at once; SIGUSR1 renews the credentials, SIGHUP reads the configuration again, too.\n";

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
     "directory that keeps the local CA and token across restarts; memory:// for none, "
     "kubernetes-secret:///name for the bot's identity in a Secret",
     false},
    {"--workers", "workers", "KUBELANE_WORKERS", "data threads (0: one per CPU, at most 2)", false},
    {"--log-format", "log.format", "KUBELANE_LOG_FORMAT", "text or json (text)", false},
    {"--log-level", "log.level", "KUBELANE_LOG_LEVEL", "debug, info, warn or error (info)", false},
    {"--max-drain", "timeouts.drain", "KUBELANE_MAX_DRAIN",
     "how long running requests may take to finish after a SIGTERM (20s)", false},
    {"--min-sigterm-delay", "exit.min_sigterm_delay", "KUBELANE_MIN_SIGTERM_DELAY",
     "serve on for that long after a SIGTERM before the drain begins (0s)", false},
    {"--exit-zero-on-sigterm", "exit.zero_on_sigterm", "KUBELANE_EXIT_ZERO_ON_SIGTERM",
     "exit code 0 after a SIGTERM even when the drain had to cut something (in containers: true)",
     true},
    {"--exit-when-file", "exit.when_file", "KUBELANE_EXIT_WHEN_FILE",
     "drain and exit 0 as soon as this file exists", false},
    {"--exit-when-idle", "exit.when_idle", "KUBELANE_EXIT_WHEN_IDLE",
     "drain and exit 0 after this time without a request, from the start on", false},
    {"--exit-with-pid", "exit.with_pid", "KUBELANE_EXIT_WITH_PID",
     "drain and exit 0 when this process ends", false},
    {"--sandbox", "sandbox", "KUBELANE_SANDBOX",
     "after the start, open only files that are needed, where the kernel has Landlock: true or "
     "false (true)",
     false},
    {"-d,--debug", "debug", "TBOT_DEBUG", "the same as --log-level debug", true},
};

// tbot's flags that are understood and have no effect yet.
constexpr const char* idle_flags[] = {"--pid-file"};
constexpr const char* idle_switches[] = {"--fips", "--scoped", "--disable-exec-plugin"};

// The long name; of several the first.
std::string flag_name(const char* flag) {
  const char* const begin = std::strstr(flag, "--");
  return {begin, std::strcspn(begin, ",")};
}

// "VALUE", or what it can be, from which shells complete.
const char* value_name(const std::string& key) {
  if (key == "log.format") return "text|json";
  if (key == "log.level") return "debug|info|warn|error";
  if (key == "proxy_protocol") return "auto|http1|http2";
  if (key == "local_auth") return "token|mtls|none";
  if (key == "local_tls" || key == "sandbox") return "true|false";
  if (key == "exit.when_file") return "FILE";
  if (key == "exit.with_pid") return "PID";
  if (key == "exit.when_idle" || key == "exit.min_sigterm_delay" || key == "timeouts.drain")
    return "DURATION";
  if (key == "proxy_ca") return "FILE";
  if (key == "storage") return "DIR";
  return "VALUE";
}

// "help (TBOT_NAME, KUBELANE_NAME)"
std::string with_variables(const std::string& help, const std::string& flag,
                           const std::string& tbots = {}) {
  const std::string own = variable_of(flag);
  return help + " (" + (tbots.empty() || tbots == own ? own : tbots + ", " + own) + ")";
}

// What CLI11 fills.
struct Values {
  std::map<std::string, std::string> settings;  // flag -> value; of switches, too
  std::map<std::string, std::vector<std::string>> idle;
  std::map<std::string, bool> idle_switches;
  std::string config_path;
  std::string output_path;
  std::string wait_timeout;
  std::string cluster;
  CommandService service;
  std::vector<std::string> ca_pins;
};

void add_start_flags(CLI::App& app, Values& values) {
  app.add_option("-c,--config", values.config_path,
                 with_variables("configuration file", "--config", "TBOT_CONFIG_PATH"))
      ->type_name("FILE");
  for (const SettingFlag& flag : setting_flags) {
    const std::string help = with_variables(flag.help, flag_name(flag.flag), flag.variable);
    if (flag.is_switch) {
      // --insecure, and --insecure=false against the environment and the file.
      app.add_flag(flag.flag, values.settings[flag.flag], help)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    } else {
      app.add_option(flag.flag, values.settings[flag.flag], help)->type_name(value_name(flag.key));
    }
  }
  app.add_option("--ca-pin", values.ca_pins,
                 with_variables("pin of the cluster's CA (sha256:…), for --auth-server; repeatable",
                                "--ca-pin"))
      ->type_name("PIN");
  for (const char* flag : idle_flags) app.add_option(flag, values.idle[flag])->group("");
  for (const char* flag : idle_switches) app.add_flag(flag, values.idle_switches[flag])->group("");
}

// The flags of a service that is described without a file. `set` is called with each.
template <class Text, class List>
void each_service_flag(CommandService& service, Text&& text, List&& list) {
  text("--credentials", service.credentials, "DIR", "directory that tbot writes");
  text("--destination", service.destination, "DIR",
       "directory for kubelane's kubeconfig.yaml, or kubernetes-secret:///name");
  list("--reader-user", service.reader_users, "USER", "user who may read the kubeconfig");
  list("--reader-group", service.reader_groups, "GROUP", "group that may read the kubeconfig");
}

void add_service_flags(CLI::App& app, CommandService& service) {
  const auto add = [&app](const std::string& more) {
    return [&app, more](const char* flag, auto& value, const char* type, const char* help) {
      app.add_option(flag, value, with_variables(help + more, flag))->type_name(type);
    };
  };
  each_service_flag(service, add(""), add("; repeatable"));
}

// Two ways to name clusters without a file, below `start` and `run`.
struct ServiceCommands {
  ServiceCommands(CLI::App& parent, Values& values) {
    const std::string more =
        ", without a file; takes every option of `kubelane " + parent.get_name() + "`, too";
    single = parent.add_subcommand("kubernetes", "one cluster" + more);
    single->fallthrough();
    single
        ->add_option(
            "--kubernetes-cluster", values.cluster,
            with_variables("Teleport's name of the Kubernetes cluster", "--kubernetes-cluster"))
        ->type_name("NAME");
    add_service_flags(*single, values.service);
    several = parent.add_subcommand("kubernetes/v2", "several clusters with one identity" + more);
    several->alias("k8s/v2");
    several->fallthrough();
    several
        ->add_option("--name-selector", values.service.clusters,
                     with_variables("cluster name; repeatable", "--name-selector"))
        ->type_name("NAME");
    several
        ->add_option("--label-selector", values.service.labels,
                     with_variables("clusters with these labels, name=value,name=value; repeatable",
                                    "--label-selector"))
        ->type_name("LABELS");
    add_service_flags(*several, values.service);
    parent.require_subcommand(0, 1);
  }
  bool parsed() const { return single->parsed() || several->parsed(); }

  CLI::App* single = nullptr;
  CLI::App* several = nullptr;
};

void add_output_flag(CLI::App& app, Values& values) {
  app.add_option("-o,--output", values.output_path,
                 "write to this file, readable for this user only, instead of standard output")
      ->type_name("FILE");
}

std::string exit_codes_text() {
  std::string text = "Exit codes:\n";
  for (const exit_code::Meaning& each : exit_code::meanings) {
    std::string code = each.code;
    code.resize(7, ' ');
    text += "  " + code + each.text + "\n";
  }
  return text;
}

// The parser of everything, and what it fills.
struct Parser {
  Parser() {
    app.footer(examples + exit_codes_text());
    for (CLI::App* each : {start, run, check, start_service.single, start_service.several,
                           run_service.single, run_service.several, configure, migrate})
      each->footer(examples + exit_codes_text());
    app.set_version_flag("--version", "kubelane " KUBELANE_VERSION);
    app.require_subcommand(0, 1);
    for (CLI::App* each : {start, run, check, configure}) add_start_flags(*each, values);
    migrate->add_option("FILE,-c,--config", values.config_path, "tbot's configuration file")
        ->type_name("FILE")
        ->required();
    for (CLI::App* each : {configure, migrate}) add_output_flag(*each, values);
    run->add_option(
           "--wait-timeout", values.wait_timeout,
           with_variables("how long to wait until kubelane is ready (1m)", "--wait-timeout"))
        ->type_name("DURATION");
  }

  Values values;
  CLI::App app{about, "kubelane"};
  CLI::App* start = app.add_subcommand("start", "serve the configured clusters until stopped");
  CLI::App* run = app.add_subcommand(
      "run",
      "kubelane run [OPTIONS] -- COMMAND [ARGUMENT]...\n"
      "Serve while a command runs, with KUBECONFIG set for it, and return its exit code");
  CLI::App* check = app.add_subcommand(
      "check", "read file, environment and flags as start does, and report all problems");
  CLI::App* configure = app.add_subcommand(
      "configure", "print a commented file from the flags of start and the environment");
  CLI::App* migrate =
      app.add_subcommand("migrate", "turn a tbot configuration (v1 or v2) into kubelane's");
  ServiceCommands start_service{*start, values};
  ServiceCommands configure_service{*configure, values};
  ServiceCommands run_service{*run, values};
  ClientCommands client{app, exit_codes_text()};
};

Command exit_with(std::string output, int exit_code = exit_code::usage) {
  Command command;
  command.exit_code = exit_code;
  command.output = std::move(output);
  return command;
}

// Of a flag that can be repeated, in a variable.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ';');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

// The later wins: tbot's names are weaker than our own.
void add_environment(const Environment& environment, Command& command) {
  const auto add = [&](const char* key, const std::string& variable) {
    if (const auto value = environment(variable); value && !value->empty())
      command.overrides.push_back({key, *value, variable});
  };
  for (const SettingFlag& flag : setting_flags) {
    const std::string own = variable_of(flag_name(flag.flag));
    if (own != flag.variable) add(flag.key, flag.variable);
    add(flag.key, own);
  }
  if (const auto pins = environment("KUBELANE_CA_PIN"); pins && !pins->empty()) {
    std::string all = *pins;
    std::replace(all.begin(), all.end(), ';', ',');
    command.overrides.push_back({"onboarding.ca_pins", all, "KUBELANE_CA_PIN"});
  }
  // A key itself: no flag, because other users read command lines.
  add("onboarding.bound_keypair.static_key", "TBOT_BOUND_KEYPAIR_STATIC_KEY");
}

void add_flags(const CLI::App& given, Values& values, Command& command) {
  for (const SettingFlag& flag : setting_flags) {
    const std::string name = flag_name(flag.flag);
    if (given.count(name) > 0)
      command.overrides.push_back({flag.key, values.settings[flag.flag], name});
  }
  if (!values.ca_pins.empty()) {
    std::string all;
    for (const std::string& pin : values.ca_pins) all += (all.empty() ? "" : ",") + pin;
    command.overrides.push_back({"onboarding.ca_pins", all, "--ca-pin"});
  }
  std::vector<std::string> idle(std::begin(idle_flags), std::end(idle_flags));
  idle.insert(idle.end(), {"--fips", "--scoped"});
  for (const std::string& flag : idle)
    if (given.count(flag) > 0)
      command.warnings.push_back({"", 0, 0, flag + " has no effect here yet"});
}

std::string config_path_of(const std::string& flag, const Environment& environment) {
  if (!flag.empty()) return flag;
  for (const char* variable : {"KUBELANE_CONFIG", "TBOT_CONFIG_PATH"})
    if (const auto value = environment(variable); value && !value->empty()) return *value;
  return {};
}

// The service that flags describe; returns what is wrong with them.
std::string take_service(const ServiceCommands& given, Values& values,
                         const Environment& environment, Command& command) {
  CommandService& service = values.service;
  const auto text = [&](const char* flag, std::string& value, auto&&...) {
    if (value.empty()) value = environment(variable_of(flag)).value_or("");
  };
  const auto list = [&](const char* flag, std::vector<std::string>& value, auto&&...) {
    if (value.empty()) value = split_list(environment(variable_of(flag)).value_or(""));
  };
  each_service_flag(service, text, list);
  if (given.single->parsed()) {
    service.type = Service::Type::kubernetes;
    text("--kubernetes-cluster", values.cluster);
    if (values.cluster.empty()) return "--kubernetes-cluster is required";
    service.clusters = {values.cluster};
  } else {
    service.type = Service::Type::kubernetes_v2;
    const bool by_flags = !service.clusters.empty() || !service.labels.empty();
    if (!by_flags) {
      list("--name-selector", service.clusters);
      list("--label-selector", service.labels);
    }
    if (service.labels.empty() && service.clusters.empty())
      return "--name-selector or --label-selector is missing: select at least one cluster";
  }
  command.service = service;
  return {};
}

// Where the command of `run` begins in argv: behind the first "--". argc: there is none.
int command_begin(int argc, const char* const* argv) {
  if (argc < 2 || std::strcmp(argv[1], "run") != 0) return argc;
  for (int i = 2; i < argc; ++i)
    if (std::strcmp(argv[i], "--") == 0) return i;
  return argc;
}

// Returns what is wrong.
std::string take_run(const Values& values, const Environment& environment, Command& command) {
  if (command.run.words.empty())
    return "run: the command is missing: kubelane run [OPTIONS] -- COMMAND [ARGUMENT]...";
  std::string text = values.wait_timeout;
  if (text.empty()) text = environment(variable_of("--wait-timeout")).value_or("");
  if (text.empty()) return {};
  const auto limit = parse_duration(text);
  if (!limit) return "--wait-timeout: not a duration such as 30s or 5m";
  command.run.wait_timeout = *limit;
  return {};
}

}  // namespace

std::string variable_of(const std::string& flag) {
  std::string name = "KUBELANE_";
  for (const char c : flag.substr(flag.find_first_not_of('-')))
    name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

CommandText describe_command_line() {
  const Parser parser;
  return describe(parser.app);
}

Command parse_command_line(int argc, const char* const* argv, const Environment& environment) {
  Command command;
  Parser parser;
  const int begin = command_begin(argc, argv);
  for (int i = begin + 1; i < argc; ++i) command.run.words.emplace_back(argv[i]);
  try {
    parser.app.parse(begin, argv);
  } catch (const CLI::Success& success) {
    std::ostringstream out;
    parser.app.exit(success, out, out);
    return exit_with(out.str(), exit_code::success);
  } catch (const CLI::ParseError& error) {
    return exit_with(usage_error(parser.app, error));
  }
  Values& values = parser.values;
  add_environment(environment, command);
  if (parser.client.parsed()) {
    const std::string wrong = parser.client.take(command);
    if (!wrong.empty()) return exit_with("kubelane: " + wrong + "\n");
    command.config_path = config_path_of(parser.client.config_path(), environment);
    if (command.client.destination.empty())
      command.client.destination = environment("KUBELANE_DESTINATION").value_or("");
    return command;
  }
  command.output_path = values.output_path;
  if (parser.migrate->parsed()) {
    command.kind = Command::Kind::migrate;
    command.config_path = values.config_path;
    return command;
  }
  const CLI::App* const given = parser.start->parsed()       ? parser.start
                                : parser.run->parsed()       ? parser.run
                                : parser.configure->parsed() ? parser.configure
                                : parser.check->parsed()     ? parser.check
                                                             : nullptr;
  if (given == nullptr) return exit_with(parser.app.help(), exit_code::success);
  command.kind = given == parser.start       ? Command::Kind::start
                 : given == parser.run       ? Command::Kind::run
                 : given == parser.configure ? Command::Kind::configure
                                             : Command::Kind::check;
  if (given == parser.run)
    if (const std::string wrong = take_run(values, environment, command); !wrong.empty())
      return exit_with("kubelane: " + wrong + "\n");
  add_flags(*given, values, command);
  command.config_path = values.config_path;
  const ServiceCommands& service = given == parser.run         ? parser.run_service
                                   : given == parser.configure ? parser.configure_service
                                                               : parser.start_service;
  if (service.parsed()) {
    const std::string wrong = take_service(service, values, environment, command);
    if (!wrong.empty()) return exit_with("kubelane: " + wrong + "\n");
    return command;
  }
  if (given == parser.configure) return command;  // a file only when one is given
  command.config_path = config_path_of(values.config_path, environment);
  if (command.config_path.empty())
    return exit_with(
        "kubelane: no configuration: give a file with -c, or name a cluster with `kubelane " +
        given->get_name() + " kubernetes --kubernetes-cluster …`. Try `kubelane start --help`.\n");
  return command;
}

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

LoadResult resolve(const Command& command) {
  std::string yaml;
  std::string unreadable;
  if (!command.config_path.empty()) unreadable = read_config_file(command.config_path, yaml);
  LoadResult result = load_config(yaml, command.config_path, command.overrides, command.service,
                                  command.spare_destination);
  if (!unreadable.empty()) {
    result.errors.insert(result.errors.begin(),
                         {command.config_path, 0, 0, "cannot be read: " + unreadable});
    result.missing.clear();  // who knows
  }
  result.warnings.insert(result.warnings.begin(), command.warnings.begin(), command.warnings.end());
  return result;
}

}  // namespace kubelane
