// gRPC calls over one HTTP/2 connection to Teleport's Auth Service (or to the Proxy's join
// service): unary calls and streams, each with a deadline. Control thread.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/http/h2_session.hpp"
#include "proxy/teleport/grpc_answer.hpp"
#include "proxy/teleport/target.hpp"
#include "tls/openssl.hpp"

namespace kubelane::teleport {

struct GrpcReply {
  GrpcStatus status;
  std::string message;  // of a call that went well
};

// Where and how to connect.
struct GrpcTarget {
  HostPort address;
  std::string server_name;             // SNI, and the name to verify where the context verifies
  std::vector<std::string> protocols;  // ALPN in this order
  std::shared_ptr<SSL_CTX> context;
  std::string what;  // what messages call the peer
};

class GrpcStream;

// Owns: socket, TLS, HTTP/2 session. Kept alive by its running operations and its streams until
// close() is called or the peer ends it.
class GrpcChannel : public std::enable_shared_from_this<GrpcChannel>, private http::H2Owner {
 public:
  using Ptr = std::shared_ptr<GrpcChannel>;
  static constexpr std::size_t most_message_bytes = 32UL << 20;

  // TCP, TLS and the first SETTINGS, all within `limit`.
  static boost::asio::awaitable<Outcome<Ptr>> connect(const GrpcTarget& target,
                                                      std::chrono::milliseconds limit);
  struct Private {};  // only connect() makes channels
  GrpcChannel(Private, const boost::asio::any_io_executor& executor, const GrpcTarget& target);
  ~GrpcChannel() override;
  GrpcChannel(const GrpcChannel&) = delete;
  GrpcChannel& operator=(const GrpcChannel&) = delete;

  // New calls may be made.
  bool usable() const noexcept { return !lost_ && !going_away_; }
  // Ends the connection; what runs on it fails.
  void close();

  boost::asio::awaitable<GrpcReply> call(const std::string& path, const std::string& request,
                                         std::chrono::milliseconds limit);
  // A stream in both directions.
  std::shared_ptr<GrpcStream> open(const std::string& path);

 private:
  friend class GrpcStream;
  using Socket = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

  boost::asio::awaitable<Outcome<void>> dial(const GrpcTarget& target);
  static boost::asio::awaitable<void> read(Ptr self);
  static boost::asio::awaitable<void> write(Ptr self);
  static boost::asio::awaitable<void> keep_alive(Ptr self);
  void kick();
  void lose(const std::string& why, bool refused_by_tls);

  http::H2Stream* on_request(std::int32_t, const http::H2Head&) noexcept override {
    return nullptr;  // never: a client's session
  }
  void on_settings() noexcept override {}
  void on_goaway(http::H2Code) noexcept override { going_away_ = true; }
  void on_ping_answer() noexcept override { ping_out_ = false; }

  boost::asio::any_io_executor executor_;
  std::string what_;
  boost::asio::ssl::context context_;
  Socket socket_;
  boost::asio::steady_timer ping_timer_;
  http::H2Session session_;
  std::vector<GrpcStream*> streams_;
  std::array<char, 16UL * 1024> in_{};
  std::vector<char> out_;
  bool writing_ = false;
  bool lost_ = false;
  bool going_away_ = false;
  bool ping_out_ = false;
};

// One call. Its owner sends and receives; deadlines are the owner's. Destroying it cancels the
// call.
class GrpcStream : private http::H2Stream {
 public:
  explicit GrpcStream(GrpcChannel::Ptr channel);
  ~GrpcStream() override;
  GrpcStream(const GrpcStream&) = delete;
  GrpcStream& operator=(const GrpcStream&) = delete;

  void send(std::string_view message);
  void half_close();
  // The next message; nothing when the stream is over or `limit` has passed: status() tells.
  boost::asio::awaitable<std::optional<std::string>> receive(std::chrono::milliseconds limit);
  const GrpcStatus& status() const noexcept { return answer_.status(); }
  bool over() const noexcept { return answer_.over(); }

 private:
  friend class GrpcChannel;
  void fail(GrpcStatus status);
  void cancel(http::H2Code code);
  void wake();

  void on_head(const http::H2Head& head) noexcept override;
  void on_data(std::string_view bytes) noexcept override;
  void on_trailers(http::Fields fields) noexcept override;
  void on_end() noexcept override;
  void on_sent() noexcept override {}
  void on_closed(http::H2Code code) noexcept override;
  Ready ready() noexcept override;
  void take(char* to, std::size_t bytes) noexcept override;
  http::Fields trailers() noexcept override { return {}; }

  GrpcChannel::Ptr channel_;
  boost::asio::steady_timer news_;
  std::int32_t id_ = 0;
  GrpcAnswer answer_;
  std::string unsent_;
  bool half_closed_ = false;
};

}  // namespace kubelane::teleport
