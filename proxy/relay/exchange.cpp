#include "proxy/relay/exchange.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "proxy/http/status.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/relay/impersonation.hpp"
#include "proxy/relay/tunnel.hpp"
#include "proxy/relay/upstream_error.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

constexpr std::size_t turn_bytes = 256UL * 1024;        // then the others' turn
constexpr std::size_t inline_body_bytes = 16UL * 1024;  // sent together with the head
constexpr std::string_view last_chunk = "0\r\n\r\n";

// RFC 9110 section 9.2.1; the set that Go's client replays on a lost connection.
bool is_safe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}

}  // namespace

Exchange::Exchange(LocalHttp1& local, const Admission& admission)
    : local_(local),
      worker_(local.worker_),
      route_(*admission.route),
      pool_(*worker_.upstreams_[admission.route->upstream]),
      listener_(local.listener_),
      down_(worker_.buffers_, http::Direction::response),
      parser_(http::HeadLimits{worker_.config_.limits.max_header_bytes, http::max_fields}),
      meter_(worker_.meter_),
      strip_bytes_(admission.strip_bytes) {
  const http::RequestHead& head = worker_.request_head_;
  request_body_ = head.body;
  request_length_ = head.content_length;
  head_method_ = head.method == "HEAD";
  upgrade_ = head.upgrade;
  client_keeps_alive_ = head.keep_alive;
  replayable_ = request_body_ == http::BodyKind::none && !upgrade_ && is_safe(head.method);
  const std::string_view path = head.path.substr(std::min(strip_bytes_, head.path.size()));
  watch_ = is_watch(path, head.query);
  log_.begin(head.method, path, head.query, worker_.loop_.now(), "HTTP/1.1");
  meter_.begin(worker_.route_meter(route_), verb_of(head.method, watch_, upgrade_),
               stream_of(path, watch_, upgrade_), worker_.loop_.now());
}

Exchange::~Exchange() { discard_upstream(false); }

void Exchange::discard_upstream(bool reset) {
  if (!upstream_) return;
  if (reset) {
    upstream_->stream().abort();
  } else {
    upstream_->stream().close_write();
  }
  upstream_.reset();
  pool_.closed();
}

Exchange::Turn Exchange::failed(const Error& error) noexcept {
  error_ = error;
  return Turn::failed;
}

runtime::Task<After> Exchange::run() {
  for (int attempt = 0;; ++attempt) {
    Result<bool> leased = co_await lease(attempt > 0);
    if (!leased) co_return co_await fail(leased.error());
    Result<> sent = co_await send_request();
    Result<> relayed = sent ? co_await relay() : sent;
    if (tunnel_) {
      Tunnel tunnel(local_, *upstream_, local_.up_, down_);
      const After after = co_await tunnel.run();
      tell_end(101, *leased, "");
      co_return after;
    }
    if (relayed) co_return co_await finish();
    const Error error = relayed.error();
    // A watch that stands between two events ends properly, so that its client resumes.
    if (!local_failed_ && error.side == Side::upstream && end_watch()) {
      close_local_ = true;
      upstream_keeps_alive_ = false;
      co_return co_await finish();
    }
    if (local_failed_) {  // nobody is left to answer
      discard_upstream(true);
      tell_end(0, *leased, "client went away");
      co_return After::abort;
    }
    // A connection from the pool may have been closed by the Proxy while the request was on its
    // way.
    if (attempt == 0 && *leased && may_replay(error)) {
      discard_upstream(true);
      pool_.again(observe::Again::connection_lost);
      continue;
    }
    co_return co_await fail(error);
  }
}

void Exchange::tell_end(int status, bool reused, std::string_view failure) {
  const Clock::time_point now = worker_.loop_.now();
  log_.end(route_.cluster, status, local_.up_.passed, down_.passed, reused, failure, now);
  // Who leaves a watch has had its answer.
  meter_.end(status == 0 && response_started_ ? status_ : status, local_.up_.passed, down_.passed,
             now);
}

bool Exchange::may_replay(const Error& error) const {
  const bool lost = error.code == Code::eof || error.code == Code::reset;
  return lost && replayable_ && head_in_buffer_ && !response_bytes_;
}

// Puts a connection into upstream_. `fresh`: a new one, since others of the pool may have died
// together with the last.
runtime::Task<Result<bool>> Exchange::lease(bool fresh) {
  H2Upstream& h2 = *worker_.h2_upstreams_[route_.upstream];
  if (!fresh) upstream_ = pool_.take();
  if (upstream_) {
    upstream_->set_sink(&local_.readiness_);
    h2.reused_http1();
    co_return true;
  }
  bool other_identity = false;
  for (unsigned attempt = 0;; ++attempt) {
    const link::UpstreamSnapshotPtr snapshot = pool_.snapshot();
    if (!snapshot->identity || snapshot->addresses.empty())
      co_return Error{Code::no_identity, Side::self, Retry::no, 0, "lease"};
    if (!pool_.reserve()) co_return Error{Code::overloaded, Side::self, Retry::no, 0, "lease"};
    const tls::Alpn alpn = h2.alpn_for_http1();
    const std::uint64_t epoch = pool_.epoch();
    auto connecting = link::connect(local_.readiness_, worker_.batch_, snapshot, pool_.sessions(),
                                    worker_.config_.timeouts, pool_.first_address(), alpn);
    Result<link::UpstreamConnectionPtr> connected = co_await std::move(connecting);
    pool_.dialled(connected);
    if (connected && (*connected)->stream().is_http2()) {  // news: the next one is for us
      h2.take_link(std::move(*connected), epoch);
      continue;
    }
    if (connected) {
      if (alpn == tls::Alpn::any) h2.saw_http1();
      upstream_ = std::move(*connected);
      co_return false;
    }
    pool_.closed();
    pool_.address_failed();
    const Error error = connected.error();
    if (error.code == Code::tls_peer || error.code == Code::tls_untrusted)
      worker_.reports_.certificate_refused(route_.upstream);
    else if (attempt == 0)
      worker_.reports_.connect_failed(route_.upstream);
    // Nothing was sent: once more when the credentials have changed meanwhile.
    const bool changed = pool_.snapshot()->identity != snapshot->identity;
    if (changed && !std::exchange(other_identity, true)) {
      pool_.again(observe::Again::new_credentials);
      continue;
    }
    const std::optional<Clock::time_point> again = pool_.dial_again(error);
    if (!again) co_return error;
    Result<> rested = co_await rest(*again);
    if (!rested) co_return rested.error();
  }
}

// While the Proxy is away; the client may go meanwhile.
runtime::Task<Result<>> Exchange::rest(Clock::time_point until) {
  bool in_time = true;
  while (in_time && worker_.loop_.now() < until) {
    if (worker_.phase_ == Worker::Phase::ending)
      co_return Error{Code::draining, Side::self, Retry::no, 0, "drain"};
    if (local_.connection_.stream().socket().broken)
      co_return Error{Code::reset, Side::local, Retry::no, 0, "client"};
    in_time = co_await local_.readiness_.wait(until);
  }
  co_return Result<>();
}

// Composes the request head for the upstream in the worker's scratch.
Result<std::size_t> Exchange::compose_head() {
  // The scratch may hold another connection's request by now.
  http::RequestHead& head = worker_.request_head_;
  local_.parser_.reset();
  const http::HeadVerdict verdict = local_.parser_.request(local_.up_.buffer.view(), head);
  if (verdict.kind != http::HeadVerdict::Kind::done)
    return Error{Code::internal, Side::self, Retry::no, 0, "request head"};
  const DefaultImpersonation impersonation(route_.impersonation, head.fields(), false);
  http::RequestEdits edits;
  edits.strip_path_bytes = strip_bytes_;
  // Other credentials may have come while the connection was made; the prefix belongs to its own.
  std::string own_prefix;
  edits.upstream_prefix = upstream_prefix(route_, upstream_->snapshot->target, own_prefix);
  edits.authority = upstream_->snapshot->target.authority;
  edits.add = impersonation.fields();
  return http::write_request_head(head, edits, worker_.head_bytes_);
}

runtime::Task<Result<>> Exchange::send_request() {
  Flow& up = local_.up_;
  Result<std::size_t> composed = compose_head();
  if (!composed) co_return composed.error();
  std::size_t bytes = *composed;
  up.begin(request_body_, request_length_);
  parser_.reset();
  response_bytes_ = false;
  request_broken_ = false;
  if (!replayable_) {
    up.buffer.consume(local_.head_bytes_);
    head_in_buffer_ = false;
    if (!up.clear_more()) {
      close_local_ = true;
      co_return Error{Code::bad_body, Side::local, Retry::no, 0, up.bad()};
    }
    // A small body, or its beginning, leaves together with the head.
    const std::size_t room = std::min(inline_body_bytes, worker_.head_bytes_.size() - bytes);
    const std::size_t take = std::min(up.cleared, room);
    const std::string_view body = up.buffer.view().substr(0, take);
    std::copy(body.begin(), body.end(), worker_.head_bytes_.begin() + static_cast<long>(bytes));
    bytes += take;
    up.buffer.consume(take);
    up.cleared -= take;
    up.passed += take;
    if (up.buffer.empty()) up.buffer.release();
  }
  ++upstream_->requests;
  progress_ = request_sent_ = worker_.loop_.now();
  tls::Stream& stream = upstream_->stream();
  const tls::Step step = stream.write({worker_.head_bytes_.data(), bytes});
  if (step.kind == Kind::failed) co_return step.error;
  meter_.sent();
  const std::size_t written = step.kind == Kind::moved ? step.bytes : 0;
  if (written == bytes) co_return Result<>();
  std::string rest(worker_.head_bytes_.data() + written, bytes - written);
  const Clock::time_point deadline = worker_.loop_.now() + worker_.config_.timeouts.progress;
  for (std::size_t sent = 0; sent < rest.size();) {
    const tls::Step more = stream.write(std::string_view(rest).substr(sent));
    if (more.kind == Kind::failed) co_return more.error;
    if (more.kind == Kind::moved) {
      sent += more.bytes;
      continue;
    }
    if (worker_.phase_ == Worker::Phase::ending)
      co_return Error{Code::draining, Side::self, Retry::no, 0, "drain"};
    const bool in_time = co_await local_.readiness_.wait(deadline);
    if (!in_time) co_return Error{Code::timeout, Side::upstream, Retry::no, 0, "request head"};
  }
  co_return Result<>();
}

// Moves request bytes upstream until something blocks.
Exchange::Turn Exchange::move_request() {
  Flow& up = local_.up_;
  tls::Stream& client = local_.connection_.stream();
  tls::Stream& proxy = upstream_->stream();
  const tls::SocketState& socket = client.socket();
  if (socket.broken) {  // whatever else it is that stands still
    local_failed_ = true;
    return failed({Code::reset, Side::local, Retry::no, 0, "client"});
  }
  std::size_t moved = 0;
  for (;;) {
    if (!request_broken_) {
      const tls::Step written = up.write(proxy);
      const tls::Step flushed =
          written.kind == Kind::moved && proxy.output_pending() ? proxy.flush() : written;
      if (flushed.kind == Kind::failed) {
        // The Proxy takes no more: it may have answered already (an early 4xx). Keep reading.
        request_broken_ = true;
        error_ = flushed.error;
      } else if (flushed.kind == Kind::want_write) {
        return Turn::blocked;
      }
    }
    if (request_broken_) return Turn::blocked;
    if (up.finished()) break;
    if (!up.buffer.empty() && up.cleared == 0) {
      if (!up.clear_more()) {
        close_local_ = true;
        return failed({Code::bad_body, Side::local, Retry::no, 0, up.bad()});
      }
      if (up.cleared > 0 || up.finished()) continue;
    }
    if (moved >= turn_bytes) return Turn::again;
    const tls::Step step = client.read(up.buffer.space());
    switch (step.kind) {
      case Kind::moved:
        up.buffer.commit(step.bytes);
        moved += step.bytes;
        progress_ = worker_.loop_.now();
        break;
      case Kind::want_read:
        up.buffer.release_if_empty();
        return Turn::blocked;
      default:  // the body was cut short
        local_failed_ = true;
        return failed({Code::eof, Side::local, Retry::no, 0, "request body"});
    }
  }
  // The request is complete; only its end can be news.
  if (local_ended_) {
    proxy.close_write();  // once more, if it could not be sent at first
  } else if (client.may_read() && (up.buffer.empty() || head_in_buffer_)) {
    const std::span<char> space = up.buffer.space();
    const bool only_head = !head_in_buffer_ || up.buffer.size() == local_.head_bytes_;
    if (only_head && !space.empty()) {
      const tls::Step step = client.read(space);
      if (step.kind == Kind::moved) {
        up.buffer.commit(step.bytes);  // a pipelined request: it waits
      } else if (step.kind == Kind::eof) {
        // Half-close passes as half-close: a Go server takes it as the end of interest.
        local_ended_ = true;
        proxy.close_write();
        up.buffer.release_if_empty();
      } else if (step.kind == Kind::failed) {
        local_failed_ = true;
        return failed(step.error);
      } else {
        up.buffer.release_if_empty();
      }
    }
  }
  return Turn::done;
}

// Takes a response head from the front of down_.buffer. False: more bytes are needed, or failed_.
bool Exchange::take_response_head() {
  http::ResponseHead& head = worker_.response_head_;
  const std::string_view method = head_method_ ? "HEAD" : "GET";
  const http::HeadVerdict verdict = parser_.response(down_.buffer.view(), method, head);
  using Verdict = http::HeadVerdict::Kind;
  if (verdict.kind == Verdict::need_more) return false;
  if (verdict.kind != Verdict::done) {
    const Code code = verdict.kind == Verdict::too_large ? Code::head_too_large : Code::bad_head;
    error_ = {code, Side::upstream, Retry::no, 0,
              verdict.reason[0] != '\0' ? verdict.reason : "response head"};
    return false;
  }
  const bool interim = head.status < 200 && head.status != 101;
  if (head.status == 101 && !upgrade_) {
    error_ = {Code::bad_head, Side::upstream, Retry::no, 0, "101 to a request without Upgrade"};
    return false;
  }
  if (!interim) {
    response_started_ = true;
    status_ = head.status;
    log_.first_byte(worker_.loop_.now());
    meter_.answered(head.status, worker_.loop_.now());
    tunnel_ = head.status == 101;
    down_.begin(head.body, head.content_length);
    upstream_keeps_alive_ = head.keep_alive && head.body != http::BodyKind::until_close;
    close_local_ = close_local_ || !client_keeps_alive_ || local_.refuse_ ||
                   head.body == http::BodyKind::until_close ||
                   worker_.leaving(local_.listener_index_) ||
                   // Nobody will read the rest of the request.
                   (!upstream_keeps_alive_ && !local_.up_.finished());
  }
  http::ResponseEdits edits;
  edits.close = !interim && !tunnel_ && close_local_;
  const Result<std::size_t> composed = http::write_response_head(head, edits, worker_.head_bytes_);
  if (!composed) {
    error_ = {Code::bad_head, Side::upstream, Retry::no, 0, "response head"};
    return false;
  }
  down_.buffer.consume(verdict.bytes);
  parser_.reset();
  if (!interim && !tunnel_ && !down_.clear_more()) {
    error_ = {Code::bad_body, Side::upstream, Retry::no, 0, down_.bad()};
    response_started_ = false;  // nothing was sent yet: an answer of our own is still possible
    down_.cleared = 0;
    return false;
  }
  if (!down_.buffer.prepend({worker_.head_bytes_.data(), *composed})) {
    error_ = {Code::head_too_large, Side::upstream, Retry::no, 0, "response head"};
    response_started_ = false;
    down_.cleared = 0;
    return false;
  }
  down_.cleared += *composed;
  if (!interim && head_in_buffer_) {
    local_.up_.buffer.consume(local_.head_bytes_);
    head_in_buffer_ = false;
    local_.up_.buffer.release_if_empty();
  }
  return true;
}

// Moves response bytes to the client until something blocks.
Exchange::Turn Exchange::move_response() {
  tls::Stream& client = local_.connection_.stream();
  tls::Stream& proxy = upstream_->stream();
  std::size_t moved = 0;
  for (;;) {
    const tls::Step written = down_.write(client);
    const tls::Step flushed =
        written.kind == Kind::moved && client.output_pending() ? client.flush() : written;
    if (flushed.kind == Kind::failed) {
      local_failed_ = true;
      return failed(flushed.error);
    }
    if (flushed.kind == Kind::want_write) return Turn::blocked;
    meter_.delivered();
    if (tunnel_) return Turn::done;
    if (response_started_ && down_.finished()) return Turn::done;
    if (!down_.buffer.empty()) {
      error_ = {};
      if (!response_started_) {
        if (take_response_head()) continue;
        if (error_.where[0] != '\0') return Turn::failed;
      } else {
        if (!down_.clear_more())
          return failed({Code::bad_body, Side::upstream, Retry::no, 0, down_.bad()});
        if (down_.cleared > 0 || down_.finished()) continue;
      }
    }
    if (moved >= turn_bytes) return Turn::again;
    const std::span<char> space = down_.buffer.space();
    if (space.empty())
      return failed({Code::head_too_large, Side::upstream, Retry::no, 0, "response head"});
    const tls::Step step = proxy.read(space);
    switch (step.kind) {
      case Kind::moved:
        down_.buffer.commit(step.bytes);
        moved += step.bytes;
        response_bytes_ = true;
        progress_ = worker_.loop_.now();
        break;
      case Kind::eof:
        // Without close_notify the end may be an attacker's: it does not end an unframed body.
        if (response_started_ && step.error.code != Code::eof && down_.framer.end_of_stream())
          return Turn::done;
        return failed({Code::eof, Side::upstream, Retry::if_reused, 0, "response"});
      case Kind::failed:
        return failed(step.error);
      default:
        down_.buffer.release_if_empty();
        return Turn::blocked;
    }
  }
}

// Ends a watch of our own accord: only between two events, with a proper last chunk.
bool Exchange::end_watch() {
  if (!response_started_ || !watch_ || !down_.framer.at_event_boundary()) return false;
  if (down_.cleared > 0 || local_.connection_.stream().output_pending()) return false;
  const tls::Step step = local_.connection_.stream().write(last_chunk);
  return step.kind == Kind::moved && step.bytes == last_chunk.size();
}

Clock::time_point Exchange::deadline() const {
  const Timeouts& timeouts = worker_.config_.timeouts;
  const Flow& up = local_.up_;
  // A watch may stand still for hours, but not for a client that has ended and a Proxy that does
  // not mind.
  if (response_started_)
    return local_ended_ ? progress_ + timeouts.half_closed : Clock::time_point::max();
  if (up.cleared > 0 || upstream_->stream().output_pending()) return progress_ + timeouts.progress;
  if (!up.finished() && !request_broken_) return progress_ + timeouts.local_idle;
  if (upgrade_) return Clock::time_point::max();
  return std::max(request_sent_, progress_) + timeouts.response_head;
}

runtime::Task<Result<>> Exchange::relay() {
  Clock::time_point watch_end = Clock::time_point::max();
  bool in_time = true;
  for (;;) {
    // Once the response is complete only the rest of the request is left to move.
    if (!response_done_) {
      const Turn down = move_response();
      if (down == Turn::failed) co_return error_;
      if (down == Turn::done) {
        if (tunnel_) co_return Result<>();
        response_done_ = true;
        if (worker_.leaving(local_.listener_index_)) close_local_ = true;
      }
      if (down == Turn::again) local_.readiness_.wake();
    }
    const Turn up = move_request();
    if (up == Turn::failed) {
      if (response_done_) {
        close_local_ = true;
        co_return Result<>();
      }
      co_return error_;
    }
    if (up == Turn::again) local_.readiness_.wake();
    if (response_done_) {
      if (up == Turn::done) co_return Result<>();
      // An early answer. Without a Proxy that listens the rest of the request has no reader.
      if (request_broken_ || close_local_ || !upstream_keeps_alive_ ||
          upstream_->socket().peer_ended) {
        close_local_ = true;
        co_return Result<>();
      }
    }
    const bool ending = worker_.phase_ == Worker::Phase::ending;
    if (worker_.phase_ != Worker::Phase::serving && watch_ && response_started_) {
      if (watch_end == Clock::time_point::max()) watch_end = worker_.turn_to_end_watch();
      if ((ending || worker_.loop_.now() >= watch_end) && end_watch()) {
        response_done_ = close_local_ = true;
        upstream_keeps_alive_ = false;
        co_return Result<>();
      }
    }
    if (ending) co_return Error{Code::draining, Side::self, Retry::no, 0, "drain"};
    if (!in_time && worker_.loop_.now() >= deadline()) {
      if (response_started_ && !response_done_) {
        local_failed_ = true;
        co_return Error{Code::timeout, Side::local, Retry::no, 0, "half-closed"};
      }
      const bool client_stalls = !local_.up_.finished() && local_.up_.cleared == 0 &&
                                 !upstream_->stream().output_pending() && !request_broken_;
      co_return Error{Code::timeout, client_stalls ? Side::local : Side::upstream, Retry::no, 0,
                      client_stalls || local_.up_.finished() ? "response head" : "request body"};
    }
    Clock::time_point until = deadline();
    // In the middle of an event its rest is waited for, which wakes us.
    if (watch_end > worker_.loop_.now()) until = std::min(until, watch_end);
    if (response_done_) until = progress_ + worker_.config_.timeouts.progress;
    if (until == Clock::time_point::max()) {
      in_time = true;
      co_await local_.readiness_.wait();
    } else {
      in_time = co_await local_.readiness_.wait(until);
      if (!in_time && response_done_) {
        close_local_ = true;
        co_return Result<>();
      }
    }
  }
}

// The response is complete.
runtime::Task<After> Exchange::finish() {
  const bool request_read = local_.up_.finished() && !request_broken_;
  const bool clean = upstream_keeps_alive_ && request_read && !local_ended_ &&
                     down_.buffer.empty() && !upstream_->stream().output_pending();
  const bool was_reused = upstream_->requests > 1;
  if (clean) {
    pool_.give_back(std::move(upstream_));
  } else {
    discard_upstream(false);
  }
  tell_end(status_, was_reused, "");
  local_.head_bytes_ = 0;
  if (!request_read) co_return After::linger;
  co_return close_local_ || local_ended_ ? After::close : After::keep;
}

// No complete response: an answer of our own if none has begun, else the end must not look proper.
runtime::Task<After> Exchange::fail(Error error) {
  const link::UpstreamSnapshotPtr snapshot = pool_.snapshot();
  std::string message = describe(error, route_.cluster, *snapshot);
  if (error.side == Side::local && error.code == Code::bad_body)
    message = "malformed request body: " + std::string(error.where);
  if (error.side == Side::local && error.code == Code::timeout)
    message = "the request body did not arrive in time";
  if (error.code == Code::draining) message = "kubelane is shutting down";
  if (error.code == Code::no_identity) message = pool_.problem(route_.cluster);
  const bool fresh = upstream_ && upstream_->requests <= 1;
  // TLS 1.3: a refused client certificate shows at the first read of a fresh connection (DP 2.4).
  if (fresh && !response_bytes_ &&
      (error.code == Code::tls_peer || error.code == Code::eof || error.code == Code::reset))
    worker_.reports_.certificate_refused(route_.upstream);
  if (error.side == Side::upstream) {
    meter_.failed(error, worker_.loop_.now());
    log::warn("request failed upstream", {{"cluster", route_.cluster},
                                          {"cause", name(error.code)},
                                          {"where", error.where},
                                          {"message", message}});
  }
  discard_upstream(error.side != Side::upstream);
  tell_end(response_started_ ? status_ : http::answer_for(error).code, false, name(error.code));
  // Of an interim answer, too, a part may have gone.
  if (response_started_ || down_.cleared > 0) co_return After::abort;
  const bool body_unread = request_body_ != http::BodyKind::none;
  if (!head_in_buffer_) local_.head_bytes_ = 0;
  co_return co_await local_.answer(error, std::move(message), body_unread);
}

}  // namespace kubelane::relay
