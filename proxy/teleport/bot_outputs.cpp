// The bot's outputs: the identities that reach clusters, and the list of clusters. What the bot
// itself is stands in bot.cpp.
#include <algorithm>
#include <set>
#include <string_view>

#include "proxy/observe/log.hpp"
#include "proxy/teleport/bot.hpp"
#include "proxy/teleport/bot_feed.hpp"
#include "tls/key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
using Kind = AuthError::Kind;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds list_interval{6'000};  // a new cluster is usable within 10 s
constexpr std::size_t most_bound = 20'000;

// What a certificate is made from.
bool same_certificates(const Service& left, const Service& right) {
  return left.type == right.type && left.roles == right.roles &&
         left.credential_ttl == right.credential_ttl &&
         left.renewal_interval == right.renewal_interval;
}

}  // namespace

milliseconds Bot::ttl(const Output& output) const {
  return output.service.credential_ttl.count() > 0 ? output.service.credential_ttl
                                                   : config_.credential_ttl;
}

milliseconds Bot::interval(const Output& output) const {
  return output.service.renewal_interval.count() > 0 ? output.service.renewal_interval
                                                     : config_.renewal_interval;
}

// Each cluster has its own certificate: in a `kubernetes` service, and where the Proxy cannot route
// by the path.
bool Bot::bound(const Output& output) const {
  return output.service.type == Service::Type::kubernetes ||
         !supports_path_routing(cluster_->server_version);
}

// Between two rounds.
void Bot::take_over(Wanted wanted) {
  if (wanted.config.onboarding.given) config_ = std::move(wanted.config);
  std::vector<Output> outputs;
  for (auto& [index, service] : wanted.services) {
    const auto known =
        std::find_if(outputs_.begin(), outputs_.end(),
                     [number = index](const Output& output) { return output.index == number; });
    Output output;
    if (known != outputs_.end()) output = std::move(*known);
    if (!same_certificates(output.service, service)) output.renew_at = {};
    output.index = index;
    output.service = std::move(service);
    output.list_at = {};
    output.inventory.reset();  // whoever asked hears it anew
    outputs.push_back(std::move(output));
  }
  outputs_ = std::move(outputs);
}

// Bound to a cluster, unless its name is empty.
CertsWish Bot::wish_for(const Output& output, const std::string& cluster) const {
  CertsWish wish;
  wish.username = identity_->subject.user;
  wish.expires = system_clock::now() + ttl(output);
  wish.teleport_cluster = cluster_->cluster_name;
  wish.kubernetes_cluster = cluster;
  wish.roles = output.roles;
  return wish;
}

asio::awaitable<AuthResult<void>> Bot::renew_output(Output& output) {
  const std::size_t asked = renewals_asked_;
  output.roles = output.service.roles;
  if (output.roles.empty()) {
    AuthResult<std::vector<std::string>> roles =
        co_await client_->impersonable_roles(identity_->subject.user);
    if (!roles) co_return roles.error();
    output.roles = std::move(*roles);
  }
  if (output.roles.empty())
    co_return AuthError{Kind::denied,
                        "the bot \"" + identity_->subject.user +
                            "\" may take on no role: give it those that grant access to the "
                            "clusters (`tctl bots update --add-roles=…`)",
                        false};
  std::shared_ptr<EVP_PKEY> key = new_key();
  if (!key) co_return other_error("OpenSSL cannot make a key");
  const CertsWish wish = wish_for(output, "");
  AuthResult<IssuedCerts> certs = co_await client_->user_certs(wish, key, auth_major_);
  if (!certs) co_return certs.error();
  Outcome<BotIdentityPtr> made =
      make_bot_identity(key, std::move(*certs), cluster_->cluster_name, identity_->subject.user);
  if (!made) co_return other_error(made.error().message);
  output.key = std::move(key);
  output.listing = std::move(*made);
  output.lister.reset();
  output.bound.clear();
  output.refused.clear();
  if (!bound(output)) {
    const AuthResult<void> published = publish(output, "", *output.listing);
    if (!published) co_return published;
  }
  output.list_at = {};
  // Who asked for it meanwhile wants a newer one than this.
  if (renewals_asked_ == asked) output.renew_at = Clock::now() + jittered(interval(output), -0.05);
  co_return boost::system::in_place_value;
}

AuthResult<void> Bot::publish(Output& output, const std::string& cluster, const BotIdentity& made) {
  tls::IdentityFiles files;
  files.certificate = made.issued.certificate;
  files.own_key = made.key;
  files.host_ca = host_cas_;
  Outcome<tls::IdentityPtr> identity = tls::make_identity(std::move(files));
  if (!identity)
    return other_error("Teleport's answer cannot be used: " + identity.error().message);
  ++condition_.renewed;
  output.bound[cluster] = *identity;
  if (const auto feed = feeds_.find({output.index, cluster}); feed != feeds_.end())
    feed->second->publish(std::move(*identity));
  return boost::system::in_place_value;
}

asio::awaitable<AuthResult<void>> Bot::list(Output& output) {
  if (!output.lister || !output.lister->usable()) {
    const AuthAddress address = auth_address();
    AuthResult<std::unique_ptr<AuthClient>> lister =
        co_await AuthClient::connect(address, cluster_->cluster_name, output.listing, host_cas_);
    if (!lister) co_return lister.error();
    output.lister = std::move(*lister);
  }
  const std::map<std::string, std::string> labels = labels_to_ask(output.service.clusters);
  AuthResult<std::vector<KubeClusterInfo>> listed = co_await output.lister->kube_clusters(labels);
  if (!listed) co_return listed.error();
  Inventory inventory = select_clusters(output.service.clusters, *listed);
  if (bound(output)) {
    const AuthResult<void> done = co_await bind(output, inventory);
    if (!done) co_return done;
    std::erase_if(inventory.clusters, [&](const ServedCluster& cluster) {
      return output.refused.contains(cluster.name);
    });
    for (const auto& [cluster, why] : output.refused) inventory.missing.push_back({cluster, why});
  }
  if (!output.inventory || *output.inventory != inventory || output.told_bound != bound(output))
    told(output, std::move(inventory));
  output.list_at = Clock::now() + jittered(list_interval, 0.2);
  co_return boost::system::in_place_value;
}

void Bot::told(Output& output, Inventory inventory) {
  for (const Inventory::Missing& missing : inventory.missing) {
    const bool known = output.inventory &&
                       std::find(output.inventory->missing.begin(), output.inventory->missing.end(),
                                 missing) != output.inventory->missing.end();
    if (!known)
      log::warn("a cluster is not to be had; the others are served",
                {{"service", output.service.label()},
                 {"cluster", missing.name},
                 {"cause", missing.cause}});
  }
  output.inventory = std::move(inventory);
  output.told_bound = bound(output);
  events_.on_inventory(output.index, *output.inventory, bound(output));
}

// A certificate for each cluster that has none of this round.
asio::awaitable<AuthResult<void>> Bot::bind(Output& output, const Inventory& inventory) {
  const bool single = output.service.type == Service::Type::kubernetes;
  const std::vector<ServedCluster>& clusters = inventory.clusters;
  if (clusters.size() > most_bound) co_return other_error("there are too many clusters");
  std::map<std::string, tls::IdentityPtr>& have = output.bound;
  std::set<std::string_view> listed;
  for (const ServedCluster& cluster : clusters) listed.insert(cluster.name);
  std::erase_if(have, [&](const auto& entry) { return !single && !listed.contains(entry.first); });
  for (const ServedCluster& cluster : clusters) {
    const std::string feed = single ? std::string() : cluster.name;
    if (have.contains(feed) || output.refused.contains(cluster.name)) continue;
    const CertsWish wish = wish_for(output, cluster.name);
    AuthResult<IssuedCerts> certs = co_await client_->user_certs(wish, output.key, auth_major_);
    if (!certs && (certs.error().kind == Kind::denied || certs.error().kind == Kind::not_found)) {
      output.refused[cluster.name] = certs.error().message;
      continue;
    }
    if (!certs) co_return certs.error();
    Outcome<BotIdentityPtr> made = make_bot_identity(
        output.key, std::move(*certs), cluster_->cluster_name, identity_->subject.user);
    if (!made) co_return other_error(made.error().message);
    const AuthResult<void> published = publish(output, feed, **made);
    if (!published) co_return published;
  }
  co_return boost::system::in_place_value;
}

}  // namespace kubelane::teleport
