// The event loop of a data thread: one epoll set, edge-triggered, every socket registered once (and
// once more when a send would block for the first time).
//
// Why not io_context here: each Asio wait costs an epoll_ctl and the scheduler's locks, two per
// request and side; the loop below waits with none (bench/README.md holds the measurement). Asio
// runs the control thread: signals, timers, DNS, file watches.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

#include <sys/epoll.h>

#include "proxy/runtime/deadline.hpp"
#include "tls/socket.hpp"

namespace kubelane::runtime {

class EventLoop;

// Something that can stand in the loop's run list. run() is called once per queueing, never inline
// from where it was queued. Thread: its worker. Leaves the list when destroyed.
class Runnable {
 public:
  Runnable() noexcept = default;
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;
  virtual ~Runnable() { dequeue(); }
  virtual void run() noexcept = 0;

 private:
  friend class EventLoop;
  void dequeue() noexcept;
  Runnable* previous_ = nullptr;
  Runnable* next_ = nullptr;
};

// The registration of one socket: whose flags to set and whom to run on an event.
struct Watch final : tls::WriteEdge {
  tls::SocketState* socket = nullptr;
  Runnable* sink = nullptr;  // null: only the flags are set

  // The loop wakes for writability too, from now on.
  void arm() noexcept override;

 private:
  friend class EventLoop;
  int epoll_ = -1;
  bool armed_ = false;
};

// Owns: the epoll set, the run list, the deadline wheel.
// Thread: run() and everything else but post() and stop() belong to one thread.
class EventLoop {
 public:
  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  // Until stop(); may be called again then.
  void run();

  // From any thread. post() runs `work` on the loop's thread; the only door between threads.
  void post(std::function<void()> work);
  void stop();

  // Registers for arriving bytes and, once a send would block, for room; the registration ends when
  // the descriptor is closed, and then `watch` must be given to forget(), since events may already
  // be fetched. False: errno tells.
  bool add(int fd, Watch& watch) noexcept;
  void forget(const Watch& watch) noexcept;

  // For a listening socket: level-triggered, so there is news as long as connections wait. Ends
  // with remove(), which forgets the watch.
  bool add_listening(int fd, Watch& watch) noexcept;
  void remove(int fd, const Watch& watch) noexcept;

  // Puts it at the end of the run list, once.
  void queue(Runnable& runnable) noexcept;

  // Answers that somebody waits for and that are to come over shared connections. While there are
  // `gather_from` of them or more, a loop with nothing to do lets `gather_time` pass before it
  // looks at its sockets: what has arrived by then is received, sealed and sent together. One by
  // one, at such a load, every answer would cost its receiver and its sender a wake-up; and who
  // shares a connection with that many waits in queues for many times as long.
  static constexpr std::size_t gather_from = 64;
  static constexpr std::chrono::microseconds gather_time{60};
  void answer_awaited() noexcept { ++awaited_answers_; }
  void answers_no_longer_awaited(std::size_t count) noexcept { awaited_answers_ -= count; }

  // Time at the last wake-up; precise enough for deadlines and access times in the same turn.
  Clock::time_point now() const noexcept { return now_; }
  void refresh_now() noexcept { now_ = Clock::now(); }
  DeadlineWheel& deadlines() noexcept { return deadlines_; }

 private:
  // The next events; waits for them when nothing is to be done.
  void fetch_events() noexcept;
  void run_posted();
  // Runs what is queued now, not what is queued meanwhile.
  void run_ready();

  tls::UniqueFd epoll_;
  tls::UniqueFd wake_;  // eventfd
  DeadlineWheel deadlines_;
  Clock::time_point now_ = Clock::now();
  std::array<epoll_event, 128> events_{};
  int event_count_ = 0;
  int event_next_ = 0;
  std::size_t awaited_answers_ = 0;
  struct List final : Runnable {
    void run() noexcept override {}
  };
  List ready_;        // anchors of circular lists: what was queued,
  List round_;        // and what runs in this round
  std::mutex mutex_;  // guards posted_
  std::vector<std::function<void()>> posted_;
  bool stopping_ = false;
};

}  // namespace kubelane::runtime
