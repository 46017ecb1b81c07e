// argv → configuration → App, or one of the commands beside it → exit code.
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "config/command_line.hpp"
#include "config/exit_codes.hpp"
#include "proxy/app.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/run_command.hpp"
#include "proxy/configure_commands.hpp"
#include "proxy/keypair_command.hpp"
#include "proxy/observe/log.hpp"
#include "tls/free_lists.hpp"
#include "tls/secret_memory.hpp"

namespace {

using kubelane::Command;
using kubelane::LoadResult;
namespace cli = kubelane::cli;
namespace exit_code = kubelane::exit_code;

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

void print(const std::vector<kubelane::Problem>& problems, const char* kind) {
  for (const kubelane::Problem& problem : problems)
    std::cerr << "kubelane: " << kind << ": " << problem.text() << '\n';
}

// Prints what keeps it from serving; false: nothing does.
bool unusable(const LoadResult& loaded) {
  if (loaded.errors.empty() && loaded.missing.empty()) return false;
  print(loaded.warnings, "warning");
  print(loaded.errors, "error");
  print(loaded.missing, "error");
  return true;
}

int serve(const Command& command, LoadResult loaded, const std::function<void()>& ready = {}) {
  kubelane::log::init(loaded.config.log_format, loaded.config.log_level);
  for (const kubelane::Problem& warning : loaded.warnings)
    kubelane::log::warn("configuration", {{"problem", warning.text()}});
  kubelane::App app(std::move(loaded.config),
                    {command.config_path, [&command] { return kubelane::resolve(command); }});
  app.when_ready(ready);
  const int code = app.run();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // All that must outlive us is written. What is left would only wait: a look-up of a name that no
  // server answers cannot be called off, and its thread would be joined.
  std::cout.flush();
  std::_Exit(code);
#endif
  return code;
}

int check(const Command& command) {
  const LoadResult loaded = kubelane::resolve(command);
  print(loaded.warnings, "warning");
  print(loaded.errors, "error");
  print(loaded.missing, "warning");
  if (!loaded.errors.empty()) return exit_code::usage;
  std::cout << (command.config_path.empty() ? "the configuration" : command.config_path)
            << " is valid\n";
  return exit_code::success;
}

int start(const Command& command) {
  LoadResult loaded = kubelane::resolve(command);
  return unusable(loaded) ? exit_code::usage : serve(command, std::move(loaded));
}

int run_with_command(Command command) {
  const cli::PrivateDirectory directory;
  command.spare_destination = directory.path();
  LoadResult loaded = kubelane::resolve(command);
  if (unusable(loaded)) return exit_code::usage;
  const cli::RunPlan plan = cli::run_plan(command.run, loaded.config);
  return cli::run_beside(plan, [&command, &loaded](const std::function<void()>& ready) {
    kubelane::tls::guard_secrets();
    return serve(command, std::move(loaded), ready);
  });
}

int run(int argc, char** argv) {
  using Kind = Command::Kind;
  const Command command = kubelane::parse_command_line(argc, argv, environment);
  // A child does not inherit the locks on memory: there the proxy of `run` sees to it itself.
  if (command.kind != Kind::run) kubelane::tls::guard_secrets();
  switch (command.kind) {
    case Kind::start:
      return start(command);
    case Kind::check:
      return check(command);
    case Kind::configure:
      return kubelane::configure(command);
    case Kind::migrate:
      return kubelane::migrate(command);
    case Kind::run:
      return run_with_command(command);
    case Kind::wait:
      return cli::wait_until_ready(command);
    case Kind::status:
      return cli::show_status(command);
    case Kind::shutdown:
      return cli::shut_down(command);
    case Kind::kubeconfig:
      return cli::print_kubeconfig(command);
    case Kind::install_systemd:
      return cli::install_systemd(command);
    case Kind::keypair:
      return kubelane::create_keypair(command);
    case Kind::version:
      return cli::print_version();
    case Kind::man:
      return cli::print_man_page();
    case Kind::completion:
      return cli::print_completion(command.shell);
    case Kind::exit:
      break;
  }
  (command.exit_code == 0 ? std::cout : std::cerr) << command.output;
  return command.exit_code;
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
