// A byte stream over a non-blocking socket, TLS or plain. Never suspends and never waits: every
// call does what can be done now and says what it would wait for. One receive fills OpenSSL's
// read-ahead; up to four records leave in one send (why: architecture section 5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "tls/openssl.hpp"
#include "tls/record_layer.hpp"
#include "tls/session_cache.hpp"
#include "tls/socket.hpp"
#include "tls/traffic_secrets.hpp"
#include "tls/write_batch.hpp"

namespace kubelane::tls {

// "Would block" is not an error.
struct Step {
  enum class Kind : std::uint8_t { moved, want_read, want_write, eof, failed };
  Kind kind = Kind::moved;
  std::size_t bytes = 0;
  Error error{};  // failed: why. eof: code eof when TLS ended without close_notify, else internal
};

// Which protocols a connection offers (client) or may choose (server) by ALPN.
enum class Alpn : std::uint8_t { http1, http2, any };

// Owns: the socket, the SSL object or the record layer, ciphertext that a short send left over or
// that is not a whole record yet.
// Thread: its worker. Ends when: destroyed (the socket is closed without further bytes), or
// abort(). Not movable: the event loop and OpenSSL hold its address.
class Stream {
 public:
  // The peer's side in errors.
  explicit Stream(Side side) noexcept : side_(side) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  // Takes the socket, which must be non-blocking. Plain until one of the two below.
  void open(UniqueFd fd, WriteBatch& batch) noexcept;
  // TLS server side with a local context. False when out of memory. `alpn` any: h2 before http/1.1.
  bool serve_tls(SSL_CTX* context, Alpn alpn = Alpn::http1);
  // TLS client side: verifies `server_name`, offers a session of `sessions` for resumption and
  // gives new ones to it; `sessions` must outlive the stream or be detached. False when OpenSSL
  // refuses.
  bool connect_tls(SSL_CTX* context, const std::string& server_name, SessionCache* sessions,
                   Alpn alpn = Alpn::http1);
  void detach_sessions() noexcept;

  // moved: complete. Plain streams are complete at once.
  Step handshake() noexcept;
  // Reads what is there, until nothing is left or `into` is full. moved: bytes > 0.
  Step read(std::span<char> into) noexcept;
  // Takes all or the front of `bytes` and sends. want_write with bytes 0: an earlier send is still
  // unfinished. What was taken counts as written: a leftover is sent by flush() or the next
  // write().
  Step write(std::string_view bytes) noexcept;
  // Sends the leftover. moved: nothing is left.
  Step flush() noexcept;
  // A server's session ticket waits after the handshake, to leave with the first answer in one
  // send. To be called when no answer comes soon.
  Step send_held() noexcept;
  bool holds() const noexcept { return !held_.empty(); }
  bool output_pending() const noexcept { return leftover_begin_ < leftover_.size(); }
  // Of what was written: the leftover, and what the peer's host has not acknowledged. A system
  // call.
  std::size_t unacknowledged_bytes() const noexcept;

  // Ends our direction (close_notify, FIN) once the leftover is out; the other direction stays
  // open. Call again after want_write.
  Step close_write() noexcept;
  bool write_closed() const noexcept { return fin_sent_; }
  // Resets the connection (RST), so that the peer cannot take the end for a proper one.
  void abort() noexcept;

  bool is_open() const noexcept { return state_.fd >= 0; }
  bool is_tls() const noexcept { return tls_; }
  bool resumed() const noexcept { return resumed_; }
  // HTTP/2 was chosen in the handshake.
  bool is_http2() const noexcept { return http2_; }
  // Our record layer moves the bytes, not OpenSSL. For tests.
  bool own_records() const noexcept { return records_ != nullptr; }
  // Plaintext or ciphertext that was received but not yet read() may be waiting.
  bool may_read() const noexcept;
  SocketState& socket() noexcept { return state_; }
  const SocketState& socket() const noexcept { return state_; }

 private:
  friend struct SocketBio;
  enum class Receive : std::uint8_t { bytes, would_block, end, failed };

  Receive receive(char* into, std::size_t room, std::size_t& got) noexcept;
  Step failure(const char* where, int ssl_error) noexcept;
  Step protocol_failure(RecordLayer::Alert alert) noexcept;
  Step send_batch() noexcept;
  Step tls_outcome(int result, const char* where) noexcept;
  Step finish_handshake() noexcept;
  void take_held() noexcept;
  Step read_plain(std::span<char> into) noexcept;
  Step read_openssl(std::span<char> into) noexcept;
  Step read_records(std::span<char> into) noexcept;
  Step take_record(std::string_view record, std::span<char> into, std::size_t& total) noexcept;
  Step take_alert(std::string_view alert) noexcept;
  Step take_message(std::string_view text, std::string_view record) noexcept;
  bool answer_key_update() noexcept;
  bool send_key_update() noexcept;
  void feed_openssl(std::string_view record) noexcept;
  void drop_openssl() noexcept;
  std::string_view raw() const noexcept { return std::string_view(raw_).substr(raw_begin_); }
  bool whole_record_waits() const noexcept;

  SocketState state_;
  UniqueFd fd_;
  SslPtr ssl_;  // the handshake; later only without records_, or to take a ticket
  std::unique_ptr<TrafficSecrets> secrets_;  // while the handshake lasts
  std::unique_ptr<RecordLayer> records_;
  WriteBatch* batch_ = nullptr;
  std::string leftover_;  // ciphertext or plaintext of a short send
  std::size_t leftover_begin_ = 0;
  std::string held_;  // ciphertext to go in front of whatever is sent next
  std::string raw_;   // received ciphertext that was not looked at yet
  std::size_t raw_begin_ = 0;
  std::string text_;  // opened text that its reader had no room for
  std::size_t text_begin_ = 0;
  std::string messages_;         // the beginning of a handshake message after the handshake
  std::string_view feed_;        // a record for OpenSSL
  Step later_;                   // how the direction ended, after the text that came before
  int sys_ = 0;                  // errno of the last failed system call
  bool key_update_due_ = false;  // the peer asked for it while output was pending
  unsigned idle_records_ = 0;    // in a row without application data
  Side side_;
  bool tls_ = false;
  bool server_ = false;
  bool resumed_ = false;
  bool http2_ = false;
  bool handshake_done_ = false;
  bool has_later_ = false;
  bool notify_received_ = false;
  bool notify_sent_ = false;
  bool fin_sent_ = false;
  bool fatal_ = false;  // no further reading or writing
};

}  // namespace kubelane::tls
