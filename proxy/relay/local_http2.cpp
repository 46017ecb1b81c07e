#include "proxy/relay/local_http2.hpp"

#include <algorithm>

#include "proxy/observe/log.hpp"

namespace kubelane::relay {
namespace {

using http::H2Code;
using runtime::Clock;

constexpr unsigned max_rejected_tokens = 3;
constexpr unsigned max_rejected_heads = 50;
// How long a client may take to see the notice of a shutdown before the last word.
constexpr std::chrono::seconds notice_time{1};
constexpr std::chrono::seconds goodbye_time{1};

http::H2Limits limits_of(const Settings& config) {
  http::H2Limits limits;
  limits.max_header_bytes = config.limits.max_header_bytes;
  limits.max_header_fields = config.limits.max_header_fields;
  return limits;
}

}  // namespace

LocalHttp2::LocalHttp2(LocalConnection& connection)
    : base_(connection),
      worker_(connection.worker_),
      readiness_(connection.readiness_),
      session_(http::H2Session::Role::server, limits_of(worker_.config_), *this, link::h2_memory),
      link_(connection.connection_, session_, worker_.h2_scratch_),
      began_(worker_.loop_.now()),
      idle_since_(began_) {
  link_.start(began_);
}

LocalHttp2::~LocalHttp2() = default;

runtime::Task<bool> LocalHttp2::serve(LocalConnection& connection) {
  LocalHttp2 self(connection);
  tls::Stream& stream = connection.connection_.stream();
  for (;;) {
    const link::H2Link::Turn turn = self.link_.turn();
    if (turn == link::H2Link::Turn::failed) {
      stream.abort();
      co_return true;
    }
    if (turn == link::H2Link::Turn::ended) {
      if (self.session_.reason()[0] != '\0' && log::enabled(LogLevel::debug))
        log::debug("local HTTP/2 connection ended", {{"cause", self.session_.reason()}});
      break;
    }
    const Clock::time_point now = self.worker_.loop_.now();
    if (!self.look_at_phase(now)) break;
    if (self.session_.wants_to_write() && !stream.output_pending()) continue;
    stream.send_held();
    if (turn == link::H2Link::Turn::again) self.readiness_.wake();
    const Clock::time_point until = self.deadline();
    if (until == Clock::time_point::max()) {
      co_await self.readiness_.wait();
    } else {
      co_await self.readiness_.wait(until);
    }
  }
  self.exchanges_.clear();
  const Clock::time_point limit = self.worker_.loop_.now() + goodbye_time;
  bool in_time = true;
  while (in_time && !self.link_.say_goodbye()) in_time = co_await self.readiness_.wait(limit);
  co_return true;
}

http::H2Stream* LocalHttp2::on_request(std::int32_t stream, const http::H2Head& head) noexcept {
  // Our GOAWAY may not have left yet, but it says that this stream was not looked at.
  if (session_.goaway_sent()) return nullptr;
  base_.listener_ = worker_.listeners_[base_.listener_index_];
  auto exchange = std::make_unique<H2Exchange>(*this, stream);
  ++base_.requests_;
  exchange->index_in_local_ = exchanges_.size();
  H2Exchange& added = *exchange;
  exchanges_.push_back(std::move(exchange));
  base_.active_ = exchanges_.size();
  added.begin(head);
  return &added.local_side();
}

void LocalHttp2::gone(H2Exchange& exchange) noexcept {
  const std::size_t index = exchange.index_in_local_;
  std::swap(exchanges_[index], exchanges_.back());
  exchanges_[index]->index_in_local_ = index;
  exchanges_.pop_back();
  base_.active_ = exchanges_.size();
  if (exchanges_.empty()) idle_since_ = worker_.loop_.now();
  if (exchanges_.empty() && notice_sent_) wake();
}

void LocalHttp2::token_rejected() noexcept {
  if (++rejected_tokens_ >= max_rejected_tokens && !session_.goaway_sent()) {
    session_.goaway(H2Code::enhance_your_calm);
    notice_sent_ = true;
  }
}

void LocalHttp2::head_rejected() noexcept {
  if (++rejected_heads_ >= max_rejected_heads && !session_.goaway_sent()) {
    session_.goaway(H2Code::enhance_your_calm);
    notice_sent_ = true;
  }
}

void LocalHttp2::answer_unread() noexcept {
  unread_ = true;
  wake();
}

void LocalHttp2::on_ping_answer() noexcept {
  if (notice_sent_ && !session_.goaway_sent()) session_.goaway(H2Code::no_error);
}

// A notice first, so that streams on the way are still served; the last word a round trip later.
void LocalHttp2::shut_down() noexcept {
  if (notice_sent_) return;
  notice_sent_ = true;
  notice_at_ = worker_.loop_.now();
  session_.announce_shutdown();
  session_.ping();
}

// False: the connection is over.
bool LocalHttp2::look_at_phase(Clock::time_point now) noexcept {
  if (unread_) {
    session_.terminate(H2Code::enhance_your_calm);
    return false;
  }
  const bool draining = worker_.phase_ != Worker::Phase::serving;
  if (worker_.leaving(base_.listener_index_) ||
      (!notice_sent_ && worker_.lost_http2(*base_.listener_)))
    shut_down();
  if (notice_sent_ && !session_.goaway_sent() && now - notice_at_ >= notice_time)
    session_.goaway(H2Code::no_error);
  if (draining) {
    const bool ending = worker_.phase_ == Worker::Phase::ending;
    next_watch_end_ = Clock::time_point::max();
    for (const auto& exchange : exchanges_) {
      if (!exchange->is_running_watch()) continue;
      if (exchange->watch_end_ == Clock::time_point::max())
        exchange->watch_end_ = worker_.turn_to_end_watch();
      // In the middle of an event its rest is waited for, which wakes us.
      if (ending || now >= exchange->watch_end_)
        exchange->end_watch();
      else
        next_watch_end_ = std::min(next_watch_end_, exchange->watch_end_);
    }
    if (ending && !ended_all_) {
      ended_all_ = true;
      for (const auto& exchange : exchanges_) exchange->end_now();
    }
  }
  if (exchanges_.empty() && session_.goaway_sent()) return false;
  const Timeouts& timeouts = worker_.config_.timeouts;
  const bool open = session_.head_is_open() || !session_.greeted();
  if (open && (!head_was_open_ || session_.heads_begun() != heads_begun_)) began_ = now;
  head_was_open_ = open;
  heads_begun_ = session_.heads_begun();
  if (open && now - began_ >= timeouts.request_head) {
    session_.terminate(H2Code::enhance_your_calm);
    return false;
  }
  if (exchanges_.empty() && !notice_sent_ && now - idle_since_ >= timeouts.local_idle) {
    notice_sent_ = true;
    session_.goaway(H2Code::no_error);
  }
  return true;
}

Clock::time_point LocalHttp2::deadline() const noexcept {
  const Timeouts& timeouts = worker_.config_.timeouts;
  Clock::time_point until = Clock::time_point::max();
  if (head_was_open_) until = began_ + timeouts.request_head;
  if (exchanges_.empty()) until = std::min(until, idle_since_ + timeouts.local_idle);
  if (notice_sent_ && !session_.goaway_sent()) until = std::min(until, notice_at_ + notice_time);
  return std::min(until, next_watch_end_);
}

}  // namespace kubelane::relay
