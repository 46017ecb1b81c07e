#include "config/usage_error.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/suggest.hpp"

namespace kubelane {
namespace {

// What else `tbot start` can be asked for.
constexpr const char* tbot_modes[] = {"legacy",
                                      "identity",
                                      "application",
                                      "application-tunnel",
                                      "application-proxy",
                                      "database",
                                      "database-tunnel",
                                      "kubernetes/argo-cd",
                                      "ssh-multiplexer",
                                      "workload-identity-x509",
                                      "workload-identity-jwt",
                                      "workload-identity-api",
                                      "workload-identity-aws-roles-anywhere",
                                      "spiffe-svid",
                                      "noop"};

}  // namespace

std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* current = &app;
  std::string command = "kubelane";
  Names valid;
  const auto add_options = [&] {
    for (const CLI::Option* option : current->get_options())
      for (const std::string& name : option->get_lnames()) valid.push_back("--" + name);
  };
  add_options();
  for (auto below = current->get_subcommands(); !below.empty();
       below = current->get_subcommands()) {
    current = below.front();
    command += " " + current->get_name();
    add_options();
  }
  for (const CLI::App* sub : current->get_subcommands({})) valid.push_back(sub->get_name());
  const std::string help = "\nTry `" + command + " --help`.\n";

  const std::vector<std::string> unknown = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !unknown.empty()) {
    const auto flag = std::find_if(unknown.begin(), unknown.end(),
                                   [](const std::string& word) { return word.starts_with('-'); });
    std::string word = flag == unknown.end() ? unknown.front() : *flag;
    word = word.substr(0, word.find('='));
    if ((current->get_name() == "start" || current->get_name() == "configure") &&
        flag == unknown.end() &&
        std::find(std::begin(tbot_modes), std::end(tbot_modes), word) != std::end(tbot_modes))
      return "kubelane: " + word +
             " is a mode of tbot's that kubelane does not have; it serves kubernetes and "
             "kubernetes/v2" +
             help;
    std::string near = nearest_name(word, valid);
    if (word == "help") near = "--help";
    return "kubelane: " + quote(word) + " is not known to `" + command + "`" +
           (near.empty() ? "" : "; did you mean " + near + "?") +
           (command.starts_with("kubelane run")
                ? "\nWhat it shall run stands behind two dashes: kubelane run [OPTIONS] -- COMMAND"
                : "") +
           help;
  }
  const std::string what = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && what.starts_with('-')) {
    const std::string flag = what.substr(0, what.find(':'));
    const bool repeated = what.find("At Most") != std::string::npos;
    return "kubelane: " + flag + (repeated ? " is given more than once" : " needs a value") + help;
  }
  return "kubelane: " + what + help;
}

}  // namespace kubelane
