#include "proxy/teleport/bot.hpp"

#include <algorithm>
#include <cstdlib>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unistd.h>

#include "proxy/observe/log.hpp"
#include "proxy/observe/utc.hpp"
#include "proxy/teleport/bot_feed.hpp"
#include "proxy/teleport/ca_pins.hpp"
#include "proxy/teleport/id_token.hpp"
#include "proxy/teleport/join_stream.hpp"
#include "tls/key.hpp"
#include "tls/pem.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
using Kind = AuthError::Kind;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

constexpr milliseconds first_back_off{1'000};
constexpr milliseconds last_back_off{60'000};
// While Teleport does not answer: how often a bare TLS connection looks whether it does again.
constexpr milliseconds look_interval{2'000};
constexpr minutes locked_pause{5};
constexpr seconds busy_pause{30};
constexpr seconds rotation_settles{10};  // a rotation changes several CAs, one after the other
constexpr milliseconds watch_pause{2'000};
constexpr minutes heartbeat_interval{30};

const BotIdentityPtr nobody;
const std::string no_text;
const EnvironmentLookup environment =
    [](const std::string& variable) -> std::optional<std::string> {
  const char* value = std::getenv(variable.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
};

}  // namespace

Bot::Bot(asio::io_context& io, const Config& config, std::unique_ptr<BotStorage> storage,
         Events events)
    : io_(io),
      config_(config),
      storage_(std::move(storage)),
      events_(std::move(events)),
      wake_(io),
      watch_timer_(io) {
  for (std::size_t i = 0; i < config.services.size(); ++i) {
    if (!config.services[i].by_bot()) continue;
    Output output;
    output.index = i;
    output.service = &config.services[i];
    output.selectors = output.service->clusters;
    outputs_.push_back(std::move(output));
  }
}

Bot::~Bot() = default;

std::unique_ptr<IdentityFeed> Bot::feed(std::size_t service, const std::string& cluster) {
  auto made = std::make_unique<Feed>(*this, service, cluster);
  for (Output& output : outputs_) {
    if (output.index != service) continue;
    if (const auto found = output.bound.find(cluster); found != output.bound.end())
      made->publish(found->second);
  }
  return made;
}

void Bot::start() {
  load();
  asio::co_spawn(io_, run(), asio::detached);
  asio::co_spawn(io_, watch_rotations(), asio::detached);
}

void Bot::renew_now(const std::string& why, Wish whose) {
  if (whose == Wish::operators) stopped_ = in_doubt_ = false;
  if (stopped_) return;
  log::info("the bot renews now", {{"cause", why}});
  retry_at_ = {};
  if (!in_doubt_) renew_at_ = {};
  for (Output& output : outputs_) output.renew_at = {};
  wake();
}

void Bot::wake() {
  woken_ = true;
  wake_.cancel();
}

// ---------------------------------------------------------------- the loop

asio::awaitable<void> Bot::run() {
  for (;;) {
    const Clock::time_point began = Clock::now();
    const std::uint64_t before = condition_.renewed;
    const AuthResult<void> done = co_await round();
    if (condition_.renewed != before) condition_.round_time.record(Clock::now() - began);
    if (done) {
      healed();
    } else {
      failed(done.error());
    }
    co_await rest();
  }
}

// All that is due, in the order in which one thing needs the other.
asio::awaitable<AuthResult<void>> Bot::round() {
  woken_ = only_outputs_failed_ = false;
  if (rotation_at_ <= Clock::now()) {
    rotation_at_ = Clock::time_point::max();
    if (!in_doubt_) renew_at_ = {};
    for (Output& output : outputs_) output.renew_at = {};
    host_cas_.clear();
  }
  if (!cluster_ || !identity_valid()) {
    const AuthResult<void> learnt = co_await learn_cluster();
    if (!learnt) co_return learnt;
  }
  if (!identity_valid() || renew_at_ <= Clock::now()) {
    // Teleport may have been upgraded, or want other keys now. What is known serves if it is
    // silent.
    if (identity_valid()) co_await learn_cluster();
    const AuthResult<void> renewed = co_await renew_identity();
    if (!renewed) co_return renewed;
  }
  const AuthResult<void> connected = co_await connect();
  if (!connected) co_return connected;
  AuthResult<void> first_failure = boost::system::in_place_value;
  for (Output& output : outputs_) {
    AuthResult<void> done = boost::system::in_place_value;
    if (output.renew_at <= Clock::now()) done = co_await renew_output(output);
    if (done && output.list_at <= Clock::now()) done = co_await list(output);
    if (done) {
      if (!output.problem.empty()) set_problem(output, "");
      continue;
    }
    // What ails the connection or the bot ails all of them.
    const Kind kind = done.error().kind;
    if (kind != Kind::other && kind != Kind::denied && kind != Kind::not_found &&
        kind != Kind::invalid)
      co_return done;
    set_problem(output, done.error().message);
    if (first_failure) first_failure = done;
  }
  only_outputs_failed_ = !first_failure;
  if (!first_failure) co_return first_failure;
  if (heartbeat_at_ <= Clock::now()) co_await send_heartbeat();
  co_return boost::system::in_place_value;
}

Bot::Clock::time_point Bot::next_due() const {
  Clock::time_point next = std::min({renew_at_, rotation_at_, heartbeat_at_});
  for (const Output& output : outputs_) next = std::min({next, output.renew_at, output.list_at});
  return next;
}

asio::awaitable<void> Bot::rest() {
  while (!woken_) {
    Clock::time_point until = failing_ ? retry_at_ : next_due();
    if (stopped_) until = Clock::now() + std::chrono::hours(24);
    const bool looks = unreachable_ && !stopped_ && until - Clock::now() > look_interval;
    if (looks) until = Clock::now() + jittered(look_interval, 0.3);
    if (until <= Clock::now()) co_return;
    wake_.expires_at(until);
    auto [error] = co_await wake_.async_wait(as_result);
    if (error || woken_) co_return;
    if (!looks && !stopped_) co_return;
    if (looks && co_await auth_answers()) co_return;
  }
}

// Whether there is somebody behind the address: TLS alone, nothing is asked and nothing is trusted.
asio::awaitable<bool> Bot::auth_answers() {
  if (!cluster_) {
    const AuthResult<void> learnt = co_await learn_cluster();
    co_return learnt.has_value();
  }
  const AuthAddress address = auth_address();
  const AuthResult<std::unique_ptr<AuthClient>> client =
      co_await AuthClient::connect(address, cluster_->cluster_name, nobody, no_text, true);
  co_return client.has_value();
}

void Bot::healed() {
  back_off_ = first_back_off;
  failing_ = unreachable_ = false;
  if (problem_.empty()) return;
  log::info("the bot works again");
  problem_.clear();
  for (Output& output : outputs_) set_problem(output, "");
}

void Bot::failed(const AuthError& error) {
  ++condition_.failed;
  condition_.kind = error.kind;
  const bool single_use = config_.onboarding.join_method == JoinMethod::token;
  const bool joining = !identity_valid();
  unreachable_ = error.kind == Kind::unreachable;
  failing_ = true;
  milliseconds pause = jittered(back_off_, 0.5);
  bool loud = false;
  switch (error.kind) {
    case Kind::generation_mismatch:
    case Kind::state_mismatch:
      stopped_ = loud = true;
      if (config_.onboarding.join_method == JoinMethod::bound_keypair) forget_identity();
      break;
    case Kind::in_doubt:
      stopped_ = loud = true;
      break;
    case Kind::locked:
      pause = locked_pause;
      loud = true;
      break;
    case Kind::denied:
    case Kind::not_found:
      // A spent token stays spent; other tokens' rules may be mended.
      if (joining && single_use) {
        stopped_ = loud = true;
      } else {
        pause = jittered(last_back_off, 0.3);
      }
      break;
    case Kind::busy:
      pause = std::max<milliseconds>(pause, jittered(busy_pause, 0.3));
      break;
    case Kind::untrusted:
    case Kind::certificate_refused:
      drop_client();
      host_cas_.clear();
      // Joining again brings a new certificate and the CAs of today.
      if (identity_ && !identity_->subject.renewable && back_off_ == first_back_off)
        identity_.reset();
      break;
    case Kind::invalid:  // another version than the connection began with: ask again
    case Kind::unreachable:
      drop_client();
      break;
    default:
      break;
  }
  retry_at_ = Clock::now() + pause;
  back_off_ = std::min(back_off_ * 2, last_back_off);
  const std::string problem =
      error.message + remedy(error.kind, config_.onboarding.join_method, joining);
  if (problem != problem_) {
    if (loud)
      log::error("the bot has stopped renewing", {{"cause", problem}});
    else
      log::warn(joining ? "the bot cannot join Teleport; trying again"
                        : "the bot cannot renew; trying again",
                {{"cause", problem}});
  }
  problem_ = problem;
  if (!only_outputs_failed_) set_problem(problem);
}

BotCondition Bot::condition() const {
  BotCondition now = condition_;
  now.failing = failing_;
  now.stopped = stopped_;
  now.problem = problem_;
  if (!identity_) return now;
  now.not_after = identity_->subject.not_after;
  now.user = identity_->subject.user;
  now.serial = identity_->subject.serial;
  return now;
}

// To show it again would make Teleport lock the bot again; its key can join anew.
void Bot::forget_identity() {
  identity_.reset();
  drop_client();
  storage_->end_join();
  if (keypair_)
    if (Outcome<void> saved = storage_->save_keypair(keypair_->artifacts()); !saved)
      log::error("the bot's joining key cannot be stored", {{"cause", saved.error().message}});
  storage_->forget_identity();
}

void Bot::set_problem(const std::string& problem) {
  for (Output& output : outputs_) set_problem(output, problem);
}

void Bot::set_problem(Output& output, const std::string& problem) {
  output.problem = problem;
  for (const auto& [key, feed] : feeds_)
    if (key.first == output.index) feed->set_problem(problem);
}

// ---------------------------------------------------------------- the bot's own identity

void Bot::load() {
  Outcome<StoredBot> stored = storage_->load();
  if (!stored) {
    log::error("the bot's stored identity cannot be read; joining anew",
               {{"cause", stored.error().message}});
    return;
  }
  if (stored->join_pending) in_doubt_ = true;
  if (!stored->identity) return;
  const Outcome<std::string> token = read_token(config_.onboarding);
  if (token && token_hash(*token) != stored->token_hash) {
    log::info("another join token than before: joining anew");
    return;
  }
  const tls::TeleportSubject& subject = stored->identity->subject;
  if (subject.not_after <= system_clock::now()) {
    log::warn("the bot's stored identity has expired", {{"expired", utc(subject.not_after)}});
    if (subject.renewable) spent_hash_ = stored->token_hash;
    return;
  }
  identity_ = stored->identity;
  identity_hash_ = stored->token_hash;
  log::info("the bot's stored identity is used",
            {{"user", subject.user}, {"expires", utc(subject.not_after)}});
  if (!stored->join_pending && !(subject.renewable && stored->renewal_pending))
    return;  // it is renewed at once
  in_doubt_ = true;
  // Whether the renewal that was under way was carried out cannot be found out, and to ask again
  // would lock the bot if it was. Its certificate still works meanwhile.
  renew_at_ = Clock::now() + config_.renewal_interval;
  log::error(
      "kubelane ended in the middle of a renewal of the bot's identity; the next one waits for the "
      "renewal interval. If Teleport then reports a mismatch, the log tells what to do",
      {{"expires", utc(subject.not_after)}});
}

bool Bot::identity_valid() const {
  if (!identity_) return false;
  const tls::TeleportSubject& subject = identity_->subject;
  // Of a short life the slack is short, too.
  const auto life = subject.not_after - subject.not_before;
  const auto slack = std::min<system_clock::duration>(config_.leeway, life / 10);
  return system_clock::now() < subject.not_after - slack;
}

HttpsOrigin Bot::web_origin() const {
  HttpsOrigin origin;
  parse_host_port(config_.proxy_server, 443, origin.address);
  origin.ca_file = config_.proxy_ca;
  origin.insecure = config_.insecure;
  return origin;
}

AuthAddress Bot::auth_address() const {
  AuthAddress address;
  address.through_proxy = config_.auth_server.empty();
  parse_host_port(address.through_proxy ? config_.proxy_server : config_.auth_server,
                  address.through_proxy ? 443 : 3025, address.address);
  return address;
}

std::shared_ptr<EVP_PKEY> Bot::new_key() const {
  return std::shared_ptr<EVP_PKEY>(cluster_->key_kind == KeyKind::rsa ? tls::make_rsa_key()
                                                                      : tls::make_key());
}

asio::awaitable<AuthResult<void>> Bot::learn_cluster() {
  if (!config_.auth_server.empty()) co_return co_await learn_from_auth();
  const HttpsOrigin origin = web_origin();
  AuthResult<FindReply> reply = co_await find(origin);
  if (!reply) co_return reply.error();
  if (!cluster_)
    log::info("Teleport cluster",
              {{"cluster", reply->cluster_name}, {"version", reply->server_version}});
  cluster_ = std::move(*reply);
  auth_major_ = major_of(cluster_->server_version);
  co_return boost::system::in_place_value;
}

// Without the Proxy: Auth tells about itself once its CA is known (control-plane spec 1.6).
asio::awaitable<AuthResult<void>> Bot::learn_from_auth() {
  if (host_cas_.empty() && !config_.onboarding.ca_path.empty()) {
    Outcome<std::string> file = read_ca_file(config_.onboarding.ca_path);
    if (!file) co_return other_error(file.error().message);
    host_cas_ = std::move(*file);
  }
  const AuthAddress address = auth_address();
  if (host_cas_.empty()) {
    AuthResult<std::unique_ptr<AuthClient>> stranger =
        co_await AuthClient::connect(address, no_text, nobody, no_text, true);
    if (!stranger) co_return stranger.error();
    AuthResult<std::string> bundle = co_await (*stranger)->host_ca();
    if (!bundle) co_return bundle.error();
    if (!config_.insecure)
      if (const std::string wrong = check_ca_pins(*bundle, config_.onboarding.ca_pins);
          !wrong.empty())
        co_return AuthError{Kind::untrusted, wrong, false};
    host_cas_ = std::move(*bundle);
  }
  AuthResult<std::unique_ptr<AuthClient>> client =
      co_await AuthClient::connect(address, no_text, nobody, host_cas_);
  if (!client) co_return client.error();
  AuthResult<AuthPing> ping = co_await (*client)->ping();
  if (!ping) co_return ping.error();
  FindReply reply;
  reply.cluster_name = ping->cluster_name;
  reply.server_version = ping->server_version;
  reply.key_kind = key_kind_of_suite(std::to_string(ping->suite));
  cluster_ = std::move(reply);
  auth_major_ = major_of(cluster_->server_version);
  HostPort proxy;
  if (!proxy_told_ && parse_host_port(ping->proxy_public_addr, 443, proxy)) {
    proxy_told_ = true;
    events_.on_proxy(proxy);
  }
  if (!proxy_told_) {
    proxy_told_ = true;
    log::error(
        "Auth knows no public address of a Proxy, and clusters are reached through one: set the "
        "Proxy's public_addr, or name it in proxy_server instead of auth_server");
  }
  co_return boost::system::in_place_value;
}

asio::awaitable<AuthResult<void>> Bot::renew_identity() {
  if (config_.onboarding.join_method == JoinMethod::bound_keypair)
    co_return co_await renew_by_keypair();
  Outcome<std::string> token = read_token(config_.onboarding);
  if (!token && !(identity_valid() && identity_->subject.renewable))
    co_return other_error(token.error().message);
  const std::string hash = token ? token_hash(*token) : identity_hash_;
  const bool renewing = identity_valid() && identity_->subject.renewable && hash == identity_hash_;
  if (!renewing && config_.onboarding.join_method == JoinMethod::token && hash == spent_hash_)
    co_return AuthError{Kind::denied,
                        "the bot's identity is over, and its token has been used for a join before",
                        false};
  if (renewing) {
    const AuthResult<void> connected = co_await connect();
    if (!connected) co_return connected;
    if (Outcome<void> ready = storage_->begin_renewal(*identity_); !ready)
      co_return other_error(ready.error().message);
  }
  std::shared_ptr<EVP_PKEY> key = new_key();
  if (!key) co_return other_error("OpenSSL cannot make a key");
  const std::string by = renewing ? std::string() : *token;
  AuthResult<IssuedCerts> certs = co_await ask_for_identity(key, by);
  if (!certs && renewing && certs.error().outcome_unknown) {
    in_doubt_ = true;
    renew_at_ = Clock::now() + config_.renewal_interval;
    log::error(
        "the answer to a renewal of the bot's identity was lost; it is not asked for again before "
        "the renewal interval is over. If Teleport then reports a generation mismatch, the bot "
        "needs a new token",
        {{"cause", certs.error().message}, {"expires", utc(identity_->subject.not_after)}});
    client_.reset();
    co_return boost::system::in_place_value;
  }
  if (!certs) {
    if (renewing) storage_->end_renewal();
    if (!renewing && !certs.error().outcome_unknown &&
        config_.onboarding.join_method == JoinMethod::token &&
        (certs.error().kind == Kind::denied || certs.error().kind == Kind::not_found))
      spent_hash_ = hash;
    co_return certs.error();
  }
  Outcome<BotIdentityPtr> made =
      make_bot_identity(std::move(key), std::move(*certs), cluster_->cluster_name,
                        renewing ? identity_->subject.user : std::string());
  if (!made) co_return other_error(made.error().message);
  co_return adopt(std::move(*made), hash);
}

AuthResult<void> Bot::adopt(BotIdentityPtr identity, const std::string& hash) {
  // First what survives a crash, then what is used.
  const Artifacts keypair = keypair_ ? keypair_->artifacts() : Artifacts();
  if (Outcome<void> saved = storage_->save(*identity, hash, keypair); !saved)
    log::error(
        "the bot's new identity cannot be stored; after a restart the bot may need a new "
        "token",
        {{"cause", saved.error().message}});
  const bool first = !identity_;
  identity_ = std::move(identity);
  identity_hash_ = hash;
  in_doubt_ = false;
  drop_client();
  ++condition_.renewed;
  renew_at_ = Clock::now() + jittered(config_.renewal_interval, -0.05);
  const tls::TeleportSubject& subject = identity_->subject;
  log::info(first ? "the bot has joined" : "the bot's identity is renewed",
            {{"user", subject.user},
             {"teleport_cluster", subject.teleport_cluster},
             {"instance", subject.bot_instance},
             {"renewable", subject.renewable ? "true" : "false"},
             {"expires", utc(subject.not_after)}});
  return boost::system::in_place_value;
}

// `token` empty: by renewing the identity there is.
asio::awaitable<AuthResult<IssuedCerts>> Bot::ask_for_identity(const std::shared_ptr<EVP_PKEY>& key,
                                                               const std::string& token) {
  const system_clock::time_point expires = system_clock::now() + config_.credential_ttl;
  if (token.empty()) {
    CertsWish wish;
    wish.username = identity_->subject.user;
    wish.expires = expires;
    co_return co_await client_->user_certs(wish, key, auth_major_);
  }
  JoinRequest request;
  request.token = token;
  request.key = key;
  request.expires = expires;
  Outcome<std::string> id_token = co_await fetch_id_token(config_.onboarding, environment);
  if (!id_token) co_return other_error(id_token.error().message);
  request.id_token = std::move(*id_token);
  co_return co_await join(request);
}

asio::awaitable<AuthResult<IssuedCerts>> Bot::join_at_auth(const JoinRequest& request) {
  const AuthAddress address = auth_address();
  const BotIdentityPtr known = identity_valid() ? identity_ : nullptr;
  AuthResult<std::unique_ptr<AuthClient>> client =
      co_await AuthClient::connect(address, cluster_->cluster_name, known, host_cas_);
  if (!client) co_return client.error();
  AuthResult<IssuedCerts> certs = co_await (*client)->register_token(request);
  if (!certs && certs.error().kind == Kind::unimplemented)
    co_return other_error("this Auth Service (version " + cluster_->server_version +
                          ") takes no joins from here; name the Proxy in proxy_server");
  co_return certs;
}

asio::awaitable<AuthResult<IssuedCerts>> Bot::join(const JoinRequest& request) {
  if (!config_.auth_server.empty()) co_return co_await join_at_auth(request);
  // While the old certificate is valid, Auth itself keeps the bot's instance (spec 4.2).
  const bool rejoin = identity_valid() && !identity_->subject.renewable && auth_major_ >= 17;
  if (rejoin) {
    const AuthResult<void> connected = co_await connect();
    if (connected) {
      AuthResult<IssuedCerts> certs = co_await client_->register_token(request);
      if (certs || certs.error().kind != Kind::unimplemented) co_return certs;
    } else if (connected.error().kind == Kind::unreachable) {
      co_return connected.error();
    }
  }
  const HttpsOrigin origin = web_origin();
  const JoinPath path = config_.onboarding.join_path;
  if (path != JoinPath::grpc) {
    AuthResult<IssuedCerts> certs = co_await join_over_web(origin, request);
    // A way that is not there has spent no token.
    if (certs || certs.error().kind != Kind::unimplemented || path == JoinPath::web)
      co_return certs;
    log::info("the Proxy's web API takes no joins; trying teleport.join.v1");
  }
  const bool by_id_token = config_.onboarding.join_method != JoinMethod::token;
  co_return co_await join_by_stream(origin, request, by_id_token);
}

// ---------------------------------------------------------------- the connection to Auth

// The watch for rotations may still hold it, and must not go on with an older identity.
void Bot::drop_client() {
  if (client_) client_->channel()->close();
  client_.reset();
}

// With the identity of now, trusting the host CA alone.
asio::awaitable<AuthResult<void>> Bot::connect() {
  if (client_ && client_->usable()) co_return boost::system::in_place_value;
  drop_client();
  const BotIdentityPtr identity = identity_;
  const AuthAddress address = auth_address();
  if (host_cas_.empty()) {
    // A join's bundle holds the user CA, too: it is good for asking which of them is the host CA.
    AuthResult<std::unique_ptr<AuthClient>> first =
        co_await AuthClient::connect(address, cluster_->cluster_name, identity, no_text);
    if (!first) co_return first.error();
    AuthResult<std::string> host_ca = co_await (*first)->host_ca();
    if (!host_ca) co_return host_ca.error();
    if (tls::split_pem(*host_ca).certificates.empty())
      co_return other_error("Auth sent no host CA");
    host_cas_ = std::move(*host_ca);
  }
  AuthResult<std::unique_ptr<AuthClient>> client =
      co_await AuthClient::connect(address, cluster_->cluster_name, identity, host_cas_);
  if (!client) co_return client.error();
  AuthResult<AuthPing> ping = co_await (*client)->ping();
  if (!ping) co_return ping.error();
  auth_major_ = major_of(ping->server_version);
  // The CAs of today, in case of a rotation that nobody told us of.
  AuthResult<std::string> host_ca = co_await (*client)->host_ca();
  if (!host_ca) co_return host_ca.error();
  if (!tls::split_pem(*host_ca).certificates.empty()) host_cas_ = std::move(*host_ca);
  client_ = std::move(*client);
  watch_timer_.cancel();
  co_return boost::system::in_place_value;
}

asio::awaitable<void> Bot::watch_rotations() {
  const std::function<void()> on_start = [] { log::debug("watching for rotations of the CAs"); };
  const std::function<void(std::string)> on_rotation = [this](const std::string& phase) {
    log::info("the cluster's CAs are being rotated; renewing", {{"phase", phase}});
    rotation_at_ = Clock::now() + rotation_settles;
    wake();
  };
  for (;;) {
    const std::shared_ptr<AuthClient> client = client_;
    if (client && client->usable()) {
      const std::string name = cluster_->cluster_name;
      const AuthError ended = co_await client->watch_rotations(name, on_start, on_rotation);
      log::debug("the watch for rotations ended", {{"cause", ended.message}});
    }
    watch_timer_.expires_after(jittered(watch_pause, 0.5));
    co_await watch_timer_.async_wait(as_result);
  }
}

asio::awaitable<void> Bot::send_heartbeat() {
  HeartbeatReport report;
  report.startup = !sent_first_heartbeat_;
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  report.hostname = host;
  report.uptime = std::chrono::duration_cast<seconds>(Clock::now() - started_);
  report.join_method = std::string(name(config_.onboarding.join_method));
  report.oneshot = config_.oneshot;
  const AuthResult<void> sent = co_await client_->heartbeat(report);
  // Nothing depends on it but `tctl bots instances`.
  if (sent) sent_first_heartbeat_ = true;
  if (!sent) log::debug("no heartbeat", {{"cause", sent.error().message}});
  heartbeat_at_ = Clock::now() + heartbeat_interval;
}

// `share` 0.3: up to 30 % more; -0.05: up to 5 % less.
milliseconds Bot::jittered(milliseconds delay, double share) {
  std::uniform_real_distribution<double> part(0, 1);
  const double factor = 1 + share * part(random_);
  return milliseconds(static_cast<milliseconds::rep>(static_cast<double>(delay.count()) * factor));
}

}  // namespace kubelane::teleport
