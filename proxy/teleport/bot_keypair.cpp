// The bot's joins by method bound_keypair: which key proves it, over which connection, and what is
// to be done when nobody knows how a join ended (control-plane spec 1.8, 9).
#include <cstdlib>

#include <boost/json.hpp>

#include "proxy/observe/log.hpp"
#include "proxy/observe/utc.hpp"
#include "proxy/teleport/bot.hpp"
#include "proxy/teleport/id_token.hpp"
#include "proxy/teleport/join_stream.hpp"
#include "proxy/teleport/keypair_join.hpp"
#include "tls/base64.hpp"
#include "tls/jws.hpp"
#include "tls/key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
using Kind = AuthError::Kind;
using std::chrono::system_clock;

constexpr std::size_t most_challenge_bytes = 64UL * 1024;

// Claims with a nonce, and nothing else that somebody might want our signature under.
bool is_challenge(const std::string& text) {
  if (text.size() > most_challenge_bytes) return false;
  boost::system::error_code error;
  boost::json::parse_options options;
  options.max_depth = 8;
  const boost::json::value value = boost::json::parse(text, error, {}, options);
  const boost::json::object* claims = error ? nullptr : value.if_object();
  const boost::json::value* nonce = claims == nullptr ? nullptr : claims->if_contains("nonce");
  return nonce != nullptr && nonce->is_string() && !nonce->get_string().empty();
}

Outcome<std::shared_ptr<EVP_PKEY>> read_static_key(const BoundKeypairOptions& options) {
  const std::string what = options.static_key_path.empty()
                               ? "TBOT_BOUND_KEYPAIR_STATIC_KEY"
                               : "onboarding.bound_keypair.static_private_key_path: the file";
  std::string pem;
  if (!options.static_key_path.empty()) {
    Outcome<std::string> text = read_small_file(options.static_key_path, what);
    if (!text) return text.error();
    pem = std::move(*text);
  } else {
    auto decoded = tls::from_base64(options.static_key);
    if (!decoded) return Failure{Code::config, what + " is not base64 of a PEM file"};
    pem = std::move(*decoded);
  }
  Outcome<tls::KeyPtr> key = tls::parse_key(pem);
  tls::wipe(pem);
  if (!key) return Failure{Code::config, what + " holds a private key that " + key.error().message};
  return std::shared_ptr<EVP_PKEY>(std::move(*key));
}

Outcome<std::string> read_registration_secret(const BoundKeypairOptions& options) {
  if (!options.registration_secret_path.empty())
    return read_secret_file(options.registration_secret_path,
                            "onboarding.bound_keypair.registration_secret_path: the file");
  return options.registration_secret;
}

}  // namespace

// Signs and rotates for one join, and sees to it that the storage knows first.
class Bot::KeyRing final : public KeypairHolder {
 public:
  KeyRing(BoundKeypair& keypair, BotStorage& storage, BoundKeypairIntro intro)
      : keypair_(keypair), storage_(storage), intro_(std::move(intro)) {}
  ~KeyRing() override { tls::wipe(intro_.registration_secret); }
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;

  const BoundKeypairIntro& intro() const override { return intro_; }

  Outcome<std::string> solve(const KeyChallenge& challenge) override {
    if (!is_challenge(challenge.challenge))
      return Failure{Code::bad_body, "what Teleport wants to be signed is no challenge"};
    EVP_PKEY* const key = keypair_.find(challenge.public_key);
    if (key == nullptr)
      return Failure{
          Code::denied,
          "Teleport asks for a proof by a key that is not here: another machine has bound "
          "its own key to this token, or the storage is older than the key's last change"};
    // Behind the signature the join may be done before we hear of it.
    if (Outcome<void> noted = storage_.begin_join(); !noted) return noted.error();
    std::string jws = tls::sign_jws(key, challenge.challenge);
    if (jws.empty()) return Failure{Code::internal, "OpenSSL cannot sign with the joining key"};
    used_ = challenge.public_key;
    return jws;
  }

  Outcome<std::string> rotate(const std::string& suite) override {
    Outcome<std::string> line =
        keypair_.rotate(joining_key_kind_of_suite(suite), used_, system_clock::now());
    if (!line) return line;
    if (Outcome<void> saved = storage_.save_keypair(keypair_.artifacts()); !saved)
      return saved.error();
    log::info("the bot has a new joining key, as Teleport asked");
    return line;
  }

  // The key of the last proof.
  const std::string& used() const noexcept { return used_; }

 private:
  BoundKeypair& keypair_;
  BotStorage& storage_;
  BoundKeypairIntro intro_;
  std::string used_;
};

// From the storage once, then as it changes; a key of the operator's is read for every join.
Outcome<void> Bot::open_keypair(const std::string& hash) {
  if (!keypair_) {
    Outcome<StoredBot> stored = storage_->load();
    if (!stored) return stored.error();
    Outcome<BoundKeypair> parsed = BoundKeypair::parse(stored->keypair);
    if (!parsed) return parsed.error();
    keypair_ = std::make_unique<BoundKeypair>(std::move(*parsed));
    keypair_hash_ = stored->token_hash;
  }
  if (!keypair_hash_.empty() && keypair_hash_ != hash) keypair_->start_over();
  keypair_hash_ = hash;
  const BoundKeypairOptions& options = config_.onboarding.bound_keypair;
  if (!options.has_static_key()) return boost::system::in_place_value;
  Outcome<std::shared_ptr<EVP_PKEY>> key = read_static_key(options);
  if (!key) return key.error();
  keypair_->use_fixed(std::move(*key));
  return boost::system::in_place_value;
}

asio::awaitable<AuthResult<void>> Bot::renew_by_keypair() {
  if (auth_major_ > 0 && auth_major_ < 17)
    co_return other_error("Teleport " + cluster_->server_version +
                          " does not know join method bound_keypair, which came with 17.7 and "
                          "18.1; upgrade it, or choose another join method");
  const Outcome<std::string> token = read_token(config_.onboarding);
  if (!token) co_return other_error(token.error().message);
  const std::string hash = token_hash(*token);
  if (Outcome<void> opened = open_keypair(hash); !opened)
    co_return other_error(opened.error().message);
  // Where nothing is kept the token must let each join pass (recovery mode insecure).
  const bool repeatable = config_.storage_path.empty();
  if (in_doubt_ && !repeatable && !identity_valid())
    co_return AuthError{Kind::in_doubt, "the answer to a join by the bot's key was lost", false};
  BoundKeypairIntro intro;
  intro.join_state = keypair_->join_state();
  if (!keypair_->bound()) {
    Outcome<std::string> secret = read_registration_secret(config_.onboarding.bound_keypair);
    if (!secret) co_return other_error(secret.error().message);
    if (secret->empty())
      co_return other_error(
          "the bot has no key yet and no registration secret to bind one: set "
          "onboarding.bound_keypair.registration_secret (`tctl get token/…` shows it under "
          "status.bound_keypair), or TBOT_REGISTRATION_SECRET");
    intro.registration_secret = std::move(*secret);
  }
  KeyRing ring(*keypair_, *storage_, std::move(intro));
  JoinRequest request;
  request.token = *token;
  request.key = new_key();
  if (!request.key) co_return other_error("OpenSSL cannot make a key");
  request.expires = system_clock::now() + config_.credential_ttl;
  const bool known = identity_valid() && hash == identity_hash_;
  AuthResult<JoinGrant> grant = co_await ask_by_keypair(request, ring, known);
  if (!grant) {
    const AuthError& error = grant.error();
    if (error.outcome_unknown && !(repeatable && !known)) co_return doubt(error.message);
    if (!in_doubt_) storage_->end_join();  // else it is the note of an earlier join
    co_return error;
  }
  co_return take_grant(request.key, std::move(*grant), ring.used(), hash);
}

AuthResult<void> Bot::take_grant(const std::shared_ptr<EVP_PKEY>& key, JoinGrant grant,
                                 const std::string& used, const std::string& hash) {
  const std::string& bound = grant.public_key.empty() ? used : grant.public_key;
  if (Outcome<void> kept = keypair_->accept(std::move(grant.join_state), bound); !kept)
    log::error("the next join by the bot's key will fail", {{"cause", kept.error().message}});
  Outcome<BotIdentityPtr> made =
      make_bot_identity(key, std::move(grant.certs), cluster_->cluster_name, "");
  if (made) return adopt(std::move(*made), hash);
  // Joined, and without anything to show for it: the next try costs another recovery.
  if (Outcome<void> saved = storage_->save_keypair(keypair_->artifacts()); !saved)
    log::error("what Teleport says of the join cannot be stored",
               {{"cause", saved.error().message}});
  return doubt(made.error().message);
}

// With a certificate that still works there is time: the next try waits, as a renewal's does.
// Without one an operator must say that it may be tried.
AuthResult<void> Bot::doubt(const std::string& cause) {
  in_doubt_ = true;
  if (!identity_valid())
    return AuthError{Kind::in_doubt,
                     "the answer to a join by the bot's key was lost, and it may have been carried "
                     "out (" +
                         cause + ")",
                     true};
  renew_at_ = Clock::now() + config_.renewal_interval;
  log::error(
      "the answer to a join by the bot's key was lost; it is not tried again before the renewal "
      "interval is over. If Teleport then reports a mismatch, the log tells what to do",
      {{"cause", cause}, {"expires", utc(identity_->subject.not_after)}});
  drop_client();
  return boost::system::in_place_value;
}

// `known`: with the certificate of before, at Auth, which keeps the instance and costs no recovery;
// when Auth does not answer we wait for it rather than pay with one.
asio::awaitable<AuthResult<JoinGrant>> Bot::ask_by_keypair(const JoinRequest& request,
                                                           KeyRing& ring, bool known) {
  std::unique_ptr<AuthClient> stranger;
  GrpcChannel::Ptr proxy;
  if (known) {
    const AuthResult<void> connected = co_await connect();
    if (!connected) co_return connected.error();
  } else if (!config_.auth_server.empty()) {
    const AuthAddress address = auth_address();
    const BotIdentityPtr nobody;
    AuthResult<std::unique_ptr<AuthClient>> client =
        co_await AuthClient::connect(address, cluster_->cluster_name, nobody, host_cas_);
    if (!client) co_return client.error();
    stranger = std::move(*client);
  } else {
    const HttpsOrigin origin = web_origin();
    AuthResult<GrpcChannel::Ptr> channel = co_await connect_to_join(origin);
    if (!channel) co_return channel.error();
    proxy = std::move(*channel);
  }
  const GrpcChannel::Ptr channel = known      ? client_->channel()
                                   : stranger ? stranger->channel()
                                              : proxy;
  AuthResult<JoinGrant> grant = AuthError{Kind::unimplemented, "", false};
  if (config_.onboarding.join_path != JoinPath::grpc)
    grant = co_await join_by_keypair(channel, KeypairStream::older, request, ring);
  // A stream that is not there has spent no secret.
  if (!grant && grant.error().kind == Kind::unimplemented)
    grant = co_await join_by_keypair(channel, KeypairStream::join_v1, request, ring);
  if (!grant && grant.error().kind == Kind::unimplemented)
    grant = other_error("Teleport " + cluster_->server_version +
                        " takes no joins by bound_keypair, which came with 17.7 and 18.1 (" +
                        grant.error().message + "); upgrade it, or choose another join method");
  if (proxy) proxy->close();
  co_return grant;
}

}  // namespace kubelane::teleport
