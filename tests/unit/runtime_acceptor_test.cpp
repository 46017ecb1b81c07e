// Accepting in a worker's loop: one connection per round, none lost at the end, no spinning without
// descriptors.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "proxy/runtime/acceptor.hpp"

namespace kubelane::runtime {
namespace {

using std::chrono::milliseconds;

ListenAddress loopback(std::uint16_t port = 0) {
  ListenAddress address;
  address.host = "127.0.0.1";
  address.port = port;
  return address;
}

tls::UniqueFd connect_to(std::uint16_t port) {
  tls::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

std::vector<tls::UniqueFd> connect_to(std::uint16_t port, int count) {
  std::vector<tls::UniqueFd> clients;
  for (int i = 0; i < count; ++i) clients.push_back(connect_to(port));
  return clients;
}

class Alarm final : public Deadline {
 public:
  explicit Alarm(std::function<void()> action) : then(std::move(action)) {}
  std::function<void()> then;

 private:
  void on_deadline() noexcept override { then(); }
};

// Counts the rounds of a loop from its start on, and stops it.
class Rounds final : public Runnable {
 public:
  Rounds(EventLoop& loop, int rounds) : loop_(loop), left_(rounds) { loop_.queue(*this); }
  void run() noexcept override {
    if (--left_ == 0) {
      loop_.stop();
    } else {
      loop_.queue(*this);
    }
  }

 private:
  EventLoop& loop_;
  int left_;
};

class Accepting : public testing::Test {
 protected:
  void SetUp() override {
    Outcome<ListeningSocket> listening = listen_on(loopback());
    ASSERT_TRUE(static_cast<bool>(listening));
    port = listening->port;
    acceptor = std::make_unique<Acceptor>(loop, std::move(listening->fd), [this](tls::UniqueFd fd) {
      accepted.push_back(std::move(fd));
      if (accepted.size() == stop_at) loop.stop();
    });
  }

  EventLoop loop;
  std::uint16_t port = 0;
  std::vector<tls::UniqueFd> accepted;
  std::size_t stop_at = 0;
  std::unique_ptr<Acceptor> acceptor;
};

TEST_F(Accepting, takes_every_connection_non_blocking) {
  const auto clients = connect_to(port, 20);
  stop_at = 20;
  loop.run();
  ASSERT_EQ(accepted.size(), 20U);
  for (const tls::UniqueFd& fd : accepted) {
    char byte = 0;
    EXPECT_LT(::recv(fd.get(), &byte, 1, 0), 0);
    EXPECT_EQ(errno, EAGAIN);
  }
}

TEST_F(Accepting, takes_one_per_round_so_that_a_burst_holds_nobody_up) {
  const auto clients = connect_to(port, 20);
  const Rounds rounds(loop, 5);
  loop.run();
  EXPECT_GE(accepted.size(), 3U);
  EXPECT_LE(accepted.size(), 6U);
}

TEST_F(Accepting, loses_none_that_waits_at_the_end_and_takes_none_after_it) {
  const auto clients = connect_to(port, 7);
  acceptor->close();
  EXPECT_EQ(accepted.size(), 7U);
  EXPECT_FALSE(connect_to(port));
  acceptor->close();
  const Rounds rounds(loop, 3);
  loop.run();
  EXPECT_EQ(accepted.size(), 7U);
}

TEST_F(Accepting, may_end_while_news_wait) {
  const auto clients = connect_to(port, 3);
  acceptor.reset();
  const Rounds rounds(loop, 3);
  loop.run();
  EXPECT_TRUE(accepted.empty());
}

// UBSan opens pipes to look at memory, so it cannot do without descriptors itself.
#if !defined(__SANITIZE_ADDRESS__)
TEST_F(Accepting, pauses_without_descriptors_and_goes_on_by_itself) {
  const auto clients = connect_to(port, 2);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  testing::internal::CaptureStderr();
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto begin = Clock::now();
  std::size_t during = 99;
  Alarm relief([&] {
    during = accepted.size();
    ::setrlimit(RLIMIT_NOFILE, &before);
  });
  loop.deadlines().arm(relief, begin + milliseconds(50));
  stop_at = 2;
  loop.run();
  const std::string warnings = testing::internal::GetCapturedStderr();
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(during, 0U);
  EXPECT_EQ(accepted.size(), 2U);
  EXPECT_LT(std::count(warnings.begin(), warnings.end(), '\n'), 20);
}
#endif

TEST(Listening, tells_why_it_cannot) {
  const Outcome<ListeningSocket> first = listen_on(loopback());
  ASSERT_TRUE(static_cast<bool>(first));
  EXPECT_NE(first->port, 0);
  const Outcome<ListeningSocket> second = listen_on(loopback(first->port));
  ASSERT_FALSE(static_cast<bool>(second));
  EXPECT_NE(second.error().message.find("another process listens there"), std::string::npos);
}

}  // namespace
}  // namespace kubelane::runtime
