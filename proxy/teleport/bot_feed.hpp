// What one service hears of the bot: its newest identity, or why there is none. For bot*.cpp.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "proxy/teleport/bot.hpp"

namespace kubelane::teleport {

// Thread: control. Registers itself with the bot, which must outlive it.
class Bot::Feed final : public IdentityFeed {
 public:
  Feed(Bot& bot, std::size_t service, std::string cluster)
      : bot_(bot), key_(service, std::move(cluster)) {
    bot_.feeds_[key_] = this;
  }
  ~Feed() override { bot_.feeds_.erase(key_); }

  void start(Callbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    if (identity_) callbacks_.on_identity(identity_, {});
    if (!identity_) tell_problem();
  }
  // Refused certificates come in bursts, one per connection; and a new one may be refused, too.
  void reload() override {
    const Clock::time_point now = Clock::now();
    if (reloaded_ != Clock::time_point{} && now - reloaded_ < reload_pause) return;
    reloaded_ = now;
    bot_.renew_now("the Teleport Proxy refused the certificate", Wish::our_own);
  }
  std::string noun() const override { return "the bot's credentials"; }
  std::string remedy() const override {
    return problem_.empty() && identity_ ? "see kubelane's log" : "";
  }

  void publish(tls::IdentityPtr identity) {
    identity_ = std::move(identity);
    problem_.clear();
    if (callbacks_.on_identity) callbacks_.on_identity(identity_, {});
  }
  void set_problem(const std::string& problem) {
    if (problem == problem_) return;
    problem_ = problem;
    if (!problem_.empty()) {
      tell_problem();
    } else if (identity_ && callbacks_.on_identity) {
      callbacks_.on_identity(identity_, {});
    }
  }

 private:
  void tell_problem() {
    if (callbacks_.on_problem)
      callbacks_.on_problem(problem_.empty() ? "the bot is joining Teleport" : problem_);
  }

  static constexpr std::chrono::seconds reload_pause{10};

  Bot& bot_;
  std::pair<std::size_t, std::string> key_;
  Callbacks callbacks_;
  tls::IdentityPtr identity_;
  std::string problem_;
  Clock::time_point reloaded_{};
};

}  // namespace kubelane::teleport
