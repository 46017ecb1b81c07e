// A small HTTP/1.1 server for the control thread: probes, metrics, administration. Boost.Beast
// reads and writes; here are the limits, because whoever reaches the port may be hostile: bytes of
// a head and a body, time for each, connections at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/admin/control_socket.hpp"

namespace kubelane::admin {

struct Request {
  std::string method;
  std::string path;  // as received, without the query
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  bool by_unix_socket = false;

  // Value of the only field of that name (lower case); null: there is none, or several.
  const std::string* field(std::string_view name) const;
  bool has(std::string_view name) const;
};

struct Answer {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string allow;            // the field Allow, for 405
  std::function<void()> after;  // runs when the answer has left, or could not
};

// Takes the answer to one request, at once or later, once. Copies share it.
class Reply {
 public:
  using Send = std::function<void(Answer)>;
  Reply(Send send, std::shared_ptr<std::function<void()>> on_gone)
      : send_(std::move(send)), on_gone_(std::move(on_gone)) {}
  void operator()(Answer answer) const { send_(std::move(answer)); }
  // What to do when the client goes away before the answer.
  void on_gone(std::function<void()> then) const { *on_gone_ = std::move(then); }

 private:
  Send send_;
  std::shared_ptr<std::function<void()>> on_gone_;
};

struct ServerLimits {
  std::size_t head_bytes = 8UL * 1024;
  std::size_t body_bytes = 1024;
  std::size_t connections = 64;
  std::chrono::milliseconds request_time{5'000};  // from the first byte that is waited for
  std::chrono::milliseconds answer_time{10'000};  // for the client to take it
};

// Owns: the listening socket and the connections. Thread: control.
class HttpServer {
 public:
  using Handler = std::function<void(const Request&, const Reply&)>;

  // Starts at once. At the limit of connections the one that has waited for a request for longest
  // gives way to a new one, so that silent connections keep no probe out.
  HttpServer(boost::asio::io_context& io, ControlSocket socket, Handler handler,
             ServerLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  const std::string& address() const noexcept { return socket_.address; }

 private:
  class Session;

  void accept();
  void take(tls::UniqueFd fd);

  boost::asio::io_context& io_;
  ControlSocket socket_;
  Handler handler_;
  ServerLimits limits_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  std::list<std::shared_ptr<Session>> sessions_;  // who waits longest stands first
};

}  // namespace kubelane::admin
