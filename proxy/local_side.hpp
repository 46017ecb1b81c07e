// The local side's addresses: sockets, server certificate, and what clients must show. What is
// served behind an address stands in App.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/host/systemd.hpp"
#include "proxy/kube/kubeconfig.hpp"
#include "proxy/relay/listener.hpp"
#include "tls/local_ca.hpp"
#include "tls/socket.hpp"

namespace kubelane {

struct Endpoint {
  ListenAddress wanted;   // as configured
  ListenAddress address;  // with the port that it got
  LocalAuth auth = LocalAuth::token;
  bool tls = true;
  bool shared = false;               // clusters are told apart by the path
  bool closing = false;              // nothing is accepted any more
  std::shared_ptr<SSL_CTX> context;  // of the certificate of now
  tls::UniqueFd socket;              // a worker accepts from a duplicate
};

// Endpoints have numbers, which are the workers' for their listeners and are never used twice.
// Thread: control.
class LocalSide {
 public:
  // Reads or makes the local CA and the token. `passed`: by systemd, for listeners that name them.
  Outcome<void> open(const Config& config, std::vector<host::PassedSocket> passed);

  // What a configuration wants, with the new sockets bound already.
  struct Plan {
    std::vector<std::size_t> of_service;  // the endpoint of each, in their order
    std::map<std::size_t, Endpoint> opened;
    struct Closed {
      std::size_t endpoint;
      bool handed_over;  // another one accepts from its socket
    };
    std::vector<Closed> closed;
    std::size_t next_number = 0;
  };
  // `current`: the endpoint that each service has now. A service keeps its endpoint when address,
  // authentication and TLS stay. Changes nothing; a failure says which address it is and why.
  Outcome<Plan> plan(const Config& config,
                     const std::vector<std::optional<std::size_t>>& current) const;
  // The opened endpoints still need a certificate: renew_certificate().
  void adopt(Plan plan);

  // A new server certificate for all endpoints, and one for clients where they need it.
  Outcome<void> renew_certificate(const Config& config);
  // Its end is near.
  bool wants_renewal() const;
  std::chrono::system_clock::time_point certificate_end() const noexcept {
    return certificate_end_;
  }

  const std::map<std::size_t, Endpoint>& endpoints() const noexcept { return endpoints_; }
  // To accept from; invalid when there are no descriptors left.
  tls::UniqueFd duplicate_socket(std::size_t endpoint) const;
  // Without routes.
  std::shared_ptr<relay::Listener> make_listener(std::size_t endpoint, const Config& config) const;
  // host:port as clients dial it, and the whole address of a cluster.
  std::string client_address(std::size_t endpoint) const;
  std::string server_url(std::size_t endpoint, const std::string& cluster) const;
  // CA, token, client certificate.
  void put_credentials(std::size_t endpoint, kube::Kubeconfig& kubeconfig) const;

 private:
  std::optional<std::size_t> shared_endpoint() const;
  std::optional<std::size_t> at_address(const ListenAddress& wanted) const;
  Outcome<void> bind(Endpoint& endpoint, bool allow_remote) const;
  Outcome<void> take_passed(Endpoint& endpoint, bool allow_remote) const;

  std::vector<host::PassedSocket> passed_;
  std::map<std::size_t, Endpoint> endpoints_;
  std::size_t next_number_ = 0;
  tls::LocalTrust trust_;
  tls::LeafPem client_leaf_;                                 // for local_auth: mtls
  std::chrono::system_clock::time_point certificate_end_{};  // of the server's
};

}  // namespace kubelane
