#include "proxy/teleport/secret_storage.hpp"

#include <boost/json.hpp>

#include "proxy/observe/log.hpp"
#include "proxy/teleport/pod_lease.hpp"
#include "tls/base64.hpp"
#include "tls/key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

// Holds the serial of the identity that is being renewed.
constexpr const char* renewing_key = "kubelane-renewing";
constexpr int most_conflicts = 5;

Artifacts artifacts_in(const json::object& secret) {
  Artifacts artifacts;
  for (const char* name : identity_files)
    artifacts.files.emplace_back(name, secret_value(secret, name));
  return artifacts;
}

// Whether the stored identity may give way to `ours`: it is the same, or the one that ours came
// from, or an earlier generation of the same instance.
bool precedes(const BotIdentity& stored, const BotIdentity& ours, const std::string& known_serial) {
  const tls::TeleportSubject& theirs = stored.subject;
  if (theirs.serial == ours.subject.serial || theirs.serial == known_serial) return true;
  return !theirs.bot_instance.empty() && theirs.bot_instance == ours.subject.bot_instance &&
         theirs.generation && ours.subject.generation &&
         *theirs.generation < *ours.subject.generation;
}

class SecretStorage final : public BotStorage {
 public:
  SecretStorage(asio::io_context& io, const ApiServer& server, ApiObject secret, SecretName name)
      : server_(server),
        secret_(std::move(secret)),
        name_(std::move(name)),
        lease_(io, server, secret_) {}

  asio::awaitable<Outcome<StoredBot>> load() override {
    const Outcome<void> held = co_await lease_.hold();
    if (!held) co_return held.error();
    ApiResult<json::object> found = co_await server_.get(secret_);
    if (!found && found.error().kind != ApiError::Kind::not_found) co_return failure(found.error());
    superseded_ = false;
    StoredBot stored;
    version_ = found ? resource_version(*found) : std::string();
    if (!found) co_return stored;
    const Artifacts artifacts = artifacts_in(*found);
    stored.identity = identity_of(artifacts);
    stored.token_hash = hash_ = artifacts.at("tokenhash");
    if (stored.identity) {
      known_serial_ = stored.identity->subject.serial;
      stored.renewal_pending = secret_value(*found, renewing_key) == known_serial_;
    }
    wipe_secret(*found);
    co_return stored;
  }

  asio::awaitable<Outcome<void>> prove() override {
    const json::object empty = new_object(secret_, version_);
    ApiResult<json::object> done = ApiError{};
    if (version_.empty())
      done = co_await server_.create(secret_, empty, true);
    else
      done = co_await server_.apply(secret_, empty, true);
    if (!done && done.error().kind != ApiError::Kind::conflict) co_return failure(done.error());
    co_return boost::system::in_place_value;
  }

  asio::awaitable<Outcome<void>> begin_renewal(const BotIdentity& current) override {
    // Now, and not a while ago: the Lease may have gone to another pod meanwhile.
    const Outcome<void> held = co_await lease_.hold();
    if (!held) co_return held.error();
    co_return co_await write(current, true);
  }

  asio::awaitable<void> end_renewal() override {
    if (!noted_) co_return;
    const BotIdentityPtr current = noted_;
    // Left standing it would only make the next start wait.
    co_await write(*current, false);
  }

  asio::awaitable<Outcome<void>> save(const BotIdentity& identity, const std::string& hash,
                                      const Artifacts&) override {
    hash_ = hash;
    co_return co_await write(identity, false);
  }

  // The configuration lets no bound key come here.
  Outcome<void> save_keypair(const Artifacts&) override { return no_bound_keys(); }
  Outcome<void> begin_join() override { return no_bound_keys(); }
  void end_join() override {}
  void forget_identity() override {}

  bool superseded() const override { return superseded_; }
  asio::awaitable<void> release() override { co_await lease_.release(); }

 private:
  static Failure no_bound_keys() {
    return {Code::config, "a bound key is kept in a directory, not in a Secret"};
  }
  Failure failure(const ApiError& error) const {
    const bool gone = error.kind == ApiError::Kind::unreachable;
    return {gone ? Code::refused : Code::denied, "the bot's storage: " + error.message};
  }

  json::object content(const Artifacts& artifacts, const std::string& renewing) const {
    json::object object = new_object(secret_, version_);
    if (!name_.labels.empty()) {
      json::object labels;
      for (const auto& [label, value] : name_.labels) labels[label] = value;
      object["metadata"].get_object()["labels"] = std::move(labels);
    }
    json::object data;
    for (const auto& [name, text] : artifacts.files) data[name] = tls::base64(text);
    if (!renewing.empty()) data[renewing_key] = tls::base64(renewing);
    object["data"] = std::move(data);
    return object;
  }

  // All of it, in the place of the version that we know; `renewing`: it is about to be renewed.
  asio::awaitable<Outcome<void>> write(const BotIdentity& identity, bool renewing) {
    const Artifacts artifacts = artifacts_of(identity, hash_);
    const std::string serial = identity.subject.serial;
    for (int i = 0; i < most_conflicts; ++i) {
      // What is created belongs to another operation, and apply could not take the note away again.
      const bool there = !version_.empty();
      json::object wanted = content(artifacts, renewing && there ? serial : std::string());
      ApiResult<json::object> done = ApiError{};
      if (there)
        done = co_await server_.apply(secret_, wanted);
      else
        done = co_await server_.create(secret_, wanted);
      wipe_secret(wanted);
      if (done) {
        wipe_secret(*done);
        version_ = resource_version(*done);
        known_serial_ = serial;
        if (renewing && !there) continue;
        noted_ = renewing ? std::make_shared<BotIdentity>(identity) : nullptr;
        co_return boost::system::in_place_value;
      }
      if (done.error().kind != ApiError::Kind::conflict &&
          done.error().kind != ApiError::Kind::not_found)
        co_return failure(done.error());
      const Outcome<void> ours = co_await read_again(identity);
      if (!ours) co_return ours;
    }
    co_return Failure{Code::refused, "the bot's storage: " + secret_.text() +
                                         " is changed by others all the time; who else writes it?"};
  }

  // After a conflict: what is there now, and whether it may give way to `identity`.
  asio::awaitable<Outcome<void>> read_again(const BotIdentity& identity) {
    ApiResult<json::object> found = co_await server_.get(secret_);
    if (!found && found.error().kind != ApiError::Kind::not_found) co_return failure(found.error());
    const std::string version = found ? resource_version(*found) : std::string();
    if (found) {
      const BotIdentityPtr stored = identity_of(artifacts_in(*found));
      wipe_secret(*found);
      if (stored && !precedes(*stored, identity, known_serial_)) {
        superseded_ = true;
        co_return Failure{Code::denied,
                          "the bot's storage: somebody else has put another identity into " +
                              secret_.text() +
                              " (another kubelane, tbot, or a backup); it is read anew"};
      }
    }
    version_ = version;
    co_return boost::system::in_place_value;
  }

  const ApiServer& server_;
  ApiObject secret_;
  SecretName name_;
  PodLease lease_;
  std::string version_;       // of the Secret when we saw it last; empty: there is none
  std::string known_serial_;  // of the identity that we loaded or stored last
  std::string hash_;          // of the token
  BotIdentityPtr noted_;      // stored as being renewed
  bool superseded_ = false;
};

}  // namespace

std::unique_ptr<BotStorage> make_secret_storage(asio::io_context& io, const ApiServer& server,
                                                const ApiObject& secret, const SecretName& name) {
  return std::make_unique<SecretStorage>(io, server, secret, name);
}

}  // namespace kubelane::teleport
