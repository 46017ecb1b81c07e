// A data thread: one event loop and everything that its connections share. No locks: other threads
// reach it through post() alone.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "config/config.hpp"
#include "proxy/http/head.hpp"
#include "proxy/link/h2_link.hpp"
#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/observe/meters.hpp"
#include "proxy/relay/h2_upstream.hpp"
#include "proxy/relay/listener.hpp"
#include "proxy/relay/probe.hpp"
#include "proxy/relay/settings.hpp"
#include "proxy/relay/upstream_pool.hpp"
#include "proxy/runtime/acceptor.hpp"
#include "proxy/runtime/buffer.hpp"
#include "proxy/runtime/event_loop.hpp"
#include "proxy/runtime/loop_watch.hpp"
#include "tls/write_batch.hpp"

namespace kubelane::relay {

class LocalConnection;

// What a worker tells the control plane. Called on the worker's thread; must only post.
struct WorkerReports {
  std::function<void(std::size_t upstream)> connect_failed;       // look the address up again
  std::function<void(std::size_t upstream)> certificate_refused;  // look for newer credentials
  // The Proxy chose, or did not choose, HTTP/2 that we offered: tell the other workers.
  std::function<void(std::size_t upstream, bool http2)> protocol_seen;
};

// Owns: its thread, loop, buffers, pools and, through their coroutines, its connections.
class Worker {
 public:
  // `group`: all workers, complete before the first accept_from(); this one among them.
  // `scout`: finds out which protocol the Proxy speaks as soon as there are credentials.
  Worker(const Config& config, WorkerReports reports,
         const std::vector<std::unique_ptr<Worker>>& group, bool scout);
  ~Worker();

  // From the control thread.
  void start();
  void set_listener(std::size_t index, ListenerPtr listener);
  // `upstream`: a way to clusters, one per service and more where each cluster has its own.
  void adopt(std::size_t upstream, link::UpstreamSnapshotPtr snapshot);
  void protocol_seen(std::size_t upstream, bool http2);
  // Nobody goes that way any more: what runs on it finishes. adopt() opens it again.
  void retire(std::size_t upstream);
  // Other limits and timeouts, for what begins from now on. The rest stays as it was at the start.
  void change_settings(const Config& config);
  // Accepts that listener's connections, for the whole group. For one of the workers.
  void accept_from(tls::UniqueFd socket, std::size_t listener);
  // What the kernel has accepted already is taken; unless somebody else accepts from that socket.
  void stop_accepting_from(std::size_t listener, bool handed_over);
  // No new connections; those that the kernel has accepted are still placed. `then` runs on the
  // worker's thread, after which nothing is handed to another worker any more.
  void stop_accepting(std::function<void()> then);
  // Finish what is running: no new requests, watches end at event boundaries. `then` runs on the
  // worker's thread when the last connection is gone.
  void drain(std::function<void()> then);
  // Tunnels and whatever is left end now: properly where possible.
  void end_all();
  void stop_and_join();
  // What it has counted. `then` runs on the worker's thread and must only post, as in the two
  // below.
  void report(bool with_connections, std::function<void(observe::WorkerReport)> then);
  // Answers as soon as the loop comes round.
  void heartbeat(std::function<void()> then);
  // One request to that cluster, with the credentials of now.
  void probe(Route route, std::function<void(ProbeResult)> then);
  // Connections given to it and not yet gone. This and the next two are all that threads share
  // (relaxed).
  std::size_t connections() const noexcept {
    return connection_count_.load(std::memory_order_relaxed);
  }
  // Requests whose head has come, over both protocols, and those of them that are not over.
  std::uint64_t requests_begun() const noexcept {
    return requests_begun_.load(std::memory_order_relaxed);
  }
  std::uint64_t requests_running() const noexcept {
    return requests_running_.load(std::memory_order_relaxed);
  }

 private:
  friend class H2Exchange;
  friend class H2Upstream;
  friend class LocalConnection;
  friend class LocalHttp1;
  friend class LocalHttp2;
  friend class UpstreamLink;
  friend class Exchange;
  friend class Probe;
  friend class Tunnel;
  enum class Phase : std::uint8_t { serving, draining, ending };
  // A request, from its head to its end. Only the worker's thread writes.
  class Running {
   public:
    explicit Running(Worker& worker) noexcept : worker_(worker) {
      worker.requests_begun_.store(worker.requests_begun() + 1, std::memory_order_relaxed);
      worker.requests_running_.store(worker.requests_running() + 1, std::memory_order_relaxed);
    }
    ~Running() {
      worker_.requests_running_.store(worker_.requests_running() - 1, std::memory_order_relaxed);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    Worker& worker_;
  };

  void add_upstreams(std::size_t count);
  void place(tls::UniqueFd fd, std::size_t listener);
  void connection_gone(LocalConnection& connection);
  // Tells who waits for the drain once connections are gone, the local ones first.
  void look_at_drain();
  // Connections of this listener are to end once they have finished what they do.
  bool leaving(std::size_t listener) const noexcept {
    return phase_ != Phase::serving || listeners_[listener]->closing;
  }
  // HTTP/2 streams on this listener have a way upstream, as far as is known.
  bool offers_http2(const Listener& listener) const;
  // Some cluster of this listener is known to have none: its clients must come back with HTTP/1.1.
  bool lost_http2(const Listener& listener) const;
  void wake_all();
  void own_meters(const Listener& listener);
  observe::RouteMeter& route_meter(const Route& route) noexcept {
    return *route_meters_[route.meter];
  }
  observe::WorkerReport make_report(bool with_connections) const;
  // In a drain: when the next watch that asks should end (watch_turns.hpp).
  runtime::Clock::time_point turn_to_end_watch() noexcept;

  const std::string name_;  // of its thread, for those who look at the process
  Settings config_;
  WorkerReports reports_;
  const std::vector<std::unique_ptr<Worker>>& group_;
  runtime::EventLoop loop_;
  tls::WriteBatch batch_;
  runtime::BufferPool buffers_;
  std::vector<ListenerPtr> listeners_;
  struct Accepting {
    std::size_t listener;
    std::unique_ptr<runtime::Acceptor> acceptor;
  };
  std::vector<Accepting> acceptors_;
  std::vector<std::unique_ptr<UpstreamPool>> upstreams_;   // by upstream
  std::vector<std::unique_ptr<H2Upstream>> h2_upstreams_;  // the same
  std::vector<LocalConnection*> local_connections_;        // each knows its index
  std::vector<Probe*> probes_;
  observe::WorkerMeter meter_;
  std::vector<std::unique_ptr<observe::RouteMeter>> route_meters_;  // by Route::meter
  std::function<void()> drained_;
  std::minstd_rand random_;
  const bool scout_;
  Phase phase_ = Phase::serving;
  runtime::Clock::time_point drain_began_{};
  std::size_t watch_turns_ = 0;  // given in this drain
  std::atomic<std::size_t> connection_count_{0};
  std::atomic<std::uint64_t> requests_begun_{0};
  std::atomic<std::uint64_t> requests_running_{0};

  // Scratch of one turn: never valid across a suspension.
  http::RequestHead request_head_;
  http::ResponseHead response_head_;
  std::array<char, 96UL * 1024> head_bytes_;
  link::H2Scratch h2_scratch_;
  std::vector<http::Field> h2_fields_;

  std::thread thread_;
};

// Of each: what asks it to call a function on its thread. They must outlive it.
std::vector<runtime::LoopWatch::Beat> heartbeats(
    const std::vector<std::unique_ptr<Worker>>& workers);

}  // namespace kubelane::relay
