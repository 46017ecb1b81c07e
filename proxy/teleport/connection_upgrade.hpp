// Whether Teleport's Auth is reached by ALPN, or, since a balancer in front of the Proxy terminates
// TLS and cuts it off, through the Proxy's connection upgrade (control-plane spec 3.5). Control
// thread.
#pragma once

#include <string>

#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

class ConnectionUpgrade {
 public:
  enum class Mode { automatic, always, never };

  // `web`: the Proxy's web address, whose certificate a balancer may have instead of the Proxy.
  ConnectionUpgrade(HttpsOrigin web, Mode mode)
      : web_(std::move(web)), mode_(mode), needed_(mode == Mode::always) {}

  const HttpsOrigin& web() const noexcept { return web_; }
  // What to try first: known from last time, or said by the operator.
  bool needed() const noexcept { return needed_; }
  // ALPN does not get through: the upgrade is worth a try.
  bool may_help() const noexcept { return mode_ == Mode::automatic && !needed_; }
  // The Proxy, or who stands before it, has taken the upgrade; or it has not.
  void learn(bool taken) noexcept {
    if (mode_ == Mode::automatic) needed_ = taken;
  }

 private:
  HttpsOrigin web_;
  Mode mode_;
  bool needed_;
};

// tbot's environment variable TELEPORT_TLS_ROUTING_CONN_UPGRADE: entries `<bool>` or
// `<addr>=<bool>` between commas or semicolons. One that names `address` (host:port) wins; when the
// variable is empty nobody has said anything, and what it does not settle means never.
ConnectionUpgrade::Mode upgrade_mode(const std::string& variable, const std::string& address);

}  // namespace kubelane::teleport
