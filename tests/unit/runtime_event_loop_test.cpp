// The event loop: one round of sockets, posted work, deadlines and runnables; who is destroyed or
// closed in the middle of it gets no news of others.
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/runtime/connection.hpp"
#include "proxy/runtime/event_loop.hpp"

namespace kubelane::runtime {
namespace {

using std::chrono::milliseconds;

class Action final : public Runnable {
 public:
  explicit Action(std::function<void()> action = {}) : then(std::move(action)) {}
  std::function<void()> then;
  int runs = 0;
  void run() noexcept override {
    ++runs;
    if (then) then();
  }
};

class Alarm final : public Deadline {
 public:
  explicit Alarm(std::function<void()> action) : then(std::move(action)) {}
  std::function<void()> then;

 private:
  void on_deadline() noexcept override { then(); }
};

struct SocketPair {
  tls::UniqueFd ours;
  tls::UniqueFd peer;
};

SocketPair unix_pair() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
  return {tls::UniqueFd(fds[0]), tls::UniqueFd(fds[1])};
}

SocketPair tcp_pair() {
  const tls::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(listener.get(), generic, length), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), generic, &length), 0);
  tls::UniqueFd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(peer.get(), generic, length), 0);
  tls::UniqueFd ours(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  return {std::move(ours), std::move(peer)};
}

void send_byte(const tls::UniqueFd& fd) { ASSERT_EQ(::send(fd.get(), "x", 1, MSG_NOSIGNAL), 1); }

class EventLoopTest : public testing::Test {
 protected:
  void run() { loop_.run(); }
  // A few whole turns, so that whatever has been fetched has been handed out.
  void turns(int count) {
    Action action;
    action.then = [this, &action, count] {
      if (action.runs < count)
        loop_.queue(action);
      else
        stop();
    };
    loop_.queue(action);
    run();
  }
  void stop() { loop_.stop(); }

  EventLoop loop_;
  tls::WriteBatch batch_;
};

TEST_F(EventLoopTest, posted_work_runs_in_order_on_the_loops_thread) {
  std::vector<int> order;
  std::thread::id where;
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) {
      loop_.post([&, i] {
        order.push_back(i);
        where = std::this_thread::get_id();
      });
    }
    loop_.stop();
  });
  run();
  poster.join();
  ASSERT_EQ(order.size(), 100u);
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], static_cast<int>(i));
  EXPECT_EQ(where, std::this_thread::get_id());
}

TEST_F(EventLoopTest, many_threads_post_and_nothing_is_lost) {
  std::atomic<int> posted{0};
  int ran = 0;
  constexpr int each = 2000;
  std::vector<std::thread> posters;
  for (int t = 0; t < 3; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < each; ++i) loop_.post([&ran] { ++ran; });
      if (++posted == 3) loop_.stop();
    });
  }
  run();
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(ran, 3 * each);
}

TEST_F(EventLoopTest, posted_work_may_post) {
  bool done = false;
  loop_.post([&] {
    loop_.post([&] {
      done = true;
      stop();
    });
  });
  run();
  EXPECT_TRUE(done);
}

// What arrives meanwhile is looked at once. Below that load nothing waits, which no clock can show.
TEST_F(EventLoopTest, many_awaited_answers_are_gathered) {
  for (std::size_t i = 0; i < EventLoop::gather_from; ++i) loop_.answer_awaited();
  constexpr int turns_to_take = 50;
  int taken = 0;
  std::function<void()> turn = [&] { ++taken < turns_to_take ? loop_.post(turn) : stop(); };
  loop_.post(turn);
  const Clock::time_point began = Clock::now();
  run();
  EXPECT_GE(Clock::now() - began, turns_to_take * EventLoop::gather_time);
}

TEST_F(EventLoopTest, queued_twice_runs_once_and_in_order) {
  std::vector<int> order;
  Action first([&] { order.push_back(1); });
  Action second([&] { order.push_back(2); });
  loop_.queue(first);
  loop_.queue(second);
  loop_.queue(first);
  turns(3);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_F(EventLoopTest, what_is_queued_by_a_runnable_waits_for_the_next_round) {
  std::vector<int> order;
  Action later([&] { order.push_back(3); });
  Action first([&] {
    order.push_back(1);
    loop_.queue(later);
  });
  Action second([&] { order.push_back(2); });
  loop_.queue(first);
  loop_.queue(second);
  turns(3);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

// One connection that always has more to do must not keep the others from their sockets, the
// deadlines and the control thread.
TEST_F(EventLoopTest, a_runnable_that_always_runs_starves_nobody) {
  SocketPair pair = tcp_pair();
  Connection connection(loop_, Side::local);
  ASSERT_TRUE(connection.open(std::move(pair.ours), batch_));
  connection.socket().readable = false;
  bool heard = false;
  bool posted = false;
  bool expired = false;
  Action on_news([&] { heard = true; });
  connection.set_sink(&on_news);
  Alarm alarm([&] { expired = true; });
  loop_.deadlines().arm(alarm, Clock::now());
  Action busy;
  busy.then = [&] {
    if (busy.runs == 1) {
      send_byte(pair.peer);
      loop_.post([&] { posted = true; });
    }
    if (heard && posted && expired)
      stop();
    else
      loop_.queue(busy);
  };
  loop_.queue(busy);
  run();
  EXPECT_TRUE(connection.socket().readable);
}

TEST_F(EventLoopTest, a_runnable_destroyed_in_the_queue_does_not_run) {
  auto doomed = std::make_unique<Action>([] { FAIL() << "it is dead"; });
  Action killer([&] { doomed.reset(); });
  Action survivor;
  loop_.queue(killer);
  loop_.queue(*doomed);
  loop_.queue(survivor);
  turns(3);
  EXPECT_EQ(killer.runs, 1);
  EXPECT_EQ(survivor.runs, 1);
}

TEST_F(EventLoopTest, a_runnable_may_destroy_itself) {
  auto doomed = std::make_unique<Action>();
  int runs = 0;
  doomed->then = [&] {
    ++runs;
    // Moved out first: the closure must not end while it runs.
    const auto keep = std::move(doomed->then);
    doomed.reset();
  };
  loop_.queue(*doomed);
  turns(3);
  EXPECT_EQ(runs, 1);
}

TEST_F(EventLoopTest, deadlines_fire_without_any_event) {
  bool expired = false;
  Alarm alarm([&] {
    expired = true;
    stop();
  });
  const Clock::time_point due = Clock::now() + milliseconds(30);
  loop_.deadlines().arm(alarm, due);
  run();
  EXPECT_TRUE(expired);
  EXPECT_GE(Clock::now(), due);
  EXPECT_GE(loop_.now(), due);
}

TEST_F(EventLoopTest, runnables_may_outlive_the_loop) {
  Action first;
  Action second;
  {
    EventLoop loop;
    loop.queue(first);
    loop.queue(second);
  }
  loop_.queue(first);  // usable with another one
  turns(3);
  EXPECT_EQ(first.runs, 1);
  EXPECT_EQ(second.runs, 0);
}

// --- Sockets
// --------------------------------------------------------------------------------------

class ConnectionTest : public EventLoopTest {
 protected:
  // A connection about which nothing is believed yet.
  std::unique_ptr<Connection> open(tls::UniqueFd fd, Runnable* sink = nullptr) {
    auto connection = std::make_unique<Connection>(loop_, Side::local);
    EXPECT_TRUE(connection->open(std::move(fd), batch_));
    connection->socket().readable = false;
    connection->set_sink(sink);
    return connection;
  }
};

TEST_F(ConnectionTest, arriving_bytes_set_the_flag_and_run_the_sink_once) {
  SocketPair pair = tcp_pair();
  Action sink;
  const auto connection = open(std::move(pair.ours), &sink);
  turns(2);
  EXPECT_EQ(sink.runs, 0) << "nothing has come";
  EXPECT_FALSE(connection->socket().readable);
  send_byte(pair.peer);
  turns(5);
  EXPECT_EQ(sink.runs, 1) << "an edge, not a level";
  EXPECT_TRUE(connection->socket().readable);
  EXPECT_FALSE(connection->socket().peer_ended);
  std::array<char, 8> into{};
  EXPECT_EQ(connection->stream().read(into).bytes, 1u);
}

TEST_F(ConnectionTest, without_a_sink_the_flags_are_kept_for_later) {
  SocketPair pair = tcp_pair();
  const auto connection = open(std::move(pair.ours));
  send_byte(pair.peer);
  turns(3);
  EXPECT_TRUE(connection->socket().readable);
}

TEST_F(ConnectionTest, the_peers_end_is_seen) {
  SocketPair pair = tcp_pair();
  Action sink;
  const auto connection = open(std::move(pair.ours), &sink);
  ASSERT_EQ(::shutdown(pair.peer.get(), SHUT_WR), 0);
  turns(3);
  EXPECT_EQ(sink.runs, 1);
  EXPECT_TRUE(connection->socket().readable);
  EXPECT_TRUE(connection->socket().peer_ended);
  EXPECT_FALSE(connection->socket().broken);
}

TEST_F(ConnectionTest, a_reset_is_told_from_an_end) {
  SocketPair pair = tcp_pair();
  Action sink;
  const auto connection = open(std::move(pair.ours), &sink);
  const linger at_once{1, 0};
  ASSERT_EQ(::setsockopt(pair.peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  pair.peer.reset();
  turns(3);
  EXPECT_GE(sink.runs, 1);
  EXPECT_TRUE(connection->socket().broken);
  EXPECT_TRUE(connection->socket().peer_ended);
}

TEST_F(ConnectionTest, room_to_write_is_news_only_after_a_send_would_block) {
  SocketPair pair = unix_pair();
  Action sink;
  const auto connection = open(std::move(pair.ours), &sink);
  turns(3);
  EXPECT_EQ(sink.runs, 0) << "there was always room";
  const std::string many(64 * 1024, 'x');
  while (connection->stream().write(many).kind == tls::Step::Kind::moved) {
  }
  EXPECT_FALSE(connection->socket().writable);
  turns(3);
  EXPECT_EQ(sink.runs, 0) << "nobody reads";
  std::string into(1 << 20, '\0');
  while (::recv(pair.peer.get(), into.data(), into.size(), 0) > 0) {
  }
  turns(3);
  EXPECT_GE(sink.runs, 1);
  EXPECT_TRUE(connection->socket().writable);
}

TEST_F(ConnectionTest, a_closed_one_sends_the_end_at_once) {
  SocketPair pair = tcp_pair();
  auto connection = open(std::move(pair.ours));
  connection.reset();
  char byte = 0;
  EXPECT_EQ(::recv(pair.peer.get(), &byte, 1, 0), 0);
}

TEST_F(ConnectionTest, what_cannot_be_watched_is_refused_with_a_reason) {
  Connection connection(loop_, Side::local);
  tls::UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  errno = 0;
  EXPECT_FALSE(connection.open(std::move(file), batch_));
  EXPECT_EQ(errno, EPERM);
  turns(2);
}

// Both have news in one round; the first to run closes the other, and a new connection takes its
// descriptor. The new one must not inherit the old one's news.
TEST_F(ConnectionTest, a_reused_descriptor_gets_no_news_of_the_closed_one) {
  for (int round = 0; round < 20; ++round) {
    SocketPair a = tcp_pair();
    SocketPair b = tcp_pair();
    SocketPair c = tcp_pair();
    std::unique_ptr<Connection> first;
    std::unique_ptr<Connection> second;
    std::unique_ptr<Connection> reborn;
    Action on_reborn;
    // Whichever runs first replaces the other.
    const auto replace = [&](std::unique_ptr<Connection>& other) {
      if (reborn) return;
      const int number = other->socket().fd;
      other.reset();
      ASSERT_EQ(::dup3(c.ours.get(), number, O_CLOEXEC), number);
      c.ours.reset();
      reborn = open(tls::UniqueFd(number), &on_reborn);
    };
    Action on_first([&] { replace(second); });
    Action on_second([&] { replace(first); });
    first = open(std::move(a.ours), &on_first);
    second = open(std::move(b.ours), &on_second);
    send_byte(a.peer);
    ASSERT_EQ(::shutdown(b.peer.get(), SHUT_WR), 0);
    turns(4);
    ASSERT_TRUE(reborn);
    EXPECT_EQ(on_reborn.runs, 0);
    EXPECT_FALSE(reborn->socket().readable);
    EXPECT_FALSE(reborn->socket().peer_ended);
    send_byte(c.peer);
    turns(4);
    EXPECT_EQ(on_reborn.runs, 1) << "and its own news it gets";
    EXPECT_TRUE(reborn->socket().readable);
  }
}

// More sockets than one look at the kernel returns; those that run first close half of the others.
TEST_F(ConnectionTest, connections_may_close_each_other_in_a_large_batch) {
  constexpr std::size_t count = 300;
  struct Peer {
    SocketPair pair;
    std::unique_ptr<Connection> connection;
    std::unique_ptr<Action> sink;
  };
  std::vector<Peer> peers(count);
  std::size_t ran = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Peer& peer = peers[i];
    peer.pair = unix_pair();
    peer.sink = std::make_unique<Action>([&peers, &ran, i] {
      ++ran;
      ASSERT_TRUE(peers[i].connection) << "news for a closed connection";
      Peer& other = peers[(i + count / 2) % count];
      other.connection.reset();
      other.sink.reset();
    });
    peer.connection = open(std::move(peer.pair.ours), peer.sink.get());
  }
  for (Peer& peer : peers) send_byte(peer.pair.peer);
  turns(10);
  EXPECT_EQ(ran, count / 2);
}

}  // namespace
}  // namespace kubelane::runtime
