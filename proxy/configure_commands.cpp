#include "proxy/configure_commands.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include <fcntl.h>

#include "config/configure.hpp"
#include "config/exit_codes.hpp"
#include "config/migrate.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane {
namespace {

void print(const std::vector<Problem>& problems, const char* kind) {
  for (const Problem& problem : problems)
    std::cerr << "kubelane: " << kind << ": " << problem.text() << '\n';
}

// A made configuration, to standard output or into a file for this user alone.
int hand_out(const std::string& yaml, const std::string& path) {
  if (path.empty()) {
    std::cout << yaml << std::flush;
    return std::cout ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  const std::filesystem::path file = std::filesystem::absolute(path);
  const tls::UniqueFd directory(
      ::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const int error = directory ? tls::replace_file(directory.get(), file.filename(), yaml) : errno;
  if (error == 0) return EXIT_SUCCESS;
  std::cerr << "kubelane: error: cannot write " << path << ": " << std::strerror(error) << '\n';
  return EXIT_FAILURE;
}

}  // namespace

int migrate(const Command& command) {
  std::string yaml;
  const std::string unreadable = read_config_file(command.config_path, yaml);
  Migration made;
  if (unreadable.empty())
    made = migrate(yaml, command.config_path);
  else
    made.errors.push_back({command.config_path, 0, 0, "cannot be read: " + unreadable});
  print(made.errors, "error");
  if (!made.errors.empty()) return exit_code::usage;
  print(made.changed, "changed");
  print(made.dropped, "left out");
  print(made.warnings, "warning");
  print(made.missing, "warning");
  return hand_out(made.yaml, command.output_path);
}

int configure(const Command& command) {
  const LoadResult loaded = resolve(command);
  print(loaded.warnings, "warning");
  print(loaded.errors, "error");
  if (!loaded.errors.empty()) return exit_code::usage;
  print(loaded.missing, "warning");
  const Configured made = configure(loaded);
  print(made.warnings, "warning");
  return hand_out(made.yaml, command.output_path);
}

}  // namespace kubelane
