// Certificates as Teleport makes them: host, user and web authorities with Teleport's names, the
// proxy's host certificate, bots' client certificates (data-path spec 2.3, 2.4, 8.1, 8.2).
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <openssl/evp.h>
#include <openssl/x509.h>

namespace lab {

enum class KeyKind { ecdsa, rsa };  // rsa is Teleport's `legacy` signature suite

using KeyPtr = std::shared_ptr<EVP_PKEY>;
using CertificatePtr = std::shared_ptr<X509>;

// A fresh private key. RSA is 2048 bits and takes a noticeable part of a second.
KeyPtr make_key(KeyKind kind);
// PKCS#1 for RSA (`RSA PRIVATE KEY`), PKCS#8 otherwise (spec 1.4).
std::string key_pem(const KeyPtr& key);
std::string certificate_pem(const CertificatePtr& certificate);

// A certificate with its key.
struct Issued {
  CertificatePtr certificate;
  KeyPtr key;
  std::string serial;  // decimal

  std::string pem() const { return certificate_pem(certificate); }
  std::string private_pem() const { return key_pem(key); }
};

// One self-signed CA: CN = O = cluster, plus a serialNumber attribute with its serial in decimal,
// so that the old and the new CA of a rotation have different names.
Issued make_authority(const std::string& cluster, KeyKind kind);

// What a bot's client certificate says. Empty strings leave an attribute out, except STREET, which
// Teleport always writes.
struct ClientSpec {
  std::string username = "bot-ci";
  std::vector<std::string> roles{"kube-access"};
  std::vector<std::string> usage;  // OU
  std::vector<std::string> principals{"-teleport-internal-join"};
  std::string route_to_cluster = "root.example.com";  // STREET
  std::string kubernetes_cluster;                     // 1.3.9999.1.3; only kube-routed certificates
  std::vector<std::string> kubernetes_users{"ci"};
  std::vector<std::string> kubernetes_groups{"developers"};
  std::string teleport_cluster = "root.example.com";
  std::string bot_name = "ci";
  std::string pinned_ip;
  bool disallow_reissue = true;
  std::map<std::string, std::string> more;  // dotted OID to value, after all others
  // Seconds from now. Already expired: both negative; not yet valid: both positive.
  long valid_from = -60;
  long valid_until = 3600;
  KeyKind key_kind = KeyKind::ecdsa;
};
Issued issue_client(const Issued& authority, const ClientSpec& spec);
// The same for a key whose private half only the client has.
CertificatePtr issue_client_for(const Issued& authority, const KeyPtr& subject,
                                const ClientSpec& spec);

// A server certificate with these names; "127.0.0.1" and "::1" become IP names.
Issued issue_server(const Issued& authority, const std::string& common_name,
                    const std::vector<std::string>& names, long valid_from = -60,
                    long valid_until = 10 * 365 * 86400L);

// The values of a subject attribute by dotted OID, in order.
std::vector<std::string> subject_values(X509* certificate, const std::string& oid);
std::string serial_of(X509* certificate);  // decimal
// Its last second: valid until the next one begins.
std::chrono::system_clock::time_point not_after_of(X509* certificate);

// Teleport's rotation (spec 8.2).
enum class RotationPhase { standby, init, update_clients, update_servers, rollback };

// The authorities of one Teleport cluster. Not thread-safe by itself.
class Pki {
 public:
  explicit Pki(std::string cluster, KeyKind kind = KeyKind::ecdsa);

  const std::string& cluster() const { return cluster_; }
  KeyKind key_kind() const { return kind_; }
  RotationPhase phase() const { return phase_; }

  // Goes to a phase: `init` makes the new authorities; `standby` after `update_servers` forgets the
  // old ones, after `rollback` the new ones.
  void rotate(RotationPhase phase);

  const Issued& host_signer() const;  // signs the proxy's certificate
  const Issued& user_signer() const;  // signs clients
  const Issued& web_authority() const { return web_; }
  std::vector<Issued> trusted_hosts() const;  // this cluster's, one or two
  std::vector<Issued> trusted_users() const;

  // A trusted leaf cluster: its host CA stands in teleport-host-ca.crt beside the root's.
  void add_leaf_cluster(const std::string& name);
  const std::vector<Issued>& leaf_hosts() const { return leaf_hosts_; }

  // The proxy's host certificate with the names of spec 2.3. `public_hosts`: hosts of its public
  // addresses; those that are no IP also get a wildcard.
  Issued issue_proxy(const std::vector<std::string>& public_hosts) const;

 private:
  std::string cluster_;
  KeyKind kind_;
  RotationPhase phase_ = RotationPhase::standby;
  std::vector<Issued> hosts_;  // [0] old or only, [1] new
  std::vector<Issued> users_;
  Issued web_;
  std::vector<Issued> leaf_hosts_;
};

std::string pem_bundle(const std::vector<Issued>& certificates);

}  // namespace lab
