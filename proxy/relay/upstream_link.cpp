#include "proxy/relay/upstream_link.hpp"

#include <algorithm>

#include "proxy/observe/log.hpp"
#include "proxy/relay/h2_upstream.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane::relay {
namespace {

using http::H2Code;
using runtime::Clock;
using std::chrono::seconds;

// A dead link is found within 5 s while requests wait for their answer, 30 s otherwise.
constexpr seconds busy_silence{2};
constexpr seconds busy_patience{2};
constexpr seconds quiet_silence{15};
constexpr seconds quiet_patience{10};
constexpr seconds goodbye_time{1};
constexpr std::int64_t least_progress_bytes = 1024;  // more than the PING itself

// What is in flight on one stream stands before the answers of all others, so a stream begins with
// what 1 Gbit/s needs for the round trip, within these bounds; more, when it shows that it needs
// it.
constexpr std::uint32_t least_window_bytes = 256U << 10;
constexpr std::uint32_t first_window_bytes = 1U << 20;
constexpr unsigned first_round_trips =
    4;  // the shortest of them counts: a busy host is no long link

std::uint32_t window_for(Clock::duration round_trip) noexcept {
  constexpr std::chrono::microseconds::rep bytes_per_microsecond = 125;
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(round_trip).count();
  return static_cast<std::uint32_t>(std::clamp<std::chrono::microseconds::rep>(
      micros * bytes_per_microsecond, least_window_bytes, first_window_bytes));
}

http::H2Limits link_limits() {
  http::H2Limits limits;
  // The Proxy's answers pass whatever it may send; the local client has its own limits.
  limits.max_header_bytes = 256UL * 1024;
  limits.max_header_fields = http::max_fields;
  limits.stream_window_bytes = least_window_bytes;
  limits.connection_window_bytes = 32U << 20;
  return limits;
}

}  // namespace

UpstreamLink::UpstreamLink(H2Upstream& upstream, link::UpstreamConnectionPtr connection,
                           std::uint64_t epoch)
    : upstream_(upstream),
      epoch_(epoch),
      readiness_(upstream.worker_.loop_),
      connection_(std::move(connection)),
      session_(http::H2Session::Role::client, link_limits(), *this, link::h2_memory),
      link_(*connection_, session_, upstream.worker_.h2_scratch_),
      idle_since_(upstream.worker_.loop_.now()),
      stream_window_bytes_(least_window_bytes) {
  connection_->set_sink(&readiness_);
  link_.start(idle_since_);
  upstream.add(*this);
}

UpstreamLink::~UpstreamLink() {
  heads_arrived(awaiting_heads_);
  upstream_.pool_.closed();
  upstream_.remove(*this);
}

runtime::Detached UpstreamLink::serve(H2Upstream& upstream, link::UpstreamConnectionPtr connection,
                                      std::uint64_t epoch) {
  UpstreamLink self(upstream, std::move(connection), epoch);
  self.frame_ = co_await runtime::OwnFrame{};
  tls::Stream& stream = self.connection_->stream();
  runtime::EventLoop& loop = upstream.worker_.loop_;
  for (;;) {
    const link::H2Link::Turn turn = self.link_.turn();
    if (turn == link::H2Link::Turn::failed || turn == link::H2Link::Turn::ended) {
      Error error = self.link_.error();
      if (turn == link::H2Link::Turn::ended && error.where[0] == '\0')
        error = {Code::bad_head, Side::upstream, Retry::no, 0, "HTTP/2"};
      error.side = Side::upstream;
      self.lose(error);
      break;
    }
    if (!self.look_after(loop.now())) break;
    if (self.session_.wants_to_write() && !stream.output_pending()) continue;
    if (turn == link::H2Link::Turn::again) self.readiness_.wake();
    co_await self.readiness_.wait(self.deadline());
  }
  const Clock::time_point limit = loop.now() + goodbye_time;
  bool in_time = true;
  while (in_time && !self.link_.say_goodbye()) in_time = co_await self.readiness_.wait(limit);
}

bool UpstreamLink::expired(std::chrono::system_clock::time_point now) const noexcept {
  return connection_->snapshot->identity->not_after <= now;
}

bool UpstreamLink::has_room() const noexcept {
  return exchanges_.size() < session_.peer_max_streams();
}

void UpstreamLink::retire() noexcept {
  retired_ = true;
  wake();
}

std::int32_t UpstreamLink::submit(H2Exchange& exchange) noexcept {
  const std::int32_t stream =
      session_.submit_request(exchange.request_->head(), exchange.request_->head().fields,
                              exchange.has_body_, exchange.upstream_side_);
  if (stream == 0) {
    ending_ = true;  // out of stream ids, or the session is over
    return 0;
  }
  exchange.index_in_link_ = exchanges_.size();
  exchanges_.push_back(&exchange);
  if (awaiting_heads_++ == 0) busy_since_ = upstream_.worker_.loop_.now();
  upstream_.worker_.loop_.answer_awaited();
  ++submitted_;
  wake();
  return stream;
}

void UpstreamLink::heads_arrived(std::size_t count) noexcept {
  awaiting_heads_ -= count;
  upstream_.worker_.loop_.answers_no_longer_awaited(count);
}

void UpstreamLink::forget(H2Exchange& exchange) noexcept {
  const std::size_t index = exchange.index_in_link_;
  exchanges_[index] = exchanges_.back();
  exchanges_[index]->index_in_link_ = index;
  exchanges_.pop_back();
  if (exchange.awaits_head()) heads_arrived(1);
  if (exchanges_.empty()) idle_since_ = upstream_.worker_.loop_.now();
  if (exchanges_.empty() && (retired_ || ending_)) wake();
  if (takes_streams()) upstream_.room_made();
}

void UpstreamLink::on_settings() noexcept {
  if (round_trips_ == 0) measure_round_trip();
  upstream_.room_made();
}

void UpstreamLink::measure_round_trip() noexcept {
  if (pings_out_ == 0) ping();
}

void UpstreamLink::ping() noexcept {
  if (pings_out_++ == 0) measured_ping_ = upstream_.worker_.loop_.now();
  session_.ping();
}

void UpstreamLink::on_ping_answer() noexcept {
  ping_sent_at_ = {};
  if (pings_out_ == 0) return;
  --pings_out_;
  if (measured_ping_ == Clock::time_point{}) return;
  const Clock::time_point now = upstream_.worker_.loop_.now();
  round_trip_ = std::min(round_trip_, now - std::exchange(measured_ping_, {}));
  round_trip_at_ = now;
  if (round_trips_ >= first_round_trips) return;
  const std::uint32_t window = window_for(round_trip_);
  if (window <= least_window_bytes) round_trips_ = first_round_trips;
  if (window > least_window_bytes && ++round_trips_ == first_round_trips) {
    stream_window_bytes_ = window;
    session_.set_stream_windows(window);
  }
  if (round_trips_ < first_round_trips) measure_round_trip();
}

void UpstreamLink::on_goaway(H2Code) noexcept {
  ending_ = true;
  upstream_.link_ends();
}

// False: the link is over.
bool UpstreamLink::look_after(Clock::time_point now) noexcept {
  if (exchanges_.empty()) {
    const bool unused = now - idle_since_ >= upstream_.worker_.config_.timeouts.upstream_idle;
    if (retired_ || ending_ || unused) {
      ending_ = true;
      session_.goaway(H2Code::no_error);
      return false;
    }
  }
  const bool busy = awaiting_heads_ > 0;
  const bool silent_ping =
      ping_sent_at_ != Clock::time_point{} && link_.received_bytes() == ping_bytes_;
  if (silent_ping && now - ping_sent_at_ >= (busy ? busy_patience : quiet_patience)) {
    // On a slow way the PING may still stand behind an upload: it is the way that is slow, not
    // dead.
    const std::int64_t arrived = link_.delivered_bytes();
    if (arrived > ping_delivered_bytes_ + least_progress_bytes) {
      ping_delivered_bytes_ = arrived;
      ping_sent_at_ = now;
      return true;
    }
    lose({Code::timeout, Side::upstream, Retry::no, 0, "HTTP/2 ping"});
    connection_->stream().abort();
    return false;
  }
  if (!silent_ping) ping_sent_at_ = {};
  const Clock::time_point heard = std::max(link_.received_at(), busy ? busy_since_ : idle_since_);
  if (ping_sent_at_ == Clock::time_point{} && !exchanges_.empty() &&
      now - heard >= (busy ? busy_silence : quiet_silence)) {
    ping_sent_at_ = now;
    ping_bytes_ = link_.received_bytes();
    ping_delivered_bytes_ = link_.delivered_bytes();
    ping();
  }
  return true;
}

Clock::time_point UpstreamLink::deadline() const noexcept {
  const bool busy = awaiting_heads_ > 0;
  if (exchanges_.empty()) return idle_since_ + upstream_.worker_.config_.timeouts.upstream_idle;
  if (ping_sent_at_ != Clock::time_point{})
    return ping_sent_at_ + (busy ? busy_patience : quiet_patience);
  const Clock::time_point heard = std::max(link_.received_at(), busy ? busy_since_ : idle_since_);
  return heard + (busy ? busy_silence : quiet_silence);
}

// What ran on it is told; new streams go elsewhere.
void UpstreamLink::lose(const Error& error) noexcept {
  ending_ = true;
  const bool answered = link_.received_any();
  if (!exchanges_.empty()) {
    log::debug(
        "the link to the Proxy is lost",
        {{"cause", name(error.code)}, {"where", error.where}, {"streams", exchanges_.size()}});
  }
  // TLS 1.3: a refused client certificate shows at the first read (data-path spec 2.4).
  if (!answered &&
      (error.code == Code::tls_peer || error.code == Code::eof || error.code == Code::reset))
    upstream_.certificate_refused();
  std::vector<H2Exchange*> lost;
  lost.swap(exchanges_);
  heads_arrived(awaiting_heads_);  // or will not
  // The session may still be flushed, but none of their bytes belongs on this link any more.
  for (const H2Exchange* exchange : lost) session_.disown(exchange->upstream_stream_);
  for (H2Exchange* exchange : lost) exchange->link_lost(error);
  upstream_.link_ends();
}

}  // namespace kubelane::relay
