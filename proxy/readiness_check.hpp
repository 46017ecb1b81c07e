// Whether each cluster serves us: by what traffic has shown within the last 30 s; where it has
// shown nothing, or the latest that it has shown is a failure, by one request of our own, at most
// every 30 s per cluster. Only a request that could not even be sent is tried again sooner.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/admin/health.hpp"
#include "proxy/control_view.hpp"
#include "proxy/observe/meters.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/report_round.hpp"

namespace kubelane {

// Thread: control. Everything given must outlive it.
class ReadinessCheck {
 public:
  using View = std::function<ControlView()>;
  using Then = std::function<void(const admin::Health&)>;

  ReadinessCheck(boost::asio::io_context& io,
                 const std::vector<std::unique_ptr<relay::Worker>>& workers, ReportRound& reports,
                 View view);
  ReadinessCheck(const ReadinessCheck&) = delete;
  ReadinessCheck& operator=(const ReadinessCheck&) = delete;

  // Asks the clusters that are due and waits for their answers, but not beyond 12 s.
  void check(Then then);
  // What is known now, by these reports. Asks the clusters that are due without waiting.
  admin::Health known(const ControlView& view, const std::vector<observe::WorkerReport>& reports);

  // By the dates of answers: how far other clocks are ahead of ours; nothing: none has come.
  std::optional<std::chrono::seconds> clock_ahead() const noexcept { return clock_ahead_; }
  std::uint64_t probes_answered() const noexcept { return probes_answered_; }
  std::uint64_t probes_failed() const noexcept { return probes_failed_; }

 private:
  using Clock = observe::Clock;
  using Key = std::pair<std::size_t, std::string>;  // service, cluster
  // What traffic has shown, on all workers.
  struct Evidence {
    Clock::time_point answered{};
    Clock::time_point failed{};
    Error failure{};
  };
  // What our own latest request has shown.
  struct Probed {
    Clock::time_point at{};  // zero: none yet
    bool running = false;
    bool sent = false;
    std::uint64_t generation = 0;  // of the snapshot then
    admin::Cause cause = admin::Cause::none;
    std::string reason;
  };
  struct Waiting {
    Clock::time_point until;
    Then then;
  };

  static Evidence evidence_of(const relay::Route& route,
                              const std::vector<observe::WorkerReport>& reports);
  bool due(const UpstreamView& upstream, const Evidence& evidence, const Probed& probed) const;
  void probe_due(const ControlView& view, const std::vector<observe::WorkerReport>& reports);
  void start_probes();
  void probed(const relay::Route& route, relay::ProbeResult result);
  void settle(const relay::Route& route, const UpstreamView& upstream,
              const relay::ProbeResult& result);
  void look_at_waiting();
  void forget_gone(const ControlView& view);

  admin::Health judge(const ControlView& view,
                      const std::vector<observe::WorkerReport>& reports) const;
  admin::ServiceHealth judge_service(const ControlView& view, const ServiceView& service,
                                     const std::vector<observe::WorkerReport>& reports) const;
  admin::ClusterHealth judge_cluster(const ControlView& view, const ServiceView& service,
                                     const relay::Route& route, const Evidence& evidence) const;

  boost::asio::io_context& io_;
  const std::vector<std::unique_ptr<relay::Worker>>& workers_;
  ReportRound& reports_;
  View view_;
  boost::asio::steady_timer timer_;
  std::map<Key, Probed> probed_;
  std::deque<relay::Route> queue_;
  std::size_t running_ = 0;
  std::vector<Waiting> waiting_;
  std::optional<std::chrono::seconds> clock_ahead_;
  std::uint64_t probes_answered_ = 0;
  std::uint64_t probes_failed_ = 0;
};

}  // namespace kubelane
