// One service's way upstream, kept current: credentials from its feed (tbot's directory or the
// bot), the Proxy's address from discovery (or tbot's kubeconfig while the Proxy is silent), DNS.
// Publishes immutable snapshots.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/runtime/lifetime.hpp"
#include "proxy/teleport/discovery.hpp"
#include "proxy/teleport/identity_feed.hpp"

namespace kubelane::teleport {

// Thread: control. `discovery` must outlive it.
class ServiceSource {
 public:
  using Publish = std::function<void(link::UpstreamSnapshotPtr)>;

  // `label`: how logs call the service. `only_cluster`: credentials that are bound to a Kubernetes
  // cluster must be bound to this one; nothing: whoever made them has seen to that.
  ServiceSource(boost::asio::io_context& io, std::string label,
                std::optional<std::string> only_cluster, std::unique_ptr<IdentityFeed> feed,
                Discovery& discovery, Publish publish);
  ~ServiceSource();
  ServiceSource(const ServiceSource&) = delete;
  ServiceSource& operator=(const ServiceSource&) = delete;

  void start();
  // Reads the credentials now (signals, a certificate that the Proxy refused).
  void reload();
  // A worker could not connect: look the name up again, ask the Proxy again.
  void connect_failed();

  // How logs call it, and which cluster its credentials must be for, from now on.
  void rename(std::string label, std::optional<std::string> only_cluster);

  const link::UpstreamSnapshotPtr& newest() const noexcept { return newest_; }
  // The newest good one, expired or not; null: none yet.
  const tls::IdentityPtr& identity() const noexcept { return identity_; }
  // Why there is no newer one; empty: nothing is wrong.
  const std::string& renewal_problem() const noexcept { return credential_problem_; }
  // How many identities have been taken so far.
  std::uint64_t identities() const noexcept { return identities_; }

 private:
  void adopt(tls::IdentityPtr identity, const std::string& kubeconfig);
  void check_times();
  void update();
  void resolve();
  void resolved(const boost::asio::ip::tcp::resolver::results_type& results);
  // Fills the target; returns why there is none, or an empty string.
  std::string find_target(link::UpstreamTarget& target, link::Trouble& kind) const;
  std::string check_identity(std::chrono::system_clock::time_point now, link::Trouble& kind) const;

  std::string label_;
  std::optional<std::string> only_cluster_;
  std::unique_ptr<IdentityFeed> feed_;
  Discovery& discovery_;
  Publish publish_;
  boost::asio::ip::tcp::resolver resolver_;
  boost::asio::steady_timer dns_timer_;
  boost::asio::steady_timer expiry_timer_;

  tls::IdentityPtr identity_;
  std::string credential_problem_ = "the credentials have not been read yet";
  std::optional<link::UpstreamTarget> offline_target_;  // from tbot's kubeconfig
  std::string resolved_host_;
  std::uint16_t resolved_port_ = 0;
  std::vector<link::SocketAddress> addresses_;
  std::string dns_problem_;
  std::size_t listener_ = 0;
  bool resolving_ = false;
  bool warned_expiry_ = false;
  std::uint64_t generation_ = 0;
  std::uint64_t identities_ = 0;
  link::UpstreamSnapshotPtr newest_;
  runtime::Lifetime lifetime_;
};

}  // namespace kubelane::teleport
