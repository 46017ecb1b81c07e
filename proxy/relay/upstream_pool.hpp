// One service's way upstream in one worker: its newest snapshot, idle connections (newest first
// out) and TLS sessions. Nothing here is ever shared between identities.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/link/connect.hpp"
#include "proxy/observe/meters.hpp"
#include "proxy/relay/settings.hpp"
#include "proxy/runtime/event_loop.hpp"

namespace kubelane::relay {

// Owns: idle connections, sessions. Thread: its worker. Must outlive the leases it gave.
class UpstreamPool {
 public:
  UpstreamPool(runtime::EventLoop& loop, const Settings& config);
  ~UpstreamPool();

  // Takes a newer snapshot. Another identity or target: idle connections close now, sessions are
  // forgotten; connections in use finish their exchange and are not taken back.
  void adopt(link::UpstreamSnapshotPtr snapshot);

  const link::UpstreamSnapshotPtr& snapshot() const noexcept { return snapshot_; }
  // Empty when requests can be served; else why not, since when and what to do, for the 503.
  std::string problem(const std::string& cluster) const;
  // The same without a reason.
  bool usable_now() const noexcept;
  // Grows when the identity or the target changes: connections of an older one serve nobody new.
  std::uint64_t epoch() const noexcept { return epoch_; }
  // An idle connection that is alive, or null: then connect with what the functions below say.
  link::UpstreamConnectionPtr take();
  // After an exchange that left the connection clean.
  void give_back(link::UpstreamConnectionPtr connection);

  // A connection to dial may be opened: counts it until closed(). False: the limit is reached.
  bool reserve() noexcept;
  // A reserved or taken connection is gone for good.
  void closed() noexcept { --connections_; }

  // Counts how a dial ended.
  void dialled(const Result<link::UpstreamConnectionPtr>& outcome) noexcept;
  // After a failure: when to dial once more, for nothing of a request was sent. A Proxy that
  // restarts refuses connections for a moment: from the first failure on, requests wait for it as
  // long as `timeouts.connect`; when it is away for longer they are answered at once, until a dial
  // comes through. Nothing: the failure stands.
  std::optional<runtime::Clock::time_point> dial_again(const Error& failure) noexcept;
  // A request is sent once more.
  void again(observe::Again why) noexcept { ++meter_.again[static_cast<std::size_t>(why)]; }

  // Sessions for new connections; the object lives as long as this pool, its content is per
  // identity.
  const std::shared_ptr<tls::SessionCache>& sessions() noexcept { return sessions_; }
  // Which address to try first: the one that worked last.
  std::size_t first_address() const noexcept { return first_address_; }
  void address_failed() noexcept { ++first_address_; }

  std::size_t idle() const noexcept { return idle_.size(); }
  std::size_t connections() const noexcept { return connections_; }
  const observe::UpstreamMeter& meter() const noexcept { return meter_; }

 private:
  bool usable(link::UpstreamConnection& connection) const;
  void sweep();
  void close_idle();

  runtime::EventLoop& loop_;
  const Settings& config_;
  link::UpstreamSnapshotPtr snapshot_;
  std::shared_ptr<tls::SessionCache> sessions_;
  std::vector<link::UpstreamConnectionPtr> idle_;  // oldest first
  std::uint64_t epoch_ = 0;
  std::size_t connections_ = 0;  // busy, idle and being dialled
  std::size_t first_address_ = 0;
  runtime::Clock::time_point down_since_{};  // no dial has come through since; epoch: all is well
  observe::UpstreamMeter meter_;

  // Wakes when an idle connection has news (usually: the Proxy closed it) or is too old.
  struct Sweeper final : runtime::Runnable {
    explicit Sweeper(UpstreamPool& owner) noexcept : pool(owner) {}
    void run() noexcept override { pool.sweep(); }
    UpstreamPool& pool;
  };
  struct SweepTimer final : runtime::Deadline {
    explicit SweepTimer(UpstreamPool& owner) noexcept : pool(owner) {}
    void on_deadline() noexcept override { pool.sweep(); }
    UpstreamPool& pool;
  };
  Sweeper sweeper_;
  SweepTimer timer_;
};

}  // namespace kubelane::relay
