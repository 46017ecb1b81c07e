// One exec or attach from its start to its Status.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/lab/exec_channels.hpp"

namespace lab {

struct ExecCommand {
  std::vector<std::string> command;
  std::filesystem::path directory;
  bool with_input = false;
  bool terminal = false;
};

// Runs the command until it ends or the client goes (then it is killed). Returns when the client
// has ended its side too, or two seconds after the Status.
void run_exec(ExecChannels& channels, const ExecCommand& command, std::atomic<bool>& stop);

// The "main process" of every pod: answers each line with "echo: " and the line, on the error
// output if it starts with "err", and ends at "quit". Runs until that or until the client goes.
void run_attach(ExecChannels& channels, bool terminal, std::atomic<bool>& stop);

}  // namespace lab
