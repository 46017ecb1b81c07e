// `run`: what the command line and the configuration mean for run_beside().
#pragma once

#include <string>

#include "config/command_line.hpp"
#include "proxy/cli/run_beside.hpp"

namespace kubelane::cli {

// A directory of this process's own, 0700, for kubeconfigs that have no other place. Gone at the
// end, with all that is in it.
class PrivateDirectory {
 public:
  PrivateDirectory();  // path() is empty when there is no place for it
  ~PrivateDirectory();
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

RunPlan run_plan(const RunOptions& options, const Config& config);

}  // namespace kubelane::cli
