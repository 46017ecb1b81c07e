// Asking the Proxy again and again: never giving up, never in haste, keeping the last good answer.
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "proxy/teleport/discovery.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/support/web_server.hpp"

namespace kubelane::teleport {
namespace {

using kubelane_test::WebServer;
using std::chrono::steady_clock;

class DiscoveryTest : public testing::Test {
 protected:
  DiscoveryTest() {
    server_ = std::make_unique<WebServer>([this](const std::string&) {
      const std::string body = R"({"server_version":")" + std::to_string(++version_) +
                               R"(.0.0","proxy":{"tls_routing_enabled":true}})";
      return WebServer::Reply{(healthy_ ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 503 X\r\n") +
                              std::string("Content-Length: ") + std::to_string(body.size()) +
                              "\r\n\r\n" + body};
    });
    PingOptions options;
    options.address = {"127.0.0.1", server_->port()};
    options.ca_file = directory_.path() / "ca.pem";
    std::ofstream(options.ca_file) << server_->ca_pem();
    discovery_ = std::make_unique<Discovery>(io_, options);
    discovery_->on_change([this] { ++first_told_; });
    discovery_->on_change([this] { ++second_told_; });
  }
  bool told(int times) {
    return support::eventually([&] {
      io_.restart();
      io_.poll();
      return first_told_ >= times;
    });
  }

  support::TempDirectory directory_;
  boost::asio::io_context io_;
  std::atomic<bool> healthy_{true};
  std::atomic<int> version_{0};
  std::unique_ptr<WebServer> server_;
  std::unique_ptr<Discovery> discovery_;
  int first_told_ = 0;
  int second_told_ = 0;
};

TEST_F(DiscoveryTest, nothing_is_known_before_the_first_answer) {
  EXPECT_FALSE(discovery_->reply());
  EXPECT_EQ(discovery_->problem(), "");
  discovery_->start();
  EXPECT_FALSE(discovery_->reply());
  ASSERT_TRUE(told(1));
  ASSERT_TRUE(discovery_->reply());
  EXPECT_EQ(discovery_->reply()->server_version, "1.0.0");
  EXPECT_EQ(second_told_, 1) << "all listeners";
}

TEST_F(DiscoveryTest, a_failure_is_told_and_asked_again_until_it_heals) {
  healthy_ = false;
  discovery_->start();
  ASSERT_TRUE(told(1));
  EXPECT_FALSE(discovery_->reply());
  EXPECT_NE(discovery_->problem().find("503"), std::string::npos) << discovery_->problem();
  healthy_ = true;
  ASSERT_TRUE(told(2));
  EXPECT_EQ(discovery_->problem(), "");
  EXPECT_TRUE(discovery_->reply());
}

// Workers report every connection that fails: a storm of reports is one question.
TEST_F(DiscoveryTest, refreshes_are_spaced_and_the_last_good_reply_stays) {
  discovery_->start();
  discovery_->refresh();  // one is under way
  ASSERT_TRUE(told(1));
  healthy_ = false;
  const auto begin = steady_clock::now();
  for (int i = 0; i < 100; ++i) discovery_->refresh();
  ASSERT_TRUE(told(2));
  EXPECT_GE(steady_clock::now() - begin, std::chrono::seconds(4));
  EXPECT_EQ(server_->requests(), 2);
  ASSERT_TRUE(discovery_->reply());
  EXPECT_EQ(discovery_->reply()->server_version, "1.0.0");
  EXPECT_NE(discovery_->problem(), "");
}

}  // namespace
}  // namespace kubelane::teleport
