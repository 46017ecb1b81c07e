// The commands that do not serve. Each returns the process's exit code (config/exit_codes.hpp),
// prints what it is asked for to standard output and what went wrong to standard error, in a line.
#pragma once

#include "config/command_line.hpp"

namespace kubelane::cli {

// Until /wait answers, or the time is over. It may be called before the other kubelane starts.
int wait_until_ready(const Command& command);
// A table of /readyz and /metrics, or JSON.
int show_status(const Command& command);
// POST /quitquitquit; does not wait for the end of the drain.
int shut_down(const Command& command);
int print_kubeconfig(const Command& command);
int install_systemd(const Command& command);
int print_version();
int print_man_page();
int print_completion(const std::string& shell);

// For standard error.
void complain(const char* command, const std::string& message);

}  // namespace kubelane::cli
