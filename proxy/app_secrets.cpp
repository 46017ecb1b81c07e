// What App keeps in Secrets of the cluster that it runs in: the bot, and kubeconfigs.
#include <algorithm>
#include <utility>

#include "proxy/app.hpp"
#include "proxy/teleport/id_token.hpp"

namespace kubelane {
namespace {

bool in_secret(const Service& service) {
  return service.destination.type == Destination::Type::kubernetes_secret;
}

}  // namespace

// Where a Secret is wanted; each of them must have a namespace.
Outcome<void> App::find_api_server(const Config& config) {
  if (config.storage_secret.name.empty() &&
      std::none_of(config.services.begin(), config.services.end(), in_secret))
    return {};
  if (!api_server_) {
    Outcome<teleport::ApiServer> found =
        teleport::ApiServer::of_this_pod(teleport::process_environment);
    if (!found) return found.error();
    api_server_ = std::move(*found);
  }
  for (const Service& service : config.services) {
    if (!in_secret(service)) continue;
    Outcome<teleport::ApiObject> secret = api_server_->secret(service.destination.secret);
    if (!secret) return secret.error();
  }
  return {};
}

// Nothing where it is open, or goes to a directory.
Outcome<void> App::open_secret(ServiceNumber service) {
  ServiceState& state = services_.at(service);
  if (state.secret || !in_secret(state.configured)) return {};
  const SecretName& name = state.configured.destination.secret;
  Outcome<teleport::ApiObject> secret = api_server_->secret(name);
  if (!secret) return secret.error();
  const auto written = [this, service] {
    ServiceState& now = services_.at(service);
    now.stale_kubeconfig = false;
    now.kubeconfig_written = true;
    look_at(service);
  };
  state.secret =
      std::make_unique<KubeconfigSecret>(io_, *api_server_, std::move(*secret), name, written);
  return {};
}

std::string App::kubeconfig_path(const ServiceState& state) {
  return state.secret ? state.secret->path()
                      : state.configured.destination.path + "/kubeconfig.yaml";
}

// A directory's lock goes with the process; a Lease has to be given back.
void App::release_storage(std::function<void()> done) {
  if (bot_)
    bot_->release(std::move(done));
  else
    done();
}

}  // namespace kubelane
