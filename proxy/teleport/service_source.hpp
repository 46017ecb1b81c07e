// One service's way upstream, kept current: credentials from its directory, the Proxy's address
// from discovery (or tbot's kubeconfig while the Proxy is silent), DNS. Publishes immutable
// snapshots.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/config.hpp"
#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/teleport/credential_directory.hpp"
#include "proxy/teleport/discovery.hpp"

namespace kubelane::teleport {

// Thread: control. `service` and `discovery` must outlive it.
class ServiceSource {
 public:
  using Publish = std::function<void(link::UpstreamSnapshotPtr)>;

  ServiceSource(boost::asio::io_context& io, const Config& config, const Service& service,
                Discovery& discovery, Publish publish);
  ServiceSource(const ServiceSource&) = delete;
  ServiceSource& operator=(const ServiceSource&) = delete;

  void start();
  // Reads the credentials now (signals, a certificate that the Proxy refused).
  void reload();
  // A worker could not connect: look the name up again, ask the Proxy again.
  void connect_failed();

  const link::UpstreamSnapshotPtr& newest() const noexcept { return newest_; }

 private:
  void adopt(tls::IdentityPtr identity, const std::string& kubeconfig);
  void check_times();
  void update();
  void resolve();
  void resolved(const boost::asio::ip::tcp::resolver::results_type& results);
  // Fills the target; returns why there is none, or an empty string.
  std::string find_target(link::UpstreamTarget& target) const;
  std::string check_identity(std::chrono::system_clock::time_point now) const;

  const Service& service_;
  Discovery& discovery_;
  Publish publish_;
  CredentialDirectory directory_;
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
  bool resolving_ = false;
  bool warned_expiry_ = false;
  std::uint64_t generation_ = 0;
  link::UpstreamSnapshotPtr newest_;
};

}  // namespace kubelane::teleport
