// One service's HTTP/2 way upstream in one worker: its links, the streams that wait for one, and
// what is known of the Proxy's protocol. One link per identity; another only when all are at the
// peer's limit of streams; a bounded queue after a bounded number of them.
#pragma once

#include <coroutine>
#include <cstdint>
#include <list>
#include <vector>

#include "proxy/link/connect.hpp"
#include "proxy/relay/upstream_pool.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::relay {

class H2Exchange;
class UpstreamLink;
class Worker;

// Owns: nothing but the queue; links own themselves and are listed here. Thread: its worker.
class H2Upstream {
 public:
  H2Upstream(Worker& worker, UpstreamPool& pool, std::size_t index, bool scout);
  H2Upstream(const H2Upstream&) = delete;
  H2Upstream& operator=(const H2Upstream&) = delete;

  enum class Offers : std::uint8_t { unknown, http1, http2 };
  Offers offers() const noexcept { return offers_; }
  // The Proxy's choice, seen here or by another worker.
  void learn(bool http2);
  // What an HTTP/1.1 request's new connection should offer: http/1.1, or now and then both, to see
  // whether the Proxy has changed.
  tls::Alpn alpn_for_http1() noexcept;
  // An HTTP/1.1 request found a connection in the pool. Where that is so all the time nobody dials,
  // and a Proxy that has begun to offer HTTP/2 would stay unnoticed: dials beside it when a look is
  // due. What was dialled goes into the pool, or becomes a link.
  void reused_http1() noexcept;
  // A connection on which HTTP/2 was chosen: it becomes a link. And the other choice.
  // `epoch`: UpstreamPool::epoch() when it was dialled.
  void take_link(link::UpstreamConnectionPtr connection, std::uint64_t epoch);
  void saw_http1();

  // The pool has a newer snapshot. A link of an older identity is replaced: the new one is dialled
  // first, then the old one retires.
  void adopted();

  // Nobody shall go this way any more: running streams finish, waiting ones are answered.
  void retire();

  // Finds a link for the exchange, or queues it, or answers it.
  void place(H2Exchange& exchange);
  void withdraw(H2Exchange& exchange) noexcept;

  // The loop has stopped for good: what still waits, a dial or a link, is ended without a word.
  void abandon() noexcept;
  // Nobody needs them any more: they say goodbye. False: there are none.
  bool end_links() noexcept;

  UpstreamPool& pool() noexcept { return pool_; }
  std::size_t links() const noexcept { return links_.size(); }

 private:
  friend class UpstreamLink;

  bool look_is_due() const noexcept;
  UpstreamLink* usable_link() noexcept;
  bool wants_link() const noexcept;
  void dial_if_wanted();
  runtime::Detached dial();
  void dialled(Result<link::UpstreamConnectionPtr> connected, std::uint64_t epoch);
  void retire_older() noexcept;
  void dial_for_waiting();
  void place_waiting();
  void refuse_waiting();
  void fail_waiting(const Error& error);
  void add(UpstreamLink& link) { links_.push_back(&link); }
  void remove(UpstreamLink& link) noexcept;
  // A stream ended on some link, or the link's limit grew; a link takes no more streams.
  void room_made() {
    if (!waiting_.empty()) place_waiting();
  }
  void link_ends();
  void certificate_refused();

  Worker& worker_;
  UpstreamPool& pool_;
  const std::size_t index_;
  const bool scout_;
  Offers offers_ = Offers::unknown;
  std::vector<UpstreamLink*> links_;  // oldest first
  std::list<H2Exchange*> waiting_;
  bool dialling_ = false;
  std::coroutine_handle<> dial_frame_;   // while it waits
  runtime::Clock::time_point looked_{};  // when both protocols were offered last
  runtime::Clock::time_point failed_{};  // when a dial failed that nobody waited for
};

}  // namespace kubelane::relay
