// status, and `status --watch`.
#include <chrono>
#include <iostream>

#include <unistd.h>

#include "config/exit_codes.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/control_target.hpp"
#include "proxy/cli/http_call.hpp"
#include "proxy/cli/status_report.hpp"

namespace kubelane::cli {
namespace {

using std::chrono::steady_clock;

constexpr const char* clear_screen = "\x1b[H\x1b[2J";

struct Look {
  int exit_code = exit_code::success;
  std::string output;
  std::string complaint;
};

Look look(const ControlTarget& target, const ClientOptions& options) {
  const auto deadline = steady_clock::now() + options.timeout;
  const auto failed = [&target](const Failure& failure) {
    return Look{exit_code::no_answer, "",
                "no status from " + target.text + ": " + failure.message +
                    "; does kubelane run, with this address as its diag_addr?"};
  };
  const Outcome<CallAnswer> readyz = call(target.address, "GET", "/readyz", deadline);
  if (!readyz) return failed(readyz.error());
  const Outcome<CallAnswer> metrics = call(target.address, "GET", "/metrics", deadline);
  if (!metrics) return failed(metrics.error());
  const Outcome<StatusReport> report = read_status(readyz->body, metrics->body);
  if (!report) return failed(report.error());
  return {
      report->status == "healthy" ? exit_code::success : exit_code::not_ready,
      options.json ? status_json(*report) : status_table(*report, std::chrono::system_clock::now()),
      ""};
}

}  // namespace

int show_status(const Command& command) {
  const Outcome<ControlTarget> target = control_target(command, "diag_addr");
  if (!target) {
    complain("status", target.error().message);
    return exit_code::usage;
  }
  const bool screen = command.client.watch && !command.client.json && ::isatty(STDOUT_FILENO) == 1;
  for (;;) {
    const Look seen = look(*target, command.client);
    if (screen) std::cout << clear_screen;
    std::cout << seen.output << std::flush;
    if (!seen.complaint.empty()) complain("status", seen.complaint);
    // A reader that went away ends it, too.
    if (!command.client.watch || !std::cout) return seen.exit_code;
    pause(command.client.interval);
  }
}

}  // namespace kubelane::cli
