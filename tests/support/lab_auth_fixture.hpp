// The lab's Auth and Proxy with a bot, and clients that act as that bot would.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "tests/lab/auth.hpp"
#include "tests/lab/proxy.hpp"
#include "tests/lab/standard_paths.hpp"
#include "tests/support/grpc_client.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

// A key, and the certificates that Auth gave for it.
struct Credentials {
  lab::KeyPtr key = lab::make_key(lab::KeyKind::ecdsa);
  lab::CertificatePtr certificate;
  std::string host_authorities;  // PEM, only those that sign servers

  lab::ClientIdentity identity() const { return lab::read_identity(certificate.get()); }
  std::string value(const std::string& oid) const;  // first in the subject, or empty
};

class LabAuthFixture : public ::testing::Test {
 protected:
  // `version`: of Auth and Proxy.
  explicit LabAuthFixture(const std::string& version = "18.5.0");

  lab::Auth& auth() { return *auth_; }
  lab::Proxy& proxy() { return *proxy_; }
  lab::AuthService& service() { return auth_->service(); }
  lab::EventGate& gate() { return gate_; }

  // A join token of method token for the bot "ci"; gives its secret.
  std::string new_token();
  // Through the web API. `status` gets what HTTP says.
  std::optional<Credentials> web_join(const std::string& token, int& status,
                                      const std::string& id_token = {}, long ttl = 0);
  Credentials joined();  // by a new token
  // What web_join sends, and what its answer holds.
  static std::string join_body(const Credentials& of, const std::string& token,
                               const std::string& id_token, long expires);
  Response post_join(const std::string& body, const std::string& path);

  enum class Way { tunnel, direct };
  ClientOptions tls_to_auth(const Credentials* as, Way way) const;
  std::unique_ptr<GrpcClient> connect(const Credentials& as, Way way = Way::tunnel);
  std::unique_ptr<GrpcClient> connect_without_certificate(Way way = Way::tunnel);
  std::unique_ptr<GrpcClient> connect_to_proxy();  // the join services there

  // GenerateUserCerts by the fields of the server's version. Empty `roles`: a renewal of itself.
  GrpcAnswer generate(GrpcClient& client, Credentials& fresh, const std::vector<std::string>& roles,
                      const std::string& kubernetes_cluster = {}, long ttl = 3600);
  // GET of an API path on the kube service with these credentials, by path routing unless `cluster`
  // is empty.
  Response kube_get(const Credentials& as, const std::string& cluster, const std::string& path);

  static std::vector<std::string> names(const GrpcAnswer& listing);

 private:
  lab::EventGate gate_;
  std::unique_ptr<lab::Auth> auth_;
  std::unique_ptr<lab::Proxy> proxy_;
  int tokens_ = 0;
};

}  // namespace support
