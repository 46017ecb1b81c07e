// install systemd: prints or writes the unit file.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/exit_codes.hpp"
#include "config/suggest.hpp"
#include "config/values.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/systemd_unit.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::cli {
namespace {

constexpr const char* name = "install systemd";
constexpr std::size_t largest_unit = 1u << 20;

bool is_word(const std::string& text, const char* more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [more](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(more).find(c) != std::string_view::npos;
  });
}

// What is wrong with the options; empty: nothing.
std::string refuse(const UnitOptions& options) {
  if (!is_word(options.name, "-_.@:")) return "--name: " + quote(options.name) + " is no unit name";
  if (!options.user.empty() && !is_word(options.user, "-_."))
    return "--user: " + quote(options.user) + " is no user name";
  if (!options.group.empty() && !is_word(options.group, "-_."))
    return "--group: " + quote(options.group) + " is no group name";
  return {};
}

int write_unit(const UnitOptions& options, const std::string& text) {
  const std::string file = options.name + ".service";
  const std::string path = options.directory + "/" + file;
  const auto failed = [&](int error) {
    complain(name, path + ": " + std::generic_category().message(error));
    return exit_code::failure;
  };
  const tls::UniqueFd directory(
      ::open(options.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return failed(errno);
  const tls::UniqueFd old(
      ::openat(directory.get(), file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (old) {
    std::string there(largest_unit, '\0');
    if (const int error = tls::read_into(old.get(), there); error != 0) return failed(error);
    if (there != text && !options.force) {
      complain(name, path + " is there and differs: --force writes over it");
      return exit_code::failure;
    }
  }
  if (const int error = tls::replace_file(directory.get(), file, text); error != 0)
    return failed(error);
  if (::fchmodat(directory.get(), file.c_str(), 0644, 0) != 0) return failed(errno);
  std::cout << path << " is written; start it with:\n  systemctl daemon-reload\n"
            << "  systemctl enable --now " << options.name << '\n';
  return exit_code::success;
}

}  // namespace

int install_systemd(const Command& command) {
  UnitOptions options = command.unit;
  if (options.name.ends_with(".service"))
    options.name.resize(options.name.size() - std::string(".service").size());
  std::string wrong = refuse(options);
  if (wrong.empty() && command.config_path.empty())
    wrong = "name the configuration file that the service shall use, with -c";
  if (!wrong.empty()) {
    complain(name, wrong);
    return exit_code::usage;
  }
  const LoadResult loaded = resolve(command);
  for (const auto* problems : {&loaded.errors, &loaded.missing})
    for (const Problem& problem : *problems) complain(name, problem.text());
  if (!loaded.errors.empty() || !loaded.missing.empty()) return exit_code::usage;
  std::error_code unknown;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  const std::string config_path = absolute_path(command.config_path);
  const SystemdUnit unit =
      systemd_unit(loaded.config, unknown ? "/usr/bin/kubelane" : program, config_path, options);
  for (const std::string& note : unit.notes) complain(name, "note: " + note);
  if (options.write) return write_unit(options, unit.text);
  std::cout << unit.text << std::flush;
  return std::cout ? exit_code::success : exit_code::failure;
}

}  // namespace kubelane::cli
