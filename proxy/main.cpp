// argv → configuration → App → exit code.
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "config/command_line.hpp"
#include "proxy/app.hpp"
#include "proxy/keypair_command.hpp"
#include "proxy/observe/log.hpp"
#include "tls/free_lists.hpp"

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

int run(int argc, char** argv) {
  using kubelane::Command;
  const Command command = kubelane::parse_command_line(argc, argv, environment);
  if (command.kind == Command::Kind::exit) {
    (command.exit_code == 0 ? std::cout : std::cerr) << command.output;
    return command.exit_code;
  }
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
  kubelane::App app(std::move(loaded.config));
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
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    std::cerr << "kubelane: " << failure.what() << '\n';
    return EXIT_FAILURE;
  }
}
