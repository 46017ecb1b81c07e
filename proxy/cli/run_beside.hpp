// `run`: kubelane beside one command. This process starts the proxy and the command as two children
// of its own, and does nothing but pass signals on and collect what ended, so that the command gets
// neither the proxy's descriptors nor what it has given up (privileges, files), and so that it
// works as PID 1.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace kubelane::cli {

struct RunPlan {
  std::vector<std::string> words;    // the command and its arguments
  std::string kubeconfig;            // the command's KUBECONFIG
  std::vector<std::string> secrets;  // variables that the command does not get
  std::chrono::milliseconds until_ready;
  std::chrono::milliseconds to_stop;  // the proxy's time after a SIGTERM, then it is killed
};

// Runs the proxy; calls the argument when it is ready; returns its exit code.
using Serve = std::function<int(const std::function<void()>& ready)>;

// Returns the exit code of the command (config/exit_codes.hpp). `serve` is called in a child
// process, in a session of its own: a terminal's Ctrl-C reaches the command, and the proxy serves
// until the command has ended. Before any thread is made.
int run_beside(const RunPlan& plan, const Serve& serve);

}  // namespace kubelane::cli
