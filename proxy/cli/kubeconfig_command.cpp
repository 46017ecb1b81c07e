// kubeconfig: prints the file that kubelane has written.
#include <algorithm>
#include <cerrno>
#include <iostream>
#include <system_error>

#include <fcntl.h>

#include "config/exit_codes.hpp"
#include "config/result.hpp"
#include "config/suggest.hpp"
#include "config/values.hpp"
#include "proxy/cli/commands.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::cli {
namespace {

constexpr std::size_t largest_file = 16u << 20;

// The directory; or the failure, with what to do.
Outcome<std::string> destination_of(const Command& command) {
  if (!command.client.destination.empty()) {
    Destination destination;
    const std::string wrong = parse_destination(command.client.destination, destination);
    if (!wrong.empty()) return Failure{Code::config, "--destination: " + wrong};
    if (destination.type != Destination::Type::directory)
      return Failure{Code::config, "--destination: name a directory"};
    return absolute_path(destination.path);
  }
  if (command.config_path.empty())
    return Failure{Code::config,
                   "no configuration: name the file with -c, or the directory with --destination"};
  const LoadResult loaded = resolve(command);
  if (!loaded.errors.empty()) return Failure{Code::config, loaded.errors.front().text()};
  const std::vector<std::string> names = service_names(loaded.config);
  std::size_t chosen = 0;
  if (!command.client.services.empty()) {
    const std::string& wanted = command.client.services.front();
    const auto found = std::find(names.begin(), names.end(), wanted);
    if (found == names.end()) return Failure{Code::config, "SERVICE: " + not_one_of(wanted, names)};
    chosen = static_cast<std::size_t>(found - names.begin());
  } else if (names.size() != 1) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return Failure{Code::config, "which one? " + command.config_path + " has " +
                                     (all.empty() ? "no services" : "the services " + all)};
  }
  const Destination& destination = loaded.config.services[chosen].destination;
  if (destination.type != Destination::Type::directory)
    return Failure{Code::config,
                   "service " + quote(names[chosen]) + " has no directory as its destination"};
  return destination.path;
}

}  // namespace

int print_kubeconfig(const Command& command) {
  const Outcome<std::string> directory = destination_of(command);
  if (!directory) {
    complain("kubeconfig", directory.error().message);
    return exit_code::usage;
  }
  const std::string path = *directory + "/kubeconfig.yaml";
  const tls::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text(largest_file, '\0');
  const int error = file ? tls::read_into(file.get(), text) : errno;
  if (error == ENOENT) {
    complain("kubeconfig", path +
                               " is not there yet: does kubelane run? `kubelane wait` tells "
                               "what it waits for");
    return exit_code::not_ready;
  }
  if (error != 0) {
    complain("kubeconfig",
             path + ": " + std::generic_category().message(error) +
                 (error == EACCES ? ": let the destination have you as a reader" : ""));
    return exit_code::failure;
  }
  std::cout << text << std::flush;
  return std::cout ? exit_code::success : exit_code::failure;
}

}  // namespace kubelane::cli
