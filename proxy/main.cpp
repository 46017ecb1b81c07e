// argv → configuration → App → exit code.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include <fcntl.h>

#include "config/command_line.hpp"
#include "config/configure.hpp"
#include "config/migrate.hpp"
#include "proxy/app.hpp"
#include "proxy/keypair_command.hpp"
#include "proxy/observe/log.hpp"
#include "tls/free_lists.hpp"
#include "tls/secret_memory.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace {

constexpr int usage_error = 2;

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

void print(const std::vector<kubelane::Problem>& problems, const char* kind) {
  for (const kubelane::Problem& problem : problems)
    std::cerr << "kubelane: " << kind << ": " << problem.text() << '\n';
}

// A made configuration, to standard output or into a file for this user alone.
int hand_out(const std::string& yaml, const std::string& path) {
  if (path.empty()) {
    std::cout << yaml << std::flush;
    return std::cout ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  const std::filesystem::path file = std::filesystem::absolute(path);
  const kubelane::tls::UniqueFd directory(
      ::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const int error =
      directory ? kubelane::tls::replace_file(directory.get(), file.filename(), yaml) : errno;
  if (error == 0) return EXIT_SUCCESS;
  std::cerr << "kubelane: error: cannot write " << path << ": " << std::strerror(error) << '\n';
  return EXIT_FAILURE;
}

int migrate(const kubelane::Command& command) {
  std::string yaml;
  const std::string unreadable = kubelane::read_config_file(command.config_path, yaml);
  kubelane::Migration made;
  if (unreadable.empty())
    made = kubelane::migrate(yaml, command.config_path);
  else
    made.errors.push_back({command.config_path, 0, 0, "cannot be read: " + unreadable});
  print(made.errors, "error");
  if (!made.errors.empty()) return usage_error;
  print(made.changed, "changed");
  print(made.dropped, "left out");
  print(made.warnings, "warning");
  print(made.missing, "warning");
  return hand_out(made.yaml, command.output_path);
}

int configure(const kubelane::Command& command) {
  const kubelane::LoadResult loaded = kubelane::resolve(command);
  print(loaded.warnings, "warning");
  print(loaded.errors, "error");
  if (!loaded.errors.empty()) return usage_error;
  print(loaded.missing, "warning");
  const kubelane::Configured made = kubelane::configure(loaded);
  print(made.warnings, "warning");
  return hand_out(made.yaml, command.output_path);
}

int run(int argc, char** argv) {
  using kubelane::Command;
  const Command command = kubelane::parse_command_line(argc, argv, environment);
  if (command.kind == Command::Kind::exit) {
    (command.exit_code == 0 ? std::cout : std::cerr) << command.output;
    return command.exit_code;
  }
  if (command.kind == Command::Kind::migrate) return migrate(command);
  if (command.kind == Command::Kind::configure) return configure(command);
  if (command.kind == Command::Kind::keypair) return kubelane::create_keypair(command);
  kubelane::LoadResult loaded = kubelane::resolve(command);
  const bool check = command.kind == Command::Kind::check;
  const bool usable = loaded.errors.empty() && (check || loaded.missing.empty());
  if (!usable || check) {
    print(loaded.warnings, "warning");
    print(loaded.errors, "error");
    print(loaded.missing, check ? "warning" : "error");
    if (!usable) return usage_error;
    std::cout << (command.config_path.empty() ? "the configuration" : command.config_path)
              << " is valid\n";
    return EXIT_SUCCESS;
  }
  kubelane::log::init(loaded.config.log_format, loaded.config.log_level);
  for (const kubelane::Problem& warning : loaded.warnings)
    kubelane::log::warn("configuration", {{"problem", warning.text()}});
  kubelane::App app(std::move(loaded.config),
                    {command.config_path, [&command] { return kubelane::resolve(command); }});
  const int exit_code = app.run();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // All that must outlive us is written. What is left would only wait: a look-up of a name that no
  // server answers cannot be called off, and its thread would be joined.
  std::cout.flush();
  std::_Exit(exit_code);
#endif
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  kubelane::tls::install_openssl_memory();
  kubelane::tls::guard_secrets();
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    std::cerr << "kubelane: " << failure.what() << '\n';
    return EXIT_FAILURE;
  }
}
