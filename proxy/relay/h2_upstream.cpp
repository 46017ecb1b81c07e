#include "proxy/relay/h2_upstream.hpp"

#include <algorithm>
#include <optional>

#include "proxy/observe/log.hpp"
#include "proxy/relay/h2_exchange.hpp"
#include "proxy/relay/upstream_link.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;

// Of one identity. Each only when all before it are at the Proxy's limit of streams (Go's is 250):
// watches stay for hours, so that whatever queues behind them would wait as long.
constexpr std::size_t most_links = 16;
constexpr std::size_t most_waiting = 1024;  // streams without a link
// After a dial that nobody waited for and that failed, and after a look at the protocol that ended
// without an answer.
constexpr std::chrono::seconds dial_pause{1};

}  // namespace

H2Upstream::H2Upstream(Worker& worker, UpstreamPool& pool, std::size_t index, bool scout)
    : worker_(worker), pool_(pool), index_(index), scout_(scout) {
  if (worker.config_.proxy_protocol == ProxyProtocol::http1) offers_ = Offers::http1;
  if (worker.config_.proxy_protocol == ProxyProtocol::http2) offers_ = Offers::http2;
}

void H2Upstream::learn(bool http2) {
  if (worker_.config_.proxy_protocol != ProxyProtocol::automatic) return;
  const Offers now = http2 ? Offers::http2 : Offers::http1;
  looked_ = worker_.loop_.now();
  if (offers_ == now) return;
  offers_ = now;
  if (!http2) refuse_waiting();
  worker_.wake_all();  // local HTTP/2 connections without a way upstream end
}

tls::Alpn H2Upstream::alpn_for_http1() noexcept {
  if (worker_.config_.proxy_protocol != ProxyProtocol::automatic || offers_ == Offers::http2)
    return tls::Alpn::http1;
  if (!look_is_due()) return tls::Alpn::http1;
  looked_ = worker_.loop_.now();
  return tls::Alpn::any;
}

void H2Upstream::reused_http1() noexcept {
  if (offers_ != Offers::http1 || worker_.config_.proxy_protocol != ProxyProtocol::automatic)
    return;
  if (!look_is_due() || worker_.phase_ != Worker::Phase::serving || !pool_.usable_now()) return;
  looked_ = worker_.loop_.now();
  dial();
}

// One at a time; and where HTTP/1.1 is known, as often as credentials are polled.
bool H2Upstream::look_is_due() const noexcept {
  const Clock::duration pause = offers_ == Offers::http1 ? worker_.config_.timeouts.credentials_poll
                                                         : Clock::duration(dial_pause);
  return !dialling_ && worker_.loop_.now() - looked_ >= pause;
}

void H2Upstream::take_link(link::UpstreamConnectionPtr connection, std::uint64_t epoch) {
  if (offers_ != Offers::http2) {
    learn(true);
    worker_.reports_.protocol_seen(index_, true);
  }
  UpstreamLink::serve(*this, std::move(connection), epoch);
  retire_older();
  place_waiting();
}

void H2Upstream::saw_http1() {
  if (offers_ == Offers::http1) return;
  learn(false);
  worker_.reports_.protocol_seen(index_, false);
}

void H2Upstream::adopted() { dial_if_wanted(); }

void H2Upstream::retire() {
  end_links();
  fail_waiting({Code::no_identity, Side::self, Retry::no, 0, "lease"});
}

// A link should be there before a request asks for it: the running one is of an older identity, or
// nobody knows yet which protocol the Proxy speaks.
bool H2Upstream::wants_link() const noexcept {
  if (worker_.phase_ != Worker::Phase::serving || dialling_ || offers_ == Offers::http1)
    return false;
  if (!pool_.usable_now()) return false;
  if (!waiting_.empty()) return true;
  if (worker_.loop_.now() - failed_ < dial_pause) return false;
  bool older = false;
  for (const UpstreamLink* link : links_) {
    if (!link->takes_streams()) continue;
    if (link->epoch() == pool_.epoch()) return false;
    older = true;
  }
  return older || (scout_ && offers_ == Offers::unknown);
}

void H2Upstream::dial_if_wanted() {
  if (wants_link()) dial();
}

UpstreamLink* H2Upstream::usable_link() noexcept {
  const auto now = std::chrono::system_clock::now();
  const link::UpstreamTarget& target = pool_.snapshot()->target;
  for (auto link = links_.rbegin(); link != links_.rend(); ++link) {
    const link::UpstreamTarget& goes_to = (*link)->snapshot().target;
    const bool same_route = goes_to.path_routing == target.path_routing &&
                            goes_to.teleport_cluster == target.teleport_cluster &&
                            goes_to.authority == target.authority;
    if (same_route && (*link)->takes_streams() && (*link)->has_room() && !(*link)->expired(now))
      return *link;
  }
  return nullptr;
}

void H2Upstream::place(H2Exchange& exchange) {
  if (offers_ == Offers::http1) return exchange.refuse("the Proxy speaks HTTP/1.1");
  UpstreamLink* const link = waiting_.empty() ? usable_link() : nullptr;
  if (link != nullptr && exchange.submit(*link)) {
    if (link->epoch() != pool_.epoch()) dial_if_wanted();
    return;
  }
  if (waiting_.size() >= most_waiting) {
    return exchange.fail({Code::overloaded, Side::self, Retry::no, 0, "queue"},
                         "kubelane has too many streams waiting for the Teleport Proxy");
  }
  exchange.waiting_ = true;
  waiting_.push_back(&exchange);
  dial_for_waiting();
}

// Another link, when all of this identity are full.
void H2Upstream::dial_for_waiting() {
  const auto full = std::count_if(links_.begin(), links_.end(), [this](const UpstreamLink* link) {
    return link->takes_streams() && link->epoch() == pool_.epoch();
  });
  if (!waiting_.empty() && !dialling_ && static_cast<std::size_t>(full) < most_links) dial();
}

void H2Upstream::withdraw(H2Exchange& exchange) noexcept {
  exchange.waiting_ = false;
  waiting_.remove(&exchange);
}

runtime::Detached H2Upstream::dial() {
  dialling_ = true;
  const link::UpstreamSnapshotPtr snapshot = pool_.snapshot();
  const std::uint64_t epoch = pool_.epoch();
  if (!snapshot->identity || snapshot->addresses.empty()) {
    dialled(Error{Code::no_identity, Side::self, Retry::no, 0, "lease"}, epoch);
    co_return;
  }
  if (!pool_.reserve()) {
    dialled(Error{Code::overloaded, Side::self, Retry::no, 0, "lease"}, epoch);
    co_return;
  }
  const bool pinned = worker_.config_.proxy_protocol == ProxyProtocol::http2;
  runtime::Readiness readiness(worker_.loop_);
  dial_frame_ = co_await runtime::OwnFrame{};
  for (unsigned attempt = 0;; ++attempt) {
    auto connecting = link::connect(readiness, worker_.batch_, snapshot, pool_.sessions(),
                                    worker_.config_.timeouts, pool_.first_address(),
                                    pinned ? tls::Alpn::http2 : tls::Alpn::any);
    Result<link::UpstreamConnectionPtr> connected = co_await std::move(connecting);
    pool_.dialled(connected);
    // Streams that wait have lost nothing yet.
    std::optional<Clock::time_point> again;
    if (!connected && !waiting_.empty() && epoch == pool_.epoch())
      again = pool_.dial_again(connected.error());
    if (!again) {
      dial_frame_ = nullptr;
      if (!connected) pool_.closed();
      dialled(std::move(connected), epoch);
      co_return;
    }
    pool_.address_failed();
    if (attempt == 0) worker_.reports_.connect_failed(index_);
    while (worker_.loop_.now() < *again) co_await readiness.wait(*again);
  }
}

void H2Upstream::dialled(Result<link::UpstreamConnectionPtr> connected, std::uint64_t epoch) {
  dialling_ = false;
  if (connected) {
    link::UpstreamConnectionPtr connection = std::move(*connected);
    if (!connection->stream().is_http2()) {
      if (worker_.config_.proxy_protocol == ProxyProtocol::http2) {
        pool_.closed();
        connection.reset();
        connected = Error{Code::tls_handshake, Side::upstream, Retry::yes, 0,
                          "HTTP/2 is pinned by proxy_protocol, the Proxy does not choose it"};
      } else {
        pool_.give_back(std::move(connection));
        saw_http1();
        return;
      }
    } else {
      take_link(std::move(connection), epoch);
      dial_if_wanted();  // the credentials may have changed meanwhile
      return;
    }
  }
  const Error error = connected.error();
  failed_ = worker_.loop_.now();
  pool_.address_failed();
  if (error.code == Code::tls_peer || error.code == Code::tls_untrusted) {
    worker_.reports_.certificate_refused(index_);
  } else if (error.code != Code::no_identity && error.code != Code::overloaded) {
    worker_.reports_.connect_failed(index_);
  }
  if (waiting_.empty()) return;
  if (pool_.epoch() != epoch && pool_.usable_now()) {  // the credentials have changed meanwhile
    dial();
    return;
  }
  fail_waiting(error);
}

void H2Upstream::fail_waiting(const Error& error) {
  std::list<H2Exchange*> failed;
  failed.swap(waiting_);
  for (H2Exchange* exchange : failed) {
    exchange->waiting_ = false;
    exchange->fail(error);
  }
}

// The older ones take no more, once a newer link is there.
void H2Upstream::retire_older() noexcept {
  if (std::none_of(links_.begin(), links_.end(), [this](const UpstreamLink* link) {
        return link->epoch() == pool_.epoch() && link->takes_streams();
      }))
    return;
  for (UpstreamLink* link : links_)
    if (link->epoch() != pool_.epoch()) link->retire();
}

void H2Upstream::place_waiting() {
  while (!waiting_.empty()) {
    UpstreamLink* const link = usable_link();
    if (link == nullptr) break;
    H2Exchange& exchange = *waiting_.front();
    waiting_.pop_front();
    exchange.waiting_ = false;
    if (!exchange.submit(*link)) {
      waiting_.push_front(&exchange);
      exchange.waiting_ = true;
    }
  }
  dial_for_waiting();
}

void H2Upstream::refuse_waiting() {
  std::list<H2Exchange*> refused;
  refused.swap(waiting_);
  for (H2Exchange* exchange : refused) {
    exchange->waiting_ = false;
    exchange->refuse("the Proxy speaks HTTP/1.1");
  }
}

void H2Upstream::link_ends() {
  if (!waiting_.empty()) place_waiting();
}

void H2Upstream::certificate_refused() { worker_.reports_.certificate_refused(index_); }

void H2Upstream::abandon() noexcept {
  if (dial_frame_) std::exchange(dial_frame_, nullptr).destroy();
  while (!links_.empty()) links_.back()->frame_.destroy();
}

bool H2Upstream::end_links() noexcept {
  for (UpstreamLink* link : links_) link->retire();
  return !links_.empty();
}

void H2Upstream::remove(UpstreamLink& link) noexcept {
  std::erase(links_, &link);
  worker_.look_at_drain();
}

}  // namespace kubelane::relay
