// One HTTP/2 connection without its socket, either role: nghttp2 with the rules that the lane needs
// on top. Bytes go in by receive(), frames come out of fill(), events go to the streams' owners.
// Flow control is end to end: a connection's credit is returned on receipt, so that one stalled
// stream never holds up its neighbours; a stream's only when its bytes have moved on (consumed()).
// Sans I/O. RFC 9113.
#pragma once

#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/field.hpp"

struct nghttp2_session;

namespace kubelane::http {

// Error codes (RFC 9113 section 7); a peer may send others.
enum class H2Code : std::uint32_t {
  no_error = 0x0,
  protocol_error = 0x1,
  internal_error = 0x2,
  stream_closed = 0x5,
  refused_stream = 0x7,
  cancel = 0x8,
  enhance_your_calm = 0xb
};

// A header section. Slices live until the callback returns. Names are lower case.
struct H2Head {
  int status = 0;           // of a response, 1xx too; 0: a request
  std::string_view method;  // of a request, as the next three; empty when there was none
  std::string_view scheme;
  std::string_view authority;
  std::string_view path;
  Fields fields;           // without pseudo-header fields, in order
  bool end = false;        // END_STREAM came with it
  bool too_large = false;  // beyond the limits; `fields` holds what came before that
};

// The owner of one stream of a session: what arrives, and where the bytes to send come from.
// Called from receive() and fill(); may submit, resume, reset and consume on any session, but not
// call receive() or fill().
class H2Stream {
 public:
  // What may be sent now. All three empty: nothing yet, resume() will tell.
  struct Ready {
    std::size_t bytes = 0;
    bool end = false;                 // nothing comes behind these bytes but trailers()
    H2Code reset = H2Code::no_error;  // with no bytes left: end the stream by this instead
  };

  virtual ~H2Stream() = default;
  // A response's head; 1xx heads first, one by one. Not called for requests.
  virtual void on_head(const H2Head& head) noexcept = 0;
  virtual void on_data(std::string_view bytes) noexcept = 0;
  virtual void on_trailers(Fields fields) noexcept = 0;
  virtual void on_end() noexcept = 0;
  // END_STREAM of our own direction has left.
  virtual void on_sent() noexcept = 0;
  // The last call: the stream is gone. refused_stream also when a GOAWAY left it out.
  virtual void on_closed(H2Code code) noexcept = 0;

  virtual Ready ready() noexcept = 0;
  // Moves the first `bytes` of what is ready.
  virtual void take(char* to, std::size_t bytes) noexcept = 0;
  // Trailer section to send at the end; may be empty. Valid until the stream is gone.
  virtual Fields trailers() noexcept = 0;
};

// The owner of a session.
class H2Owner {
 public:
  virtual ~H2Owner() = default;
  // A server's: the head of a new stream. The result owns the stream from now on; null resets it.
  virtual H2Stream* on_request(std::int32_t stream, const H2Head& head) noexcept = 0;
  virtual void on_settings() noexcept = 0;
  virtual void on_goaway(H2Code code) noexcept = 0;
  virtual void on_ping_answer() noexcept = 0;
};

struct H2Limits {
  std::size_t max_header_bytes = 64UL * 1024;
  std::size_t max_header_fields = 96;
  std::uint32_t max_streams = 250;  // a server's
  std::uint32_t stream_window_bytes = 256UL * 1024;
  std::uint32_t connection_window_bytes = 4UL << 20;
};

// Where nghttp2's many small blocks come from, some fifty for a request; as malloc, realloc, free.
struct H2Memory {
  void* (*allocate)(std::size_t bytes) noexcept;
  void* (*reallocate)(void* block, std::size_t bytes) noexcept;
  void (*free)(void* block) noexcept;
};

// Owns: the nghttp2 session. Thread: its worker.
class H2Session {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Role : bool { server, client };

  // Queues the preface and SETTINGS. `owner` and `memory` must outlive it.
  H2Session(Role role, const H2Limits& limits, H2Owner& owner, const H2Memory& memory);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // Handles received bytes. False: the connection must end, after what fill() still has to say.
  bool receive(std::string_view bytes, Clock::time_point now) noexcept;
  // Writes whole frames into `out`, which must have room for at least most_fill_overrun_bytes
  // beyond `wanted`; DATA is cut so that `wanted` is met, but for a rest too short for a frame.
  // Returns the length; 0: nothing to send. npos: the session is broken.
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);
  static constexpr std::size_t most_fill_overrun_bytes = 20UL * 1024;
  std::size_t fill(std::span<char> out, std::size_t wanted) noexcept;

  // Nothing more will be read or written: the connection may be closed.
  bool finished() const noexcept;
  bool wants_to_write() const noexcept;
  // A header section has begun and is not complete: the peer owes the rest within a deadline.
  bool head_is_open() const noexcept {
    return head_begun_ && !(head_ends_ && walk_skip_bytes_ == 0);
  }
  std::uint64_t heads_begun() const noexcept { return heads_; }
  bool greeted() const noexcept { return greeted_; }  // the peer's SETTINGS came
  // Why the session broke: a literal, for the log.
  const char* reason() const noexcept { return reason_; }

  // --- streams. Fields are copied.
  // A client's request; `pseudo` is method, scheme, authority and path. Returns the stream's id, or
  // 0 when none can be opened any more.
  std::int32_t submit_request(const H2Head& pseudo, std::span<const Field> fields, bool has_body,
                              H2Stream& stream) noexcept;
  bool submit_response(std::int32_t stream, int status, std::span<const Field> fields,
                       bool has_body) noexcept;
  bool submit_interim(std::int32_t stream, int status, std::span<const Field> fields) noexcept;
  // ready() has something that it did not have.
  void resume(std::int32_t stream) noexcept;
  void reset(std::int32_t stream, H2Code code) noexcept;
  // The owner is gone: its events go nowhere, its bytes are dropped. To be called before it is.
  void disown(std::int32_t stream) noexcept;
  // `bytes` of the stream's DATA have moved on: the peer may send as many more.
  void consumed(std::int32_t stream, std::size_t bytes) noexcept;
  // How much the peer may send on this stream ahead of consumed(), or on every stream from now on
  // (RFC 9113 section 6.9.2).
  void widen_window(std::int32_t stream, std::uint32_t bytes) noexcept;
  void set_stream_windows(std::uint32_t bytes) noexcept;

  // --- the connection
  void ping() noexcept;
  // Two steps of a graceful end: a notice that takes streams on the way, then the last word.
  void announce_shutdown() noexcept;
  void goaway(H2Code code) noexcept;
  bool goaway_sent() const noexcept { return goaway_sent_; }
  // Ends everything at once with this code.
  void terminate(H2Code code) noexcept;
  // The peer's limit of streams that we may open.
  std::uint32_t peer_max_streams() const noexcept;

 private:
  struct Callbacks;
  // Frames that cost us work and carry nothing, in a bucket that leaks with time.
  struct Nuisance {
    double level = 0;
    Clock::time_point last{};
    bool add(double amount, double burst, double per_second, Clock::time_point now) noexcept;
    void refund(double amount) noexcept { level -= level < amount ? level : amount; }
  };

  // What the peer's latest streams have been through, where nghttp2 forgets: frames after the end
  // of a stream and numbers that go backward are errors of the connection (RFC 9113 section 5.1).
  struct History {
    static constexpr std::uint32_t streams = 2048;
    std::bitset<streams> opened;
    std::bitset<streams> ended;  // by the peer
    std::uint32_t next = 0;      // one above the highest; stream ids are odd, and halved here
    bool remembers(std::uint32_t id) const noexcept { return id < next && next - id <= streams; }
  };
  // nghttp2 skips DATA of a closed stream without a word, and counts the pieces in which the header
  // of a CONTINUATION frame arrives as frames of their own, so we walk over the frames ourselves.
  // Returns how many bytes may be fed: whole frame headers, up to and with that of the first DATA
  // frame of a stream that the peer has ended.
  std::size_t walk(std::string_view bytes, std::int32_t& late_stream) noexcept;
  std::size_t walk_and_feed(std::string_view bytes) noexcept;
  bool feed(std::string_view bytes) noexcept;
  bool has_room() const noexcept;
  // 0, or what the callback returns to end the connection; breaks() likewise.
  int note_stream(std::uint32_t id, bool opens, bool ends, bool exists) noexcept;
  void begin_block() noexcept;
  void add_field(std::string_view field_name, std::string_view value) noexcept;
  H2Head end_block(bool end);
  int breaks(const char* reason, H2Code code = H2Code::enhance_your_calm) noexcept;
  // Null: not there any more, or nobody's. Most events come in runs for one stream.
  H2Stream* stream_of(std::int32_t id) noexcept;
  void set_stream(std::int32_t id, H2Stream* stream) noexcept;

  Role role_;
  H2Limits limits_;
  H2Owner& owner_;
  std::unique_ptr<nghttp2_session, void (*)(nghttp2_session*)> session_;
  Clock::time_point now_{};
  std::int32_t latest_id_ = 0;  // of the stream that was looked up last
  H2Stream* latest_stream_ = nullptr;

  // The header section that arrives; there is never more than one.
  struct Slice {
    std::uint32_t name = 0;
    std::uint32_t name_bytes = 0;
    std::uint32_t value = 0;
    std::uint32_t value_bytes = 0;
  };
  std::string block_bytes_;
  std::vector<Slice> block_slices_;
  std::vector<Field> block_fields_;
  std::size_t block_size_ = 0;  // as HPACK counts
  bool block_too_large_ = false;
  unsigned continuations_ = 0;
  History history_;
  std::uint64_t heads_ = 0;  // HEADERS frames
  bool head_begun_ = false;  // the frame that was entered last belongs to a header section,
  bool head_ends_ = false;   // and is its last
  std::uint64_t walk_skip_bytes_ = 0;  // preface, then payload of the frame that was entered
  std::string walk_header_;            // the beginning of a frame header, not fed yet
  Nuisance idle_frames_;
  Nuisance window_updates_;

  // Where fill() writes.
  char* out_ = nullptr;
  std::size_t out_bytes_ = 0;
  std::size_t out_room_ = 0;  // of the area
  std::size_t out_wanted_ = 0;
  bool greeted_ = false;
  bool goaway_sent_ = false;
  bool broken_ = false;
  const char* reason_ = "";
  H2Code reason_code_ = H2Code::no_error;
};

}  // namespace kubelane::http
