#include "proxy/relay/worker.hpp"

#include <algorithm>
#include <csignal>

#include "proxy/relay/local_http1.hpp"

namespace kubelane::relay {
namespace {

constexpr std::size_t refusable_connections = 64;  // over the limit, to be told so

}  // namespace

Worker::Worker(const Config& config, WorkerReports reports,
               const std::vector<std::unique_ptr<Worker>>& group)
    : config_(config),
      reports_(std::move(reports)),
      group_(group),
      buffers_(config.limits.buffer_memory_bytes / std::max(1u, config.workers)),
      random_(std::random_device{}()) {
  for (const Service& service : config.services)
    upstreams_.push_back(std::make_unique<UpstreamPool>(loop_, config, service));
}

Worker::~Worker() = default;

void Worker::start() {
  thread_ = std::thread([this] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals belong to the control thread
    loop_.run();
  });
}

void Worker::set_listener(std::size_t index, ListenerPtr listener) {
  loop_.post([this, index, listener = std::move(listener)]() mutable {
    if (listeners_.size() <= index) listeners_.resize(index + 1);
    listeners_[index] = std::move(listener);
  });
}

void Worker::adopt(std::size_t service, link::UpstreamSnapshotPtr snapshot) {
  loop_.post([this, service, snapshot = std::move(snapshot)]() mutable {
    upstreams_[service]->adopt(std::move(snapshot));
  });
}

void Worker::accept_from(tls::UniqueFd socket, std::size_t listener) {
  // std::function wants copyable captures: the descriptor is owned again on the other side.
  loop_.post([this, raw = socket.release(), listener] {
    acceptors_.push_back(std::make_unique<runtime::Acceptor>(
        loop_, tls::UniqueFd(raw),
        [this, listener](tls::UniqueFd fd) { place(std::move(fd), listener); }));
  });
}

// The worker with the fewest connections gets it, the first of several: it has the warm upstream
// connections, and it is mostly this one, which costs no hand-over.
void Worker::place(tls::UniqueFd fd, std::size_t listener) {
  Worker* chosen = group_.front().get();
  std::size_t total = 1;
  for (const auto& worker : group_) {
    total += worker->connections();
    if (worker->connections() < chosen->connections()) chosen = worker.get();
  }
  // Others may be through with their drain already.
  if (phase_ != Phase::serving) chosen = this;
  const std::size_t limit = config_.limits.max_connections;
  if (total > limit + refusable_connections) return;
  const bool refuse = total > limit;
  ++chosen->connection_count_;
  if (chosen == this) {
    LocalHttp1::serve(*this, std::move(fd), listener, refuse);
    return;
  }
  chosen->loop_.post([chosen, raw = fd.release(), listener, refuse] {
    LocalHttp1::serve(*chosen, tls::UniqueFd(raw), listener, refuse);
  });
}

void Worker::drain(std::function<void()> then) {
  loop_.post([this, then = std::move(then)]() mutable {
    phase_ = Phase::draining;
    for (const auto& acceptor : acceptors_) acceptor->close();
    drained_ = std::move(then);
    for (LocalHttp1* connection : local_connections_) connection->wake();
    if (connections() == 0) std::exchange(drained_, nullptr)();
  });
}

void Worker::end_all() {
  loop_.post([this] {
    phase_ = Phase::ending;
    for (LocalHttp1* connection : local_connections_) connection->wake();
  });
}

void Worker::stop_and_join() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

void Worker::connection_gone(LocalHttp1& connection) {
  LocalHttp1* const last = local_connections_.back();
  local_connections_[connection.index_in_worker_] = last;
  last->index_in_worker_ = connection.index_in_worker_;
  local_connections_.pop_back();
  --connection_count_;
  if (drained_ && connections() == 0) std::exchange(drained_, nullptr)();
}

}  // namespace kubelane::relay
