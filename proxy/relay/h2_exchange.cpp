#include "proxy/relay/h2_exchange.hpp"

#include <algorithm>
#include <array>

#include "proxy/http/status.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/relay/admit.hpp"
#include "proxy/relay/h2_upstream.hpp"
#include "proxy/relay/impersonation.hpp"
#include "proxy/relay/local_http2.hpp"
#include "proxy/relay/upstream_error.hpp"
#include "proxy/relay/upstream_link.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane::relay {
namespace {

using http::H2Code;
using runtime::Clock;

// A stream of the Proxy may get this much: 1 Gbit/s over 60 ms.
constexpr std::uint32_t most_window_bytes = 8U << 20;
// When memory runs out, a stream that holds more than this gives way.
constexpr std::size_t stalled_bytes = 64UL * 1024;

// What must be an upgrade, which HTTP/2 does not have (kubectl exec, attach, port-forward).
bool wants_upgrade(std::string_view path) {
  for (const std::string_view end : {"/exec", "/attach", "/portforward"})
    if (path.ends_with(end)) return parse_resource(path).resource == "pods" + std::string(end);
  return false;
}

Error local_error(Code code, const char* where) { return {code, Side::local, Retry::no, 0, where}; }

}  // namespace

H2Exchange::H2Exchange(LocalHttp2& local, std::int32_t stream)
    : local_(local),
      worker_(local.worker_),
      running_(worker_),
      local_stream_(stream),
      local_side_(*this),
      upstream_side_(*this),
      listener_(local.base_.listener_),
      up_(worker_.buffers_),
      down_(worker_.buffers_),
      meter_(worker_.meter_) {}

H2Exchange::~H2Exchange() {
  detach(H2Code::cancel);
  local_.session_.disown(local_stream_);  // which may still be flushed
  log_end("client went away");
}

http::H2Stream::Ready H2Exchange::LocalSide::ready() noexcept {
  if (owner.answered_here_)
    return {owner.own_.size() - owner.own_taken_bytes_, true, H2Code::no_error};
  return {owner.down_.size(), owner.down_ended_, owner.down_reset_};
}

http::H2Stream::Ready H2Exchange::UpstreamSide::ready() noexcept {
  return {owner.up_.size(), owner.up_ended_, H2Code::no_error};
}

// ---------------------------------------------------------------- the request

void H2Exchange::begin(const http::H2Head& head) noexcept {
  has_body_ = !head.end;
  head_method_ = head.method == "HEAD";
  safe_ = !has_body_ && (head_method_ || head.method == "GET" || head.method == "OPTIONS" ||
                         head.method == "TRACE");
  if (const http::Field* accept = http::find(head.fields, http::FieldId::accept))
    accept_ = accept->value.substr(0, 256);
  const std::size_t query_at = std::min(head.path.find('?'), head.path.size());
  const std::string_view whole_path = head.path.substr(0, query_at);
  log_.begin(head.method, whole_path, {}, worker_.loop_.now(), "HTTP/2");
  if (head.too_large) {
    local_.head_rejected();
    return answer(local_error(Code::head_too_large, "request head"),
                  "the request head is larger than kubelane's limit (max_header_bytes " +
                      std::to_string(worker_.config_.limits.max_header_bytes) +
                      ", max_header_fields " +
                      std::to_string(worker_.config_.limits.max_header_fields) + ")");
  }
  std::string_view authority;
  if (const char* reason = http::refuse_h2_request(head, authority)) {
    local_.head_rejected();
    return answer(local_error(Code::bad_head, "request head"),
                  "malformed request: " + std::string(reason));
  }
  if (worker_.buffers_.scarce()) {
    return answer(local_error(Code::overloaded, "admit"),
                  "kubelane has reached its memory limit (limits.buffer_memory_bytes)");
  }
  Admission admission = admit(*listener_, authority, whole_path, head.fields);
  if (admission.route == nullptr) {
    if (admission.error.code == Code::unauthorized) local_.token_rejected();
    return answer(admission.error, std::move(admission.message));
  }
  route_ = admission.route;
  upstream_ = worker_.h2_upstreams_[route_->upstream].get();
  const UpstreamPool& pool = upstream_->pool();
  const std::string_view path =
      whole_path.substr(std::min(admission.strip_bytes, whole_path.size()));
  const std::string_view query = head.path.substr(query_at);
  watch_ = is_watch(path, query);
  log_.begin(head.method, path, query, worker_.loop_.now(), "HTTP/2");
  meter_.begin(worker_.route_meter(*route_), verb_of(head.method, watch_, false),
               stream_of(path, watch_, false), worker_.loop_.now());
  std::string problem = pool.problem(route_->cluster);
  if (!problem.empty())
    return answer({Code::no_identity, Side::self, Retry::no, 0, "admit"}, std::move(problem));
  if (wants_upgrade(path)) {
    return answer(local_error(Code::denied, "admit"),
                  "exec, attach and port-forward need an upgrade, which HTTP/2 does not have: the "
                  "client must offer http/1.1 in the TLS handshake (ALPN) for this request");
  }
  const DefaultImpersonation impersonation(route_->impersonation, head.fields, true);
  http::RequestEdits edits;
  edits.strip_path_bytes = admission.strip_bytes;
  std::string own_prefix;
  upstream_prefix_ = upstream_prefix(*route_, pool.snapshot()->target, own_prefix);
  edits.upstream_prefix = upstream_prefix_;
  edits.authority = pool.snapshot()->target.authority;
  edits.add = impersonation.fields();
  request_ = std::make_unique<http::H2Request>(head, edits);
  composed_epoch_ = pool.epoch();
  progress_ = worker_.loop_.now();
  arm();
  upstream_->place(*this);
}

// The head was composed for the address and the route of its time.
bool H2Exchange::fits(const UpstreamLink& link) const {
  if (link.epoch() == composed_epoch_) return true;
  const http::H2Head& head = request_->head();
  std::string own_prefix;
  return head.authority == link.snapshot().target.authority &&
         upstream_prefix(*route_, link.snapshot().target, own_prefix) == upstream_prefix_;
}

bool H2Exchange::submit(UpstreamLink& link) noexcept {
  if (!fits(link)) {
    refuse("the Proxy's address or route has changed");
    return true;
  }
  const std::int32_t stream = link.submit(*this);
  if (stream == 0) return false;
  link_ = &link;
  upstream_stream_ = stream;
  reused_ = link.carried_before();
  progress_ = worker_.loop_.now();
  return true;
}

void H2Exchange::request_data(std::string_view bytes) noexcept {
  if (answered_here_ || (upstream_stream_ == 0 && !waiting_)) {  // nobody reads it
    local_.session_.consumed(local_stream_, bytes.size());
    return;
  }
  if (worker_.buffers_.exhausted() && up_.size() > stalled_bytes) {
    if (response_started_) return give_way();
    return answer(local_error(Code::overloaded, "request body"),
                  "kubelane has reached its memory limit (limits.buffer_memory_bytes) while the "
                  "Teleport Proxy does not take this request's body");
  }
  up_.append(bytes);
  if (link_ != nullptr) {
    link_->session().resume(upstream_stream_);
    link_->wake();
  }
}

void H2Exchange::request_ended() noexcept {
  up_ended_ = true;
  if (link_ != nullptr && has_body_) {
    link_->session().resume(upstream_stream_);
    link_->wake();
  }
}

void H2Exchange::take_request(char* to, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  up_.take(to, bytes);
  up_taken_bytes_ += bytes;
  progress_ = worker_.loop_.now();
  local_.session_.consumed(local_stream_, bytes);
  if (local_.session_.wants_to_write()) local_.wake();
}

void H2Exchange::request_sent() noexcept {
  progress_ = worker_.loop_.now();
  if (!has_body_) meter_.sent();
}

// ---------------------------------------------------------------- the response

void H2Exchange::response_head(const http::H2Head& head) noexcept {
  std::vector<http::Field>& fields = worker_.h2_fields_;
  if (head.too_large) {
    detach(H2Code::cancel);
    return fail({Code::head_too_large, Side::upstream, Retry::no, 0, "response head"});
  }
  http::edit_h2_response(head, fields);
  if (head.status < 200) {
    local_.session_.submit_interim(local_stream_, head.status, fields);
    local_.wake();
    return;
  }
  response_started_ = true;
  link_->heads_arrived(1);
  clear();
  window_mark_ = worker_.loop_.now();
  status_ = head.status;
  log_.first_byte(worker_.loop_.now());
  meter_.answered(head.status, worker_.loop_.now());
  if (watch_) {
    const http::Field* type = http::find(head.fields, http::FieldId::content_type);
    std::string_view encoding;
    for (const http::Field& field : head.fields)
      if (field.name == "content-encoding") encoding = field.value;
    boundary_ = http::EventBoundary::of(type != nullptr ? type->value : "", encoding);
  }
  request_.reset();
  std::string().swap(accept_);
  local_.session_.submit_response(local_stream_, head.status, fields, !head.end);
  local_.wake();
}

void H2Exchange::response_data(std::string_view bytes) noexcept {
  if (!response_started_ || down_ended_) {
    link_->session().consumed(upstream_stream_, bytes.size());
    return;
  }
  if (worker_.buffers_.exhausted() && down_.size() > stalled_bytes) return give_way();
  if (watch_) boundary_.pass(bytes);
  down_.append(bytes);
  local_.session_.resume(local_stream_);
  local_.wake();
}

// Memory has run out, and this stream holds much of it: it ends, so that the others can go on.
void H2Exchange::give_way() noexcept {
  log::warn("a stream that its reader does not read was ended: out of buffer memory",
            {{"cluster", route_->cluster},
             {"remedy", "raise limits.buffer_memory_bytes, or see what the client does"}});
  detach(H2Code::cancel);
  drop_request_body();
  down_.clear();
  down_reset_ = H2Code::enhance_your_calm;
  local_.session_.reset(local_stream_, H2Code::enhance_your_calm);
  local_.wake();
}

void H2Exchange::response_ended() noexcept {
  down_ended_ = true;
  if (!response_started_) return;
  local_.session_.resume(local_stream_);
  local_.wake();
}

void H2Exchange::take_response(char* to, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  if (answered_here_) {
    own_.copy(to, bytes, own_taken_bytes_);
    own_taken_bytes_ += bytes;
    return;
  }
  meter_.delivered();
  down_.take(to, bytes);
  down_taken_bytes_ += bytes;
  if (link_ == nullptr) return;
  http::H2Session& session = link_->session();
  session.consumed(upstream_stream_, bytes);
  look_at_window();
  if (session.wants_to_write()) link_->wake();
}

// A reader that keeps pace and takes a whole window in little more than a round trip is bound by
// the window. Any other would only have more of its bytes stand in the way of its neighbours'.
void H2Exchange::look_at_window() noexcept {
  window_bytes_ = std::max(window_bytes_, link_->stream_window_bytes());
  if (!down_.empty() || down_taken_bytes_ - window_mark_bytes_ < window_bytes_) return;
  const Clock::time_point now = worker_.loop_.now();
  // Two, where credit comes back by halves; and a bit.
  const bool bound = now - window_mark_ < 3 * link_->round_trip();
  window_mark_ = now;
  window_mark_bytes_ = down_taken_bytes_;
  if (!bound || window_bytes_ == most_window_bytes) {
    window_wish_ = {};
  } else if (window_wish_ == Clock::time_point{}) {
    window_wish_ = now;
    link_->measure_round_trip();
  } else if (link_->round_trip_at() > window_wish_) {
    window_wish_ = {};
    window_bytes_ = std::min(window_bytes_ * 2, most_window_bytes);
    link_->session().widen_window(upstream_stream_, window_bytes_);
  }
}

// END_STREAM has left.
void H2Exchange::response_sent() noexcept {
  meter_.delivered();
  log_end(failure_);
  response_sent_ = true;
  end_unread_request();
}

// The rest of the request has no reader any more (RFC 9113 section 8.1).
void H2Exchange::end_unread_request() noexcept {
  if (!response_sent_ || up_ended_ || link_ != nullptr) return;
  local_.session_.reset(local_stream_, H2Code::no_error);
  local_.wake();
}

void H2Exchange::local_closed(H2Code code) noexcept {
  log_end(code == H2Code::no_error ? failure_ : "client went away");
  local_.gone(*this);  // the end of this object
}

void H2Exchange::upstream_closed(H2Code code) noexcept {
  const bool awaited = !response_started_;
  link_->forget(*this);
  link_ = nullptr;
  upstream_stream_ = 0;
  if (down_ended_ && response_started_) {
    drop_request_body();
    end_unread_request();
    return;
  }
  if (down_reset_ != H2Code::no_error) return;
  const bool refused = code == H2Code::refused_stream;
  if (awaited && refused && may_go_again(true)) {
    sent_again_ = true;
    upstream_->pool().again(observe::Again::stream_refused);
    upstream_->place(*this);
    return;
  }
  if (awaited && refused) return refuse("refused by the Proxy");
  if (awaited)
    return fail({Code::reset, Side::upstream, Retry::no, 0, "stream reset by the Proxy"});
  truncated();
}

void H2Exchange::link_lost(const Error& error) noexcept {
  const bool awaited = !response_started_;
  link_ = nullptr;
  upstream_stream_ = 0;
  if (down_ended_ && response_started_) {
    drop_request_body();
    end_unread_request();
    return;
  }
  if (awaited && may_go_again(false)) {
    sent_again_ = true;
    upstream_->pool().again(observe::Again::connection_lost);
    upstream_->place(*this);
    return;
  }
  if (awaited) return fail(error);
  truncated();
}

// The answer ends before its end. A watch that was delivered up to an event boundary ends properly,
// so that its client resumes; anything else must not look complete.
void H2Exchange::truncated() noexcept {
  log_end("ended early by the Proxy");
  const std::uint64_t open = boundary_.open_bytes();
  if (watch_ && boundary_.resumable() && open <= down_.size()) {
    down_.truncate(down_.size() - static_cast<std::size_t>(open));
    down_ended_ = true;
  } else {
    down_reset_ = H2Code::internal_error;
  }
  local_.session_.resume(local_stream_);
  local_.wake();
}

void H2Exchange::end_watch() noexcept {
  if (!is_running_watch()) return;
  const std::uint64_t open = boundary_.open_bytes();
  if (open > down_.size()) return;
  detach(H2Code::cancel);
  down_.truncate(down_.size() - static_cast<std::size_t>(open));
  down_ended_ = true;
  local_.session_.resume(local_stream_);
}

void H2Exchange::end_now() noexcept {
  if (down_ended_ || down_reset_ != H2Code::no_error) return;
  if (!response_started_)
    return answer({Code::draining, Side::self, Retry::no, 0, "drain"}, "kubelane is shutting down");
  detach(H2Code::cancel);
  down_reset_ = H2Code::internal_error;
  local_.session_.reset(local_stream_, H2Code::internal_error);
}

// Whether the request can be sent once more: nothing of it is lost, and it was not processed or may
// be processed twice.
bool H2Exchange::may_go_again(bool surely_not_processed) const noexcept {
  return !sent_again_ && request_ && up_taken_bytes_ == 0 && (surely_not_processed || safe_);
}

void H2Exchange::drop_request_body() noexcept {
  if (!up_.empty()) {
    local_.session_.consumed(local_stream_, up_.size());
    up_.clear();
    local_.wake();
  }
}

void H2Exchange::detach(H2Code code) noexcept {
  if (waiting_) upstream_->withdraw(*this);
  if (link_ == nullptr) return;
  link_->session().disown(upstream_stream_);
  link_->session().reset(upstream_stream_, code);
  link_->wake();
  link_->forget(*this);
  link_ = nullptr;
  upstream_stream_ = 0;
}

// ---------------------------------------------------------------- answers of our own

// It was not processed: a client that follows RFC 9113 may repeat it.
void H2Exchange::refuse(std::string_view why) noexcept {
  log_end(why);
  detach(H2Code::cancel);
  down_reset_ = H2Code::refused_stream;
  local_.session_.reset(local_stream_, H2Code::refused_stream);
  local_.wake();
}

void H2Exchange::fail(const Error& error) noexcept {
  fail(error, describe(error, route_->cluster, *upstream_->pool().snapshot()));
}

void H2Exchange::fail(const Error& error, std::string message) noexcept {
  if (error.side == Side::upstream) {
    meter_.failed(error, worker_.loop_.now());
    log::warn("request failed upstream", {{"cluster", route_->cluster},
                                          {"cause", name(error.code)},
                                          {"where", error.where},
                                          {"message", message}});
  }
  answer(error, std::move(message));
}

void H2Exchange::answer(const Error& error, std::string message) noexcept {
  detach(H2Code::cancel);
  clear();
  count_own_answer(worker_.meter_, error);
  const http::StatusAnswer status = http::answer_for(error);
  if (log::enabled(LogLevel::debug)) {
    log::debug("answered locally", {{"listener", listener_->address},
                                    {"code", status.code},
                                    {"cause", name(error.code)},
                                    {"message", message}});
  }
  answered_here_ = true;
  failure_ = name(error.code);
  response_started_ = true;
  request_.reset();
  drop_request_body();
  const http::StatusBody body = http::render_status_body(status, message, accept_);
  const std::string length = std::to_string(body.bytes.size());
  const std::string retry_after =
      status.retry_after ? std::to_string(status.retry_after->count()) : std::string();
  std::array<http::Field, 5> fields;
  std::size_t count = 0;
  fields[count++] = {"content-type", body.content_type, http::FieldId::content_type};
  fields[count++] = {"content-length", length, http::FieldId::content_length};
  fields[count++] = {"cache-control", "no-store", http::FieldId::other};
  if (status.code == 401) fields[count++] = {"www-authenticate", http::status_challenge};
  if (status.retry_after) fields[count++] = {"retry-after", retry_after};
  status_ = status.code;
  // Not in lent memory: anybody may have us answer, and leave it unread.
  if (!head_method_) own_ = body.bytes;
  down_.clear();
  down_ended_ = true;
  progress_ = worker_.loop_.now();
  arm();
  local_.session_.submit_response(local_stream_, status.code, {fields.data(), count},
                                  !head_method_);
  local_.wake();
}

// ---------------------------------------------------------------- deadlines and the log

void H2Exchange::arm() noexcept { worker_.loop_.deadlines().arm(*this, due()); }

Clock::time_point H2Exchange::due() const noexcept {
  const Timeouts& timeouts = worker_.config_.timeouts;
  if (answered_here_) return progress_ + timeouts.progress;
  if (waiting_ || !has_body_) return progress_ + timeouts.response_head;
  if (!up_.empty()) return progress_ + timeouts.progress;
  if (!up_ended_) return progress_ + timeouts.local_idle;
  return progress_ + timeouts.response_head;
}

void H2Exchange::on_deadline() noexcept {
  if (response_started_ && (!answered_here_ || response_sent_)) return;
  if (worker_.loop_.now() < due()) return arm();
  if (answered_here_) return local_.answer_unread();
  if (waiting_) {
    return fail({Code::overloaded, Side::self, Retry::no, 0, "queue"},
                "kubelane's queue for streams to the Teleport Proxy did not move in time");
  }
  const bool client_stalls = has_body_ && up_.empty() && !up_ended_;
  if (client_stalls)
    return fail(local_error(Code::timeout, "request body"),
                "the request body did not arrive in time");
  fail({Code::timeout, Side::upstream, Retry::no, 0,
        up_.empty() ? "response head" : "request body"});
}

void H2Exchange::log_end(std::string_view failure) noexcept {
  if (logged_) return;
  logged_ = true;
  log_.end(route_ == nullptr ? std::string_view() : route_->cluster, status_, up_taken_bytes_,
           down_taken_bytes_, reused_, failure, worker_.loop_.now());
  // An answer that did not come to its end is none, unless its client had enough.
  meter_.end(failure == "client went away" && !response_started_ ? 0 : status_, up_taken_bytes_,
             down_taken_bytes_, worker_.loop_.now());
}

}  // namespace kubelane::relay
