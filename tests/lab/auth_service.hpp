// What Teleport's Auth decides: joins, certificates, roles, locks, the list of clusters. No I/O;
// refusals are thrown as CallError. Written from the control-plane specification, sections 1, 2, 4,
// 5, 6 and 9. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/authorities.hpp"
#include "tests/lab/bot_instances.hpp"
#include "tests/lab/join_tokens.hpp"
#include "tests/lab/kube_inventory.hpp"
#include "tests/lab/server_version.hpp"
#include "tests/lab/teleport_rules.hpp"

namespace lab {

struct Role {
  std::string name;
  std::vector<std::string> kubernetes_users = {"ci"};
  std::vector<std::string> kubernetes_groups = {"developers"};
  Labels kubernetes_labels = {{"*", "*"}};
  std::vector<std::string> impersonate = {};  // roles
  long max_session_ttl = 30 * 3600L;          // seconds
};

enum class Suite { unspecified, legacy, balanced_v1, fips_v1, hsm_v1 };
std::string suite_name(Suite suite);  // "balanced-v1"

// Certificates as Auth hands them out; each transport has its own encoding.
struct Certificates {
  CertificatePtr tls;  // null: no key was given for it
  std::string ssh;     // binary; empty: the same
  std::vector<CertificatePtr> tls_authorities;
  std::vector<std::string> ssh_authorities;  // binary public keys
};

struct JoinAsk {
  std::string role;
  std::string token;
  std::optional<std::string> method;  // what the client thinks
  KeyPtr tls_key;
  std::string ssh_key;  // binary
  std::string id_token;
  std::optional<long> expires;  // seconds since 1970
};

// How a bound_keypair join asks its client; the transport does it.
struct BoundKeypairClient {
  std::string secret;
  std::string join_state;
  // The compact JWS over the challenge, by the key whose authorized_keys line this is.
  std::function<std::string(const std::string& public_key, const std::string& challenge)> solve;
  std::function<std::string(Suite)> rotate;  // the new key's authorized_keys line
};
struct BoundKeypairJoin {
  Certificates certificates;
  std::string join_state;
  std::string public_key;
};

struct CertsAsk {
  std::string username;
  std::optional<long> expires;
  KeyPtr tls_key;
  std::string ssh_key;
  std::string route_to_cluster;
  std::string kubernetes_cluster;
  bool use_role_requests = false;
  std::vector<std::string> role_requests;
};

class AuthService {
 public:
  struct Options {
    std::string cluster_name = "root.example.com";
    std::string server_version = "18.5.0";
    KeyKind key_kind = KeyKind::ecdsa;  // rsa goes with the suite `legacy`
    std::optional<Suite> suite;         // nothing: what goes with key_kind
  };
  explicit AuthService(const Options& options);

  const std::string& cluster_name() const { return cluster_name_; }
  ServerVersion version() const;
  void set_version(const std::string& version);
  Suite suite() const { return suite_; }
  const std::shared_ptr<Authorities>& authorities() const { return authorities_; }

  // --- What administrators do -------------------------------------------------------------------
  void put_role(Role role);
  // The user and role bot-<name> (spaces become '-'), which may impersonate these roles.
  // Seconds: of the bot's own role.
  void put_bot(const std::string& name, const std::vector<std::string>& roles,
               long max_session_ttl = 12 * 3600L);
  void put_token(JoinToken token);
  std::optional<JoinToken> token(const std::string& name) const;
  void remove_token(const std::string& name);
  void publish_jwks(const std::string& issuer, const std::string& jwks);
  void put_cluster(KubeResource cluster);
  void remove_cluster(const std::string& name);
  void lock(Lock::Target target, const std::string& name);
  void unlock(Lock::Target target, const std::string& name);
  std::vector<Lock> locks() const;
  std::vector<BotInstance> instances() const;
  void forget_instance(const std::string& id);
  void set_generation(const std::string& instance, std::uint64_t generation);
  void rotate(RotationPhase phase);
  // No certificate lives longer, whatever is asked for; 0: no such limit.
  void set_longest_ttl(long seconds);
  // The solutions of the next challenges are held against another nonce than was sent.
  void mix_up_nonces(int times);

  // --- Calls. `caller`: the identity of a direct connection, nothing through the Proxy -----------
  Certificates join(const JoinAsk& ask, const std::optional<ClientIdentity>& caller);
  BoundKeypairJoin join_by_keypair(const JoinAsk& ask, const std::optional<ClientIdentity>& caller,
                                   const BoundKeypairClient& client);
  // The join method of a token, for a stream that starts with its name.
  std::string method_of(const std::string& token) const;
  Certificates generate_certs(const ClientIdentity& caller, const CertsAsk& ask);
  std::vector<Role> roles_of(const ClientIdentity& caller) const;
  Role role(const ClientIdentity& caller, const std::string& name) const;
  struct Listing {
    std::vector<std::pair<KubeResource, std::string>> servers;  // with the host's id
    std::string next_key;
    std::size_t total = 0;
  };
  Listing list_clusters(const ClientIdentity& caller, const ListQuery& query) const;
  void heartbeat(const ClientIdentity& caller, const Heartbeat& heartbeat);
  // Throws when a lock is in force.
  void check_locks(const ClientIdentity& caller) const;

  // For the Proxy: what serves this cluster; nothing when the identity's roles do not see it.
  std::optional<Handler> kube_handler(const ClientIdentity& caller, const std::string& name) const;

  // --- Rotation events --------------------------------------------------------------------------
  struct RotationEvent {
    RotationPhase phase;
    std::vector<Issued> hosts;
    std::vector<Issued> users;
  };
  RotationEvent authorities_now() const;
  // The events from `index` on, at once.
  std::vector<RotationEvent> events_since(std::size_t index) const;
  std::size_t event_count() const;
  // Called after each rotate(), from its thread.
  void on_rotation(std::function<void()> notify);

  std::string ssh_authority_line() const;

 private:
  struct Grant;  // one certificate to make

  JoinToken& usable_token(const JoinAsk& ask);
  void check_proof(const JoinToken& token, const JoinAsk& ask) const;
  Certificates issue(const Grant& grant) const;
  long expiry(std::optional<long> asked, const std::vector<std::string>& roles) const;
  const Role* find_role(const std::string& name) const;
  bool sees(const ClientIdentity& caller, const KubeResource& cluster) const;
  Grant bot_grant(const JoinToken& token, const JoinAsk& ask) const;
  std::string join_state(const JoinToken& token) const;
  void challenge(const BoundKeypairClient& client, const std::string& public_key);
  void check_recovery(JoinToken& token, const std::string& presented_state);

  const std::string cluster_name_;
  const std::shared_ptr<Authorities> authorities_;
  const Suite suite_;
  const KeyPtr ssh_authority_;

  mutable std::mutex mutex_;  // all below
  ServerVersion version_;
  std::map<std::string, Role> roles_;
  std::map<std::string, JoinToken> tokens_;
  std::map<std::string, std::string> published_jwks_;
  KubeInventory clusters_;
  BotInstances bots_;
  long longest_ttl_ = 0;
  int nonces_to_mix_up_ = 0;
  std::vector<RotationEvent> events_;
  std::function<void()> on_rotation_;
};

}  // namespace lab
