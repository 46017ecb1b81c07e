#include "proxy/relay/worker.hpp"

#include <algorithm>
#include <csignal>

#include "proxy/relay/local_connection.hpp"
#include "proxy/relay/watch_turns.hpp"

namespace kubelane::relay {
namespace {

constexpr std::size_t refusable_connections = 64;  // over the limit, to be told so

}  // namespace

Worker::Worker(const Config& config, WorkerReports reports,
               const std::vector<std::unique_ptr<Worker>>& group, bool scout)
    : name_("worker-" + std::to_string(group.size())),
      config_(config),
      reports_(std::move(reports)),
      group_(group),
      buffers_(config.limits.buffer_memory_bytes / std::max(1u, config.workers)),
      random_(std::random_device{}()),
      scout_(scout) {
  add_upstreams(config.services.size());
}

Worker::~Worker() = default;

void Worker::add_upstreams(std::size_t count) {
  for (std::size_t i = upstreams_.size(); i < count; ++i) {
    upstreams_.push_back(std::make_unique<UpstreamPool>(loop_, config_));
    h2_upstreams_.push_back(std::make_unique<H2Upstream>(*this, *upstreams_[i], i, scout_));
  }
}

void Worker::start() {
  thread_ = std::thread([this] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals belong to the control thread
    pthread_setname_np(pthread_self(), name_.c_str());
    loop_.run();
  });
}

void Worker::set_listener(std::size_t index, ListenerPtr listener) {
  loop_.post([this, index, listener = std::move(listener)]() mutable {
    for (const std::size_t upstream : listener->upstreams) add_upstreams(upstream + 1);
    own_meters(*listener);
    if (listeners_.size() <= index) listeners_.resize(index + 1);
    const bool closes = listener->closing && listeners_[index] && !listeners_[index]->closing;
    listeners_[index] = std::move(listener);
    if (closes) wake_all();
  });
}

void Worker::adopt(std::size_t upstream, link::UpstreamSnapshotPtr snapshot) {
  loop_.post([this, upstream, snapshot = std::move(snapshot)]() mutable {
    add_upstreams(upstream + 1);
    upstreams_[upstream]->adopt(std::move(snapshot));
    h2_upstreams_[upstream]->adopted();
  });
}

void Worker::retire(std::size_t upstream) {
  loop_.post([this, upstream] {
    auto nobody = std::make_shared<link::UpstreamSnapshot>();
    nobody->problem = "it was removed from kubelane's configuration";
    upstreams_[upstream]->adopt(std::move(nobody));
    h2_upstreams_[upstream]->retire();
  });
}

void Worker::change_settings(const Config& config) {
  loop_.post([this, settings = Settings(config)] {
    config_.limits = settings.limits;
    config_.timeouts = settings.timeouts;
    buffers_.set_limit(config_.limits.buffer_memory_bytes / std::max(1u, config_.workers));
  });
}

void Worker::protocol_seen(std::size_t upstream, bool http2) {
  loop_.post([this, upstream, http2] { h2_upstreams_[upstream]->learn(http2); });
}

bool Worker::offers_http2(const Listener& listener) const {
  if (phase_ != Phase::serving) return false;
  bool any = false;
  for (const std::size_t index : listener.upstreams) {
    const H2Upstream& upstream = *h2_upstreams_[index];
    if (upstream.offers() == H2Upstream::Offers::http1) return false;
    any = any || upstream.offers() == H2Upstream::Offers::http2;
  }
  return any;
}

bool Worker::lost_http2(const Listener& listener) const {
  for (const std::size_t upstream : listener.upstreams)
    if (h2_upstreams_[upstream]->offers() == H2Upstream::Offers::http1) return true;
  return false;
}

runtime::Clock::time_point Worker::turn_to_end_watch() noexcept {
  return drain_began_ + watch_turn(watch_turns_++, config_.timeouts.drain / 4);
}

void Worker::wake_all() {
  for (LocalConnection* connection : local_connections_) connection->wake();
}

void Worker::accept_from(tls::UniqueFd socket, std::size_t listener) {
  // std::function wants copyable captures: the descriptor is owned again on the other side.
  loop_.post([this, raw = socket.release(), listener] {
    acceptors_.push_back(
        {listener, std::make_unique<runtime::Acceptor>(
                       loop_, tls::UniqueFd(raw),
                       [this, listener](tls::UniqueFd fd) { place(std::move(fd), listener); })});
  });
}

void Worker::stop_accepting_from(std::size_t listener, bool handed_over) {
  loop_.post([this, listener, handed_over] {
    std::erase_if(acceptors_, [listener, handed_over](const Accepting& each) {
      if (each.listener != listener) return false;
      if (!handed_over) each.acceptor->close();
      return true;
    });
  });
}

void Worker::stop_accepting(std::function<void()> then) {
  loop_.post([this, then = std::move(then)] {
    for (const Accepting& each : acceptors_) each.acceptor->close();
    then();
  });
}

// The worker with the fewest connections gets it, the first of several: it has the warm upstream
// connections, and it is mostly this one, which costs no hand-over.
void Worker::place(tls::UniqueFd fd, std::size_t listener) {
  Worker* chosen = group_.front().get();
  std::size_t total = 1;
  for (const auto& worker : group_) {
    const std::size_t count = worker->connections();
    total += count;
    if (count < chosen->connections()) chosen = worker.get();
  }
  const std::size_t limit = config_.limits.max_connections;
  if (total > limit + refusable_connections) return;
  const bool refuse = total > limit;
  chosen->connection_count_.fetch_add(1, std::memory_order_relaxed);
  if (chosen == this) {
    LocalConnection::serve(*this, std::move(fd), listener, refuse);
    return;
  }
  chosen->loop_.post([chosen, raw = fd.release(), listener, refuse] {
    LocalConnection::serve(*chosen, tls::UniqueFd(raw), listener, refuse);
  });
}

void Worker::drain(std::function<void()> then) {
  loop_.post([this, then = std::move(then)]() mutable {
    phase_ = Phase::draining;
    drain_began_ = loop_.now();
    drained_ = std::move(then);
    wake_all();
    look_at_drain();
  });
}

void Worker::end_all() {
  loop_.post([this] {
    phase_ = Phase::ending;
    wake_all();
  });
}

void Worker::stop_and_join() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
  // Who still waits (for a silent Proxy, for a client that does not read) waits no longer.
  drained_ = nullptr;
  while (!probes_.empty()) probes_.back()->frame_.destroy();
  while (!local_connections_.empty()) local_connections_.back()->frame_.destroy();
  for (const auto& upstream : h2_upstreams_) upstream->abandon();
}

void Worker::connection_gone(LocalConnection& connection) {
  LocalConnection* const last = local_connections_.back();
  local_connections_[connection.index_in_worker_] = last;
  last->index_in_worker_ = connection.index_in_worker_;
  local_connections_.pop_back();
  connection_count_.fetch_sub(1, std::memory_order_relaxed);
  look_at_drain();
}

void Worker::look_at_drain() {
  if (!drained_ || connections() != 0) return;
  bool links = false;
  for (const auto& upstream : h2_upstreams_) links = upstream->end_links() || links;
  if (!links) std::exchange(drained_, nullptr)();
}

}  // namespace kubelane::relay
