// What the TLS to Auth rides on: TCP, or, behind a balancer that terminates TLS, the binary
// messages of a WebSocket to the Proxy (control-plane spec 3.5). A stream of Asio's kind. Control
// thread.
#pragma once

#include <memory>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

class Carrier {
 public:
  using Tcp = boost::asio::ip::tcp::socket;
  using executor_type = Tcp::executor_type;
  using lowest_layer_type = Tcp::lowest_layer_type;

  explicit Carrier(const boost::asio::any_io_executor& executor) : tcp_(executor) {}

  executor_type get_executor() noexcept { return tcp_.get_executor(); }
  lowest_layer_type& lowest_layer() noexcept { return tcp_.lowest_layer(); }
  Tcp& tcp() noexcept { return tcp_; }

  // Once, on a connected socket that has carried nothing yet: TLS to `web`, then GET
  // /webapi/connectionupgrade. From then on bytes travel in messages.
  boost::asio::awaitable<Outcome<void>> upgrade(const HttpsOrigin& web);

  // A read of no bytes is over at once, as of a socket: Asio's TLS posts itself by it. Of a
  // WebSocket it would wait for a message.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
        [this](auto handler, const auto& into) {
          if (!web_)
            tcp_.async_read_some(into, std::move(handler));
          else if (boost::asio::buffer_size(into) != 0)
            web_->socket.async_read_some(into, std::move(handler));
          else
            boost::asio::post(tcp_.get_executor(),
                              boost::beast::bind_front_handler(
                                  std::move(handler), boost::system::error_code(), std::size_t{0}));
        },
        token, buffers);
  }
  // In a WebSocket: one whole message, since Teleport drops the later parts of one in several.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
        [this](auto handler, const auto& from) {
          if (web_)
            web_->socket.async_write(from, std::move(handler));
          else
            tcp_.async_write_some(from, std::move(handler));
        },
        token, buffers);
  }

 private:
  struct Web {
    Web(Tcp& tcp, SSL_CTX* made) : context(made), socket(tcp, context) {}
    boost::asio::ssl::context context;
    boost::beast::websocket::stream<boost::asio::ssl::stream<Tcp&>> socket;
  };

  Tcp tcp_;
  std::unique_ptr<Web> web_;
};

}  // namespace kubelane::teleport
