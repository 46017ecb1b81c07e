// The real kubectl, for tests of what it makes of our kubeconfig.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include "tests/support/process.hpp"

namespace support {

// Where it is installed; nothing when it is not.
inline std::optional<std::string> kubectl_program() {
  for (const char* path : {"/usr/local/bin/kubectl", "/usr/bin/kubectl"})
    if (::access(path, X_OK) == 0) return path;
  return std::nullopt;
}

struct KubectlResult {
  int status = -1;
  std::string output;
  std::string errors;
};

// Runs it with this kubeconfig and a home of its own, until it ends.
inline KubectlResult run_kubectl(const std::string& kubeconfig, const std::filesystem::path& home,
                                 std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--kubeconfig", kubeconfig});
  Process process(kubectl_program().value(), arguments, {{"HOME", home.string()}});
  KubectlResult result;
  result.status = process.wait_exit(2 * patience()).value_or(-1);
  result.output = process.output();
  for (const std::string& line : process.error_lines()) result.errors += line + "\n";
  return result;
}

}  // namespace support
