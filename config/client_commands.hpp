// The commands that do not serve: they ask a kubelane that runs, or print something.
#pragma once

#include <string>
#include <vector>

#include "config/command_line.hpp"

namespace CLI {
class App;
}

namespace kubelane {

// Adds them to the parser. Must stay where it is: the parser writes into it.
class ClientCommands {
 public:
  // `footer`: for the help of each.
  ClientCommands(CLI::App& app, const std::string& footer);
  ClientCommands(const ClientCommands&) = delete;
  ClientCommands& operator=(const ClientCommands&) = delete;

  bool parsed() const;
  // Fills the command; returns what is wrong with a value, or an empty string.
  std::string take(Command& command) const;
  const std::string& config_path() const noexcept { return config_path_; }

 private:
  void add_wait(CLI::App& app);
  void add_status(CLI::App& app);
  void add_shutdown(CLI::App& app);
  void add_kubeconfig(CLI::App& app);
  void add_install(CLI::App& app);
  void add_keypair(CLI::App& app);
  void add_printed(CLI::App& app);
  CLI::App* add(CLI::App& parent, const std::string& name, const std::string& help,
                Command::Kind kind);
  void add_config(CLI::App& command);

  struct Entry {
    CLI::App* app;
    Command::Kind kind;
  };
  std::vector<Entry> entries_;
  ClientOptions options_;
  UnitOptions unit_;
  std::string config_path_;
  std::string diag_addr_;
  std::string admin_addr_;
  std::string timeout_;
  std::string interval_;
  std::string shell_;
  std::string storage_;
  bool fips_ = false;
};

}  // namespace kubelane
