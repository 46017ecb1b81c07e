#include "proxy/observability.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "proxy/admin/config_page.hpp"
#include "proxy/metrics_page.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/observe/utc.hpp"

namespace kubelane {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds heartbeat_interval{1};
constexpr unsigned most_missed_heartbeats = 10;

json::object certificate(const char* kind, std::chrono::system_clock::time_point end) {
  return {{"kind", kind}, {"not_after", utc(end)}};
}

json::object connection_object(std::size_t worker, const observe::ConnectionState& state) {
  return {{"worker", worker},       {"listener", state.listener},
          {"peer", state.peer},     {"protocol", state.protocol},
          {"tls", state.tls},       {"age_seconds", state.age.count()},
          {"active", state.active}, {"requests", state.requests}};
}

}  // namespace

Observability::Observability(boost::asio::io_context& io, const Config& config,
                             const std::vector<std::unique_ptr<relay::Worker>>& workers,
                             Parts parts)
    : io_(io), config_(config), workers_(workers), parts_(std::move(parts)) {}

Observability::~Observability() = default;

Outcome<void> Observability::bind() {
  if (config_.diag_addr) {
    Outcome<admin::ControlSocket> socket =
        admin::open_control_socket(*config_.diag_addr, "diag_addr");
    if (!socket) return socket.error();
    diagnostics_socket_ = std::move(*socket);
  }
  if (config_.admin_addr) {
    Outcome<admin::ControlSocket> socket =
        admin::open_control_socket(*config_.admin_addr, "admin_addr");
    if (!socket) return socket.error();
    admin_socket_ = std::move(*socket);
  }
  return {};
}

void Observability::start() {
  if (!diagnostics_socket_ && !admin_socket_) return;
  reports_ = std::make_unique<ReportRound>(io_, workers_);
  if (diagnostics_socket_) start_diagnostics();
  if (admin_socket_) start_admin();
}

void Observability::start_diagnostics() {
  readiness_ = std::make_unique<ReadinessCheck>(io_, workers_, *reports_, parts_.view);
  loop_watch_ =
      std::make_unique<runtime::LoopWatch>(io_, heartbeat_interval, relay::heartbeats(workers_));
  admin::DiagnosticsRoutes::Sources sources;
  sources.not_started = [this] { return not_started(); };
  sources.stuck = [this] { return stuck(); };
  sources.health = [this](ReadinessCheck::Then then) { readiness_->check(std::move(then)); };
  sources.metrics = [this](std::function<void(std::string)> then) { metrics(std::move(then)); };
  diagnostics_routes_ = std::make_unique<admin::DiagnosticsRoutes>(io_, std::move(sources));
  diagnostics_server_ = std::make_unique<admin::HttpServer>(
      io_, std::move(*diagnostics_socket_),
      [this](const admin::Request& request, const admin::Reply& reply) {
        diagnostics_routes_->handle(request, reply);
      });
  log::info("diagnostics", {{"address", diagnostics_server_->address()}});
}

void Observability::start_admin() {
  admin::AdminRoutes::Sources sources;
  sources.config = [this] { return admin::config_page(config_); };
  sources.certificates = [this] { return certificates(); };
  sources.connections = [this](std::function<void(std::string)> then) {
    connections(std::move(then));
  };
  sources.quit = parts_.quit;
  admin_routes_ = std::make_unique<admin::AdminRoutes>(std::move(sources));
  admin_server_ = std::make_unique<admin::HttpServer>(
      io_, std::move(*admin_socket_),
      [this](const admin::Request& request, const admin::Reply& reply) {
        admin_routes_->handle(request, reply);
      });
  log::info("administration", {{"address", admin_server_->address()}});
}

// What the containers that wait for this one need: every kubeconfig.
std::string Observability::not_started() {
  if (started_) return {};
  std::string missing;
  for (const ServiceView& service : parts_.view().services)
    if (!service.kubeconfig_written) missing += (missing.empty() ? "" : ", ") + service.name;
  started_ = missing.empty();
  return started_ ? missing : "no kubeconfig yet: " + missing + "; see /readyz for the reason";
}

// Which event loop has not come round for 10 s; empty: all are well.
std::string Observability::stuck() const {
  const std::string which = loop_watch_->stuck(most_missed_heartbeats);
  return which.empty() ? which : "the event loop of worker " + which + " does not come round";
}

void Observability::metrics(std::function<void(std::string)> then) {
  reports_->ask(false, [this, then = std::move(then)](const auto& reports) {
    const ControlView view = parts_.view();
    const admin::Health health = readiness_->known(view, reports);
    const MetricsInput input{view,
                             reports,
                             health,
                             readiness_->clock_ahead(),
                             readiness_->probes_answered(),
                             readiness_->probes_failed()};
    then(metrics_page(input));
  });
}

std::string Observability::certificates() const {
  const ControlView view = parts_.view();
  json::array list;
  for (const UpstreamView& upstream : view.upstreams) {
    if (!upstream.identity) continue;
    json::object each = certificate("upstream", upstream.identity->not_after);
    each["not_before"] = utc(upstream.identity->not_before);
    each["service"] = view.services[*upstream.service].name;
    if (!upstream.cluster.empty()) each["cluster"] = upstream.cluster;
    each["user"] = upstream.identity->user;
    each["teleport_cluster"] = upstream.identity->teleport_cluster;
    each["serial"] = upstream.identity->serial;
    list.push_back(std::move(each));
  }
  if (view.bot && view.bot->not_after) {
    json::object each = certificate("bot", *view.bot->not_after);
    each["user"] = view.bot->user;
    each["serial"] = view.bot->serial;
    list.push_back(std::move(each));
  }
  list.push_back(certificate("local", view.local_certificate_end));
  return json::serialize(list) + "\n";
}

void Observability::connections(std::function<void(std::string)> then) {
  reports_->ask(true, [then = std::move(then)](const auto& reports) {
    json::array list;
    for (std::size_t i = 0; i < reports.size(); ++i)
      for (const observe::ConnectionState& state : reports[i].connections)
        list.push_back(connection_object(i, state));
    then(json::serialize(list) + "\n");
  });
}

}  // namespace kubelane
