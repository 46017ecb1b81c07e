// wait and shutdown.
#include <algorithm>
#include <chrono>
#include <iostream>

#include <boost/json/parse.hpp>

#include "config/exit_codes.hpp"
#include "config/suggest.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/control_target.hpp"
#include "proxy/cli/http_call.hpp"
#include "proxy/cli/status_report.hpp"

namespace kubelane::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds next_try{200};
constexpr milliseconds for_the_reason{2'000};

// What is not ready, and why: "kubernetes-1: the Proxy cannot be reached".
std::string reasons(const ControlTarget& target, const std::vector<std::string>& wanted) {
  const Outcome<CallAnswer> answer =
      call(target.address, "GET", "/readyz", steady_clock::now() + for_the_reason);
  if (!answer) return answer.error().message;
  const Outcome<StatusReport> report = read_status(answer->body, "");
  if (!report) return report.error().message;
  std::string text;
  for (const ServiceStatus& service : report->services) {
    const bool asked =
        wanted.empty() || std::find(wanted.begin(), wanted.end(), service.name) != wanted.end();
    if (!asked || service.status == "healthy") continue;
    if (!text.empty()) text += "; ";
    text += printable(service.name) + ": " +
            printable(service.reason.empty() ? service.status : service.reason);
  }
  return text.empty() ? "no reason is known" : text;
}

std::string known_services(const ControlTarget& target) {
  const Outcome<CallAnswer> answer =
      call(target.address, "GET", "/readyz", steady_clock::now() + for_the_reason);
  if (!answer) return {};
  const Outcome<StatusReport> report = read_status(answer->body, "");
  if (!report) return {};
  std::string names;
  for (const ServiceStatus& service : report->services)
    names += (names.empty() ? "; there are " : ", ") + printable(service.name);
  return names;
}

int wait_for(const ControlTarget& target, const std::string& service, const Command& command,
             steady_clock::time_point deadline) {
  const std::string path = service.empty() ? "/wait" : "/wait/" + percent_encoded(service);
  for (;;) {
    const Outcome<CallAnswer> answer = call(target.address, "GET", path, deadline);
    if (answer && answer->status == 200) return exit_code::success;
    if (answer && answer->status == 404) {
      complain("wait", "there is no service " + quote(service) + " at " + target.text +
                           known_services(target));
      return exit_code::usage;
    }
    if (steady_clock::now() + next_try < deadline) {
      pause(next_try);
      continue;
    }
    if (!answer && answer.error().code == Code::refused) {
      complain("wait", "nobody answers at " + target.text + ": " + answer.error().message +
                           "; does kubelane run, with this address as its diag_addr?");
      return exit_code::no_answer;
    }
    complain("wait", "not ready in time (--timeout): " + reasons(target, command.client.services));
    return exit_code::not_ready;
  }
}

}  // namespace

void complain(const char* command, const std::string& message) {
  std::cerr << "kubelane: " << command << ": " << message << '\n';
}

int wait_until_ready(const Command& command) {
  const Outcome<ControlTarget> target = control_target(command, "diag_addr");
  if (!target) {
    complain("wait", target.error().message);
    return exit_code::usage;
  }
  const auto deadline = steady_clock::now() + command.client.timeout;
  std::vector<std::string> services = command.client.services;
  if (services.empty()) services.emplace_back();
  for (const std::string& service : services)
    if (const int code = wait_for(*target, service, command, deadline); code != 0) return code;
  std::cout << "ready\n";
  return exit_code::success;
}

int shut_down(const Command& command) {
  const Outcome<ControlTarget> target = control_target(command, "admin_addr");
  if (!target) {
    complain("shutdown", target.error().message);
    return exit_code::usage;
  }
  const Outcome<CallAnswer> answer =
      call(target->address, "POST", "/quitquitquit", steady_clock::now() + command.client.timeout);
  if (!answer) {
    complain("shutdown", "nobody answers at " + target->text + ": " + answer.error().message +
                             "; does kubelane run, with this address as its admin_addr?");
    return exit_code::no_answer;
  }
  if (answer->status != 200) {
    complain("shutdown", target->text + " refuses, with code " + std::to_string(answer->status) +
                             ": is it an admin_addr? " + printable(answer->body));
    return exit_code::failure;
  }
  std::cout << "kubelane drains and ends\n";
  return exit_code::success;
}

}  // namespace kubelane::cli
