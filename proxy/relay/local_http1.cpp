#include "proxy/relay/local_http1.hpp"

#include <algorithm>

#include "proxy/http/status.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/relay/exchange.hpp"
#include "proxy/relay/tunnel.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

constexpr std::size_t linger_bytes = 256 * 1024;
constexpr std::chrono::seconds linger_time{1};
constexpr std::chrono::milliseconds ticket_patience{100};
constexpr unsigned max_rejected_tokens = 3;

http::HeadLimits head_limits(const Config& config) {
  return {config.limits.max_header_bytes, config.limits.max_header_fields};
}

}  // namespace

LocalHttp1::LocalHttp1(Worker& worker, std::size_t listener, bool refuse)
    : worker_(worker),
      listener_(worker.listeners_[listener]),
      listener_index_(listener),
      index_in_worker_(worker.local_connections_.size()),
      refuse_(refuse),
      readiness_(worker.loop_),
      connection_(worker.loop_, Side::local),
      up_(worker.buffers_, http::Direction::request),
      parser_(head_limits(worker.config_)) {
  worker.local_connections_.push_back(this);
}

LocalHttp1::~LocalHttp1() { worker_.connection_gone(*this); }

runtime::Detached LocalHttp1::serve(Worker& worker, tls::UniqueFd fd, std::size_t listener,
                                    bool refuse) {
  LocalHttp1 self(worker, listener, refuse);
  self.connection_.set_sink(&self.readiness_);
  if (!self.connection_.open(std::move(fd), worker.batch_)) co_return;
  const bool greeted = co_await self.handshake();
  if (!greeted) co_return;
  for (;;) {
    const bool have_head = co_await self.read_head();
    if (!have_head) co_return;
    const After after = co_await self.serve_request();
    if (after == After::keep) continue;
    if (after == After::abort) {
      self.connection_.stream().abort();
      co_return;
    }
    co_await self.end_properly(after == After::linger);
    co_return;
  }
}

runtime::Task<bool> LocalHttp1::handshake() {
  tls::Stream& stream = connection_.stream();
  if (listener_->context && !stream.serve_tls(listener_->context.get())) co_return false;
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

// Leaves the parsed head in the worker's scratch. False: the connection is over.
runtime::Task<bool> LocalHttp1::read_head() {
  tls::Stream& stream = connection_.stream();
  const Timeouts& timeouts = worker_.config_.timeouts;
  parser_.reset();
  head_method_ = false;
  accept_.clear();
  Clock::time_point deadline = worker_.loop_.now() + timeouts.local_idle;
  bool begun = false;
  bool in_time = true;
  for (;;) {
    if (!up_.buffer.empty()) {
      if (!begun) {
        begun = true;
        deadline = worker_.loop_.now() + timeouts.request_head;
      }
      const http::HeadVerdict verdict = parser_.request(up_.buffer.view(), worker_.request_head_);
      using Verdict = http::HeadVerdict::Kind;
      if (verdict.kind == Verdict::done) {
        head_bytes_ = verdict.bytes;
        co_return true;
      }
      if (verdict.kind != Verdict::need_more) {
        const Code code = verdict.kind == Verdict::too_large ? Code::head_too_large
                          : verdict.kind == Verdict::version ? Code::http_version
                                                             : Code::bad_head;
        std::string message =
            code == Code::head_too_large
                ? "the request head is larger than kubelane's limit (max_header_bytes " +
                      std::to_string(worker_.config_.limits.max_header_bytes) +
                      ", max_header_fields " +
                      std::to_string(worker_.config_.limits.max_header_fields) + ")"
            : code == Code::http_version ? "kubelane speaks HTTP/1.1 here"
                                         : "malformed request: " + std::string(verdict.reason);
        const Error error{code, Side::local, Retry::no, 0, "request head"};
        co_await answer(error, std::move(message), true);
        co_await end_properly(true);
        co_return false;
      }
    }
    // Between requests a drain closes the connection; a head that has begun may still be served.
    if (worker_.phase_ == Worker::Phase::ending ||
        (worker_.phase_ == Worker::Phase::draining && !begun)) {
      co_await end_properly(false);
      co_return false;
    }
    if (!in_time) {
      if (begun) {
        const Error error{Code::timeout, Side::local, Retry::no, 0, "request head"};
        std::string message = "the request head did not arrive in time";
        co_await answer(error, std::move(message), true);
      }
      co_await end_properly(false);
      co_return false;
    }
    const std::span<char> space = up_.buffer.space();
    if (space.empty()) {
      const Error error{Code::head_too_large, Side::local, Retry::no, 0, "request head"};
      std::string message = "the request head is larger than kubelane's buffer";
      co_await answer(error, std::move(message), true);
      co_await end_properly(true);
      co_return false;
    }
    const tls::Step step = stream.read(space);
    if (step.kind == Kind::moved) {
      up_.buffer.commit(step.bytes);
      continue;
    }
    up_.buffer.release_if_empty();
    if (step.kind == Kind::failed) co_return false;
    if (step.kind == Kind::eof) {
      // Both sides are done when nothing was begun: no need for a word of our own.
      if (begun) co_await end_properly(false);
      co_return false;
    }
    if (!stream.holds()) {
      in_time = co_await readiness_.wait(deadline);
      continue;
    }
    // The ticket waits a moment for the first answer, to leave in its send.
    in_time = co_await readiness_.wait(std::min(deadline, worker_.loop_.now() + ticket_patience));
    if (in_time) continue;
    stream.send_held();
    in_time = worker_.loop_.now() < deadline;
  }
}

runtime::Task<After> LocalHttp1::serve_request() {
  const http::RequestHead& head = worker_.request_head_;
  head_method_ = head.method == "HEAD";
  up_.passed = 0;
  up_.cleared = 0;
  const bool body_unread = head.body != http::BodyKind::none;
  listener_ = worker_.listeners_[listener_index_];
  if (refuse_ || worker_.buffers_.scarce()) {
    const Error error{Code::overloaded, Side::local, Retry::no, 0, "admit"};
    std::string message = "kubelane has reached its memory limit (limits.buffer_memory_bytes)";
    if (refuse_)
      message = "kubelane has reached its limit of local connections (limits.max_connections)";
    co_return co_await answer(error, std::move(message), true);
  }
  Admission admission = admit(*listener_, head.authority, head.path, head.fields());
  if (admission.route == nullptr) {
    co_return co_await answer(admission.error, std::move(admission.message), body_unread);
  }
  const UpstreamPool& pool = *worker_.upstreams_[admission.route->service];
  std::string problem = pool.problem(admission.route->cluster);
  if (!problem.empty()) {
    const Error error{Code::no_identity, Side::self, Retry::no, 0, "admit"};
    co_return co_await answer(error, std::move(problem), body_unread);
  }
  Exchange exchange(*this, admission);
  co_return co_await exchange.run();
}

runtime::Task<After> LocalHttp1::answer(Error error, std::string message, bool body_unread) {
  const http::Field* accept = nullptr;
  if (head_bytes_ > 0 && accept_.empty())
    accept = http::find(worker_.request_head_.fields(), http::FieldId::accept);
  const http::StatusAnswer status = http::answer_for(error);
  if (error.code == Code::unauthorized) ++rejected_tokens_;
  const bool close = status.close || body_unread || refuse_ ||
                     worker_.phase_ != Worker::Phase::serving ||
                     rejected_tokens_ >= max_rejected_tokens;
  if (log::enabled(LogLevel::debug)) {
    log::debug("answered locally", {{"listener", listener_->address},
                                    {"code", status.code},
                                    {"cause", name(error.code)},
                                    {"message", message}});
  }
  std::string bytes = http::render_status(
      status, message, accept != nullptr ? accept->value : std::string_view(accept_), head_method_,
      close);
  if (!close) {
    up_.buffer.consume(head_bytes_);
    up_.buffer.release_if_empty();
  }
  head_bytes_ = 0;
  const bool sent = co_await send_all(std::move(bytes));
  if (!sent) co_return After::abort;
  co_return !close ? After::keep : body_unread ? After::linger : After::close;
}

runtime::Task<bool> LocalHttp1::send_all(std::string bytes) {
  tls::Stream& stream = connection_.stream();
  std::string_view rest = bytes;
  const Clock::time_point deadline = worker_.loop_.now() + worker_.config_.timeouts.progress;
  for (;;) {
    const tls::Step step = rest.empty() ? stream.flush() : stream.write(rest);
    if (step.kind == Kind::failed) co_return false;
    if (step.kind == Kind::moved) {
      rest.remove_prefix(step.bytes);
      if (rest.empty() && !stream.output_pending()) co_return true;
      continue;
    }
    const bool in_time = co_await readiness_.wait(deadline);
    if (!in_time) co_return false;
  }
}

// Ends our direction; with `linger` reads on for a moment, so that a client that is still sending
// sees our answer instead of a reset.
runtime::Task<bool> LocalHttp1::end_properly(bool linger) {
  tls::Stream& stream = connection_.stream();
  const Clock::time_point deadline = worker_.loop_.now() + linger_time;
  std::size_t discarded = 0;
  up_.buffer.release();
  for (;;) {
    const tls::Step closed = stream.close_write();
    if (closed.kind == Kind::failed) co_return false;
    bool reading = linger && discarded < linger_bytes;
    while (reading) {
      const tls::Step step = stream.read(up_.buffer.space());
      if (step.kind == Kind::moved) {
        discarded += step.bytes;
        reading = discarded < linger_bytes;
        continue;
      }
      up_.buffer.release();
      if (step.kind != Kind::want_read) co_return true;
      break;
    }
    up_.buffer.release();
    if (closed.kind == Kind::moved && (!linger || discarded >= linger_bytes)) co_return true;
    const bool in_time = co_await readiness_.wait(deadline);
    if (!in_time) co_return true;
  }
}

}  // namespace kubelane::relay
