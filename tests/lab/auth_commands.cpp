#include "tests/lab/auth_commands.hpp"

#include <map>
#include <sstream>
#include <stdexcept>

namespace lab {

Labels parse_labels(const std::string& text) {
  Labels labels;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t equals = part.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw std::runtime_error("not KEY=VALUE: " + part);
    }
    labels[part.substr(0, equals)] = part.substr(equals + 1);
  }
  return labels;
}

void run_command(Auth& auth, const std::string& bot, const std::function<Handler()>& serve_cluster,
                 const std::string& line) {
  static const std::map<std::string, RotationPhase> phases{
      {"init", RotationPhase::init},
      {"update_clients", RotationPhase::update_clients},
      {"update_servers", RotationPhase::update_servers},
      {"standby", RotationPhase::standby},
      {"rollback", RotationPhase::rollback}};
  std::istringstream words(line);
  std::string verb;
  std::string object;
  std::string more;
  words >> verb >> object >> more;
  if (verb == "add" && !object.empty()) {
    KubeResource cluster;
    cluster.name = object;
    cluster.labels = parse_labels(more);
    cluster.handler = serve_cluster();
    auth.service().put_cluster(std::move(cluster));
  } else if (verb == "remove" && !object.empty()) {
    auth.service().remove_cluster(object);
  } else if (verb == "token" && !object.empty()) {
    JoinToken token;
    token.name = object;
    token.bot = bot;
    auth.service().put_token(std::move(token));
  } else if (verb == "rotate" && phases.contains(object)) {
    auth.service().rotate(phases.at(object));
  } else if (verb == "lock" && !object.empty()) {
    auth.service().lock(Lock::Target::user, object);
  } else if (verb == "unlock" && !object.empty()) {
    auth.service().unlock(Lock::Target::user, object);
  } else if (verb == "auth" && object == "stop") {
    auth.stop();
  } else if (verb == "auth" && object == "start") {
    if (!auth.running()) auth.start();
  } else if (!verb.empty()) {
    throw std::runtime_error("no such command: " + line);
  }
}

}  // namespace lab
