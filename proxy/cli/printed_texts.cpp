// version, man and completion.
#include <iostream>

#include "config/command_tree.hpp"
#include "config/exit_codes.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/man_page.hpp"
#include "proxy/cli/shell_completion.hpp"
#include "proxy/cli/version_text.hpp"

namespace kubelane::cli {
namespace {

int print(const std::string& text) {
  std::cout << text << std::flush;
  return std::cout ? exit_code::success : exit_code::failure;
}

}  // namespace

int print_version() { return print(version_text()); }
int print_man_page() { return print(man_page(describe_command_line())); }
int print_completion(const std::string& shell) {
  return print(shell_completion(describe_command_line(), shell));
}

}  // namespace kubelane::cli
