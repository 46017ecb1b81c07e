// What a worker tells about itself when it is asked.
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/relay/local_connection.hpp"
#include "proxy/relay/probe.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane::relay {
namespace {

constexpr std::size_t most_connections = 1000;  // in one report

std::string peer_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (storage.ss_family != AF_INET6) return {};
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
}

}  // namespace

observe::ConnectionState LocalConnection::state(runtime::Clock::time_point now) const {
  observe::ConnectionState state;
  state.listener = listener_->address;
  state.peer = peer_of(connection_.stream().socket().fd);
  state.protocol = !greeted_                         ? "handshake"
                   : connection_.stream().is_http2() ? "HTTP/2"
                                                     : "HTTP/1.1";
  state.tls = connection_.stream().is_tls();
  state.age = std::chrono::duration_cast<std::chrono::seconds>(now - since_);
  state.requests = requests_;
  state.active = active_;
  return state;
}

observe::WorkerReport Worker::make_report(bool with_connections) const {
  observe::WorkerReport report;
  report.meter = meter_;
  report.routes.reserve(route_meters_.size());
  for (const auto& route : route_meters_) report.routes.push_back(*route);
  for (std::size_t i = 0; i < upstreams_.size(); ++i) {
    observe::UpstreamState state;
    state.meter = upstreams_[i]->meter();
    state.idle = upstreams_[i]->idle();
    state.links = h2_upstreams_[i]->links();
    const std::size_t open = upstreams_[i]->connections();
    state.busy = open - std::min(open, state.idle + state.links);
    report.upstreams.push_back(state);
  }
  report.buffer_bytes = buffers_.lent_bytes();
  report.local_connections = local_connections_.size();
  if (!with_connections) return report;
  for (const LocalConnection* connection : local_connections_) {
    if (report.connections.size() >= most_connections) break;
    report.connections.push_back(connection->state(loop_.now()));
  }
  return report;
}

void Worker::report(bool with_connections, std::function<void(observe::WorkerReport)> then) {
  loop_.post(
      [this, with_connections, then = std::move(then)] { then(make_report(with_connections)); });
}

void Worker::heartbeat(std::function<void()> then) { loop_.post(std::move(then)); }

std::vector<runtime::LoopWatch::Beat> heartbeats(
    const std::vector<std::unique_ptr<Worker>>& workers) {
  std::vector<runtime::LoopWatch::Beat> beats;
  for (const auto& worker : workers)
    beats.emplace_back(
        [raw = worker.get()](std::function<void()> then) { raw->heartbeat(std::move(then)); });
  return beats;
}

void Worker::probe(Route route, std::function<void(ProbeResult)> then) {
  loop_.post([this, route = std::move(route), then = std::move(then)]() mutable {
    add_upstreams(route.upstream + 1);
    Probe::run(*this, std::move(route), std::move(then));
  });
}

// The meter of a cluster; a slot that another cluster had before begins anew.
void Worker::own_meters(const Listener& listener) {
  for (const Route& route : listener.routes) {
    while (route_meters_.size() <= route.meter)
      route_meters_.push_back(std::make_unique<observe::RouteMeter>());
    observe::RouteMeter& meter = *route_meters_[route.meter];
    if (meter.owner != route.meter_owner) meter = {};
    meter.owner = route.meter_owner;
  }
}

}  // namespace kubelane::relay
