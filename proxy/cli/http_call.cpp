#include "proxy/cli/http_call.hpp"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

namespace kubelane::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr std::uint64_t largest_body = 64u << 20;

asio::generic::stream_protocol::endpoint endpoint_of(const ControlAddress& address) {
  if (!address.unix_path.empty()) return asio::local::stream_protocol::endpoint(address.unix_path);
  const std::string& host = address.tcp.host;
  return asio::ip::tcp::endpoint(asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host),
                                 address.tcp.port);
}

// A call's state; run() is its life.
class Call {
 public:
  Call(const ControlAddress& address, const std::string& method, const std::string& target)
      : endpoint_(endpoint_of(address)), request_(http::string_to_verb(method), target, 11) {
    request_.set(http::field::host, "localhost");
    request_.set(http::field::connection, "close");
    request_.prepare_payload();
    parser_.body_limit(largest_body);
  }

  Outcome<CallAnswer> run(std::chrono::steady_clock::time_point deadline) {
    stream_.expires_at(deadline);
    stream_.async_connect(endpoint_, [this](error_code error) {
      failed_ = error;
      if (error) return;
      connected_ = true;
      write();
    });
    io_.run();
    if (!failed_)
      return CallAnswer{static_cast<int>(parser_.get().result_int()), parser_.get().body()};
    if (!connected_) return Failure{Code::refused, failed_.message()};
    if (failed_ == beast::error::timeout) return Failure{Code::timeout, "no answer in time"};
    return Failure{Code::io, "no proper answer: " + failed_.message()};
  }

 private:
  void write() {
    http::async_write(stream_, request_, [this](error_code error, std::size_t) {
      failed_ = error;
      if (!error) read();
    });
  }
  void read() {
    http::async_read(stream_, buffer_, parser_,
                     [this](error_code error, std::size_t) { failed_ = error; });
  }

  asio::io_context io_{1};
  beast::basic_stream<asio::generic::stream_protocol> stream_{io_};
  asio::generic::stream_protocol::endpoint endpoint_;
  http::request<http::empty_body> request_;
  http::response_parser<http::string_body> parser_;
  beast::flat_buffer buffer_;
  error_code failed_;
  bool connected_ = false;
};

}  // namespace

Outcome<CallAnswer> call(const ControlAddress& address, const std::string& method,
                         const std::string& target,
                         std::chrono::steady_clock::time_point deadline) {
  return Call(address, method, target).run(deadline);
}

void pause(std::chrono::milliseconds duration) {
  asio::io_context io;
  asio::steady_timer(io, duration).wait();
}

std::string percent_encoded(const std::string& text) {
  constexpr const char* digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', digits[byte >> 4], digits[byte & 15u]};
  }
  return out;
}

}  // namespace kubelane::cli
