// The calls that kubelane makes to Teleport's Auth Service, as values. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/auth_error.hpp"
#include "proxy/teleport/bot_identity.hpp"
#include "proxy/teleport/grpc_channel.hpp"

namespace kubelane::teleport {

// Where the Auth Service is: behind the Proxy's ALPN route, or reached directly.
struct AuthAddress {
  HostPort address;
  bool through_proxy = true;
  std::shared_ptr<ConnectionUpgrade> upgrade =
      nullptr;  // where a Proxy may stand behind a balancer
};

// What Auth says about itself.
struct AuthPing {
  std::string cluster_name;
  std::string server_version;
  std::string proxy_public_addr;
  int suite = 0;
};

// The wire's name of a cluster: lower-case hex of its bytes + ".teleport.cluster.local" (spec 3.1).
std::string encoded_cluster_name(const std::string& cluster);

// First number of a version such as "17.2.7" or "v18.0.0-dev"; 0: not readable.
int major_of(const std::string& version);

// A certificate that is asked for.
struct CertsWish {
  std::string username;
  std::chrono::system_clock::time_point expires;
  std::string teleport_cluster;    // empty: the bot's own renewal
  std::string kubernetes_cluster;  // empty: any
  std::vector<std::string> roles;  // to impersonate; empty: the bot's own renewal
};

// A join by token, whatever the way it takes.
struct JoinRequest {
  std::string token;     // the secret, or the name of the join token
  std::string id_token;  // empty for method token
  std::shared_ptr<EVP_PKEY> key;
  std::chrono::system_clock::time_point expires;
};

struct KubeClusterInfo {
  std::string name;
  std::map<std::string, std::string> labels;
};

struct HeartbeatReport {
  bool startup = false;
  std::string hostname;
  std::chrono::seconds uptime{0};
  std::string join_method;
  bool oneshot = false;
};

// Owns: the connection, closed with it. One identity for its life.
class AuthClient {
 public:
  // `identity` null: without a certificate. `host_cas`: PEM; empty: whatever came with the
  // identity. `insecure`: trusts anybody; for looks that are checked otherwise.
  static boost::asio::awaitable<AuthResult<std::unique_ptr<AuthClient>>> connect(
      const AuthAddress& address, const std::string& teleport_cluster,
      const BotIdentityPtr& identity, const std::string& host_cas, bool insecure = false);
  explicit AuthClient(GrpcChannel::Ptr channel) : channel_(std::move(channel)) {}
  ~AuthClient();
  AuthClient(const AuthClient&) = delete;
  AuthClient& operator=(const AuthClient&) = delete;

  bool usable() const noexcept { return channel_->usable(); }

  boost::asio::awaitable<AuthResult<AuthPing>> ping();
  boost::asio::awaitable<AuthResult<std::string>> host_ca();  // PEM, one or more
  // Roles that the role of this name lets impersonate.
  boost::asio::awaitable<AuthResult<std::vector<std::string>>> impersonable_roles(
      const std::string& role);
  // A certificate for `key`. The key fields are those of Auth's version (spec 4.1).
  boost::asio::awaitable<AuthResult<IssuedCerts>> user_certs(const CertsWish& wish,
                                                             const std::shared_ptr<EVP_PKEY>& key,
                                                             int server_major);
  boost::asio::awaitable<AuthResult<IssuedCerts>> register_token(const JoinRequest& join);
  // All Kubernetes clusters that the identity may see, by name; those with these labels alone.
  boost::asio::awaitable<AuthResult<std::vector<KubeClusterInfo>>> kube_clusters(
      const std::map<std::string, std::string>& labels);
  // Calls `on_rotation` with the phase whenever a CA of the cluster is in one that asks for new
  // certificates; `on_start` once the watch stands. Returns when the watch has ended.
  boost::asio::awaitable<AuthError> watch_rotations(
      const std::string& teleport_cluster, const std::function<void()>& on_start,
      const std::function<void(std::string)>& on_rotation);
  boost::asio::awaitable<AuthResult<void>> heartbeat(const HeartbeatReport& report);

  const GrpcChannel::Ptr& channel() noexcept { return channel_; }

 private:
  GrpcChannel::Ptr channel_;
};

}  // namespace kubelane::teleport
