// The ping over the wire: whatever the other side answers, one result comes, in bounded time and
// memory, with a sentence that helps.
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "proxy/teleport/ping.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/support/web_server.hpp"

namespace kubelane::teleport {
namespace {

using kubelane_test::WebServer;
using End = WebServer::End;

const std::string good_body =
    R"({"cluster_name":"root.example.com","server_version":"17.4.2","proxy":{"tls_routing_enabled":true}})";

std::string ok(const std::string& body, const std::string& fields = "") {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + fields + "\r\n" + body;
}

std::string chunk(const std::string& bytes, const std::string& extension = "") {
  std::ostringstream text;
  text << std::hex << bytes.size() << extension << "\r\n" << bytes << "\r\n";
  return text.str();
}

const std::string chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

class Ping : public testing::Test {
 protected:
  void serve(const std::string& bytes, End end = End::close,
             const std::string& names = "IP:127.0.0.1") {
    server_ = std::make_unique<WebServer>(
        [this, bytes, end](const std::string& request) {
          request_ = request;
          return WebServer::Reply{bytes, end};
        },
        names);
    options_.address = {"127.0.0.1", server_->port()};
    options_.ca_file = directory_.path() / "ca.pem";
    std::ofstream(options_.ca_file) << server_->ca_pem();
  }
  // The cluster's name, or the failure.
  std::string ask() {
    boost::asio::io_context io;
    std::optional<Outcome<PingReply>> result;
    int calls = 0;
    ping(io, options_, [&](Outcome<PingReply> outcome) {
      result = std::move(outcome);
      ++calls;
    });
    io.run();
    EXPECT_EQ(calls, 1);
    if (!result) return "no result";
    return *result ? (*result)->cluster_name : (*result).error().message;
  }
  void expect_says(const std::string& part) {
    const std::string message = ask();
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find("127.0.0.1"), std::string::npos) << "which one? " << message;
  }

  support::TempDirectory directory_;
  PingOptions options_;
  std::string request_;  // of the server's thread; to be read after it has ended
  std::unique_ptr<WebServer> server_;
};

TEST_F(Ping, asks_once_and_reads_the_answer) {
  serve(ok(good_body));
  EXPECT_EQ(ask(), "root.example.com");
  const int requests = server_->requests();
  const std::uint16_t port = server_->port();
  server_.reset();
  EXPECT_EQ(requests, 1);
  EXPECT_TRUE(request_.starts_with("GET /webapi/ping HTTP/1.1\r\n")) << request_;
  EXPECT_NE(request_.find("\r\nHost: 127.0.0.1:" + std::to_string(port) + "\r\n"),
            std::string::npos)
      << request_;
}

TEST_F(Ping, every_framing_is_read) {
  const std::size_t half = good_body.size() / 2;
  const std::string chunked = chunked_head + chunk(good_body.substr(0, half)) +
                              chunk(good_body.substr(half), ";ext=1") + "0\r\nX-T: 1\r\n\r\n";
  for (const std::string& bytes :
       {ok(good_body), chunked, "HTTP/1.0 200 OK\r\n\r\n" + good_body,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + good_body,
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok(good_body)})
    for (const End end : {End::close, End::cut}) {
      serve(bytes, end);
      EXPECT_EQ(ask(), "root.example.com") << bytes;
    }
}

// Whoever ignores our `Connection: close` must not cost us the deadline.
TEST_F(Ping, an_answer_that_is_whole_needs_no_end_of_the_connection) {
  for (const std::string& bytes : {ok(good_body, "Connection: keep-alive\r\n"),
                                   chunked_head + chunk(good_body) + "0\r\n\r\n"}) {
    serve(bytes, End::hold);
    EXPECT_EQ(ask(), "root.example.com");
  }
}

TEST_F(Ping, an_answer_that_is_not_whole_is_not_believed) {
  const std::string whole = ok(good_body);
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + good_body;
  for (const std::string& bytes : {whole.substr(0, whole.size() - 1), whole.substr(0, 40), chunked})
    for (const End end : {End::close, End::cut, End::reset}) {
      serve(bytes, end);
      const std::string message = ask();
      // A reset may overtake the bytes.
      EXPECT_TRUE(message.find("is not proper HTTP") != std::string::npos ||
                  (end == End::reset && message.find("without an answer") != std::string::npos))
          << message;
    }
}

TEST_F(Ping, an_end_without_an_answer_is_told) {
  for (const End end : {End::close, End::cut, End::reset}) {
    serve("", end);
    expect_says("closed the connection without an answer");
  }
}

TEST_F(Ping, what_is_no_http_is_told) {
  for (const std::string bytes :
       {"SSH-2.0-Teleport\r\n", "\r\n\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "hello",
        "HTTP/2 200\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"}) {
    serve(bytes);
    expect_says("is not proper HTTP");
  }
}

TEST_F(Ping, refusals_carry_the_proxys_words) {
  const std::string body = R"({"error":{"message":"rate limit exceeded"}})";
  serve("HTTP/1.1 429 Too Many Requests\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body);
  expect_says("429: rate limit exceeded");
  for (const std::string odd : {"", "{", "[]", R"({"error":7})", R"({"error":{"message":[]}})"}) {
    serve("HTTP/1.1 502 Bad Gateway\r\nContent-Length: " + std::to_string(odd.size()) + "\r\n\r\n" +
          odd);
    expect_says("with 502");
  }
  const std::string long_text(100'000, 'x');
  serve("HTTP/1.1 500 X\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"" + long_text +
        "\"}}");
  EXPECT_LT(ask().size(), 500u);
}

TEST_F(Ping, redirects_are_not_followed) {
  serve("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n");
  expect_says("with 302");
}

TEST_F(Ping, a_page_that_is_not_json_is_told) {
  serve(ok("<html>Please log in</html>"));
  EXPECT_NE(ask().find("is not JSON"), std::string::npos);
}

TEST_F(Ping, an_answer_without_end_is_cut_off) {
  serve("HTTP/1.1 200 OK\r\n\r\n" + std::string(4 << 20, ' '), End::hold);
  expect_says("too large");
  serve("HTTP/1.1 200 OK\r\nX: " + std::string(4 << 20, 'x'), End::hold);
  const std::string message = ask();
  EXPECT_TRUE(message.find("too large") != std::string::npos ||
              message.find("not proper HTTP") != std::string::npos)
      << message;
}

TEST_F(Ping, an_unknown_web_certificate_names_the_remedy) {
  serve(ok(good_body));
  std::ofstream(options_.ca_file) << kubelane_test::make_authority("other").pem();
  expect_says("proxy_ca");
  EXPECT_EQ(server_->requests(), 0);
}

TEST_F(Ping, a_certificate_of_another_name_is_refused) {
  serve(ok(good_body), End::close, "DNS:other.example.com");
  expect_says("does not verify");
  EXPECT_EQ(server_->requests(), 0);
  options_.insecure = true;
  EXPECT_EQ(ask(), "root.example.com");
}

TEST_F(Ping, a_missing_ca_file_is_named) {
  serve(ok(good_body));
  options_.ca_file = directory_.path() / "absent.pem";
  EXPECT_NE(ask().find("absent.pem"), std::string::npos);
}

TEST_F(Ping, a_closed_port_is_named) {
  serve(ok(good_body));
  server_.reset();
  expect_says("cannot connect");
}

TEST_F(Ping, an_unknown_name_is_named) {
  // Too long a label: no resolver is asked.
  options_.address = {std::string(64, 'a') + ".invalid", 443};
  EXPECT_NE(ask().find("cannot resolve proxy_server aaa"), std::string::npos);
}

}  // namespace
}  // namespace kubelane::teleport
