#include "proxy/runtime/event_loop.hpp"

#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <sys/prctl.h>

namespace kubelane::runtime {
namespace {

constexpr unsigned long timer_slack_nanoseconds = 1000;
constexpr std::uint32_t read_events = EPOLLIN | EPOLLRDHUP | EPOLLET;

}  // namespace

void Runnable::dequeue() noexcept {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  previous_ = next_ = nullptr;
}

EventLoop::EventLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!epoll_ || !wake_) throw std::system_error(errno, std::generic_category(), "event loop");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
    throw std::system_error(errno, std::generic_category(), "event loop");
  ready_.next_ = ready_.previous_ = &ready_;
  round_.next_ = round_.previous_ = &round_;
}

EventLoop::~EventLoop() {
  for (List* list : {&ready_, &round_}) {
    while (list->next_ != list) list->next_->dequeue();
    list->next_ = list->previous_ = nullptr;
  }
}

void Watch::arm() noexcept {
  if (armed_ || epoll_ < 0) return;
  epoll_event event{};
  event.events = read_events | EPOLLOUT;
  event.data.ptr = this;
  armed_ = ::epoll_ctl(epoll_, EPOLL_CTL_MOD, socket->fd, &event) == 0;
}

bool EventLoop::add(int fd, Watch& watch) noexcept {
  epoll_event event{};
  event.events = read_events;
  event.data.ptr = &watch;
  watch.epoll_ = epoll_.get();
  watch.armed_ = false;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool EventLoop::add_listening(int fd, Watch& watch) noexcept {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &watch;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void EventLoop::remove(int fd, const Watch& watch) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  forget(watch);
}

void EventLoop::forget(const Watch& watch) noexcept {
  for (int i = event_next_; i < event_count_; ++i) {
    epoll_event& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &watch) event.events = 0;
  }
}

void EventLoop::queue(Runnable& runnable) noexcept {
  if (runnable.next_ != nullptr) return;
  runnable.previous_ = ready_.previous_;
  runnable.next_ = &ready_;
  ready_.previous_->next_ = &runnable;
  ready_.previous_ = &runnable;
}

void EventLoop::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    if (posted_.size() > 1) return;  // woken already, and not here yet
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

void EventLoop::run_posted() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) item();
}

void EventLoop::run_ready() {
  round_.next_ = ready_.next_;
  round_.previous_ = ready_.previous_;
  round_.next_->previous_ = &round_;
  round_.previous_->next_ = &round_;
  ready_.next_ = ready_.previous_ = &ready_;
  while (round_.next_ != &round_) {
    Runnable* const runnable = round_.next_;
    runnable->dequeue();
    runnable->run();
  }
}

void EventLoop::fetch_events() noexcept {
  const bool idle = ready_.next_ == &ready_;
  if (idle && awaited_answers_ >= gather_from) {
    const timespec pause{0, std::chrono::nanoseconds(gather_time).count()};
    ::nanosleep(&pause, nullptr);
  }
  event_next_ = 0;
  event_count_ = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                              idle ? deadlines_.timeout(now_) : 0);
  now_ = Clock::now();
}

void EventLoop::run() {
  // The kernel rounds a sleep up by this much; by 50 us, were it not said.
  ::prctl(PR_SET_TIMERSLACK, timer_slack_nanoseconds, 0UL, 0UL, 0UL);
  while (!stopping_) {
    fetch_events();
    bool posted = false;
    while (event_next_ < event_count_) {
      const epoll_event event = events_[static_cast<std::size_t>(event_next_++)];
      if (event.data.ptr == nullptr) {
        posted = true;
        continue;
      }
      if (event.events == 0) continue;  // forgotten
      const Watch& watch = *static_cast<const Watch*>(event.data.ptr);
      tls::SocketState& socket = *watch.socket;
      if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        socket.readable = true;
      if ((event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) socket.writable = true;
      if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.peer_ended = true;
      if ((event.events & EPOLLERR) != 0) socket.broken = true;
      if (watch.sink != nullptr) queue(*watch.sink);
    }
    event_count_ = 0;
    if (posted) run_posted();
    deadlines_.advance(now_);
    // What this round's connections hand to others is moved at once: a request or an answer takes
    // one look at the sockets, not two. What is queued after that waits for the next look.
    for (int pass = 0; pass < 2 && ready_.next_ != &ready_; ++pass) run_ready();
  }
  stopping_ = false;
}

}  // namespace kubelane::runtime
