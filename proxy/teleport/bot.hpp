// kubelane's own bot: joins, keeps its identity, makes the identities that reach clusters, follows
// the list of clusters. One loop on the control thread does one thing after the other; it never
// ends and never ends the process (control-plane spec 0, 4, 9, 14).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/config.hpp"
#include "proxy/teleport/auth_client.hpp"
#include "proxy/teleport/bot_condition.hpp"
#include "proxy/teleport/bot_storage.hpp"
#include "proxy/teleport/bound_keypair.hpp"
#include "proxy/teleport/find.hpp"
#include "proxy/teleport/identity_feed.hpp"
#include "proxy/teleport/inventory.hpp"
#include "proxy/teleport/join.hpp"
#include "proxy/teleport/join_messages.hpp"

namespace kubelane::teleport {

// Thread: control. `config` must outlive it, and it must outlive its feeds.
class Bot {
 public:
  struct Events {
    // The clusters of a service have changed, or are known for the first time. `bound`: each has an
    // identity of its own; else one serves them all.
    std::function<void(std::size_t service, const Inventory& inventory, bool bound)> on_inventory;
    // With auth_server alone: where the Proxy is, as Auth says.
    std::function<void(const HostPort& proxy)> on_proxy;
  };

  Bot(boost::asio::io_context& io, const Config& config, std::unique_ptr<BotStorage> storage,
      Events events);
  ~Bot();
  Bot(const Bot&) = delete;
  Bot& operator=(const Bot&) = delete;

  void start();
  // Renews everything now; what was stopped or is in doubt only by the operator's wish.
  enum class Wish : std::uint8_t { operators, our_own };
  void renew_now(const std::string& why, Wish whose);

  BotCondition condition() const;

  // The identity of one service (index into Config::services): for all its clusters ("") or for
  // one.
  std::unique_ptr<IdentityFeed> feed(std::size_t service, const std::string& cluster);

 private:
  using Clock = std::chrono::steady_clock;
  class Feed;
  class KeyRing;
  // What one service of the configuration needs.
  struct Output {
    std::size_t index = 0;
    const Service* service = nullptr;
    std::vector<ClusterSelector> selectors;
    std::vector<std::string> roles;                 // of this round of certificates
    std::shared_ptr<EVP_PKEY> key;                  // the same
    BotIdentityPtr listing;                         // not bound to a cluster
    std::unique_ptr<AuthClient> lister;             // speaks as `listing`
    std::map<std::string, tls::IdentityPtr> bound;  // by cluster, of this round
    std::map<std::string, std::string>
        refused;  // clusters without a certificate in this round: why
    std::optional<Inventory> inventory;
    bool told_bound = false;  // with the inventory
    Clock::time_point renew_at{};
    Clock::time_point list_at{};
    std::string problem;
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<AuthResult<void>> round();
  boost::asio::awaitable<void> rest();
  boost::asio::awaitable<bool> auth_answers();
  boost::asio::awaitable<AuthResult<void>> learn_cluster();
  boost::asio::awaitable<AuthResult<void>> learn_from_auth();
  boost::asio::awaitable<AuthResult<void>> renew_identity();
  boost::asio::awaitable<AuthResult<IssuedCerts>> ask_for_identity(
      const std::shared_ptr<EVP_PKEY>& key, const std::string& token);
  boost::asio::awaitable<AuthResult<IssuedCerts>> join(const JoinRequest& request);
  boost::asio::awaitable<AuthResult<IssuedCerts>> join_at_auth(const JoinRequest& request);
  boost::asio::awaitable<AuthResult<void>> renew_by_keypair();
  boost::asio::awaitable<AuthResult<JoinGrant>> ask_by_keypair(const JoinRequest& request,
                                                               KeyRing& ring, bool known);
  boost::asio::awaitable<AuthResult<void>> connect();
  CertsWish wish_for(const Output& output, const std::string& cluster) const;
  boost::asio::awaitable<AuthResult<void>> renew_output(Output& output);
  boost::asio::awaitable<AuthResult<void>> list(Output& output);
  boost::asio::awaitable<AuthResult<void>> bind(Output& output, const Inventory& inventory);
  boost::asio::awaitable<void> send_heartbeat();
  boost::asio::awaitable<void> watch_rotations();

  AuthResult<void> adopt(BotIdentityPtr identity, const std::string& hash);
  Outcome<void> open_keypair(const std::string& hash);
  AuthResult<void> take_grant(const std::shared_ptr<EVP_PKEY>& key, JoinGrant grant,
                              const std::string& used, const std::string& hash);
  AuthResult<void> doubt(const std::string& cause);
  AuthResult<void> publish(Output& output, const std::string& cluster, const BotIdentity& made);
  void told(Output& output, Inventory inventory);
  void failed(const AuthError& error);
  void healed();
  void set_problem(Output& output, const std::string& problem);
  void set_problem(const std::string& problem);
  void load();
  void forget_identity();
  bool identity_valid() const;
  bool bound(const Output& output) const;
  std::shared_ptr<EVP_PKEY> new_key() const;
  HttpsOrigin web_origin() const;
  AuthAddress auth_address() const;
  std::chrono::milliseconds ttl(const Output& output) const;
  std::chrono::milliseconds interval(const Output& output) const;
  std::chrono::milliseconds jittered(std::chrono::milliseconds delay, double share);
  Clock::time_point next_due() const;
  void wake();
  void drop_client();

  boost::asio::io_context& io_;
  const Config& config_;
  std::unique_ptr<BotStorage> storage_;
  Events events_;
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer watch_timer_;
  std::minstd_rand random_{std::random_device{}()};
  const Clock::time_point started_ = Clock::now();

  std::optional<FindReply> cluster_;
  bool proxy_told_ = false;
  BotIdentityPtr identity_;
  std::string identity_hash_;  // of the token that it came from
  std::string spent_hash_;     // a single-use token that was tried and is of no more use
  std::unique_ptr<BoundKeypair> keypair_;  // of bound_keypair, once it was read
  std::string keypair_hash_;               // of the token that it is bound to
  std::shared_ptr<AuthClient> client_;
  std::string host_cas_;  // PEM
  int auth_major_ = 0;
  std::vector<Output> outputs_;
  std::map<std::pair<std::size_t, std::string>, Feed*> feeds_;

  Clock::time_point renew_at_{};  // the bot's identity
  Clock::time_point heartbeat_at_{};
  Clock::time_point rotation_at_ = Clock::time_point::max();
  Clock::time_point retry_at_{};  // after a failure
  std::chrono::milliseconds back_off_{1000};
  bool failing_ = false;
  bool unreachable_ = false;
  bool stopped_ = false;  // until somebody changes something and says so
  // Whether the last renewal or join was carried out nobody knows.
  bool in_doubt_ = false;
  bool woken_ = false;
  bool only_outputs_failed_ = false;  // in the last round: the bot itself is well
  bool sent_first_heartbeat_ = false;
  std::string problem_;
  BotCondition condition_;  // what of it is counted
};

}  // namespace kubelane::teleport
