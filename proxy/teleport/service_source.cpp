#include "proxy/teleport/service_source.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "proxy/observe/log.hpp"
#include "proxy/observe/utc.hpp"
#include "tls/session_cache.hpp"

namespace kubelane::teleport {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr seconds dns_interval{30};
constexpr minutes expiry_warning{10};
// The Proxy judges a certificate's beginning by its own clock; ours may be behind.
constexpr minutes clock_skew{2};

bool same_addresses(const std::vector<link::SocketAddress>& left,
                    const std::vector<link::SocketAddress>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const link::SocketAddress& a, const link::SocketAddress& b) {
                      return a.length == b.length &&
                             std::memcmp(&a.storage, &b.storage, a.length) == 0;
                    });
}

bool same_target(const link::UpstreamTarget& left, const link::UpstreamTarget& right) {
  return left.host == right.host && left.port == right.port &&
         left.server_name == right.server_name && left.authority == right.authority &&
         left.teleport_cluster == right.teleport_cluster && left.path_routing == right.path_routing;
}

bool use_proxy_address() {
  const char* value = std::getenv("TBOT_USE_PROXY_ADDR");
  return value != nullptr && std::string_view(value) == "yes";
}

}  // namespace

ServiceSource::ServiceSource(boost::asio::io_context& io, std::string label,
                             std::optional<std::string> only_cluster,
                             std::unique_ptr<IdentityFeed> feed, Discovery& discovery,
                             Publish publish)
    : label_(std::move(label)),
      only_cluster_(std::move(only_cluster)),
      feed_(std::move(feed)),
      discovery_(discovery),
      publish_(std::move(publish)),
      resolver_(io),
      dns_timer_(io),
      expiry_timer_(io) {}

void ServiceSource::start() {
  listener_ = discovery_.on_change([this] { update(); });
  IdentityFeed::Callbacks callbacks;
  callbacks.on_identity = [this](tls::IdentityPtr identity, const std::string& kubeconfig) {
    adopt(std::move(identity), kubeconfig);
  };
  callbacks.on_problem = [this](std::string problem) {
    credential_problem_ = std::move(problem);
    if (identity_)
      log::warn("no newer credentials; the last good ones stay in use",
                {{"service", label_}, {"cause", credential_problem_}});
    update();
  };
  feed_->start(std::move(callbacks));
}

ServiceSource::~ServiceSource() {
  if (listener_ != 0) discovery_.forget(listener_);
}

void ServiceSource::reload() { feed_->reload(); }

void ServiceSource::rename(std::string label, std::optional<std::string> only_cluster) {
  label_ = std::move(label);
  if (only_cluster_ == only_cluster) return;
  only_cluster_ = std::move(only_cluster);
  update();
}

void ServiceSource::connect_failed() {
  discovery_.refresh();
  if (!resolving_ && !resolved_host_.empty()) resolve();
}

void ServiceSource::adopt(tls::IdentityPtr identity, const std::string& kubeconfig) {
  credential_problem_.clear();
  if (Outcome<link::UpstreamTarget> target = target_from_kubeconfig(kubeconfig))
    offline_target_ = std::move(*target);
  const bool fresh = !identity_ || identity_->fingerprint != identity->fingerprint;
  if (fresh) {
    tls::SessionCache::enable(identity->context.get());
    identity_ = std::move(identity);
    ++identities_;
    warned_expiry_ = false;
  }
  check_times();
  update();
  if (!fresh) return;
  // Said once the workers are told, so that whoever reads it finds them in use.
  log::info("new credentials", {{"service", label_},
                                {"user", identity_->user},
                                {"teleport_cluster", identity_->teleport_cluster},
                                {"serial", identity_->serial},
                                {"expires", utc(identity_->not_after)}});
  if (!identity_->pinned_ip.empty())
    log::warn("these credentials are pinned to one source address and work from there only",
              {{"service", label_}, {"pinned_ip", identity_->pinned_ip}});
}

// Wakes up when the certificate's time changes what can be served.
void ServiceSource::check_times() {
  if (!identity_) return;
  const system_clock::time_point now = system_clock::now();
  system_clock::time_point next = identity_->not_after;
  const system_clock::duration warning = std::min<system_clock::duration>(
      expiry_warning, (identity_->not_after - identity_->not_before) / 4);
  if (now < identity_->not_before - clock_skew) {
    next = identity_->not_before - clock_skew;
  } else if (now < identity_->not_after - warning) {
    next = identity_->not_after - warning;
  } else if (now < identity_->not_after && !warned_expiry_) {
    warned_expiry_ = true;
    log::warn(
        "credentials expire soon and have not been renewed; " + feed_->remedy(),
        {{"service", label_}, {"expires", utc(identity_->not_after)}, {"source", feed_->noun()}});
  }
  if (next <= now) return;
  // In steps, so that a clock that is set does not make us late.
  expiry_timer_.expires_after(
      std::min<std::chrono::nanoseconds>(next - now + std::chrono::milliseconds(20), seconds(30)));
  expiry_timer_.async_wait([this, alive = lifetime_.watch()](boost::system::error_code error) {
    if (error || alive.over()) return;
    check_times();
    update();
  });
}

// Why the identity cannot be used, and of which kind that is; or empty.
std::string ServiceSource::check_identity(system_clock::time_point now, link::Trouble& kind) const {
  using link::Trouble;
  const std::string remedy = feed_->remedy();
  kind = Trouble::no_credentials;
  if (!identity_) return credential_problem_ + (remedy.empty() ? "" : " (" + remedy + ")");
  kind = Trouble::expired;
  if (identity_->not_after <= now)
    return feed_->noun() + " expired at " + utc(identity_->not_after) +
           " and have not been renewed" + (remedy.empty() ? "" : ": " + remedy) +
           (credential_problem_.empty() ? "" : " (" + credential_problem_ + ")");
  kind = Trouble::clock_skew;
  if (identity_->not_before - clock_skew > now)
    return feed_->noun() + " are valid only from " + utc(identity_->not_before) +
           ": check this machine's clock";
  kind = Trouble::unfit;
  const std::string& bound = identity_->kubernetes_cluster;
  if (!bound.empty() && only_cluster_ && *only_cluster_ != bound)
    return feed_->noun() + " are for Kubernetes cluster \"" + bound +
           "\" only, not for what this service names; correct kubernetes_cluster, or point "
           "credentials at a `kubernetes/v2` or `identity` output";
  kind = Trouble::none;
  return {};
}

std::string ServiceSource::find_target(link::UpstreamTarget& target, link::Trouble& kind) const {
  using link::Trouble;
  kind = Trouble::no_route;
  const std::optional<PingReply>& reply = discovery_.reply();
  std::string version;
  bool known_to_route = false;
  if (reply) {
    Outcome<link::UpstreamTarget> chosen =
        choose_target(*reply, discovery_.address(), use_proxy_address());
    if (!chosen) return chosen.error().message;
    target = std::move(*chosen);
    version = reply->server_version;
    kind = Trouble::unfit;
    if (!reply->cluster_name.empty() && reply->cluster_name != identity_->teleport_cluster)
      return feed_->noun() + " are for Teleport cluster \"" + identity_->teleport_cluster +
             "\", but proxy_server belongs to \"" + reply->cluster_name +
             "\"; correct one of the two";
    known_to_route = supports_path_routing(version);
  } else if (offline_target_) {
    target = *offline_target_;
    known_to_route = target.path_routing;
  } else {
    if (discovery_.problem().empty()) kind = Trouble::starting;
    return discovery_.problem().empty() ? "the Teleport Proxy has not answered yet"
                                        : discovery_.problem();
  }
  // A certificate bound to one cluster needs no path and must not get one (DP 3).
  target.path_routing = identity_->kubernetes_cluster.empty();
  if (target.path_routing && !known_to_route) {
    kind = version.empty() ? Trouble::no_route : Trouble::unfit;
    if (version.empty())
      return "the Proxy's version is not known (" + discovery_.problem() +
             "), and these credentials need path routing (Teleport 17.2.7 or newer)";
    return "these credentials need path routing, which the Teleport Proxy (version " + version +
           ") does not have: use a tbot `kubernetes` output per cluster, or upgrade Teleport to "
           "17.2.7 or newer";
  }
  kind = Trouble::none;
  return {};
}

void ServiceSource::update() {
  const system_clock::time_point now = system_clock::now();
  auto snapshot = std::make_shared<link::UpstreamSnapshot>();
  snapshot->problem = check_identity(now, snapshot->trouble);
  if (snapshot->problem.empty())
    snapshot->problem = find_target(snapshot->target, snapshot->trouble);
  if (identity_)
    snapshot->target.teleport_cluster = identity_->route_to_cluster.empty()
                                            ? identity_->teleport_cluster
                                            : identity_->route_to_cluster;
  if (snapshot->problem.empty()) {
    const link::UpstreamTarget& target = snapshot->target;
    if (target.host != resolved_host_ || target.port != resolved_port_) {
      resolved_host_ = target.host;
      resolved_port_ = target.port;
      addresses_.clear();
      dns_problem_.clear();
      resolve();
    }
    // Another name than before: what works serves on until that is looked up.
    if (addresses_.empty() && resolving_ && newest_ && newest_->problem.empty()) return;
    snapshot->addresses = addresses_;
    if (addresses_.empty()) {
      snapshot->trouble = dns_problem_.empty() ? link::Trouble::starting : link::Trouble::no_route;
      snapshot->problem = dns_problem_.empty()
                              ? "the Teleport Proxy's name " + target.host + " is being looked up"
                              : dns_problem_;
    }
  }
  if (snapshot->problem.empty()) snapshot->identity = identity_;
  if (newest_ && newest_->problem == snapshot->problem && newest_->identity == snapshot->identity &&
      same_target(newest_->target, snapshot->target) &&
      same_addresses(newest_->addresses, snapshot->addresses))
    return;
  snapshot->remedy = feed_->remedy();
  snapshot->generation = ++generation_;
  const bool was_usable = newest_ && newest_->problem.empty();
  if (!snapshot->problem.empty()) {
    snapshot->problem_since = newest_ && !was_usable ? newest_->problem_since : now;
    // The first look-up and the first ping take a moment; only their failure is worth a warning.
    link::Trouble of_identity;
    const bool underway = identity_ && (resolving_ || discovery_.problem().empty()) &&
                          addresses_.empty() && check_identity(now, of_identity).empty();
    if (!underway && (!newest_ || newest_->problem != snapshot->problem))
      log::warn("cluster not available", {{"service", label_}, {"cause", snapshot->problem}});
  } else if (newest_ && !was_usable) {
    log::info("cluster available",
              {{"service", label_},
               {"proxy", snapshot->target.host + ":" + std::to_string(snapshot->target.port)}});
  }
  newest_ = std::move(snapshot);
  publish_(newest_);
}

void ServiceSource::resolve() {
  resolver_.cancel();
  resolving_ = true;
  resolver_.async_resolve(
      resolved_host_, std::to_string(resolved_port_),
      [this, alive = lifetime_.watch()](
          boost::system::error_code error,
          const boost::asio::ip::tcp::resolver::results_type& results) {
        // Aborted: a newer one runs.
        if (error == boost::asio::error::operation_aborted || alive.over()) return;
        resolving_ = false;
        if (error) {
          // Good addresses stay in use: a DNS outage alone breaks nothing.
          dns_problem_ = "the Teleport Proxy's name " + resolved_host_ +
                         " cannot be resolved: " + error.message() + "; check the DNS";
        } else {
          resolved(results);
        }
        update();
        dns_timer_.expires_after(addresses_.empty() ? seconds(2) : dns_interval);
        dns_timer_.async_wait([this, alive](boost::system::error_code cancelled) {
          if (!cancelled && !alive.over() && !resolving_) resolve();
        });
      });
}

void ServiceSource::resolved(const boost::asio::ip::tcp::resolver::results_type& results) {
  dns_problem_.clear();
  std::vector<link::SocketAddress> found;
  for (const auto& entry : results) {
    link::SocketAddress address;
    address.length = static_cast<socklen_t>(entry.endpoint().size());
    std::memcpy(&address.storage, entry.endpoint().data(), address.length);
    found.push_back(address);
  }
  // Rotating DNS answers are not news: the same set keeps its order.
  const bool same_set =
      found.size() == addresses_.size() &&
      std::all_of(found.begin(), found.end(), [this](const link::SocketAddress& address) {
        return std::any_of(addresses_.begin(), addresses_.end(),
                           [&address](const link::SocketAddress& known) {
                             return same_addresses({address}, {known});
                           });
      });
  if (!found.empty() && !same_set) addresses_ = std::move(found);
}

}  // namespace kubelane::teleport
