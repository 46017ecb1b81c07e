#include "proxy/relay/local_connection.hpp"

#include "proxy/observe/log.hpp"
#include "proxy/relay/local_http1.hpp"
#include "proxy/relay/local_http2.hpp"

namespace kubelane::relay {

using runtime::Clock;
using Kind = tls::Step::Kind;

LocalConnection::LocalConnection(Worker& worker, std::size_t listener, bool refuse)
    : worker_(worker),
      listener_(worker.listeners_[listener]),
      listener_index_(listener),
      index_in_worker_(worker.local_connections_.size()),
      refuse_(refuse),
      since_(worker.loop_.now()),
      readiness_(worker.loop_),
      connection_(worker.loop_, Side::local) {
  worker.local_connections_.push_back(this);
}

LocalConnection::~LocalConnection() { worker_.connection_gone(*this); }

runtime::Detached LocalConnection::serve(Worker& worker, tls::UniqueFd fd, std::size_t listener,
                                         bool refuse) {
  LocalConnection self(worker, listener, refuse);
  self.frame_ = co_await runtime::OwnFrame{};
  self.connection_.set_sink(&self.readiness_);
  if (!self.connection_.open(std::move(fd), worker.batch_)) co_return;
  const bool greeted = co_await self.handshake();
  if (self.connection_.stream().is_tls()) ++worker.meter_.local_handshakes[greeted ? 1 : 0];
  if (!greeted) co_return;
  self.greeted_ = true;
  if (self.connection_.stream().is_http2()) {
    co_await LocalHttp2::serve(self);
  } else {
    co_await LocalHttp1::serve(self);
  }
}

runtime::Task<bool> LocalConnection::handshake() {
  tls::Stream& stream = connection_.stream();
  const bool http2 = !refuse_ && worker_.offers_http2(*listener_);
  if (listener_->context &&
      !stream.serve_tls(listener_->context.get(), http2 ? tls::Alpn::any : tls::Alpn::http1))
    co_return false;
  if (!stream.is_tls()) co_return true;
  const Clock::time_point deadline = worker_.loop_.now() + worker_.config_.timeouts.local_handshake;
  for (;;) {
    const tls::Step step = stream.handshake();
    if (step.kind == Kind::moved) co_return true;
    if (step.kind == Kind::failed) {
      if (log::enabled(LogLevel::debug)) {
        log::debug("local TLS handshake failed",
                   {{"listener", listener_->address}, {"cause", name(step.error.code)}});
      }
      co_return false;
    }
    if (worker_.phase_ == Worker::Phase::ending) co_return false;
    const bool in_time = co_await readiness_.wait(deadline);
    if (!in_time) co_return false;
  }
}

}  // namespace kubelane::relay
