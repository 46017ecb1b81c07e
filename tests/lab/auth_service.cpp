#include "tests/lab/auth_service.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include <boost/json.hpp>
#include <openssl/rand.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/jwt.hpp"
#include "tests/lab/public_key.hpp"

namespace lab {
namespace {

namespace json = boost::json;

constexpr long kDefaultTtl = 3600;
constexpr long kChallengeLife = 60;
constexpr long kChallengeLeeway = 60;

bool contains(const std::vector<std::string>& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

void add_missing(std::vector<std::string>& to, const std::vector<std::string>& values) {
  for (const auto& value : values) {
    if (!contains(to, value)) to.push_back(value);
  }
}

std::string bot_user(std::string name) {
  std::replace(name.begin(), name.end(), ' ', '-');
  return "bot-" + name;
}

KeyPtr make_ed25519() { return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free}; }

std::string random_text() {
  std::array<unsigned char, 24> bytes{};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  return base64url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

KeyPtr key_of_line(const std::string& line) {
  const auto wire = ssh::wire_from_line(line);
  return wire ? ssh::key_from_wire(*wire) : nullptr;
}

std::string trimmed(std::string line) {
  while (line.ends_with('\n')) line.pop_back();
  return line;
}

}  // namespace

struct AuthService::Grant {
  std::string username;
  std::string bot_name;
  std::string bot_instance_id;
  std::vector<std::string> roles;
  KeyPtr tls_key;
  std::string ssh_key;
  long expires = 0;  // by the cluster's clock
  bool renewable = false;
  std::optional<std::uint64_t> generation;
  std::string impersonator;
  bool disallow_reissue = false;
  std::string route_to_cluster;
  std::string kubernetes_cluster;
  std::string join_method;
  bool with_host_authorities = true;
};

std::string suite_name(Suite suite) {
  switch (suite) {
    case Suite::legacy:
      return "legacy";
    case Suite::balanced_v1:
      return "balanced-v1";
    case Suite::fips_v1:
      return "fips-v1";
    case Suite::hsm_v1:
      return "hsm-v1";
    default:
      return "SIGNATURE_ALGORITHM_SUITE_UNSPECIFIED";
  }
}

AuthService::AuthService(const Options& options)
    : cluster_name_(options.cluster_name),
      authorities_(std::make_shared<Authorities>(options.cluster_name, options.key_kind)),
      suite_(options.suite.value_or(options.key_kind == KeyKind::rsa ? Suite::legacy
                                                                     : Suite::balanced_v1)),
      ssh_authority_(make_ed25519()),
      version_(options.server_version) {}

ServerVersion AuthService::version() const {
  const std::scoped_lock lock(mutex_);
  return version_;
}

void AuthService::set_version(const std::string& version) {
  const std::scoped_lock lock(mutex_);
  version_ = ServerVersion(version);
}

// ---------------------------------------------------------------- administrators

void AuthService::put_role(Role role) {
  const std::scoped_lock lock(mutex_);
  const std::string name = role.name;
  roles_[name] = std::move(role);
}

void AuthService::put_bot(const std::string& name, const std::vector<std::string>& roles,
                          long max_session_ttl) {
  Role own;
  own.name = bot_user(name);
  own.kubernetes_users.clear();
  own.kubernetes_groups.clear();
  own.kubernetes_labels.clear();
  own.impersonate = roles;
  own.max_session_ttl = max_session_ttl;
  put_role(std::move(own));
}

void AuthService::put_token(JoinToken token) {
  const std::scoped_lock lock(mutex_);
  if (token.bound.public_key.empty()) {
    token.bound.public_key = trimmed(token.bound_keypair.initial_public_key);
  }
  const std::string name = token.name;
  tokens_[name] = std::move(token);
}

std::optional<JoinToken> AuthService::token(const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  const auto found = tokens_.find(name);
  if (found == tokens_.end()) return std::nullopt;
  return found->second;
}

void AuthService::remove_token(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  tokens_.erase(name);
}

void AuthService::publish_jwks(const std::string& issuer, const std::string& jwks) {
  const std::scoped_lock lock(mutex_);
  published_jwks_[issuer] = jwks;
}

void AuthService::put_cluster(KubeResource cluster) {
  const std::scoped_lock lock(mutex_);
  clusters_.put(std::move(cluster));
}

void AuthService::remove_cluster(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  clusters_.remove(name);
}

void AuthService::lock(Lock::Target target, const std::string& name) {
  const std::scoped_lock lock(mutex_);
  bots_.lock({target, name, "locked by an administrator"});
}

void AuthService::unlock(Lock::Target target, const std::string& name) {
  const std::scoped_lock lock(mutex_);
  bots_.unlock(target, name);
}

std::vector<Lock> AuthService::locks() const {
  const std::scoped_lock lock(mutex_);
  return bots_.locks();
}

std::vector<BotInstance> AuthService::instances() const {
  const std::scoped_lock lock(mutex_);
  std::vector<BotInstance> all;
  for (const auto& [id, instance] : bots_.all()) all.push_back(instance);
  return all;
}

void AuthService::forget_instance(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  bots_.forget(id);
}

void AuthService::set_generation(const std::string& instance, std::uint64_t generation) {
  const std::scoped_lock lock(mutex_);
  bots_.set_generation(instance, generation);
}

void AuthService::set_longest_ttl(long seconds) {
  const std::scoped_lock lock(mutex_);
  longest_ttl_ = seconds;
}

void AuthService::mix_up_nonces(int times) {
  const std::scoped_lock lock(mutex_);
  nonces_to_mix_up_ = times;
}

void AuthService::rotate(RotationPhase phase) {
  std::function<void()> notify;
  {
    const std::scoped_lock lock(mutex_);
    authorities_->rotate(phase);
    events_.push_back(authorities_now());
    notify = on_rotation_;
  }
  if (notify) notify();
}

AuthService::RotationEvent AuthService::authorities_now() const {
  return authorities_->with([](const Pki& pki) {
    return RotationEvent{pki.phase(), pki.trusted_hosts(), pki.trusted_users()};
  });
}

std::vector<AuthService::RotationEvent> AuthService::events_since(std::size_t index) const {
  const std::scoped_lock lock(mutex_);
  if (index >= events_.size()) return {};
  return {events_.begin() + static_cast<std::ptrdiff_t>(index), events_.end()};
}

std::size_t AuthService::event_count() const {
  const std::scoped_lock lock(mutex_);
  return events_.size();
}

void AuthService::on_rotation(std::function<void()> notify) {
  const std::scoped_lock lock(mutex_);
  on_rotation_ = std::move(notify);
}

// ---------------------------------------------------------------- joins

JoinToken& AuthService::usable_token(const JoinAsk& ask) {
  const auto found = tokens_.find(ask.token);
  if (found == tokens_.end() ||
      (found->second.expires && *found->second.expires <= authorities_->now())) {
    deny("token expired or not found");
  }
  JoinToken& token = found->second;
  if (ask.method && *ask.method != token.method) {
    throw CallError{grpc_code::invalid_argument, "specified join method \"" + *ask.method +
                                                     "\" does not match join method \"" +
                                                     token.method + "\" for provision token"};
  }
  if (ask.role != "Bot" || !contains(token.roles, ask.role)) {
    throw CallError{grpc_code::invalid_argument,
                    "can not join the cluster, the token does not "
                    "allow \"" +
                        ask.role + "\" role"};
  }
  if (!ask.tls_key || ask.ssh_key.empty()) {
    throw CallError{grpc_code::invalid_argument, "missing parameter PublicTLSKey or PublicSSHKey"};
  }
  if (find_role(bot_user(token.bot)) == nullptr) {
    throw CallError{grpc_code::not_found, "user " + bot_user(token.bot) + " not found"};
  }
  return token;
}

void AuthService::check_proof(const JoinToken& token, const JoinAsk& ask) const {
  const JwtContext context{cluster_name_, authorities_->now(), version_, published_jwks_};
  if (token.method == "token") return;
  if (token.method == "kubernetes") {
    check_service_account(token.kubernetes, ask.id_token, context);
  } else if (is_id_token_method(token.method)) {
    check_id_token(token.method, token.id_token, ask.id_token, context);
  } else {
    deny("this token is only valid for the " + token.method +
         " join method but the node has connected to the wrong endpoint, make sure your node is "
         "configured to use the " +
         token.method + " join method");
  }
}

AuthService::Grant AuthService::bot_grant(const JoinToken& token, const JoinAsk& ask) const {
  Grant grant;
  grant.username = bot_user(token.bot);
  grant.bot_name = token.bot;
  grant.roles = {grant.username};
  grant.tls_key = ask.tls_key;
  grant.ssh_key = ask.ssh_key;
  grant.expires =
      expiry(ask.expires ? ask.expires : authorities_->now() + kDefaultTtl, grant.roles);
  grant.renewable = token.method == "token";
  grant.join_method = token.method;
  grant.route_to_cluster = cluster_name_;
  return grant;
}

Certificates AuthService::join(const JoinAsk& ask, const std::optional<ClientIdentity>& caller) {
  const std::scoped_lock lock(mutex_);
  JoinToken& token = usable_token(ask);
  check_proof(token, ask);
  Grant grant = bot_grant(token, ask);
  const bool again = caller && caller->username == grant.username &&
                     !caller->bot_instance_id.empty() && token.method != "token";
  ClientIdentity user;
  user.username = grant.username;
  user.roles = grant.roles;
  bots_.check_locks(again ? *caller : user);
  bots_.check_token_lock(token.name);
  if (again) {
    grant.bot_instance_id = caller->bot_instance_id;
    grant.generation = bots_.advance(*caller, version_);
  } else {
    const BotInstance& instance = bots_.create(grant.username, token.name, token.method);
    grant.bot_instance_id = instance.id;
    grant.generation = instance.generation;
  }
  if (token.method == "token") tokens_.erase(ask.token);  // one use
  return issue(grant);
}

std::string AuthService::method_of(const std::string& token) const {
  const std::scoped_lock lock(mutex_);
  const auto found = tokens_.find(token);
  if (found == tokens_.end()) deny("token expired or not found");
  return found->second.method;
}

std::string AuthService::join_state(const JoinToken& token) const {
  return sign_jws(ssh_authority_,
                  json::serialize(json::object{{"iss", cluster_name_},
                                               {"bot_instance_id", token.bound.bot_instance_id},
                                               {"recovery_sequence", token.bound.recoveries},
                                               {"join_sequence", token.bound.joins}}));
}

// One challenge to the client: the answer must be a signature over exactly this text, in time.
void AuthService::challenge(const BoundKeypairClient& client, const std::string& public_key) {
  const long asked_at = authorities_->now();
  const auto text_with = [&](const std::string& nonce) {
    return json::serialize(json::object{{"iss", cluster_name_},
                                        {"aud", cluster_name_},
                                        {"nbf", asked_at - 10},
                                        {"iat", asked_at},
                                        {"exp", asked_at + kChallengeLife},
                                        {"sub", "lab-key"},
                                        {"nonce", nonce}});
  };
  const std::string sent = text_with(random_text());
  std::string wanted = sent;
  {
    const std::scoped_lock lock(mutex_);
    if (nonces_to_mix_up_ > 0) {
      --nonces_to_mix_up_;
      wanted = text_with(random_text());
    }
  }
  const auto solution = verify_jws(key_of_line(public_key), client.solve(public_key, sent));
  if (!solution || solution->payload != wanted) deny("invalid challenge solution");
  if (authorities_->now() > asked_at + kChallengeLife + kChallengeLeeway) {
    deny("the challenge has expired");
  }
}

// Wrong or missing: somebody else has joined by a copy of the key, or is about to.
void AuthService::check_recovery(JoinToken& token, const std::string& presented_state) {
  if (token.bound_keypair.mode == "insecure" || token.bound.joins == 0) return;
  const auto state = verify_jws(ssh_authority_, presented_state);
  const auto wanted = verify_jws(ssh_authority_, join_state(token));
  if (state && state->payload == wanted->payload) return;
  bots_.lock({Lock::Target::join_token, token.name, "invalid join state"});
  deny("join state verification failed; the join token has been locked");
}

BoundKeypairJoin AuthService::join_by_keypair(const JoinAsk& ask,
                                              const std::optional<ClientIdentity>& caller,
                                              const BoundKeypairClient& client) {
  // The client is asked without the lock; what must hold is looked at before and after.
  bool first = false;
  bool rotate = false;
  std::string public_key;
  const bool authenticated = caller && !caller->bot_instance_id.empty();
  {
    const std::scoped_lock lock(mutex_);
    JoinToken& token = usable_token(ask);
    if (token.method != "bound_keypair") deny("the token is not of method bound_keypair");
    bots_.check_token_lock(token.name);
    ClientIdentity user;
    user.username = bot_user(token.bot);
    user.roles = {user.username};
    bots_.check_locks(authenticated ? *caller : user);
    const auto& rules = token.bound_keypair;
    first = token.bound.joins == 0;
    if (first && authenticated) deny("a first join may not present credentials");
    if (token.bound.public_key.empty()) {
      if (rules.registration_secret.empty() || client.secret != rules.registration_secret) {
        deny("a valid registration secret is required");
      }
      rotate = true;
    } else {
      rotate = rules.rotate;
    }
    if (authenticated && caller->bot_instance_id != token.bound.bot_instance_id) {
      deny("bot instance mismatch");
    }
    if (!authenticated && rules.mode == "standard" &&
        token.bound.recoveries >= rules.recovery_limit) {
      deny("no recovery attempts remaining");
    }
    check_recovery(token, client.join_state);
    public_key = token.bound.public_key;
  }
  if (!public_key.empty()) challenge(client, public_key);
  if (rotate) {
    const std::string fresh = trimmed(client.rotate(suite_));
    if (!key_of_line(fresh) || fresh == public_key) deny("the new public key is not usable");
    challenge(client, fresh);
    public_key = fresh;
  }
  const std::scoped_lock lock(mutex_);
  JoinToken& token = usable_token(ask);
  bots_.check_token_lock(token.name);
  Grant grant = bot_grant(token, ask);
  if (authenticated) {
    grant.bot_instance_id = caller->bot_instance_id;
    grant.generation = bots_.advance(*caller, version_);
  } else {
    const BotInstance& instance = bots_.create(grant.username, token.name, token.method);
    grant.bot_instance_id = instance.id;
    grant.generation = instance.generation;
    ++token.bound.recoveries;
  }
  token.bound.public_key = public_key;
  token.bound.bot_instance_id = grant.bot_instance_id;
  token.bound_keypair.rotate = false;
  ++token.bound.joins;
  return {issue(grant), join_state(token), public_key};
}

// ---------------------------------------------------------------- certificates

const Role* AuthService::find_role(const std::string& name) const {
  const auto found = roles_.find(name);
  return found == roles_.end() ? nullptr : &found->second;
}

long AuthService::expiry(std::optional<long> asked, const std::vector<std::string>& roles) const {
  const long now = authorities_->now();
  if (!asked || *asked <= now) {
    deny("access denied: client credentials have expired, please relogin.");
  }
  long limit = version_.max_ttl_seconds();
  if (longest_ttl_ > 0) limit = std::min(limit, longest_ttl_);
  for (const auto& name : roles) {
    if (const Role* role = find_role(name)) limit = std::min(limit, role->max_session_ttl);
  }
  return std::min(*asked, now + limit);
}

Certificates AuthService::generate_certs(const ClientIdentity& caller, const CertsAsk& ask) {
  const std::scoped_lock lock(mutex_);
  if (!ask.tls_key && ask.ssh_key.empty()) {
    throw CallError{grpc_code::invalid_argument, "missing public key"};
  }
  if (caller.disallow_reissue) {
    deny("access denied: identity is not allowed to reissue certificates");
  }
  if (ask.username != caller.username) {
    deny("User " + caller.username + " has requested certificates of another user.");
  }
  Grant grant;
  grant.username = caller.username;
  grant.bot_name = caller.bot_name;
  grant.bot_instance_id = caller.bot_instance_id;
  grant.tls_key = ask.tls_key;
  grant.ssh_key = ask.ssh_key;
  grant.route_to_cluster = ask.route_to_cluster.empty() ? cluster_name_ : ask.route_to_cluster;
  if (grant.route_to_cluster != cluster_name_) {
    throw CallError{grpc_code::not_found,
                    "remote cluster \"" + grant.route_to_cluster + "\" not found"};
  }
  if (ask.use_role_requests) {
    if (!caller.impersonator.empty()) deny("nested role impersonation is not allowed");
    if (ask.role_requests.empty()) {
      throw CallError{grpc_code::invalid_argument, "at least one role request is required"};
    }
    std::vector<std::string> allowed;
    for (const auto& name : caller.roles) {
      if (const Role* role = find_role(name)) add_missing(allowed, role->impersonate);
    }
    for (const auto& name : ask.role_requests) {
      if (!contains(allowed, name)) {
        deny("user \"" + caller.username + "\" has requested role impersonation for \"" + name +
             "\"");
      }
      if (find_role(name) == nullptr) {
        throw CallError{grpc_code::not_found, "role " + name + " is not found"};
      }
    }
    grant.roles = ask.role_requests;
    grant.impersonator = caller.username;
    grant.disallow_reissue = true;
    grant.with_host_authorities = false;
    grant.expires = expiry(ask.expires, grant.roles);
  } else {
    grant.roles = caller.roles;
    grant.expires = expiry(ask.expires, grant.roles);
    grant.renewable = caller.renewable;
    grant.generation = caller.generation;
    if (!caller.renewable) grant.expires = std::min(grant.expires, caller.not_after);
  }
  if (!ask.kubernetes_cluster.empty()) {
    ClientIdentity of;
    of.roles = grant.roles;
    const KubeResource* cluster = clusters_.find(ask.kubernetes_cluster);
    if (cluster == nullptr || !sees(of, *cluster)) {
      throw CallError{grpc_code::invalid_argument,
                      "Kubernetes cluster \"" + ask.kubernetes_cluster +
                          "\" is not registered in this Teleport cluster; you can list registered "
                          "Kubernetes clusters using 'tsh kube ls'"};
    }
    grant.kubernetes_cluster = ask.kubernetes_cluster;
  }
  if (grant.renewable) grant.generation = bots_.advance(caller, version_);
  return issue(grant);
}

Certificates AuthService::issue(const Grant& grant) const {
  Certificates made;
  ClientSpec spec;
  spec.username = grant.username;
  spec.roles = grant.roles;
  spec.route_to_cluster = grant.route_to_cluster;
  spec.kubernetes_cluster = grant.kubernetes_cluster;
  spec.kubernetes_users.clear();
  spec.kubernetes_groups.clear();
  for (const auto& name : grant.roles) {
    const Role* role = find_role(name);
    if (role == nullptr) continue;
    add_missing(spec.kubernetes_users, role->kubernetes_users);
    add_missing(spec.kubernetes_groups, role->kubernetes_groups);
  }
  spec.teleport_cluster = cluster_name_;
  spec.bot_name = grant.bot_name;
  spec.disallow_reissue = grant.disallow_reissue;
  if (grant.renewable) spec.more["1.3.9999.1.13"] = "true";
  if (grant.generation) spec.more["1.3.9999.1.14"] = std::to_string(*grant.generation);
  if (!grant.impersonator.empty()) spec.more["1.3.9999.2.7"] = grant.impersonator;
  if (!grant.bot_instance_id.empty()) spec.more["1.3.9999.2.20"] = grant.bot_instance_id;
  if (!grant.join_method.empty() && version_.major() >= 17) {
    spec.more["1.3.9999.2.21"] =
        json::serialize(json::object{{"meta", json::object{{"joinMethod", grant.join_method}}}});
  }
  const long machine_now = std::time(nullptr);
  spec.valid_from = authorities_->now() - 60 - machine_now;
  spec.valid_until = grant.expires - machine_now;
  authorities_->with([&](const Pki& pki) {
    if (grant.tls_key) made.tls = issue_client_for(pki.user_signer(), grant.tls_key, spec);
    for (const auto& each : pki.trusted_users()) made.tls_authorities.push_back(each.certificate);
    if (!grant.with_host_authorities) return;
    for (const auto& each : pki.trusted_hosts()) made.tls_authorities.push_back(each.certificate);
  });
  if (!grant.ssh_key.empty()) {
    made.ssh = ssh::sign_certificate(
        ssh_authority_, grant.ssh_key,
        {grant.username, spec.principals, static_cast<unsigned long long>(authorities_->now() - 60),
         static_cast<unsigned long long>(grant.expires)});
  }
  made.ssh_authorities = {ssh::wire_key(ssh_authority_)};
  return made;
}

std::string AuthService::ssh_authority_line() const {
  return ssh::line_from_wire(ssh::wire_key(ssh_authority_));
}

// ---------------------------------------------------------------- reading

std::vector<Role> AuthService::roles_of(const ClientIdentity& caller) const {
  const std::scoped_lock lock(mutex_);
  std::vector<Role> found;
  for (const auto& name : caller.roles) {
    if (const Role* role = find_role(name)) found.push_back(*role);
  }
  return found;
}

Role AuthService::role(const ClientIdentity& caller, const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  if (!contains(caller.roles, name)) {
    deny("access denied to perform action \"read\" on \"role\"");
  }
  const Role* found = find_role(name);
  if (found == nullptr) throw CallError{grpc_code::not_found, "role " + name + " is not found"};
  return *found;
}

bool AuthService::sees(const ClientIdentity& caller, const KubeResource& cluster) const {
  const Labels labels = all_labels(cluster);
  return std::any_of(caller.roles.begin(), caller.roles.end(), [&](const std::string& name) {
    const Role* role = find_role(name);
    if (role == nullptr || role->kubernetes_labels.empty()) return false;
    return std::all_of(
        role->kubernetes_labels.begin(), role->kubernetes_labels.end(), [&](const auto& wanted) {
          if (wanted.first == "*" && wanted.second == "*") return true;
          const auto found = labels.find(wanted.first);
          return found != labels.end() && (wanted.second == "*" || wanted.second == found->second);
        });
  });
}

AuthService::Listing AuthService::list_clusters(const ClientIdentity& caller,
                                                const ListQuery& query) const {
  const std::scoped_lock lock(mutex_);
  const ListPage page =
      clusters_.list(query, [&](const KubeResource& each) { return sees(caller, each); });
  Listing listing;
  for (const auto& each : page.servers) listing.servers.emplace_back(*each.cluster, each.host_id);
  listing.next_key = page.next_key;
  listing.total = page.total;
  return listing;
}

void AuthService::heartbeat(const ClientIdentity& caller, const Heartbeat& heartbeat) {
  const std::scoped_lock lock(mutex_);
  BotInstance* instance = bots_.find(caller.bot_instance_id);
  if (instance == nullptr) {
    deny("unable to determine the bot instance of the caller");
  }
  instance->heartbeats.push_back(heartbeat);
}

void AuthService::check_locks(const ClientIdentity& caller) const {
  const std::scoped_lock lock(mutex_);
  bots_.check_locks(caller);
}

std::optional<Handler> AuthService::kube_handler(const ClientIdentity& caller,
                                                 const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  const KubeResource* cluster = clusters_.find(name);
  if (cluster == nullptr || !sees(caller, *cluster)) return std::nullopt;
  return cluster->handler;
}

}  // namespace lab
