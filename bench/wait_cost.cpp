// What one wait for a socket costs: the data threads' own event loop beside Asio's, doing the same
// work. 32 sockets in a ring: whoever receives a byte sends one to the next, so that every receive
// must be waited for; 8 bytes go round. OpenSSL does the receiving in kubelane, so Asio is asked
// for readiness (async_wait), as it would be there. Prints CPU time per turn.
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include <boost/asio.hpp>
#include <sys/resource.h>
#include <sys/socket.h>

#include "proxy/runtime/event_loop.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"

namespace {

namespace asio = boost::asio;
using namespace kubelane;
using Socket = asio::local::stream_protocol::socket;

constexpr std::size_t sockets = 32;
constexpr std::size_t tokens = 8;
constexpr long turns = 1'000'000;

struct Ring {
  std::array<std::array<int, 2>, sockets> pairs{};
  long left = turns;

  Ring() {
    for (auto& pair : pairs)
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()) != 0) std::abort();
  }
  void poke(std::size_t index) const {
    const char byte = 'x';
    if (::send(pairs[index % sockets][1], &byte, 1, MSG_NOSIGNAL) != 1) std::abort();
  }
  // False: nothing there.
  bool receive(std::size_t index) const {
    char byte = 0;
    return ::recv(pairs[index][0], &byte, 1, 0) == 1;
  }
  void begin() const {
    for (std::size_t i = 0; i < tokens; ++i) poke(i * sockets / tokens);
  }
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <class Run>
void measure(const char* what, Run run) {
  const double start = cpu_seconds();
  run();
  std::printf("%-22s %6.0f ns\n", what, (cpu_seconds() - start) / static_cast<double>(turns) * 1e9);
}

void with_asio_coroutines() {
  Ring ring;
  asio::io_context io(1);
  for (std::size_t i = 0; i < sockets; ++i) {
    asio::co_spawn(
        io,
        [&io, &ring, i]() -> asio::awaitable<void> {
          Socket socket(io, asio::local::stream_protocol(), ring.pairs[i][0]);
          for (;;) {
            co_await socket.async_wait(Socket::wait_read, asio::use_awaitable);
            if (!ring.receive(i)) continue;
            if (ring.left-- <= 0) io.stop();
            ring.poke(i + 1);
          }
        },
        asio::detached);
  }
  ring.begin();
  measure("Asio, coroutines", [&io] { io.run(); });
}

struct Callback {
  Ring& ring;
  asio::io_context& io;
  std::size_t index;
  Socket socket{io, asio::local::stream_protocol(), ring.pairs[index][0]};

  void go() {
    socket.async_wait(Socket::wait_read, [this](boost::system::error_code error) {
      if (error) return;
      if (ring.receive(index)) {
        if (ring.left-- <= 0) io.stop();
        ring.poke(index + 1);
      }
      go();
    });
  }
};

void with_asio_callbacks() {
  Ring ring;
  asio::io_context io(1);
  std::vector<std::unique_ptr<Callback>> all;
  for (std::size_t i = 0; i < sockets; ++i) {
    all.push_back(std::unique_ptr<Callback>(new Callback{ring, io, i}));
    all.back()->go();
  }
  ring.begin();
  measure("Asio, callbacks", [&io] { io.run(); });
}

runtime::Detached take_turns(runtime::EventLoop& loop, Ring& ring, std::size_t index) {
  runtime::Readiness readiness(loop);
  tls::SocketState state;
  state.fd = ring.pairs[index][0];
  state.readable = false;
  runtime::Watch watch;
  watch.socket = &state;
  watch.sink = &readiness;
  loop.add(state.fd, watch);
  while (ring.left > 0) {
    // As each wait of the data path, with a deadline.
    co_await readiness.wait(loop.now() + std::chrono::seconds(60));
    if (!ring.receive(index)) continue;
    if (ring.left-- <= 0) loop.stop();
    ring.poke(index + 1);
  }
  loop.forget(watch);
}

void with_own_loop() {
  Ring ring;
  runtime::EventLoop loop;
  loop.post([&] {
    for (std::size_t i = 0; i < sockets; ++i) take_turns(loop, ring, i);
    ring.begin();
  });
  measure("own loop, coroutines", [&loop] { loop.run(); });
}

}  // namespace

int main() {
  for (int round = 0; round < 3; ++round) {
    with_asio_coroutines();
    with_asio_callbacks();
    with_own_loop();
  }
}
