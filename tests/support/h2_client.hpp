// An HTTP/2 client for tests: nghttp2 over TLS, many streams at once, each of which can be paused,
// written piece by piece, cancelled. A thread of its own keeps the connection going; all calls are
// thread-safe. Every wait has the patience of the tests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "tests/lab/h2_frames.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

using lab::h2::Fields;

struct H2ClientOptions {
  std::string authority{};  // empty: host:port
  std::uint32_t stream_window = 1 << 20;
  std::uint32_t connection_window = 16 << 20;
  std::vector<std::pair<std::uint16_t, std::uint32_t>> more_settings{};  // identifier and value
};

struct H2Request {
  std::string method = "GET";
  std::string path = "/";
  Fields fields{};         // after :method, :scheme, :authority and :path; names in lower case
  std::string body{};      // all of it
  bool keep_open = false;  // there will be more: write() or write_trailers()
  bool paused = false;     // from the start, see pause()
  // Gets the body in place of H2Response::body, on the client's thread.
  std::function<void(std::string_view)> sink{};
  // Told when nothing more will come, on the client's thread; may not call the client.
  std::function<void()> on_closed{};
};

struct H2Response {
  using TimePoint = std::chrono::steady_clock::time_point;
  int status = 0;               // 0: no final head came
  Fields fields;                // without :status
  std::vector<Fields> interim;  // 1xx heads, :status included
  std::string body;
  std::size_t body_bytes = 0;
  Fields trailers;
  bool ended = false;   // END_STREAM came
  bool closed = false;  // nothing more will come: ended and sent, reset, or the connection was lost
  std::optional<std::uint32_t> reset;  // code of the peer's RST_STREAM
  // As nghttp2 sees it: REFUSED_STREAM also for a stream above the last one of a GOAWAY.
  std::uint32_t close_code = 0;
  TimePoint head_at{};
  TimePoint data_at{};  // the latest
  TimePoint closed_at{};

  std::string header(std::string_view name) const;  // first value, or empty
};

struct H2GoAwayFrame {
  std::int32_t last_stream = 0;
  std::uint32_t code = 0;
  std::string debug;
};

class H2Client {
 public:
  using StreamId = std::int32_t;
  // Offers h2 unless `tls.alpn` says otherwise. Throws std::runtime_error when the connection or
  // the handshake fails, or h2 is not chosen.
  H2Client(const std::string& host, std::uint16_t port, ClientOptions tls,
           const H2ClientOptions& options = {});
  ~H2Client();  // closes without a GOAWAY
  H2Client(const H2Client&) = delete;
  H2Client& operator=(const H2Client&) = delete;

  // --- Requests
  // ----------------------------------------------------------------------------------- Throws
  // std::runtime_error when no stream can be opened any more.
  StreamId send(const H2Request& request);
  void write(StreamId stream, std::string_view bytes, bool end = false);
  void write_trailers(StreamId stream, Fields fields);
  std::size_t unsent(StreamId stream) const;  // bytes that flow control holds back
  bool wait_sent(StreamId stream);            // all written bytes have left
  void cancel(StreamId stream, std::uint32_t code = lab::h2::error_code::cancel);

  // --- Answers
  // ------------------------------------------------------------------------------------
  H2Response response(StreamId stream) const;  // as far as it came
  bool wait(StreamId stream, const std::function<bool(const H2Response&)>& predicate,
            std::chrono::milliseconds limit = patience()) const;
  bool wait_head(StreamId stream) const;
  bool wait_body(StreamId stream, std::size_t bytes) const;
  // Until it is closed. Throws PatienceOver.
  H2Response finish(StreamId stream) const;
  // The same, and what is known of the stream is given up: for clients that live long.
  H2Response finish_and_forget(StreamId stream);
  H2Response exchange(const H2Request& request) { return finish(send(request)); }
  H2Response get(const std::string& path) { return exchange({.path = path}); }

  // --- Flow control: a paused stream takes what its window holds, and its window is not opened.
  // ----
  void pause(StreamId stream);
  void unpause(StreamId stream);
  // The same for the window of the connection.
  void hold_connection_credit(bool on);

  // --- The connection
  // ----------------------------------------------------------------------------- Sends a PING; how
  // long its answer took, or nothing when none came.
  std::optional<std::chrono::milliseconds> ping(std::chrono::milliseconds limit = patience());
  std::size_t pings_received() const;
  void submit_settings(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings);
  std::uint32_t peer_setting(std::uint16_t id) const;
  bool wait_peer_setting(std::uint16_t id, std::uint32_t value) const;
  std::optional<H2GoAwayFrame> goaway() const;  // the newest
  bool wait_goaway() const;
  bool wait_goaway(const std::function<bool(const H2GoAwayFrame&)>& predicate) const;
  bool open() const;
  bool wait_closed(std::chrono::milliseconds limit = patience()) const;
  std::string error() const;  // why it closed, or empty
  void send_goaway(std::uint32_t code = 0);
  void freeze(bool on);  // neither reads nor writes: a client that hangs
  void close();          // FIN
  void reset();          // RST
  const TlsClient& tls() const { return connection_; }

 private:
  struct Stream {
    H2Response response;
    std::function<void(std::string_view)> sink;
    std::function<void()> on_closed;
    Fields fields;  // of the block that comes in now
    std::string out;
    std::size_t out_at = 0;  // what of it has left
    bool out_end = false;
    std::optional<Fields> out_trailers;
    bool paused = false;
    std::size_t owed = 0;  // credit held back
    std::size_t unsent() const { return out.size() - out_at; }
  };
  struct Callbacks;

  void start(const H2ClientOptions& options);
  void run();
  bool exchange_bytes();
  void lost(const std::string& why);
  static void close_stream(Stream& stream, std::uint32_t code);
  void wake() const;
  Stream& stream(StreamId id);
  const Stream& stream(StreamId id) const;
  bool wait_until(const std::function<bool()>& predicate, std::chrono::milliseconds limit) const;

  TlsClient connection_;
  std::string authority_;
  int wake_fd_ = -1;
  mutable std::mutex mutex_;  // everything below
  mutable std::condition_variable changed_;
  std::unique_ptr<nghttp2_session, decltype(&nghttp2_session_del)> session_{nullptr,
                                                                            nghttp2_session_del};
  std::map<StreamId, Stream> streams_;
  std::string out_;
  std::optional<H2GoAwayFrame> goaway_;
  std::size_t pings_ = 0;
  std::uint64_t pings_sent_ = 0;
  std::uint64_t pings_answered_ = 0;
  bool hold_connection_ = false;
  std::size_t connection_owed_ = 0;
  bool frozen_ = false;
  bool stopping_ = false;
  bool open_ = true;
  std::string error_;
  std::thread thread_;
};

}  // namespace support
