#include "proxy/http/h2_session.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "proxy/http/head.hpp"

namespace kubelane::http {
namespace {

// Bursts that honest clients make stay far below: a client that cancels all its watches, a client
// that measures its link by PINGs.
constexpr double idle_frame_burst = 5000;
constexpr double idle_frames_per_second = 1000;
constexpr double window_update_burst = 20'000;  // beyond what the bytes sent have earned
constexpr double window_updates_per_second = 1000;
constexpr unsigned most_continuations = 16;
// What the Proxy may need for the largest head that passes.
constexpr std::size_t most_continuations_of_proxy = 32;
// A section beyond this is not even skipped politely.
constexpr std::size_t hopeless_block_bytes = 1UL << 20;
constexpr std::uint64_t reset_burst = 2000;
constexpr std::uint64_t resets_per_second = 1000;
constexpr std::size_t frame_header_bytes = 9;
constexpr std::size_t least_data_bytes = 2048;  // a shorter rest of `wanted` is left empty
// Frames that wait to be sent, in times of max_streams: who makes us say more does not listen.
constexpr std::size_t most_unsent_frames = 8;
constexpr std::size_t field_overhead_bytes = 32;  // RFC 7541 section 4.1

std::string_view view(const std::uint8_t* bytes, std::size_t length) noexcept {
  return {reinterpret_cast<const char*>(bytes), length};
}

nghttp2_nv nv(std::string_view name, std::string_view value) noexcept {
  nghttp2_nv made{};
  made.name = reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data()));
  made.value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data()));
  made.namelen = name.size();
  made.valuelen = value.size();
  made.flags = NGHTTP2_NV_FLAG_NONE;
  return made;
}

// Pseudo-header fields, then fields.
struct NvList {
  std::array<nghttp2_nv, max_fields + 64> values;
  std::size_t count = 0;
  void add(std::string_view name, std::string_view value) noexcept {
    if (count < values.size()) values[count++] = nv(name, value);
  }
  void add(std::span<const Field> fields) noexcept {
    for (const Field& field : fields) add(field.name, field.value);
  }
};

// nghttp2 copies the table, not what it points to.
nghttp2_mem blocks_of(const H2Memory& memory) noexcept {
  nghttp2_mem source{};
  source.mem_user_data = const_cast<H2Memory*>(&memory);
  source.malloc = [](std::size_t bytes, void* user) {
    return static_cast<const H2Memory*>(user)->allocate(bytes);
  };
  source.free = [](void* block, void* user) { static_cast<const H2Memory*>(user)->free(block); };
  source.calloc = [](std::size_t count, std::size_t bytes, void* user) {
    void* const block = static_cast<const H2Memory*>(user)->allocate(count * bytes);
    if (block != nullptr) std::memset(block, 0, count * bytes);
    return block;
  };
  source.realloc = [](void* block, std::size_t bytes, void* user) {
    return static_cast<const H2Memory*>(user)->reallocate(block, bytes);
  };
  return source;
}

}  // namespace

struct H2Session::Callbacks {
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }

  static int begin_frame(nghttp2_session* session, const nghttp2_frame_hd* hd, void* user) {
    H2Session& me = self(user);
    const bool data = hd->type == NGHTTP2_DATA;
    const bool headers = hd->type == NGHTTP2_HEADERS;
    const bool reset = hd->type == NGHTTP2_RST_STREAM;
    if (me.role_ == Role::server && (data || headers || reset) && hd->stream_id % 2 == 1) {
      const bool ends = reset || (hd->flags & NGHTTP2_FLAG_END_STREAM) != 0;
      const bool exists = nghttp2_session_find_stream(session, hd->stream_id) != nullptr;
      const int noted = me.note_stream(static_cast<std::uint32_t>(hd->stream_id) / 2, headers, ends,
                                       exists || reset);
      if (noted != 0) return noted;
    }
    if (me.role_ == Role::client) return 0;  // the Proxy is known; floods come from anybody
    if (nghttp2_session_get_outbound_queue_size(session) >
        most_unsent_frames * me.limits_.max_streams)
      return me.breaks("flood by a peer that does not read the answers");
    bool idle = false;
    switch (hd->type) {
      case NGHTTP2_DATA:
        idle = hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0;
        break;
      case NGHTTP2_HEADERS:
        me.continuations_ = 0;
        break;
      case NGHTTP2_CONTINUATION:
        if (++me.continuations_ > most_continuations) return me.breaks("CONTINUATION flood");
        break;
      case NGHTTP2_WINDOW_UPDATE:
        if (!me.window_updates_.add(1, window_update_burst, window_updates_per_second, me.now_))
          return me.breaks("WINDOW_UPDATE flood");
        break;
      default:
        idle = (hd->flags & NGHTTP2_FLAG_ACK) == 0;  // PING, SETTINGS, PRIORITY, RST_STREAM, other
        break;
    }
    if (idle && !me.idle_frames_.add(1, idle_frame_burst, idle_frames_per_second, me.now_))
      return me.breaks("flood of frames that carry nothing");
    return 0;
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame*, void* user) {
    self(user).begin_block();
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                    std::size_t name_bytes, const std::uint8_t* value, std::size_t value_bytes,
                    std::uint8_t, void* user) {
    H2Session& me = self(user);
    me.add_field(view(name, name_bytes), view(value, value_bytes));
    if (me.block_size_ > hopeless_block_bytes) return me.breaks("header section without end");
    return 0;
  }

  // nghttp2 would leave such a field out; what two parsers could read differently must not pass.
  static int invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*,
                            std::size_t, const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& me = self(user);
    const std::int32_t id = frame->hd.stream_id;
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: {
        const H2Head head = me.end_block(end);
        H2Stream* stream = me.stream_of(id);
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          stream = me.owner_.on_request(id, head);
          if (stream == nullptr) {
            me.reset(id, me.goaway_sent_ ? H2Code::refused_stream : H2Code::internal_error);
            return 0;
          }
          me.set_stream(id, stream);
        } else if (stream == nullptr) {
          return 0;
        } else if (me.role_ == Role::client && head.status != 0) {
          stream->on_head(head);
        } else if (head.too_large) {
          me.reset(id, H2Code::protocol_error);
          return 0;
        } else {
          stream->on_trailers(head.fields);
        }
        if (end) stream->on_end();
        break;
      }
      case NGHTTP2_DATA:
        if (end)
          if (H2Stream* const stream = me.stream_of(id)) stream->on_end();
        break;
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
          me.greeted_ = true;
          me.owner_.on_settings();
        }
        break;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) me.owner_.on_ping_answer();
        break;
      case NGHTTP2_GOAWAY:
        me.owner_.on_goaway(static_cast<H2Code>(frame->goaway.error_code));
        break;
      default:
        break;
    }
    return 0;
  }

  static int data_chunk(nghttp2_session* session, std::uint8_t, std::int32_t id,
                        const std::uint8_t* bytes, std::size_t length, void* user) {
    H2Session& me = self(user);
    nghttp2_session_consume_connection(session, length);
    if (H2Stream* const stream = me.stream_of(id)) {
      stream->on_data(view(bytes, length));
    } else {
      nghttp2_session_consume_stream(session, id, length);
    }
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    H2Session& me = self(user);
    if (H2Stream* const stream = me.stream_of(id)) {
      me.set_stream(id, nullptr);
      stream->on_closed(static_cast<H2Code>(code));
    }
    return 0;
  }

  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& me = self(user);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
                      (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS);
    if (ends)
      if (H2Stream* const stream = me.stream_of(frame->hd.stream_id)) stream->on_sent();
    return 0;
  }

  static ssize_t read(nghttp2_session* session, std::int32_t id, std::uint8_t*, std::size_t length,
                      std::uint32_t* flags, nghttp2_data_source*, void* user) {
    H2Session& me = self(user);
    H2Stream* const stream = me.stream_of(id);
    if (stream == nullptr) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const H2Stream::Ready ready = stream->ready();
    if (ready.bytes == 0 && !ready.end) {
      if (ready.reset == H2Code::no_error) return NGHTTP2_ERR_DEFERRED;
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
                                static_cast<std::uint32_t>(ready.reset));
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    std::size_t bytes = std::min(ready.bytes, length);
    // The frame ends where the TLS records of this turn end. It must fit: what is promised here and
    // not sent at once would stand for bytes that may be gone when its turn comes.
    const std::size_t room = me.out_wanted_ - std::min(me.out_wanted_, me.out_bytes_);
    if (bytes + frame_header_bytes > room && room >= least_data_bytes)
      bytes = room - frame_header_bytes;
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (ready.end && bytes == ready.bytes) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      const Fields trailers = stream->trailers();
      if (!trailers.empty()) {
        NvList list;
        list.add(trailers);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, list.values.data(), list.count);
      }
    }
    return static_cast<ssize_t>(bytes);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* frame_header,
                       std::size_t length, nghttp2_data_source*, void* user) {
    H2Session& me = self(user);
    const std::size_t size = frame_header_bytes + length;
    H2Stream* const stream = me.stream_of(frame->hd.stream_id);
    if (stream == nullptr || stream->ready().bytes < length || size > me.out_room_ - me.out_bytes_)
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    std::memcpy(me.out_ + me.out_bytes_, frame_header, frame_header_bytes);
    stream->take(me.out_ + me.out_bytes_ + frame_header_bytes, length);
    me.out_bytes_ += size;
    // What is sent earns credit: Go's clients give it in pieces of 4 KiB, stream and connection.
    me.window_updates_.refund(2 + static_cast<double>(length) / 1024);
    return me.has_room() ? 0 : NGHTTP2_ERR_PAUSE;
  }

  static const nghttp2_session_callbacks* table() {
    static const auto made = [] {
      nghttp2_session_callbacks* table = nullptr;
      nghttp2_session_callbacks_new(&table);
      nghttp2_session_callbacks_set_on_begin_frame_callback(table, begin_frame);
      nghttp2_session_callbacks_set_on_begin_headers_callback(table, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback(table, header);
      nghttp2_session_callbacks_set_on_invalid_header_callback(table, invalid_header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(table, frame_received);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, data_chunk);
      nghttp2_session_callbacks_set_on_stream_close_callback(table, stream_closed);
      nghttp2_session_callbacks_set_on_frame_send_callback(table, frame_sent);
      nghttp2_session_callbacks_set_send_data_callback(table, send_data);
      return std::unique_ptr<nghttp2_session_callbacks, void (*)(nghttp2_session_callbacks*)>(
          table, nghttp2_session_callbacks_del);
    }();
    return made.get();
  }

  static const nghttp2_option* options(Role role) {
    static const OptionPtr server = make_options(most_continuations + 1);
    static const OptionPtr client = make_options(most_continuations_of_proxy);
    return role == Role::server ? server.get() : client.get();
  }
  using OptionPtr = std::unique_ptr<nghttp2_option, void (*)(nghttp2_option*)>;
  // nghttp2's own limit of CONTINUATION frames, 8, ends the connection by an internal error.
  static OptionPtr make_options(std::size_t continuations) {
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_stream_reset_rate_limit(option, reset_burst, resets_per_second);
    nghttp2_option_set_max_continuations(option, continuations);
    return {option, nghttp2_option_del};
  }

  static nghttp2_data_provider source() {
    nghttp2_data_provider provider{};
    provider.read_callback = read;
    return provider;
  }
};

bool H2Session::Nuisance::add(double amount, double burst, double per_second,
                              Clock::time_point now) noexcept {
  const std::chrono::duration<double> passed = now - last;
  last = now;
  level = std::max(0.0, level - passed.count() * per_second) + amount;
  return level <= burst;
}

H2Session::H2Session(Role role, const H2Limits& limits, H2Owner& owner, const H2Memory& memory)
    : role_(role), limits_(limits), owner_(owner), session_(nullptr, nghttp2_session_del) {
  nghttp2_session* made = nullptr;
  nghttp2_mem source = blocks_of(memory);
  if (role == Role::server) {
    nghttp2_session_server_new3(&made, Callbacks::table(), this, Callbacks::options(role), &source);
  } else {
    nghttp2_session_client_new3(&made, Callbacks::table(), this, Callbacks::options(role), &source);
  }
  session_.reset(made);
  if (role == Role::server) walk_skip_bytes_ = NGHTTP2_CLIENT_MAGIC_LEN;
  if (!session_) {
    broken_ = true;
    return;
  }
  std::array<nghttp2_settings_entry, 4> settings{};
  std::size_t count = 0;
  if (role == Role::server) {
    settings[count++] = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams};
  } else {
    settings[count++] = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  }
  settings[count++] = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes};
  settings[count++] = {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
                       static_cast<std::uint32_t>(limits.max_header_bytes)};
  nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings.data(), count);
  nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(limits.connection_window_bytes));
}

H2Session::~H2Session() = default;

int H2Session::note_stream(std::uint32_t id, bool opens, bool ends, bool exists) noexcept {
  History& history = history_;
  const std::uint32_t slot = id % History::streams;
  if (opens && id >= history.next) {
    const std::uint32_t skipped = std::min(id - history.next + 1, History::streams);
    for (std::uint32_t i = 0; i < skipped; ++i) {
      history.opened.reset((id - i) % History::streams);
      history.ended.reset((id - i) % History::streams);
    }
    history.next = id + 1;
    history.opened.set(slot);
  } else if (!exists && history.remembers(id)) {
    if (history.ended[slot]) return breaks("frame on a closed stream", H2Code::stream_closed);
    if (opens && !history.opened[slot])
      return breaks("stream with a number below the last", H2Code::protocol_error);
  }
  if (ends && history.remembers(id)) history.ended.set(slot);
  return 0;
}

int H2Session::breaks(const char* reason, H2Code code) noexcept {
  reason_ = reason;
  reason_code_ = code;
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

bool H2Session::receive(std::string_view bytes, Clock::time_point now) noexcept {
  if (broken_) return false;
  now_ = now;
  while (!bytes.empty()) {
    if (walk_header_.empty()) {
      const std::size_t taken = walk_and_feed(bytes);
      if (taken == npos) return false;
      // What is left is the beginning of a frame header.
      if (taken == 0) walk_header_ = bytes;
      bytes.remove_prefix(taken == 0 ? bytes.size() : taken);
      continue;
    }
    const std::size_t part = std::min(frame_header_bytes - walk_header_.size(), bytes.size());
    walk_header_ += bytes.substr(0, part);
    bytes.remove_prefix(part);
    if (walk_header_.size() < frame_header_bytes) return true;
    const std::string header = std::exchange(walk_header_, {});
    if (walk_and_feed(header) == npos) return false;
  }
  return true;
}

// Returns how many bytes were taken; npos: the connection is over.
std::size_t H2Session::walk_and_feed(std::string_view bytes) noexcept {
  std::int32_t late_stream = 0;
  const std::size_t walked = walk(bytes, late_stream);
  if (walked == 0) return 0;  // nghttp2 counts even a call with nothing
  if (!feed(bytes.substr(0, walked))) return npos;
  if (late_stream != 0 && nghttp2_session_find_stream(session_.get(), late_stream) == nullptr) {
    breaks("DATA on a closed stream", H2Code::stream_closed);
    terminate(reason_code_);
    return npos;
  }
  return walked;
}

std::size_t H2Session::walk(std::string_view bytes, std::int32_t& late_stream) noexcept {
  std::size_t at = 0;
  bool changed = false;  // frames before this one may have ended streams: nghttp2 first
  while (at < bytes.size()) {
    const auto skipped =
        static_cast<std::size_t>(std::min<std::uint64_t>(walk_skip_bytes_, bytes.size() - at));
    at += skipped;
    walk_skip_bytes_ -= skipped;
    if (bytes.size() - at < frame_header_bytes) break;
    const auto byte = [bytes, at](std::size_t i) {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i]));
    };
    const std::uint32_t type = byte(3);
    if (type == NGHTTP2_DATA && changed) break;
    changed = role_ == Role::server &&
              (changed || type == NGHTTP2_HEADERS || type == NGHTTP2_RST_STREAM ||
               (type == NGHTTP2_DATA && (byte(4) & NGHTTP2_FLAG_END_STREAM) != 0));
    walk_skip_bytes_ = byte(0) << 16 | byte(1) << 8 | byte(2);
    if (type == NGHTTP2_HEADERS) ++heads_;
    head_begun_ = type == NGHTTP2_HEADERS || (head_begun_ && type == NGHTTP2_CONTINUATION);
    head_ends_ = (byte(4) & NGHTTP2_FLAG_END_HEADERS) != 0;
    const std::uint32_t id = (byte(5) & 0x7f) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8);
    at += frame_header_bytes;
    if (type != NGHTTP2_DATA || id % 2 == 0) continue;
    const std::uint32_t half = id / 2;
    if (!history_.remembers(half) || !history_.ended[half % History::streams]) continue;
    late_stream = static_cast<std::int32_t>(id);
    break;
  }
  return at;
}

bool H2Session::feed(std::string_view bytes) noexcept {
  const ssize_t taken = nghttp2_session_mem_recv(
      session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken == static_cast<ssize_t>(bytes.size())) return true;
  if (taken >= 0) return false;  // never: nothing pauses the session
  if (reason_[0] != '\0' || taken == NGHTTP2_ERR_FLOODED) {
    if (reason_[0] == '\0') breaks("flood of frames that want an answer");
    terminate(reason_code_);
  } else {
    reason_ = nghttp2_strerror(static_cast<int>(taken));
    terminate(taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? H2Code::protocol_error
                                                    : H2Code::internal_error);
  }
  return false;
}

std::size_t H2Session::fill(std::span<char> out, std::size_t wanted) noexcept {
  if (broken_) return npos;
  out_ = out.data();
  out_room_ = out.size();
  out_wanted_ = wanted;
  out_bytes_ = 0;
  while (out_bytes_ == 0 || has_room()) {
    const std::uint8_t* frame = nullptr;
    const ssize_t length = nghttp2_session_mem_send(session_.get(), &frame);
    if (length < 0) {
      broken_ = true;
      reason_ = nghttp2_strerror(static_cast<int>(length));
      return out_bytes_ > 0 ? out_bytes_ : npos;
    }
    if (length == 0) break;
    const auto size = static_cast<std::size_t>(length);
    if (size > out_room_ - out_bytes_) {  // never: nghttp2's buffers are smaller
      broken_ = true;
      reason_ = "frame too large";
      return npos;
    }
    std::memcpy(out_ + out_bytes_, frame, size);
    out_bytes_ += size;
  }
  return out_bytes_;
}

// For another frame that is worth its header.
bool H2Session::has_room() const noexcept {
  return out_wanted_ >= out_bytes_ + least_data_bytes + frame_header_bytes &&
         out_room_ - out_bytes_ >= most_fill_overrun_bytes;
}

bool H2Session::finished() const noexcept {
  return broken_ || (nghttp2_session_want_read(session_.get()) == 0 &&
                     nghttp2_session_want_write(session_.get()) == 0);
}

bool H2Session::wants_to_write() const noexcept {
  return !broken_ && nghttp2_session_want_write(session_.get()) != 0;
}

// ---------------------------------------------------------------- header sections

void H2Session::begin_block() noexcept {
  block_bytes_.clear();
  block_slices_.clear();
  block_size_ = 0;
  block_too_large_ = false;
}

void H2Session::add_field(std::string_view field_name, std::string_view value) noexcept {
  block_size_ += field_name.size() + value.size() + field_overhead_bytes;
  if (block_too_large_ ||
      block_bytes_.size() + field_name.size() + value.size() > limits_.max_header_bytes ||
      block_slices_.size() >= limits_.max_header_fields + 5) {
    block_too_large_ = true;
    return;
  }
  Slice slice;
  slice.name = static_cast<std::uint32_t>(block_bytes_.size());
  slice.name_bytes = static_cast<std::uint32_t>(field_name.size());
  block_bytes_ += field_name;
  slice.value = static_cast<std::uint32_t>(block_bytes_.size());
  slice.value_bytes = static_cast<std::uint32_t>(value.size());
  block_bytes_ += value;
  block_slices_.push_back(slice);
}

H2Head H2Session::end_block(bool end) {
  H2Head head;
  head.end = end;
  head.too_large = block_too_large_;
  block_fields_.clear();
  const std::string_view bytes = block_bytes_;
  for (const Slice& slice : block_slices_) {
    const std::string_view field_name = bytes.substr(slice.name, slice.name_bytes);
    const std::string_view value = bytes.substr(slice.value, slice.value_bytes);
    if (!field_name.starts_with(':')) {
      block_fields_.push_back({field_name, value, identify(field_name)});
    } else if (field_name == ":method") {
      head.method = value;
    } else if (field_name == ":scheme") {
      head.scheme = value;
    } else if (field_name == ":authority") {
      head.authority = value;
    } else if (field_name == ":path") {
      head.path = value;
    } else if (field_name == ":status") {
      std::from_chars(value.data(), value.data() + value.size(), head.status);
    }
  }
  head.fields = block_fields_;
  return head;
}

// ---------------------------------------------------------------- streams

std::int32_t H2Session::submit_request(const H2Head& pseudo, std::span<const Field> fields,
                                       bool has_body, H2Stream& stream) noexcept {
  NvList list;
  list.add(":method", pseudo.method);
  list.add(":scheme", pseudo.scheme);
  list.add(":authority", pseudo.authority);
  list.add(":path", pseudo.path);
  list.add(fields);
  const nghttp2_data_provider source = Callbacks::source();
  const std::int32_t id = nghttp2_submit_request(session_.get(), nullptr, list.values.data(),
                                                 list.count, has_body ? &source : nullptr, &stream);
  return id > 0 ? id : 0;
}

bool H2Session::submit_response(std::int32_t stream, int status, std::span<const Field> fields,
                                bool has_body) noexcept {
  const std::string code = std::to_string(status);
  NvList list;
  list.add(":status", code);
  list.add(fields);
  const nghttp2_data_provider source = Callbacks::source();
  return nghttp2_submit_response(session_.get(), stream, list.values.data(), list.count,
                                 has_body ? &source : nullptr) == 0;
}

bool H2Session::submit_interim(std::int32_t stream, int status,
                               std::span<const Field> fields) noexcept {
  const std::string code = std::to_string(status);
  NvList list;
  list.add(":status", code);
  list.add(fields);
  return nghttp2_submit_headers(session_.get(), NGHTTP2_FLAG_NONE, stream, nullptr,
                                list.values.data(), list.count, nullptr) == 0;
}

void H2Session::resume(std::int32_t stream) noexcept {
  nghttp2_session_resume_data(session_.get(), stream);
}

void H2Session::reset(std::int32_t stream, H2Code code) noexcept {
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream,
                            static_cast<std::uint32_t>(code));
}

void H2Session::disown(std::int32_t stream) noexcept { set_stream(stream, nullptr); }

H2Stream* H2Session::stream_of(std::int32_t id) noexcept {
  if (id != latest_id_) {
    latest_stream_ =
        static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session_.get(), id));
    latest_id_ = id;
  }
  return latest_stream_;
}

void H2Session::set_stream(std::int32_t id, H2Stream* stream) noexcept {
  nghttp2_session_set_stream_user_data(session_.get(), id, stream);
  latest_id_ = id;
  latest_stream_ = stream;
}

void H2Session::consumed(std::int32_t stream, std::size_t bytes) noexcept {
  nghttp2_session_consume_stream(session_.get(), stream, bytes);
}

void H2Session::widen_window(std::int32_t stream, std::uint32_t bytes) noexcept {
  nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, stream,
                                        static_cast<std::int32_t>(bytes));
}

void H2Session::set_stream_windows(std::uint32_t bytes) noexcept {
  const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, bytes};
  nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, &entry, 1);
}

// ---------------------------------------------------------------- the connection

void H2Session::ping() noexcept { nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, nullptr); }

void H2Session::announce_shutdown() noexcept { nghttp2_submit_shutdown_notice(session_.get()); }

void H2Session::goaway(H2Code code) noexcept {
  goaway_sent_ = true;
  nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_.get()),
                        static_cast<std::uint32_t>(code), nullptr, 0);
}

void H2Session::terminate(H2Code code) noexcept {
  goaway_sent_ = true;
  nghttp2_session_terminate_session(session_.get(), static_cast<std::uint32_t>(code));
}

std::uint32_t H2Session::peer_max_streams() const noexcept {
  return nghttp2_session_get_remote_settings(session_.get(),
                                             NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

}  // namespace kubelane::http
