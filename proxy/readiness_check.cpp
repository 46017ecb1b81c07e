#include "proxy/readiness_check.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>

#include "proxy/observe/utc.hpp"
#include "proxy/relay/upstream_error.hpp"

namespace kubelane {
namespace {

using admin::Cause;
using admin::ClusterHealth;
using admin::Health;
using admin::ServiceHealth;
using admin::Status;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr seconds proof_lasts{30};
constexpr seconds probe_pause{30};
constexpr seconds dial_pause{5};  // after a probe of which nothing was sent
constexpr seconds patience{12};   // connecting, handshake and answer have limits of their own below
constexpr std::size_t most_probes = 8;  // at once

std::string quoted(const std::string& cluster) { return "Kubernetes cluster \"" + cluster + "\""; }

std::string answer_reason(const relay::Route& route, Cause cause, int status,
                          const std::string& message) {
  std::string text = quoted(route.cluster);
  text += cause == Cause::denied ? " refuses kubelane's credentials" : " does not serve requests";
  text += ": HTTP status " + std::to_string(status);
  if (!message.empty()) text += ", \"" + message + "\"";
  return text +
         (cause == Cause::denied
              ? "; check the bot's roles in Teleport and the cluster's RBAC"
              : "; check that Teleport's agent in the cluster is up (`tctl get kube_server`)");
}

// Teleport refuses the bot, and will until somebody changes something.
bool is_refusal(teleport::AuthError::Kind kind) noexcept {
  using Kind = teleport::AuthError::Kind;
  return kind == Kind::denied || kind == Kind::not_found || kind == Kind::locked ||
         kind == Kind::generation_mismatch;
}

Cause bot_cause(const teleport::BotCondition& bot) noexcept {
  using Kind = teleport::AuthError::Kind;
  if (is_refusal(bot.kind)) return Cause::denied;
  if (bot.kind == Kind::unreachable || bot.kind == Kind::untrusted) return Cause::no_route;
  return bot.failing ? Cause::no_credentials : Cause::starting;
}

}  // namespace

ReadinessCheck::ReadinessCheck(boost::asio::io_context& io,
                               const std::vector<std::unique_ptr<relay::Worker>>& workers,
                               ReportRound& reports, View view)
    : io_(io), workers_(workers), reports_(reports), view_(std::move(view)), timer_(io) {}

// ---------------------------------------------------------------- asking

void ReadinessCheck::check(Then then) {
  reports_.ask(false, [this, then = std::move(then)](const auto& reports) mutable {
    probe_due(view_(), reports);
    waiting_.push_back({Clock::now() + patience, std::move(then)});
    look_at_waiting();
  });
}

Health ReadinessCheck::known(const ControlView& view,
                             const std::vector<observe::WorkerReport>& reports) {
  probe_due(view, reports);
  return judge(view, reports);
}

ReadinessCheck::Evidence ReadinessCheck::evidence_of(
    const relay::Route& route, const std::vector<observe::WorkerReport>& reports) {
  Evidence evidence;
  for (const observe::WorkerReport& report : reports) {
    if (report.routes.size() <= route.meter) continue;
    const observe::RouteMeter& meter = report.routes[route.meter];
    if (meter.owner != route.meter_owner) continue;
    evidence.answered = std::max(evidence.answered, meter.answered);
    if (meter.failed <= evidence.failed) continue;
    evidence.failed = meter.failed;
    evidence.failure = meter.failure;
  }
  return evidence;
}

bool ReadinessCheck::due(const UpstreamView& upstream, const Evidence& evidence,
                         const Probed& probed) const {
  if (!upstream.newest || upstream.newest->trouble != link::Trouble::none) return false;
  const Clock::time_point now = Clock::now();
  if (evidence.answered != Clock::time_point{} && evidence.answered >= evidence.failed &&
      now - evidence.answered < proof_lasts)
    return false;
  if (probed.running) return false;
  if (probed.at == Clock::time_point{}) return true;
  const bool failed = probed.cause != Cause::none;
  // Other credentials or another address than those that failed.
  if (failed && probed.generation != upstream.newest->generation) return true;
  return now - probed.at >= (failed && !probed.sent ? dial_pause : probe_pause);
}

void ReadinessCheck::probe_due(const ControlView& view,
                               const std::vector<observe::WorkerReport>& reports) {
  if (view.draining) return;
  forget_gone(view);
  for (const ServiceView& service : view.services) {
    for (const relay::Route& route : service.routes) {
      Probed& probed = probed_[{route.service, route.cluster}];
      const UpstreamView& upstream = view.upstreams[route.upstream];
      if (!due(upstream, evidence_of(route, reports), probed)) continue;
      probed.running = true;
      probed.generation = upstream.newest->generation;
      queue_.push_back(route);
    }
  }
  start_probes();
}

void ReadinessCheck::forget_gone(const ControlView& view) {
  std::erase_if(probed_, [&view](const auto& entry) {
    const auto service =
        std::find_if(view.services.begin(), view.services.end(),
                     [&](const ServiceView& each) { return each.number == entry.first.first; });
    if (service == view.services.end()) return !entry.second.running;
    const std::vector<relay::Route>& routes = service->routes;
    return !entry.second.running &&
           std::none_of(routes.begin(), routes.end(), [&entry](const relay::Route& route) {
             return route.cluster == entry.first.second;
           });
  });
}

void ReadinessCheck::start_probes() {
  while (!queue_.empty() && running_ < most_probes) {
    const relay::Route route = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    // The first worker keeps the warmest connections.
    workers_.front()->probe(route, [this, route](relay::ProbeResult result) {
      boost::asio::post(io_, [this, route, result = std::move(result)]() mutable {
        probed(route, std::move(result));
      });
    });
  }
}

void ReadinessCheck::probed(const relay::Route& route, relay::ProbeResult result) {
  --running_;
  if (result.clock_ahead) clock_ahead_ = result.clock_ahead;
  ++(result.status != 0 ? probes_answered_ : probes_failed_);
  const ControlView view = view_();
  const UpstreamView unknown;
  const bool known = route.upstream < view.upstreams.size();
  const UpstreamView& upstream = known ? view.upstreams[route.upstream] : unknown;
  settle(route, upstream, result);
  // What could not even be sent fails for all clusters of the same way alike.
  if (result.status == 0 && !result.sent) {
    for (auto next = queue_.begin(); next != queue_.end();) {
      if (next->upstream != route.upstream) {
        ++next;
        continue;
      }
      settle(*next, upstream, result);
      next = queue_.erase(next);
    }
  }
  start_probes();
  look_at_waiting();
}

void ReadinessCheck::settle(const relay::Route& route, const UpstreamView& upstream,
                            const relay::ProbeResult& result) {
  Probed& probed = probed_[{route.service, route.cluster}];
  probed.running = false;
  probed.at = Clock::now();
  probed.sent = result.sent;
  probed.reason.clear();
  if (result.status != 0) {
    const std::string message = result.status < 400 ? "" : admin::message_of(result.body);
    probed.cause = admin::cause_of_answer(result.status, message);
    if (probed.cause != Cause::none)
      probed.reason = answer_reason(route, probed.cause, result.status, message);
    return;
  }
  const bool valid = upstream.identity && upstream.identity->not_after > system_clock::now();
  probed.cause = admin::cause_of(result.error, valid);
  probed.reason = upstream.newest ? relay::describe(result.error, route.cluster, *upstream.newest)
                                  : quoted(route.cluster) + " cannot be reached";
  if (probed.cause == Cause::clock_skew)
    probed.reason += "; this machine's clock and the Proxy's do not agree: check both";
}

// Who waits gets an answer when no probe is under way any more, or in time.
void ReadinessCheck::look_at_waiting() {
  if (waiting_.empty()) return;
  const Clock::time_point now = Clock::now();
  const bool settled = running_ == 0 && queue_.empty();
  const auto end =
      std::stable_partition(waiting_.begin(), waiting_.end(),
                            [&](const Waiting& each) { return !settled && each.until > now; });
  std::vector<Waiting> ripe(std::make_move_iterator(end), std::make_move_iterator(waiting_.end()));
  waiting_.erase(end, waiting_.end());
  if (!waiting_.empty()) {
    timer_.expires_at(waiting_.front().until);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) look_at_waiting();
    });
  }
  if (ripe.empty()) return;
  reports_.ask(false, [this, ripe = std::move(ripe)](const auto& reports) {
    const Health health = judge(view_(), reports);
    for (const Waiting& each : ripe) each.then(health);
  });
}

// ---------------------------------------------------------------- judging

Health ReadinessCheck::judge(const ControlView& view,
                             const std::vector<observe::WorkerReport>& reports) const {
  Health health;
  for (const ServiceView& service : view.services)
    health.services.push_back(judge_service(view, service, reports));
  admin::sum_up(health);
  if (view.draining) {
    health.status = Status::unhealthy;
    health.cause = Cause::draining;
    health.reason = "kubelane is shutting down";
  }
  if (!view.bot) return health;
  const teleport::BotCondition& bot = *view.bot;
  ServiceHealth identity;
  identity.name = "identity";  // tbot's
  if (!bot.failing) {
    identity.status = bot.not_after ? Status::healthy : Status::initializing;
    identity.cause = bot.not_after ? Cause::none : Cause::starting;
  } else {
    identity.status = Status::unhealthy;
    identity.cause = bot_cause(bot);
    identity.reason = (bot.stopped ? "renewing has stopped: " : "renewing fails: ") + bot.problem;
  }
  if (health.find(identity.name) == nullptr) health.internal.push_back(std::move(identity));
  return health;
}

ServiceHealth ReadinessCheck::judge_service(
    const ControlView& view, const ServiceView& service,
    const std::vector<observe::WorkerReport>& reports) const {
  std::vector<ClusterHealth> clusters;
  for (const relay::Route& route : service.routes)
    clusters.push_back(judge_cluster(view, service, route, evidence_of(route, reports)));
  for (const auto& [cluster, why] : service.absent)
    clusters.push_back({cluster, Status::unhealthy, Cause::not_listed, why, std::nullopt});
  std::string nothing = "kubelane does not know yet which clusters Teleport lists for its bot";
  if (service.listed) nothing = "Teleport lists no cluster that the selectors fit";
  if (!service.listed && view.bot && view.bot->failing) nothing = view.bot->problem;
  ServiceHealth health = admin::sum_up(service.name, std::move(clusters), nothing);
  if (health.clusters.empty() && !service.listed && view.bot) {
    health.cause = bot_cause(*view.bot);
    if (view.bot->failing) health.status = Status::unhealthy;
  } else if (health.clusters.empty()) {
    // Asked for by labels, and none has them now: there is nothing that could fail.
    health.status = Status::healthy;
    health.cause = Cause::none;
  }
  return health;
}

ClusterHealth ReadinessCheck::judge_cluster(const ControlView& view, const ServiceView& service,
                                            const relay::Route& route,
                                            const Evidence& evidence) const {
  ClusterHealth health;
  health.name = route.cluster;
  const UpstreamView& upstream = view.upstreams[route.upstream];
  const auto found = probed_.find({route.service, route.cluster});
  const Probed none;
  const Probed& probed = found == probed_.end() ? none : found->second;
  const bool probe_good = probed.at != Clock::time_point{} && probed.cause == Cause::none;
  const bool probe_bad = probed.at != Clock::time_point{} && probed.cause != Cause::none;
  const Clock::time_point good =
      std::max(evidence.answered, probe_good ? probed.at : Clock::time_point{});
  const Clock::time_point bad =
      std::max(evidence.failed, probe_bad ? probed.at : Clock::time_point{});
  const Clock::time_point now = Clock::now();
  if (good != Clock::time_point{})
    health.answered_ago = std::chrono::duration_cast<seconds>(now - good);

  if (!upstream.newest || upstream.newest->trouble != link::Trouble::none) {
    health.cause = upstream.newest ? admin::cause_of(upstream.newest->trouble) : Cause::starting;
    if (health.cause == Cause::no_credentials && service.by_bot && view.bot)
      health.cause = bot_cause(*view.bot);
    if (!upstream.newest || health.cause == Cause::starting) {
      health.status = Status::initializing;
      health.cause = Cause::starting;
    } else {
      health.status = Status::unhealthy;
    }
    health.reason = quoted(route.cluster) + ": " +
                    (upstream.newest ? upstream.newest->problem : "kubelane has just started");
    return health;
  }
  if (good == Clock::time_point{} && bad == Clock::time_point{}) {
    health.reason = quoted(route.cluster) + " has not answered yet";
    return health;
  }
  if (bad > good) {
    health.status = Status::unhealthy;
    if (probe_bad && probed.at >= evidence.failed) {
      health.cause = probed.cause;
      health.reason = probed.reason;
    } else {
      const bool valid = upstream.identity && upstream.identity->not_after > system_clock::now();
      health.cause = admin::cause_of(evidence.failure, valid);
      health.reason = relay::describe(evidence.failure, route.cluster, *upstream.newest);
    }
    return health;
  }
  if (probed.running && now - good > proof_lasts + patience) {
    health.status = Status::unhealthy;
    health.cause = Cause::no_route;
    health.reason = quoted(route.cluster) + " is being asked, and has not answered for " +
                    std::to_string(health.answered_ago->count()) + " s";
    return health;
  }
  health.status = Status::healthy;
  health.cause = Cause::none;
  if (!upstream.renewal_problem.empty() && upstream.identity)
    health.reason = "served, but the credentials are not renewed and end at " +
                    utc(upstream.identity->not_after) + ": " + upstream.renewal_problem;
  return health;
}

}  // namespace kubelane
