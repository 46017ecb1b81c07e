// argv and environment to what shall be done; and what a user is told who mistyped.
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/command_line.hpp"
#include "tests/support/temp_directory.hpp"

namespace kubelane {
namespace {

using Variables = std::map<std::string, std::string>;

Command parse(std::vector<const char*> arguments, const Variables& variables = {}) {
  arguments.insert(arguments.begin(), "kubelane");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data(),
                            [&](const std::string& name) -> std::optional<std::string> {
                              const auto found = variables.find(name);
                              if (found == variables.end()) return std::nullopt;
                              return found->second;
                            });
}

// The configuration that the arguments give with an empty file.
Config config_of(const std::vector<const char*>& arguments, const Variables& variables = {}) {
  std::vector<const char*> all = {"check", "-c", "/dev/null"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const LoadResult loaded = resolve(parse(all, variables));
  for (const Problem& problem : loaded.errors) ADD_FAILURE() << problem.text();
  return loaded.config;
}

void expect_usage_error(const std::vector<const char*>& arguments,
                        const std::vector<std::string>& words) {
  const Command command = parse(arguments);
  EXPECT_EQ(command.kind, Command::Kind::exit);
  EXPECT_EQ(command.exit_code, 2);
  EXPECT_TRUE(command.output.starts_with("kubelane: ")) << command.output;
  EXPECT_TRUE(command.output.ends_with("\n"));
  for (const std::string& word : words)
    EXPECT_NE(command.output.find(word), std::string::npos) << word << " not in " << command.output;
}

TEST(CommandLine, says_its_version_in_both_ways) {
  EXPECT_EQ(parse({"version"}).kind, Command::Kind::version);
  const Command command = parse({"--version"});
  EXPECT_EQ(command.kind, Command::Kind::exit);
  EXPECT_EQ(command.exit_code, 0);
  EXPECT_EQ(command.output, "kubelane " KUBELANE_VERSION "\n");
}

TEST(CommandLine, what_stands_behind_two_dashes_is_the_command_of_run) {
  const Command command = parse(
      {"run", "-c", "x", "--wait-timeout", "5s", "--", "sh", "-c", "exit 1", "--", "--log-level"});
  EXPECT_EQ(command.kind, Command::Kind::run);
  EXPECT_EQ(command.config_path, "x");
  EXPECT_EQ(command.run.words,
            (std::vector<std::string>{"sh", "-c", "exit 1", "--", "--log-level"}));
  EXPECT_EQ(command.run.wait_timeout, std::chrono::seconds(5));
  const Command service =
      parse({"run", "kubernetes", "--kubernetes-cluster", "a", "--token", "t", "--", "env"});
  ASSERT_TRUE(service.service);
  EXPECT_EQ(service.service->clusters, std::vector<std::string>{"a"});
  EXPECT_EQ(service.run.words, std::vector<std::string>{"env"});
  expect_usage_error({"run", "-c", "x"}, {"-- COMMAND"});
  expect_usage_error({"run", "-c", "x", "--"}, {"-- COMMAND"});
  expect_usage_error({"run", "-c", "x", "sh"}, {"-- COMMAND"});
  expect_usage_error({"run", "-c", "x", "--wait-timeout", "soon", "--", "sh"}, {"--wait-timeout"});
}

TEST(CommandLine, a_run_without_a_destination_gets_a_spare_one) {
  Command command = parse({"run", "kubernetes", "--kubernetes-cluster", "a", "--credentials", "/c",
                           "--proxy-server", "t", "--", "env"});
  EXPECT_EQ(resolve(command).missing.size(), 1u);
  command.spare_destination = "/spare";
  const LoadResult loaded = resolve(command);
  EXPECT_TRUE(loaded.missing.empty());
  EXPECT_EQ(loaded.config.services.at(0).destination.path, "/spare/1");
}

// tbot's names are there for its users; ours win.
TEST(CommandLine, our_variable_is_stronger_than_tbots) {
  EXPECT_EQ(config_of({}, {{"TELEPORT_PROXY", "a"}, {"KUBELANE_PROXY_SERVER", "b"}}).proxy_server,
            "b:443");
  EXPECT_EQ(config_of({}, {{"TBOT_DEBUG", "true"}, {"KUBELANE_DEBUG", "false"}}).log_level,
            LogLevel::info);
}

TEST(CommandLine, flags_that_repeat_take_lists_from_their_variables) {
  const Command command = parse({"start", "k8s/v2"}, {{"KUBELANE_NAME_SELECTOR", "a;b"},
                                                      {"KUBELANE_LABEL_SELECTOR", "x=1,y=2;z=3"},
                                                      {"KUBELANE_READER_GROUP", "g"}});
  ASSERT_TRUE(command.service);
  EXPECT_EQ(command.service->clusters, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(command.service->labels, (std::vector<std::string>{"x=1,y=2", "z=3"}));
  EXPECT_EQ(command.service->reader_groups, std::vector<std::string>{"g"});
  const Command by_flag =
      parse({"start", "k8s/v2", "--name-selector", "c"}, {{"KUBELANE_LABEL_SELECTOR", "x=1"}});
  EXPECT_TRUE(by_flag.service->labels.empty()) << "a flag must not be widened from elsewhere";
  const Command one = parse({"start", "kubernetes"}, {{"KUBELANE_KUBERNETES_CLUSTER", "a"}});
  EXPECT_EQ(one.service->clusters, std::vector<std::string>{"a"});
}

TEST(CommandLine, help_tells_a_newcomer_how_to_begin) {
  for (const std::vector<const char*>& arguments :
       {std::vector<const char*>{}, {"--help"}, {"-h"}, {"start", "--help"}, {"check", "--help"}}) {
    const Command command = parse(arguments);
    EXPECT_EQ(command.exit_code, 0);
    for (const char* word : {"kubelane start -c", "--kubernetes-cluster",
                             "export KUBECONFIG=", "flags win over the environment", "Exit codes"})
      EXPECT_NE(command.output.find(word), std::string::npos) << word;
  }
}

TEST(CommandLine, help_of_start_names_every_flag_with_its_variable) {
  const std::string help = parse({"start", "--help"}).output;
  for (const char* word : {"--config",       "TBOT_CONFIG_PATH",
                           "--proxy-server", "TELEPORT_PROXY",
                           "--debug",        "TBOT_DEBUG",
                           "--listen",       "KUBELANE_LISTEN",
                           "--proxy-ca",     "KUBELANE_PROXY_CA",
                           "--insecure",     "KUBELANE_INSECURE",
                           "--allow-remote", "KUBELANE_ALLOW_REMOTE",
                           "--diag-addr",    "KUBELANE_DIAG_ADDR",
                           "--admin-addr",   "KUBELANE_ADMIN_ADDR",
                           "--local-auth",   "KUBELANE_LOCAL_AUTH",
                           "--local-tls",    "KUBELANE_LOCAL_TLS",
                           "--storage",      "KUBELANE_STORAGE",
                           "--workers",      "KUBELANE_WORKERS",
                           "--log-format",   "KUBELANE_LOG_FORMAT",
                           "--log-level",    "KUBELANE_LOG_LEVEL"})
    EXPECT_NE(help.find(word), std::string::npos) << word;
  for (const char* idle : {"--fips", "--pid-file"})
    EXPECT_EQ(help.find(idle), std::string::npos) << idle << " does nothing and is no use in help";
}

TEST(CommandLine, every_flag_reaches_its_setting) {
  const Config config = config_of({"--proxy-server", "t.example.com",
                                   "--proxy-ca",     "/ca.pem",
                                   "--insecure",     "--listen",
                                   "10.0.0.1:1",     "--allow-remote",
                                   "--local-auth",   "none",
                                   "--local-tls",    "false",
                                   "--storage",      "/var/lib/kubelane",
                                   "--workers",      "3",
                                   "--log-format",   "json",
                                   "--log-level",    "warn"});
  EXPECT_EQ(config.proxy_server, "t.example.com:443");
  EXPECT_EQ(config.proxy_ca, "/ca.pem");
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ(config.listen.host, "10.0.0.1");
  EXPECT_EQ(config.listen.port, 1);
  EXPECT_TRUE(config.allow_remote);
  EXPECT_EQ(config.local_auth, LocalAuth::none);
  EXPECT_FALSE(config.local_tls);
  EXPECT_EQ(config.storage_path, "/var/lib/kubelane");
  EXPECT_EQ(config.workers, 3u);
  EXPECT_EQ(config.log_format, LogFormat::json);
  EXPECT_EQ(config.log_level, LogLevel::warn);
}

TEST(CommandLine, every_variable_reaches_its_setting) {
  const Config config = config_of({}, {{"TELEPORT_PROXY", "t.example.com:3080"},
                                       {"KUBELANE_PROXY_CA", "/ca.pem"},
                                       {"KUBELANE_INSECURE", "true"},
                                       {"KUBELANE_LISTEN", "10.0.0.1:1"},
                                       {"KUBELANE_ALLOW_REMOTE", "1"},
                                       {"KUBELANE_LOCAL_AUTH", "mtls"},
                                       {"KUBELANE_STORAGE", "/var/lib/kubelane"},
                                       {"KUBELANE_WORKERS", "3"},
                                       {"KUBELANE_LOG_FORMAT", "json"},
                                       {"KUBELANE_LOG_LEVEL", "error"}});
  EXPECT_EQ(config.proxy_server, "t.example.com:3080");
  EXPECT_EQ(config.proxy_ca, "/ca.pem");
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ(config.listen.host, "10.0.0.1");
  EXPECT_TRUE(config.allow_remote);
  EXPECT_EQ(config.local_auth, LocalAuth::mtls);
  EXPECT_EQ(config.storage_path, "/var/lib/kubelane");
  EXPECT_EQ(config.workers, 3u);
  EXPECT_EQ(config.log_format, LogFormat::json);
  EXPECT_EQ(config.log_level, LogLevel::error);
  EXPECT_EQ(config_of({}, {{"TBOT_DEBUG", "1"}}).log_level, LogLevel::debug);
}

// A flag that says no must not mean yes: not for what opens doors.
TEST(CommandLine, a_switch_can_be_switched_off) {
  EXPECT_FALSE(config_of({"--insecure=false"}).insecure);
  EXPECT_FALSE(config_of({"--insecure=false"}, {{"KUBELANE_INSECURE", "true"}}).insecure);
  EXPECT_TRUE(config_of({"--insecure=true"}).insecure);
  EXPECT_FALSE(config_of({"--allow-remote=false"}).allow_remote);
  EXPECT_EQ(config_of({"--debug=false"}, {{"TBOT_DEBUG", "1"}}).log_level, LogLevel::info);
  EXPECT_EQ(config_of({"-d", "-d"}).log_level, LogLevel::debug);
}

TEST(CommandLine, empty_variables_are_unset_ones) {
  const Config config =
      config_of({}, {{"TELEPORT_PROXY", ""}, {"KUBELANE_WORKERS", ""}, {"TBOT_DEBUG", ""}});
  EXPECT_EQ(config.proxy_server, "");
  EXPECT_EQ(config.log_level, LogLevel::info);
}

TEST(CommandLine, problems_name_the_flag_or_the_variable) {
  const LoadResult flags = resolve(parse({"check", "-c", "/dev/null", "--workers", "many",
                                          "--listen", "example.com:1", "--log-level", "wran"}));
  ASSERT_EQ(flags.errors.size(), 3u) << "all at once";
  EXPECT_EQ(flags.errors[0].text().rfind("--listen: \"example.com:1\"", 0), 0u)
      << flags.errors[0].text();
  EXPECT_EQ(flags.errors[1].text().rfind("--workers: \"many\"", 0), 0u) << flags.errors[1].text();
  EXPECT_EQ(
      flags.errors[2].text(),
      "--log-level: \"wran\" is not one of debug, info, warn, error (did you mean \"warn\"?)");
  const LoadResult variable =
      resolve(parse({"check", "-c", "/dev/null"}, {{"TELEPORT_PROXY", "http://x"}}));
  ASSERT_EQ(variable.errors.size(), 1u);
  EXPECT_EQ(variable.errors[0].text().rfind("TELEPORT_PROXY: ", 0), 0u);
}

TEST(CommandLine, what_a_flag_outvotes_is_no_problem) {
  const LoadResult loaded = resolve(
      parse({"check", "-c", "/dev/null", "--workers", "2"}, {{"KUBELANE_WORKERS", "many"}}));
  EXPECT_TRUE(loaded.errors.empty());
  EXPECT_EQ(loaded.config.workers, 2u);
}

TEST(CommandLine, the_file_comes_from_the_flag_or_tbots_variable) {
  EXPECT_EQ(parse({"start", "-c", "a.yaml"}).config_path, "a.yaml");
  EXPECT_EQ(parse({"start", "--config=a.yaml"}).config_path, "a.yaml");
  const Variables variables = {{"TBOT_CONFIG_PATH", "b.yaml"}};
  EXPECT_EQ(parse({"start"}, variables).config_path, "b.yaml");
  EXPECT_EQ(parse({"check"}, variables).config_path, "b.yaml");
  EXPECT_EQ(parse({"start", "-c", "a.yaml"}, variables).config_path, "a.yaml");
  EXPECT_EQ(parse({"start", "kubernetes", "--kubernetes-cluster", "x"}, variables).config_path, "")
      << "a service by flags is without a file unless one is asked for";
  EXPECT_EQ(parse({"start", "-c", "a", "kubernetes", "--kubernetes-cluster", "x"}).config_path,
            "a");
}

TEST(CommandLine, without_configuration_it_says_how_to_give_one) {
  expect_usage_error({"start"}, {"no configuration", "-c", "kubernetes --kubernetes-cluster"});
  expect_usage_error({"check"}, {"no configuration", "-c"});
}

TEST(CommandLine, one_cluster_by_flags) {
  const Command command = parse(
      {"start", "kubernetes", "--proxy-server", "teleport.example.com:443", "--kubernetes-cluster",
       "prod", "--credentials", "/opt/machine-id", "--destination", "/run/kubelane",
       "--reader-user", "ci", "--reader-user", "cd", "--reader-group", "ops"});
  ASSERT_EQ(command.kind, Command::Kind::start);
  const LoadResult loaded = resolve(command);
  EXPECT_TRUE(loaded.errors.empty());
  EXPECT_TRUE(loaded.warnings.empty());
  EXPECT_TRUE(loaded.missing.empty());
  EXPECT_EQ(loaded.config.proxy_server, "teleport.example.com:443");
  ASSERT_EQ(loaded.config.services.size(), 1u);
  const Service& service = loaded.config.services[0];
  EXPECT_EQ(service.type, Service::Type::kubernetes);
  EXPECT_EQ(service.label(), "prod");
  EXPECT_EQ(service.credentials_path, "/opt/machine-id");
  EXPECT_EQ(service.destination.path, "/run/kubelane");
  ASSERT_EQ(service.destination.readers.size(), 3u);
  EXPECT_EQ(service.destination.readers[1].user, "cd");
  EXPECT_EQ(service.destination.readers[2].group, "ops");
}

TEST(CommandLine, several_clusters_by_flags_under_both_names) {
  for (const char* mode : {"kubernetes/v2", "k8s/v2"}) {
    const LoadResult loaded = resolve(
        parse({"start", mode, "--proxy-server", "t", "--name-selector", "a", "--name-selector", "b",
               "--name-selector", "a", "--credentials", "file:///c", "--destination", "d/"}));
    EXPECT_TRUE(loaded.errors.empty());
    ASSERT_EQ(loaded.config.services.size(), 1u);
    const Service& service = loaded.config.services[0];
    EXPECT_EQ(service.type, Service::Type::kubernetes_v2);
    ASSERT_EQ(service.clusters.size(), 2u) << "a name given twice is one cluster";
    EXPECT_EQ(service.clusters[1].name, "b");
    EXPECT_EQ(service.credentials_path, "/c");
    EXPECT_EQ(service.destination.path, (std::filesystem::current_path() / "d").string());
  }
}

TEST(CommandLine, directories_of_a_service_by_variables) {
  const Variables variables = {{"KUBELANE_CREDENTIALS", "/c"}, {"KUBELANE_DESTINATION", "/d"}};
  const Command by_variables =
      parse({"start", "kubernetes", "--kubernetes-cluster", "x"}, variables);
  ASSERT_TRUE(by_variables.service);
  EXPECT_EQ(by_variables.service->credentials, "/c");
  EXPECT_EQ(by_variables.service->destination, "/d");
  const Command by_flags = parse({"start", "kubernetes", "--kubernetes-cluster", "x",
                                  "--credentials", "/1", "--destination", "/2"},
                                 variables);
  EXPECT_EQ(by_flags.service->credentials, "/1");
  EXPECT_EQ(by_flags.service->destination, "/2");
}

TEST(CommandLine, what_a_service_by_flags_lacks_is_told_by_flag) {
  const LoadResult loaded = resolve(parse({"start", "kubernetes", "--kubernetes-cluster", "x"}));
  EXPECT_TRUE(loaded.errors.empty());
  ASSERT_EQ(loaded.missing.size(), 3u);
  EXPECT_NE(loaded.missing[0].text().find("--proxy-server"), std::string::npos);
  EXPECT_EQ(loaded.missing[1].text().rfind("--credentials: missing", 0), 0u);
  EXPECT_EQ(loaded.missing[2].text().rfind("--destination: missing", 0), 0u);
}

TEST(CommandLine, bad_values_of_a_service_by_flags_are_named) {
  const LoadResult loaded =
      resolve(parse({"start", "kubernetes", "--proxy-server", "t", "--kubernetes-cluster", "a\nb",
                     "--credentials", "s3://x", "--destination", "kubernetes-secret:///X"}));
  ASSERT_EQ(loaded.errors.size(), 3u);
  EXPECT_EQ(loaded.errors[0].text().rfind("--kubernetes-cluster: \"a\\x0ab\"", 0), 0u)
      << loaded.errors[0].text();
  EXPECT_EQ(loaded.errors[1].text().rfind("--credentials: ", 0), 0u);
  EXPECT_EQ(loaded.errors[2].text().rfind("--destination: \"kubernetes-secret", 0), 0u);
  EXPECT_TRUE(loaded.missing.empty()) << "what is wrong is not missing";
}

TEST(CommandLine, a_cluster_has_to_be_named) {
  expect_usage_error({"start", "kubernetes"}, {"--kubernetes-cluster is required"});
  expect_usage_error({"start", "kubernetes/v2"},
                     {"--name-selector or --label-selector is missing"});
}

TEST(CommandLine, a_slip_gets_the_nearest_name) {
  expect_usage_error({"strat"}, {"\"strat\"", "did you mean start?"});
  expect_usage_error({"start", "--proxy-sever", "x"},
                     {"\"--proxy-sever\"", "`kubelane start`", "did you mean --proxy-server?"});
  expect_usage_error({"start", "--lisen=127.0.0.1:1"}, {"did you mean --listen?"});
  expect_usage_error({"start", "kubernets"}, {"did you mean kubernetes?"});
  expect_usage_error({"start", "kubernetes", "--kubernetes-cluster", "a", "--credential", "x"},
                     {"did you mean --credentials?", "`kubelane start kubernetes --help`"});
  expect_usage_error({"help"}, {"did you mean --help?"});
  expect_usage_error({"check", "kubelane.yaml"}, {"\"kubelane.yaml\" is not known"});
  expect_usage_error({"start", "--log-level"}, {"--log-level needs a value"});
  expect_usage_error({"start", "--listen", "1", "--listen", "2"},
                     {"--listen is given more than once"});
}

TEST(CommandLine, other_modes_of_tbots_are_known_by_name) {
  for (const char* mode : {"identity", "legacy", "database-tunnel", "ssh-multiplexer"})
    expect_usage_error({"start", mode}, {mode, "tbot", "kubernetes/v2"});
}

// It would stand in a terminal, a journal, a CI log.
TEST(CommandLine, a_value_behind_a_misspelt_flag_is_not_repeated) {
  for (const auto& arguments : {std::vector<const char*>{"start", "--tokn", "hunter2"},
                                {"start", "--tokn=hunter2"},
                                {"start", "--token", "a", "hunter2", "--x"},
                                {"start", "kubernetes", "--tokn", "hunter2"}}) {
    const Command command = parse(arguments);
    EXPECT_EQ(command.exit_code, 2);
    EXPECT_EQ(command.output.find("hunter2"), std::string::npos) << command.output;
  }
}

TEST(CommandLine, tbots_flags_without_effect_get_one_warning_each) {
  for (const char* flag : {"--pid-file"}) {
    const Command command = parse({"start", "-c", "x", flag, "hunter2"});
    ASSERT_EQ(command.warnings.size(), 1u) << flag;
    const std::string text = command.warnings[0].text();
    EXPECT_EQ(text.rfind(std::string(flag) + " has no effect", 0), 0u) << text;
    EXPECT_EQ(text.find("hunter2"), std::string::npos);
  }
  for (const char* flag : {"--fips", "--scoped"}) {
    const Command command = parse({"start", "-c", "x", flag});
    ASSERT_EQ(command.warnings.size(), 1u) << flag;
    EXPECT_EQ(command.warnings[0].text().rfind(flag, 0), 0u);
  }
  EXPECT_TRUE(parse({"start", "-c", "x", "--disable-exec-plugin"}).warnings.empty())
      << "kubelane's kubeconfig never has one";
}

TEST(Resolve, says_why_a_file_cannot_be_read) {
  const support::TempDirectory directory;
  const std::string missing = (directory.path() / "kubelane.yaml").string();
  const LoadResult gone = resolve(parse({"start", "-c", missing.c_str()}));
  ASSERT_EQ(gone.errors.size(), 1u);
  EXPECT_EQ(gone.errors[0].text(), missing + ": cannot be read: No such file or directory");
  EXPECT_TRUE(gone.missing.empty()) << "the one cause is enough";
  const LoadResult folder = resolve(parse({"start", "-c", directory.path().c_str()}));
  ASSERT_EQ(folder.errors.size(), 1u);
  EXPECT_EQ(folder.errors[0].text(),
            directory.path().string() + ": cannot be read: Is a directory");
}

TEST(Resolve, does_not_read_an_endless_file) {
  const LoadResult loaded = resolve(parse({"start", "-c", "/dev/zero"}));
  ASSERT_EQ(loaded.errors.size(), 1u);
  EXPECT_EQ(loaded.errors[0].text(), "/dev/zero: the configuration file is larger than 1 MiB");
}

TEST(Resolve, flags_beat_the_environment_which_beats_the_file) {
  const support::TempDirectory directory;
  const std::string file = (directory.path() / "kubelane.yaml").string();
  std::ofstream(file) << "proxy_server: file.example.com\nlisten: 127.0.0.1:1\nworkers: 1\n"
                         "log: {format: json, level: error}\n";
  const Variables variables = {{"TELEPORT_PROXY", "env.example.com"},
                               {"KUBELANE_LISTEN", "127.0.0.1:2"}};
  const Config config =
      resolve(parse({"start", "-c", file.c_str(), "--proxy-server", "flag.example.com"}, variables))
          .config;
  EXPECT_EQ(config.proxy_server, "flag.example.com:443");
  EXPECT_EQ(config.listen.port, 2);
  EXPECT_EQ(config.workers, 1u);
  EXPECT_EQ(config.log_format, LogFormat::json);
  EXPECT_EQ(config.log_level, LogLevel::error);
}

TEST(Resolve, the_stronger_place_decides_about_debug) {
  const support::TempDirectory directory;
  const std::string file = (directory.path() / "kubelane.yaml").string();
  const auto level = [&](const std::string& yaml, const Variables& variables,
                         std::vector<const char*> flags) {
    std::ofstream(file) << yaml;
    flags.insert(flags.begin(), {"start", "-c", file.c_str()});
    return resolve(parse(flags, variables)).config.log_level;
  };
  EXPECT_EQ(level("debug: true\nlog: {level: warn}\n", {}, {}), LogLevel::debug);
  EXPECT_EQ(level("log: {level: warn}\ndebug: true\n", {}, {}), LogLevel::debug)
      << "the order within the file does not matter";
  EXPECT_EQ(level("debug: true\n", {{"TBOT_DEBUG", "false"}}, {}), LogLevel::info);
  EXPECT_EQ(level("debug: true\n", {{"KUBELANE_LOG_LEVEL", "error"}}, {}), LogLevel::error);
  EXPECT_EQ(level("", {{"TBOT_DEBUG", "1"}}, {"--log-level", "warn"}), LogLevel::warn);
  EXPECT_EQ(level("log: {level: error}\n", {{"KUBELANE_LOG_LEVEL", "warn"}}, {"-d"}),
            LogLevel::debug);
}

}  // namespace
}  // namespace kubelane
