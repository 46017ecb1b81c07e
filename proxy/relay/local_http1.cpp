#include "proxy/relay/local_http1.hpp"

#include <algorithm>

#include "proxy/http/status.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/relay/access_log.hpp"
#include "proxy/relay/exchange.hpp"
#include "proxy/relay/request_meter.hpp"
#include "proxy/relay/tunnel.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

constexpr std::size_t linger_bytes = 256UL * 1024;
constexpr std::chrono::seconds linger_time{1};
constexpr std::chrono::milliseconds ticket_patience{100};
constexpr unsigned max_rejected_tokens = 3;

http::HeadLimits head_limits(const Settings& config) {
  return {config.limits.max_header_bytes, config.limits.max_header_fields};
}

}  // namespace

LocalHttp1::LocalHttp1(LocalConnection& connection)
    : worker_(connection.worker_),
      listener_(connection.listener_),
      listener_index_(connection.listener_index_),
      refuse_(connection.refuse_),
      readiness_(connection.readiness_),
      connection_(connection.connection_),
      up_(worker_.buffers_, http::Direction::request),
      parser_(head_limits(worker_.config_)) {}

runtime::Task<bool> LocalHttp1::serve(LocalConnection& connection) {
  LocalHttp1 self(connection);
  for (;;) {
    const bool have_head = co_await self.read_head();
    if (!have_head) co_return true;
    ++connection.requests_;
    connection.active_ = 1;
    const After after = co_await self.serve_request();
    connection.active_ = 0;
    if (after == After::keep) continue;
    if (after == After::abort) {
      self.connection_.stream().abort();
      co_return true;
    }
    co_await self.end_properly(after == After::linger);
    co_return true;
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
        co_return co_await refuse_head(code, std::move(message), deadline - timeouts.request_head);
      }
    }
    if (worker_.phase_ == Worker::Phase::ending) {
      co_await end_properly(false);
      co_return false;
    }
    if (!in_time) {
      if (begun) {
        std::string message = "the request head did not arrive in time";
        co_return co_await refuse_head(Code::timeout, std::move(message),
                                       deadline - timeouts.request_head);
      }
      co_await end_properly(false);
      co_return false;
    }
    const std::span<char> space = up_.buffer.space();
    if (space.empty()) {
      std::string message = "the request head is larger than kubelane's buffer";
      co_return co_await refuse_head(Code::head_too_large, std::move(message),
                                     deadline - timeouts.request_head);
    }
    const tls::Step step = stream.read(space);
    if (step.kind == Kind::moved) {
      up_.buffer.commit(step.bytes);
      continue;
    }
    up_.buffer.release_if_empty();
    if (step.kind == Kind::failed) co_return false;
    // Between requests a drain closes the connection, as does the end of its listener. What has
    // arrived of a head is served.
    if (worker_.leaving(listener_index_) && !begun && step.kind != Kind::eof) {
      co_await end_properly(false);
      co_return false;
    }
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

// A head that cannot be read: the answer, and the end of the connection. Its line in the log says
// nothing of the request, since nothing is known for sure.
runtime::Task<bool> LocalHttp1::refuse_head(Code code, std::string message,
                                            Clock::time_point began) {
  const Error error{code, Side::local, Retry::no, 0, "request head"};
  AccessLog line;
  line.begin({}, {}, {}, began, "HTTP/1.1");
  line.end({}, http::answer_for(error).code, 0, 0, false, name(code), worker_.loop_.now());
  co_await answer(error, std::move(message), true);
  co_await end_properly(code != Code::timeout);
  co_return false;
}

runtime::Task<After> LocalHttp1::serve_request() {
  const Worker::Running running(worker_);
  const http::RequestHead& head = worker_.request_head_;
  head_method_ = head.method == "HEAD";
  up_.passed = 0;
  up_.cleared = 0;
  const bool body_unread = head.body != http::BodyKind::none;
  listener_ = worker_.listeners_[listener_index_];
  // An answer of our own may come when the scratch holds another connection's request.
  if (const http::Field* accept = http::find(head.fields(), http::FieldId::accept))
    accept_ = accept->value.substr(0, 256);
  if (refuse_ || worker_.buffers_.scarce()) {
    const Error error{Code::overloaded, Side::local, Retry::no, 0, "admit"};
    log_refused({}, error);
    std::string message = "kubelane has reached its memory limit (limits.buffer_memory_bytes)";
    if (refuse_)
      message = "kubelane has reached its limit of local connections (limits.max_connections)";
    co_return co_await answer(error, std::move(message), true);
  }
  Admission admission = admit(*listener_, head.authority, head.path, head.fields());
  if (admission.route == nullptr) {
    log_refused({}, admission.error);
    co_return co_await answer(admission.error, std::move(admission.message), body_unread);
  }
  const UpstreamPool& pool = *worker_.upstreams_[admission.route->upstream];
  std::string problem = pool.problem(admission.route->cluster);
  if (!problem.empty()) {
    const Error error{Code::no_identity, Side::self, Retry::no, 0, "admit"};
    log_refused(admission, error);
    RequestMeter meter(worker_.meter_);
    meter.begin(worker_.route_meter(*admission.route), verb_of(head.method, false, head.upgrade),
                observe::Stream::none, worker_.loop_.now());
    meter.end(http::answer_for(error).code, 0, 0, worker_.loop_.now());
    co_return co_await answer(error, std::move(problem), body_unread);
  }
  Exchange exchange(*this, admission);
  co_return co_await exchange.run();
}

// The access line of a request that gets no further than here.
void LocalHttp1::log_refused(const Admission& admission, const Error& error) const {
  if (!log::enabled(LogLevel::debug)) return;
  const http::RequestHead& head = worker_.request_head_;
  const Clock::time_point now = worker_.loop_.now();
  AccessLog line;
  line.begin(head.method, head.path.substr(std::min(admission.strip_bytes, head.path.size())),
             head.query, now, "HTTP/1.1");
  line.end(admission.route == nullptr ? std::string_view() : admission.route->cluster,
           http::answer_for(error).code, 0, 0, false, name(error.code), now);
}

runtime::Task<After> LocalHttp1::answer(Error error, std::string message, bool body_unread) {
  const http::StatusAnswer status = http::answer_for(error);
  count_own_answer(worker_.meter_, error);
  if (error.code == Code::unauthorized) ++rejected_tokens_;
  const bool close = status.close || body_unread || refuse_ || worker_.leaving(listener_index_) ||
                     rejected_tokens_ >= max_rejected_tokens;
  if (log::enabled(LogLevel::debug)) {
    log::debug("answered locally", {{"listener", listener_->address},
                                    {"code", status.code},
                                    {"cause", name(error.code)},
                                    {"message", message}});
  }
  std::string bytes = http::render_status(status, message, accept_, head_method_, close);
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
    // Who takes nothing is not waited for beyond the drain.
    if (worker_.phase_ == Worker::Phase::ending) co_return false;
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
