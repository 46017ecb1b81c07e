// The composition root: builds, starts, drains and ends everything, in the order written in run().
// Runs on the control thread; data threads are the workers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/control_view.hpp"
#include "proxy/meter_slots.hpp"
#include "proxy/observability.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/runtime/acceptor.hpp"
#include "proxy/teleport/bot.hpp"
#include "proxy/teleport/discovery.hpp"
#include "proxy/teleport/service_source.hpp"
#include "tls/local_ca.hpp"

namespace kubelane {

// Owns: everything. One per process.
class App {
 public:
  explicit App(Config config);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Called once, on the control thread, as soon as every service has been ready.
  void when_ready(std::function<void()> ready) { on_ready_ = std::move(ready); }

  // Serves until a signal ends it. Returns the process's exit code: 0 drained, 1 could not start or
  // was stopped before the drain ended.
  int run();

 private:
  // A local address and the services behind it.
  struct Endpoint {
    ListenAddress address;
    LocalAuth auth = LocalAuth::token;
    bool tls = true;
    std::vector<std::size_t> services;
    bool shared = false;
    std::shared_ptr<SSL_CTX> context;  // of the certificate of now
    tls::UniqueFd socket;              // until a worker accepts from it
  };
  // One way to clusters: a service's, or one cluster's where each has its own identity.
  struct UpstreamState {
    std::size_t service = 0;
    std::unique_ptr<teleport::ServiceSource> source;
    std::string cluster;        // that has it for itself; empty: the service's
    std::optional<bool> http2;  // what the Proxy chose last
  };
  // One service's state on the control side. Its first upstream has its own index.
  struct ServiceState {
    std::size_t endpoint = 0;
    std::vector<teleport::ServedCluster> clusters;
    std::map<std::string, std::string> absent;     // cluster -> why it is not served
    std::map<std::string, std::size_t> upstreams;  // of bound clusters
    bool listed = true;                            // the clusters are known, not only configured
    bool bound = false;                            // each cluster goes by an upstream of its own
    bool ready = false;
    bool stale_kubeconfig = true;
    bool kubeconfig_written = false;  // at least once
    std::string teleport_cluster;     // of the credentials
  };

  Outcome<void> start();
  void plan_endpoints();
  void publish_listeners();
  Outcome<void> renew_contexts();
  relay::ListenerPtr make_listener(const Endpoint& endpoint) const;
  void add_routes(relay::Listener& listener, const Endpoint& endpoint, std::size_t service) const;
  relay::Route route_to(std::size_t service, const std::string& cluster) const;
  ControlView view() const;
  void start_workers();
  Outcome<void> make_bot();
  void start_sources();
  void add_source(std::size_t upstream, std::size_t service, const std::string& cluster);
  void protocol_seen(std::size_t upstream, bool http2);
  void published(std::size_t upstream, const link::UpstreamSnapshotPtr& snapshot);
  void listed(std::size_t service, const teleport::Inventory& inventory, bool bound);
  void look_at(std::size_t service);
  bool usable(std::size_t service) const;
  bool write_kubeconfig(std::size_t service);
  std::string server_url(std::size_t service, const std::string& cluster) const;
  void retry_kubeconfigs();
  void give_memory_back_later();
  void renew_certificate_later();
  void await_signal();
  void drain();
  void drain_workers();
  void finish(int exit_code);

  Config config_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer certificate_timer_;
  boost::asio::steady_timer kubeconfig_timer_;
  boost::asio::steady_timer drain_timer_;
  boost::asio::steady_timer memory_timer_;
  boost::asio::steady_timer oneshot_timer_;
  tls::LocalTrust trust_;
  tls::LeafPem client_leaf_;                                 // for local_auth: mtls
  std::chrono::system_clock::time_point certificate_end_{};  // of the local server certificate
  std::vector<Endpoint> endpoints_;
  std::vector<std::unique_ptr<relay::Worker>> workers_;
  std::unique_ptr<teleport::Discovery> discovery_;
  std::unique_ptr<teleport::Bot> bot_;  // null: all services have credentials of tbot's
  std::vector<ServiceState> services_;
  std::vector<UpstreamState> upstreams_;
  mutable MeterSlots meters_;  // a slot is given when it is asked for
  std::unique_ptr<Observability> observability_;
  std::size_t undrained_workers_ = 0;
  std::function<void()> on_ready_;
  bool draining_ = false;
  bool all_ready_ = false;
  int exit_code_ = 0;
};

}  // namespace kubelane
