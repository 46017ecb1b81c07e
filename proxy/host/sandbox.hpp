// Landlock (landlock(7)): from some point on the process can open only the files that it was said
// to need, whatever takes it over. Best effort: an older kernel has none.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"

namespace kubelane::host {

// Directories and files, with all that is below them.
struct FileAccess {
  std::vector<std::string> read;
  std::vector<std::string> write;  // and read, make, rename, remove
};

// What this configuration needs: its own file's directory (empty: none), credentials, CAs and
// tokens to read; storage, and destinations with
// their neighbours, to write; and what libraries read (name service, root
// CAs).
FileAccess files_of(const Config& config, const std::string& config_path);

enum class Sandbox : std::uint8_t { none, on };

// For this thread and those that it starts later: call it before there are others. A path that does
// not exist yet counts as its nearest parent that does.
Sandbox enter_sandbox(const FileAccess& access);

// Paths of `wanted` that `granted` does not reach.
std::vector<std::string> beyond(const FileAccess& granted, const FileAccess& wanted);

}  // namespace kubelane::host
