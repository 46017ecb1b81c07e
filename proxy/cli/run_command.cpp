#include "proxy/cli/run_command.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace kubelane::cli {
namespace {

constexpr std::chrono::seconds after_drain{5};

}  // namespace

PrivateDirectory::PrivateDirectory() {
  for (const char* variable : {"XDG_RUNTIME_DIR", "TMPDIR", ""}) {
    const char* const value = *variable == '\0' ? "/tmp" : std::getenv(variable);
    if (value == nullptr || *value != '/') continue;
    std::error_code failed;
    std::string name = std::filesystem::canonical(value, failed) / "kubelane-run-XXXXXX";
    if (failed || ::mkdtemp(name.data()) == nullptr) continue;
    path_ = name;
    return;
  }
}

PrivateDirectory::~PrivateDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

RunPlan run_plan(const RunOptions& options, const Config& config) {
  RunPlan plan;
  plan.words = options.words;
  plan.until_ready = options.wait_timeout;
  plan.to_stop = config.exit.min_sigterm_delay + config.timeouts.drain + after_drain;
  for (const Service& service : config.services) {
    // A Secret is for others; the command could not read it as a file.
    if (service.destination.type != Destination::Type::directory) continue;
    plan.kubeconfig +=
        (plan.kubeconfig.empty() ? "" : ":") + service.destination.path + "/kubeconfig.yaml";
  }
  plan.secrets = {"TELEPORT_BOT_TOKEN",
                  "KUBELANE_TOKEN",
                  "KUBELANE_JOIN_URI",
                  "TBOT_REGISTRATION_SECRET",
                  "KUBELANE_REGISTRATION_SECRET",
                  "TBOT_BOUND_KEYPAIR_STATIC_KEY",
                  config.onboarding.gitlab_token_variable};
  return plan;
}

}  // namespace kubelane::cli
