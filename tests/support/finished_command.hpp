// A command of kubelane's that ends by itself, run to its end.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace support {

struct FinishedCommand {
  int code = -1;  // minus the signal that ended it
  std::string output;
  std::string errors;
};

inline FinishedCommand run_kubelane(const std::vector<std::string>& arguments,
                                    const std::map<std::string, std::string>& environment = {}) {
  Process process(KUBELANE_BINARY, arguments, environment);
  FinishedCommand finished;
  finished.code = process.wait_exit(2 * patience()).value_or(-1000);
  finished.output = process.output();
  for (const std::string& line : process.error_lines()) finished.errors += line + "\n";
  return finished;
}

}  // namespace support
