#include "proxy/relay/tunnel.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

constexpr std::size_t turn_bytes = 256UL * 1024;  // then the others' turn

}  // namespace

Tunnel::Tunnel(LocalHttp1& local, link::UpstreamConnection& upstream, Flow& up, Flow& down) noexcept
    : local_(local), upstream_(upstream), up_(up), down_(down) {}

Tunnel::Turn Tunnel::move(tls::Stream& from, Flow& flow, tls::Stream& to, bool& ended) noexcept {
  std::size_t moved = 0;
  for (;;) {
    flow.cleared = flow.buffer.size();
    const tls::Step written = flow.write(to);
    if (written.kind == Kind::failed) return Turn::failed;
    if (written.kind == Kind::want_write) return Turn::blocked;
    if (to.output_pending()) {
      const tls::Step flushed = to.flush();
      if (flushed.kind == Kind::failed) return Turn::failed;
      if (flushed.kind == Kind::want_write) return Turn::blocked;
    }
    if (ended) {
      flow.buffer.release();
      const tls::Step closed = to.close_write();
      if (closed.kind == Kind::failed) return Turn::failed;
      return closed.kind == Kind::moved ? Turn::ended : Turn::blocked;
    }
    if (moved >= turn_bytes) return Turn::again;
    const tls::Step step = from.read(flow.buffer.space());
    switch (step.kind) {
      case Kind::moved:
        flow.buffer.commit(step.bytes);
        moved += step.bytes;
        break;
      case Kind::eof:
        ended = true;
        break;
      case Kind::failed:
        return Turn::failed;
      default:
        flow.buffer.release_if_empty();
        return Turn::blocked;
    }
  }
}

runtime::Task<After> Tunnel::run() {
  tls::Stream& client = local_.connection_.stream();
  tls::Stream& proxy = upstream_.stream();
  Worker& worker = local_.worker_;
  Clock::time_point last_progress = worker.loop_.now();
  std::uint64_t passed = 0;
  for (;;) {
    const Turn up = move(client, up_, proxy, up_ended_);
    const Turn down = move(proxy, down_, client, down_ended_);
    // A direction that stands still does not hear of the client's reset.
    if (up == Turn::failed || down == Turn::failed || client.socket().broken) {
      proxy.abort();
      co_return After::abort;
    }
    if (up == Turn::ended && down == Turn::ended) co_return After::close;
    if (worker.phase_ == Worker::Phase::ending) {
      proxy.close_write();
      co_return After::close;
    }
    if (up == Turn::again || down == Turn::again) local_.readiness_.wake();
    if (const std::uint64_t now_passed = up_.passed + down_.passed; now_passed != passed) {
      passed = now_passed;
      last_progress = worker.loop_.now();
    }
    if (up_ended_ || down_ended_) {
      const auto limit = last_progress + worker.config_.timeouts.half_closed;
      const bool in_time = co_await local_.readiness_.wait(limit);
      if (!in_time && up_.passed + down_.passed == passed &&
          worker.loop_.now() - last_progress >= worker.config_.timeouts.half_closed) {
        proxy.close_write();
        co_return After::close;
      }
    } else {
      co_await local_.readiness_.wait();
    }
  }
}

}  // namespace kubelane::relay
