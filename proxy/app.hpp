// The composition root: builds, starts, reloads, drains and ends everything, in the order written
// in start(). Runs on the control thread; data threads are the workers. app.cpp: the life of the
// process; app_services.cpp: services, their ways upstream and kubeconfigs; app_secrets.cpp: what
// is kept in Secrets; app_view.cpp: what others may know; app_reload.cpp: another configuration.
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
#include "config/difference.hpp"
#include "config/load.hpp"
#include "config/result.hpp"
#include "proxy/control_view.hpp"
#include "proxy/drain.hpp"
#include "proxy/host/exit_triggers.hpp"
#include "proxy/host/sandbox.hpp"
#include "proxy/host/systemd.hpp"
#include "proxy/kubeconfig_secret.hpp"
#include "proxy/local_side.hpp"
#include "proxy/meter_slots.hpp"
#include "proxy/observability.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/runtime/loop_watch.hpp"
#include "proxy/teleport/api_server.hpp"
#include "proxy/teleport/bot.hpp"
#include "proxy/teleport/discovery.hpp"
#include "proxy/teleport/service_source.hpp"

namespace kubelane {

// Where the configuration comes from.
struct ConfigSource {
  std::string path;  // empty: there is no file
  // As it would be read now, for SIGHUP.
  std::function<LoadResult()> read;
};

// Owns: everything. One per process.
class App {
 public:
  App(Config config, ConfigSource source);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Called once, on the control thread, as soon as every service has been ready.
  void when_ready(std::function<void()> ready) { on_ready_ = std::move(ready); }

  // Serves until a signal or a trigger of ExitRules ends it. Returns the process's exit code: 0
  // drained; 1 could not start, was stopped before the drain ended, or had to cut what still ran
  // (unless ExitRules want 0).
  int run();

 private:
  // Services have numbers, by which the bot and upstreams know them; none is used twice.
  using ServiceNumber = std::size_t;
  // A service that ended leaves its number of an upstream to one that goes the same way: whoever
  // still holds it in a worker can come to no other cluster by it.
  struct UpstreamState {
    ServiceNumber service = 0;
    std::unique_ptr<teleport::ServiceSource> source;  // null: unused now
    std::string way;
    std::string cluster;        // that has it for itself; empty: the service's
    std::optional<bool> http2;  // what the Proxy chose last
  };
  // One service's state on the control side.
  struct ServiceState {
    Service configured;
    std::size_t endpoint = 0;
    std::vector<std::size_t> former_endpoints;  // which close
    std::size_t upstream = 0;                   // where its clusters share one identity
    std::vector<teleport::ServedCluster> clusters;
    std::map<std::string, std::string> absent;     // cluster -> why it is not served
    std::map<std::string, std::size_t> upstreams;  // of bound clusters
    bool listed = true;                            // the clusters are known, not only configured
    bool bound = false;                            // each cluster goes by an upstream of its own
    bool selection_changed = false;                // since the bot listed last
    bool ready = false;
    bool stale_kubeconfig = true;
    bool kubeconfig_written = false;           // at least once
    std::string teleport_cluster;              // of the credentials
    std::unique_ptr<KubeconfigSecret> secret;  // where the kubeconfig goes instead of a directory
  };

  // app.cpp
  Outcome<void> start();
  void start_workers();
  void start_sources();
  void open_endpoint(std::size_t endpoint);
  void enter_sandbox();
  void start_watchdog();
  void tell_status();
  void renew_certificate_later();
  void give_memory_back_later();
  void await_signal();
  void read_credentials(int signal);
  Outcome<void> start_exit_triggers();
  void drain(int signal);
  bool exit_zero() const;
  void finish(int exit_code);

  // app_services.cpp
  static bool holds(const std::vector<teleport::ServedCluster>& clusters, const std::string& name);
  static std::vector<teleport::ServedCluster> named_clusters(const Service& service);
  // What the credentials must be bound to, if they are bound to a cluster.
  static std::optional<std::string> only_cluster(const Service& service);
  ServiceNumber add_service(const Service& configured, std::size_t endpoint);
  Outcome<std::unique_ptr<teleport::Bot>> make_bot(const Config& config);
  void tell_bot();
  std::size_t add_source(ServiceNumber service, const std::string& cluster);
  void retire_upstream(std::size_t upstream);
  void publish_listeners();
  void add_routes(relay::Listener& listener, const Endpoint& endpoint, ServiceNumber service) const;
  void protocol_seen(std::size_t upstream, bool http2);
  void published(std::size_t upstream, const link::UpstreamSnapshotPtr& snapshot);
  void listed(ServiceNumber service, const teleport::Inventory& inventory, bool bound);
  void tell_changes(ServiceState& state, const teleport::Inventory& inventory);
  void bind_clusters(ServiceNumber service);
  void look_at(ServiceNumber service);
  void look_at_all();
  bool usable(const ServiceState& state) const;
  std::string kubeconfig_text(const ServiceState& state) const;
  bool write_kubeconfig(ServiceState& state);
  void retry_kubeconfigs();

  relay::Route route_to(ServiceNumber service, const std::string& cluster) const;

  // app_secrets.cpp
  Outcome<void> find_api_server(const Config& config);
  Outcome<void> open_secret(ServiceNumber service);
  static std::string kubeconfig_path(const ServiceState& state);
  void release_storage(std::function<void()> done);

  // app_view.cpp
  ControlView view() const;

  // app_reload.cpp
  void reload();
  Outcome<void> change_to(Config next);
  void change_services(const Config& next, const ConfigDifference& difference,
                       const std::vector<std::size_t>& endpoints);
  void change_service(ServiceState& state, const Service& next, std::size_t endpoint);
  void end_service(ServiceNumber service);
  void remember_removed(std::size_t endpoint, const std::string& cluster);
  void forget_removed(std::size_t endpoint, const std::string& cluster);

  Config config_;
  ConfigSource source_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer certificate_timer_;
  boost::asio::steady_timer kubeconfig_timer_;
  boost::asio::steady_timer memory_timer_;
  boost::asio::steady_timer oneshot_timer_;
  LocalSide local_side_;
  std::vector<std::unique_ptr<relay::Worker>> workers_;
  Drain drain_;
  host::Notifier notifier_;
  std::unique_ptr<runtime::LoopWatch> watchdog_;  // systemd's
  host::FileAccess granted_;                      // by the sandbox
  host::Sandbox sandbox_ = host::Sandbox::none;
  std::unique_ptr<host::ExitTriggers> exit_triggers_;
  std::unique_ptr<teleport::Discovery> discovery_;
  std::optional<teleport::ApiServer> api_server_;  // for Secrets
  std::unique_ptr<teleport::Bot> bot_;             // null: all services have credentials of tbot's
  std::vector<ServiceNumber> configured_;          // as config_.services
  std::map<ServiceNumber, ServiceState> services_;
  ServiceNumber next_service_ = 0;
  std::vector<UpstreamState> upstreams_;
  mutable MeterSlots meters_;  // a slot is given when it is asked for
  std::unique_ptr<Observability> observability_;
  // By endpoint: paths of clusters that were removed from the configuration, and what to say.
  std::map<std::size_t, std::map<std::string, std::string>> removed_;
  std::function<void()> on_ready_;
  bool all_ready_ = false;
  int exit_code_ = 0;
};

}  // namespace kubelane
