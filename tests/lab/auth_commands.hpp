// Commands in text to a running Auth, for the lab's own program.
#pragma once

#include <functional>
#include <string>

#include "tests/lab/auth.hpp"
#include "tests/lab/http.hpp"

namespace lab {

// One line: what an administrator or a fault does. `serve_cluster` makes what serves a cluster that
// is added. Throws std::runtime_error for a line that is no command.
//   add NAME [KEY=VALUE,...]    a Kubernetes cluster appears
//   remove NAME                 it goes
//   token SECRET                a new single-use join token for the bot
//   rotate PHASE                init, update_clients, update_servers, standby or rollback
//   lock USER, unlock USER      by the bot's user name
//   auth stop, auth start       Auth is down, and back
void run_command(Auth& auth, const std::string& bot, const std::function<Handler()>& serve_cluster,
                 const std::string& line);

constexpr const char* kCommandUsage =
    "add NAME [KEY=VALUE,...], remove NAME, token SECRET, rotate PHASE, lock USER, unlock USER,\n"
    "auth stop, auth start";

// "a=b,c=d". Throws std::runtime_error.
Labels parse_labels(const std::string& text);

}  // namespace lab
