// After 101: bytes both ways, untouched, until both directions have ended. Half-close is kept;
// there is no idle limit while both directions are open.
#pragma once

#include "proxy/link/connect.hpp"
#include "proxy/relay/flow.hpp"
#include "proxy/relay/local_http1.hpp"

namespace kubelane::relay {

// Thread: its worker. Works on the connections and buffers of an exchange; what stands in the
// buffers goes first.
class Tunnel {
 public:
  Tunnel(LocalHttp1& local, link::UpstreamConnection& upstream, Flow& up, Flow& down) noexcept;

  // Returns when both directions have ended (close) or one broke (abort).
  runtime::Task<After> run();

 private:
  enum class Turn : std::uint8_t { blocked, ended, failed, again };
  Turn move(tls::Stream& from, Flow& flow, tls::Stream& to, bool& ended) noexcept;

  LocalHttp1& local_;
  link::UpstreamConnection& upstream_;
  Flow& up_;
  Flow& down_;
  bool up_ended_ = false;
  bool down_ended_ = false;
};

}  // namespace kubelane::relay
