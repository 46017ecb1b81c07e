#include "proxy/link/h2_link.hpp"

namespace kubelane::link {
namespace {

using Kind = tls::Step::Kind;

constexpr std::size_t turn_bytes = 256UL * 1024;  // then the others' turn

}  // namespace

H2Link::Turn H2Link::turn() noexcept {
  bool again = false;
  const runtime::Clock::time_point now = connection_.loop().now();
  if (!read(now, again)) return Turn::failed;
  if (!write()) return Turn::failed;
  const bool said = unsent_.empty() && !connection_.stream().output_pending();
  // A session that broke is over even when its last words cannot leave: say_goodbye() tries on.
  if (peer_ended_ || closing_) return Turn::ended;
  if (said && session_.finished()) return Turn::ended;
  return again ? Turn::again : Turn::blocked;
}

bool H2Link::say_goodbye() noexcept {
  tls::Stream& stream = connection_.stream();
  if (!stream.is_open() || !write()) return true;
  if (!unsent_.empty() || stream.output_pending()) return false;
  const tls::Step closed = stream.close_write();
  if (closed.kind == Kind::failed) return true;
  std::size_t moved = 0;
  while (!peer_ended_) {
    const tls::Step step = stream.read(scratch_.in);
    if (step.kind == Kind::want_read) break;
    if (step.kind != Kind::moved) return true;
    moved += step.bytes;
    if (moved >= turn_bytes) return true;  // it talks on and on
  }
  return peer_ended_ && closed.kind == Kind::moved;
}

std::int64_t H2Link::delivered_bytes() const noexcept {
  return static_cast<std::int64_t>(sent_bytes_) -
         static_cast<std::int64_t>(connection_.stream().unacknowledged_bytes());
}

bool H2Link::read(runtime::Clock::time_point now, bool& again) noexcept {
  tls::Stream& stream = connection_.stream();
  std::size_t moved = 0;
  while (!closing_ && !peer_ended_) {
    if (moved >= turn_bytes) {
      again = true;
      return true;
    }
    const tls::Step step = stream.read(scratch_.in);
    switch (step.kind) {
      case Kind::moved:
        moved += step.bytes;
        received_bytes_ += step.bytes;
        received_at_ = now;
        received_any_ = true;
        if (!session_.receive({scratch_.in.data(), step.bytes}, now)) closing_ = true;
        break;
      case Kind::eof:
        peer_ended_ = true;
        error_ = step.error;
        error_.code = Code::eof;
        error_.where = "HTTP/2";
        break;
      case Kind::failed:
        error_ = step.error;
        return false;
      default:
        return true;
    }
  }
  return true;
}

bool H2Link::write() noexcept {
  tls::Stream& stream = connection_.stream();
  for (;;) {
    if (stream.output_pending()) {
      const tls::Step flushed = stream.flush();
      if (flushed.kind == Kind::failed) {
        error_ = flushed.error;
        return false;
      }
      if (flushed.kind != Kind::moved) return true;
    }
    std::string_view bytes = unsent_;
    if (bytes.empty()) {
      const std::size_t filled = session_.fill(scratch_.out, H2Scratch::burst_bytes);
      if (filled == http::H2Session::npos) {
        error_ = {Code::internal, Side::self, Retry::no, 0, session_.reason()};
        return false;
      }
      if (filled == 0) return true;
      bytes = {scratch_.out.data(), filled};
    }
    const tls::Step step = stream.write(bytes);
    if (step.kind == Kind::failed) {
      error_ = step.error;
      return false;
    }
    const std::size_t taken = step.kind == Kind::moved ? step.bytes : 0;
    sent_bytes_ += taken;
    if (taken == bytes.size()) {
      unsent_.clear();
    } else {
      unsent_ = std::string(bytes.substr(taken));
    }
  }
}

}  // namespace kubelane::link
