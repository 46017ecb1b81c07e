// The command line: argv and environment to what shall be done.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "config/load.hpp"

namespace kubelane {

// wait, status, shutdown, kubeconfig: what they want from a kubelane that runs.
struct ClientOptions {
  std::chrono::milliseconds timeout{60'000};  // wait: in all; the others: for an answer
  std::vector<std::string> services;          // wait, kubeconfig; empty: all, the only one
  std::string destination;                    // kubeconfig: instead of the configuration's
  bool json = false;
  bool watch = false;
  std::chrono::milliseconds interval{2'000};  // of watch
};

struct RunOptions {
  std::vector<std::string> words;  // the command and its arguments; never empty
  std::chrono::milliseconds wait_timeout{60'000};
};

struct UnitOptions {
  std::string name = "kubelane";
  std::string user;   // empty: a dynamic one
  std::string group;  // empty: the user's
  std::string directory = "/etc/systemd/system";
  bool write = false;  // else it is printed
  bool force = false;  // write over another file
};

struct Command {
  enum class Kind : std::uint8_t {
    start,
    check,
    configure,
    migrate,
    run,
    wait,
    status,
    shutdown,
    kubeconfig,
    install_systemd,
    keypair,
    version,
    man,
    completion,
    exit
  };
  Kind kind = Kind::exit;
  int exit_code = 0;        // exit: 0 after help and version, 2 after a usage error
  std::string output;       // exit: for standard output, or standard error when exit_code is not 0
  std::string config_path;  // empty: no file; migrate: tbot's
  std::string output_path;  // configure, migrate: empty: standard output
  std::vector<Override> overrides;  // environment first, then flags: the later wins
  std::optional<CommandService> service;
  std::string spare_destination;  // for services without one; empty: they need one
  std::vector<Problem> warnings;  // accepted flags without effect
  ClientOptions client;
  RunOptions run;
  UnitOptions unit;
  std::string shell;         // completion: bash, zsh or fish
  std::string storage_path;  // keypair: where a bot's joining key is to be
  bool fips = false;         // keypair: P-256 instead of Ed25519
};

// The environment variable of a flag: "--log-level" is KUBELANE_LOG_LEVEL. Each flag of `start` has
// one; some have tbot's beside it, which is weaker.
std::string variable_of(const std::string& flag);

Command parse_command_line(int argc, const char* const* argv, const Environment& environment);

// Returns why it cannot be read, or an empty string. Leaves what is too large unread.
std::string read_config_file(const std::string& path, std::string& text);

// Reads the file that the command names and applies its overrides.
LoadResult resolve(const Command& command);

}  // namespace kubelane
