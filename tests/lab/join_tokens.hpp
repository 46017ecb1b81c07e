// Join tokens: what an administrator creates by `tctl create`, and whether what a client brings
// satisfies one (control-plane spec 1.2, 1.8).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/server_version.hpp"

namespace lab {

enum class KubernetesKind { in_cluster, static_jwks, oidc };

struct KubernetesRules {
  KubernetesKind kind = KubernetesKind::in_cluster;
  std::string jwks;    // in_cluster: the API server's keys, by which its TokenReview goes
  std::string issuer;  // oidc: the issuer; its keys are published at Auth
  std::vector<std::string> allow;  // "namespace:service-account"; one must match
};

// Methods whose proof is one ID token: github, gitlab, gcp, circleci, bitbucket, azure_devops,
// terraform_cloud, spacelift.
struct IdTokenRules {
  std::string jwks;
  std::string issuer;    // empty: the method's own
  std::string audience;  // empty: the method's own
  // Rule names as in Teleport's resource ("repository", "project_path", ...) and wanted values; one
  // of the maps must match in full.
  std::vector<std::map<std::string, std::string>> allow;
};

struct BoundKeypairRules {
  std::string registration_secret;  // for the first join; empty when a key is set
  std::string initial_public_key;   // authorized_keys line; empty: by the secret
  std::string mode = "standard";    // relaxed and insecure know no limit
  int recovery_limit = 1;           // joins without a valid certificate, the first included
  bool rotate = false;              // `rotate_after` has passed: the next join rotates the key
};

// What Auth remembers of a bound_keypair token.
struct BoundKeypairState {
  std::string public_key;  // bound, authorized_keys line
  std::string bot_instance_id;
  int recoveries = 0;
  int joins = 0;
};

struct JoinToken {
  std::string name;  // of method `token`: the secret itself
  std::string method = "token";
  std::string bot;  // its name
  std::vector<std::string> roles{"Bot"};
  std::optional<long> expires;  // seconds since 1970
  KubernetesRules kubernetes;
  IdTokenRules id_token;
  BoundKeypairRules bound_keypair;
  BoundKeypairState bound;
};

bool is_id_token_method(const std::string& method);

struct JwtContext {
  std::string cluster;
  long now = 0;
  const ServerVersion& version;
  const std::map<std::string, std::string>& published_jwks;  // issuer to its keys
};
// Throw CallError when the JWT does not satisfy the token.
void check_service_account(const KubernetesRules& rules, const std::string& jwt,
                           const JwtContext& context);
void check_id_token(const std::string& method, const IdTokenRules& rules, const std::string& jwt,
                    const JwtContext& context);

}  // namespace lab
