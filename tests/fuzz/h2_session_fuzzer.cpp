// An HTTP/2 session in either role against a peer that says anything and an owner that does
// anything it may: events come in their order and never behind a stream's end, memory and windows
// stay within what was granted, what leaves is whole frames, credit comes back when bytes have
// moved on, and how the peer's bytes were cut makes no difference. Input: a choice of role, how
// bytes are cut, then steps: a byte that says which, and its parameters.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proxy/http/h2_session.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane::http;
using kubelane::fuzz::require;
using kubelane::fuzz::take_choice;

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t most_steps = 400;
constexpr std::size_t most_streams_asked = 200;
constexpr std::uint32_t grown_window = 64 * 1024;
// Of the peer's DATA payloads, frames are never larger.
constexpr std::size_t data_frame_bytes = 16'384;
enum Type : unsigned { data, headers, priority, reset, settings, push, ping, goaway, window, more };

H2Limits small_limits() {
  H2Limits limits;
  limits.max_header_bytes = 2048;
  limits.max_header_fields = 16;
  limits.max_streams = 8;
  limits.stream_window_bytes = 20'000;
  limits.connection_window_bytes = 100'000;
  return limits;
}

std::uint32_t number(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::string big_endian(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string frame(unsigned type, unsigned flags, std::uint32_t stream, std::string_view payload) {
  return big_endian(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + big_endian(stream, 4) + std::string(payload);
}

// Walks over frames as they come, in pieces of any size.
class Frames {
 public:
  struct Frame {
    unsigned type = 0;
    unsigned flags = 0;
    std::uint32_t stream = 0;
    std::uint32_t length = 0;
    std::string begin;  // of the payload: 16 bytes
  };
  explicit Frames(std::size_t skip) : skip_(skip) {}
  // `on_begin` at a complete header, `on_bytes` with each part of the payload, `on_end` at its end.
  template <class Begin, class Bytes, class End>
  void walk(std::string_view bytes, Begin on_begin, Bytes on_bytes, End on_end) {
    while (!bytes.empty()) {
      if (skip_ > 0) {
        const std::size_t part = std::min(skip_, bytes.size());
        bytes.remove_prefix(part);
        skip_ -= part;
        continue;
      }
      if (left_ == 0) {
        header_ += bytes.front();
        bytes.remove_prefix(1);
        if (header_.size() < 9) continue;
        const std::string_view header = header_;
        now_ = {number(header.substr(3, 1)),
                number(header.substr(4, 1)),
                number(header.substr(5, 4)) & 0x7fffffff,
                number(header.substr(0, 3)),
                {}};
        left_ = now_.length;
        header_.clear();
        on_begin(now_);
        if (left_ == 0) on_end(now_);
        continue;
      }
      const std::size_t part = std::min<std::size_t>(left_, bytes.size());
      on_bytes(now_, part);
      if (now_.begin.size() < 16) now_.begin += bytes.substr(0, 16 - now_.begin.size());
      bytes.remove_prefix(part);
      left_ -= static_cast<std::uint32_t>(part);
      if (left_ == 0) on_end(now_);
    }
  }
  bool between() const { return left_ == 0 && header_.empty(); }

 private:
  std::size_t skip_;
  std::string header_;
  std::uint32_t left_ = 0;
  Frame now_;
};

class Owner;

// The owner of a stream, which holds the session to its promises.
class Stream final : public H2Stream {
 public:
  Stream(Owner& owner, bool request) : owner_(owner), request_(request) {}

  void on_head(const H2Head& head) noexcept override;
  void on_data(std::string_view bytes) noexcept override;
  void on_trailers(Fields fields) noexcept override;
  void on_end() noexcept override;
  void on_sent() noexcept override;
  void on_closed(H2Code code) noexcept override;
  Ready ready() noexcept override;
  void take(char* to, std::size_t bytes) noexcept override;
  Fields trailers() noexcept override {
    static const std::array<Field, 1> some{Field{"x-sum", "1", FieldId::other}};
    return with_trailers ? Fields(some) : Fields();
  }

  bool ended() const { return ended_; }  // by the peer

  std::int32_t id = 0;
  bool alive = true;      // not closed, not disowned
  bool answered = false;  // a server's: the final head was submitted
  std::size_t held = 0;   // DATA received and not consumed
  std::size_t queue = 0;  // to be sent
  bool end = false;
  bool with_trailers = false;
  H2Code reset_when_empty = H2Code::no_error;
  bool consumes_at_once = false;
  bool resets_at_data = false;
  // What it saw. Short of a proper end it may have been less of its data: nghttp2 judges each
  // piece.
  std::string log() const {
    std::string text;
    for (const std::string& each : events_)
      if ((ended_ && !failed_) || !each.starts_with("data ")) text += each + '\n';
    return text;
  }

 private:
  void check_alive() const { require(alive, "no event behind a stream's end"); }
  void event(std::string what) { events_.push_back(std::move(what)); }

  Owner& owner_;
  bool request_;  // a server's stream
  bool headed_ = false;
  bool ended_ = false;
  bool trailed_ = false;
  bool sent_ = false;
  bool failed_ = false;
  std::vector<std::string> events_;
  std::size_t offered_ = 0;
};

constexpr kubelane::http::H2Memory heap{
    [](std::size_t bytes) noexcept { return std::malloc(bytes); },
    [](void* block, std::size_t bytes) noexcept { return std::realloc(block, bytes); },
    [](void* block) noexcept { std::free(block); }};

class Owner final : public H2Owner {
 public:
  explicit Owner(H2Session::Role role)
      : role(role),
        limits(small_limits()),
        session(std::make_unique<H2Session>(role, limits, *this, heap)),
        in_(role == H2Session::Role::server ? preface.size() : 0),
        out_(role == H2Session::Role::client ? preface.size() : 0) {}
  ~Owner() override {
    // As the product: whoever owns streams disowns them, then the session goes.
    for (const auto& stream : streams)
      if (stream->alive) disown(*stream);
    session.reset();
  }

  H2Stream* on_request(std::int32_t stream, const H2Head& head) noexcept override {
    require(role == H2Session::Role::server, "requests come to servers");
    check_head(head);
    const std::size_t place = streams.size();
    if (reaction(place, 7)) {
      log += "request refused\n";
      return nullptr;
    }
    Stream& made = add(true);
    made.id = stream;
    made.consumes_at_once = reaction(place, 1);
    made.resets_at_data = reaction(place, 2);
    made.with_trailers = reaction(place, 5);
    log += "request " + std::to_string(stream) + " " + std::string(head.method) + " " +
           std::to_string(head.fields.size()) + (head.end ? " end\n" : "\n");
    if (reaction(place, 0)) answer(made, 200, !reaction(place, 3), reaction(place, 4));
    std::size_t open = 0;
    for (const auto& each : streams) open += each->alive ? 1 : 0;
    require(open <= limits.max_streams, "no more streams than the limit");
    return &made;
  }
  void on_settings() noexcept override { log += "settings\n"; }
  void on_goaway(H2Code) noexcept override { log += "goaway\n"; }
  void on_ping_answer() noexcept override { log += "pong\n"; }

  // What the owner does at events is chosen by the input, one byte for each stream by turns.
  bool reaction(std::size_t stream, unsigned bit) const {
    return (reactions[stream % reactions.size()] >> bit & 1u) != 0;
  }
  void check_head(const H2Head& head) const {
    std::size_t bytes = 0;
    for (const Field& field : head.fields) {
      bytes += field.name.size() + field.value.size();
      require(!field.name.starts_with(':'), "no pseudo-header among the fields");
      for (const char byte : field.value)
        require(byte != '\r' && byte != '\n' && byte != '\0', "no line ends in a value");
    }
    require(bytes <= limits.max_header_bytes, "heads are bounded");
    require(head.fields.size() <= limits.max_header_fields + 5, "so are their fields");
  }

  Stream& add(bool request) {
    streams.push_back(std::make_unique<Stream>(*this, request));
    return *streams.back();
  }
  void answer(Stream& stream, int status, bool body, bool at_once) {
    if (stream.answered || !stream.alive || role != H2Session::Role::server) return;
    static const std::array<Field, 1> fields{Field{"content-type", "a/b", FieldId::content_type}};
    stream.answered = true;
    if (at_once) {
      stream.queue += 1000;
      stream.end = true;
    }
    session->submit_response(stream.id, status, fields, body);
  }
  void disown(Stream& stream) {
    session->disown(stream.id);
    stream.alive = false;
  }

  // The peer's bytes, cut after `cut` each; 0: not at all. False: the session is over.
  bool receive(std::string_view bytes, std::size_t cut) {
    while (!bytes.empty() && !over) {
      const std::size_t part = cut == 0 ? bytes.size() : std::min(cut, bytes.size());
      note_received(bytes.substr(0, part));
      const kubelane::fuzz::ExactCopy exact(bytes.substr(0, part));
      over = !session->receive(exact.view(), now);
      bytes.remove_prefix(part);
      for (const auto& stream : streams)
        require(stream->held <= std::max(limits.stream_window_bytes, grown_window),
                "a stream holds no more than its window");
    }
    return !over;
  }

  // Until there is nothing to say; `wanted` at a time.
  void fill(std::size_t wanted, std::size_t rounds) {
    for (std::size_t i = 0; i < rounds; ++i) {
      const std::size_t room = wanted + H2Session::most_fill_overrun_bytes;
      const std::unique_ptr<char[]> area(new char[room]);
      const std::size_t bytes = session->fill({area.get(), room}, wanted);
      if (bytes == H2Session::npos) {
        over = broken = true;
        return;
      }
      require(bytes <= room, "within the area");
      if (bytes == 0) {
        silent = true;
        return;
      }
      note_sent({area.get(), bytes});
    }
    silent = false;
  }

  const H2Session::Role role;
  const H2Limits limits;
  std::unique_ptr<H2Session> session;
  std::vector<std::unique_ptr<Stream>> streams;
  std::array<std::uint8_t, 8> reactions{};
  H2Session::Clock::time_point now{std::chrono::hours(1)};
  std::string log;
  bool over = false;
  bool broken = false;
  bool silent = false;
  bool overdrawn = false;  // the peer sent more than it was allowed to
  // The peer's view of its windows.
  std::int64_t peer_connection_window = 65'535;
  std::int64_t peer_initial_window = 65'535;
  std::map<std::uint32_t, std::int64_t> peer_stream_window;

 private:
  void note_received(std::string_view bytes) {
    in_.walk(
        bytes, [](const Frames::Frame&) {},
        [this](const Frames::Frame& of, std::size_t part) {
          if (of.type != data) return;
          peer_connection_window -= static_cast<std::int64_t>(part);
          peer_stream_window.try_emplace(of.stream, peer_initial_window);
          peer_stream_window[of.stream] -= static_cast<std::int64_t>(part);
          overdrawn = overdrawn || peer_connection_window < 0 || peer_stream_window[of.stream] < 0;
        },
        [this](const Frames::Frame& of) {
          // Our settings hold when the peer has said so.
          if (of.type != settings || (of.flags & 1) == 0 || acknowledged_) return;
          acknowledged_ = true;
          const std::int64_t change = limits.stream_window_bytes - peer_initial_window;
          peer_initial_window += change;
          for (auto& [stream, bytes_left] : peer_stream_window) bytes_left += change;
        });
  }
  void note_sent(std::string_view bytes) {
    out_.walk(
        bytes,
        [this](const Frames::Frame& of) {
          require(of.length <= data_frame_bytes + 1024, "frames of a proper size");
          const bool content = of.type == data || of.type == headers;
          require(!content || !said_all_.contains(of.stream),
                  "nothing behind END_STREAM or a reset");
          if (of.type == reset || (content && (of.flags & 1) != 0)) said_all_.insert(of.stream);
        },
        [](const Frames::Frame&, std::size_t) {},
        [this](const Frames::Frame& of) {
          if (of.type != window) return;
          const std::int64_t credit = number(std::string_view(of.begin).substr(0, 4));
          require(credit > 0, "credit is not nothing");
          if (of.stream == 0) {
            peer_connection_window += credit;
            require(peer_connection_window <= limits.connection_window_bytes,
                    "no more credit than the connection's window");
          } else {
            peer_stream_window.try_emplace(of.stream, peer_initial_window);
            peer_stream_window[of.stream] += credit;
            require(
                peer_stream_window[of.stream] <= std::max(limits.stream_window_bytes, grown_window),
                "no more credit than the stream's window");
          }
        });
  }

  Frames in_;
  Frames out_;
  bool acknowledged_ = false;
  std::set<std::uint32_t> said_all_;
};

void Stream::on_head(const H2Head& head) noexcept {
  check_alive();
  require(!request_, "heads of responses come to clients");
  require(!headed_ && !ended_, "one final head, before everything else");
  require(head.status >= 100 && head.status <= 999, "a status");
  owner_.check_head(head);
  headed_ = head.status >= 200;
  event("head " + std::to_string(head.status));
}

void Stream::on_data(std::string_view bytes) noexcept {
  check_alive();
  require(request_ || headed_, "no data before the head");
  require(!ended_ && !trailed_, "no data behind the end");
  if (events_.empty() || !events_.back().starts_with("data ")) event("data ");
  events_.back() += bytes;
  held += bytes.size();
  if (consumes_at_once) owner_.session->consumed(id, std::exchange(held, 0));
  if (resets_at_data) {
    resets_at_data = false;
    owner_.session->reset(id, H2Code::cancel);
  }
}

void Stream::on_trailers(Fields fields) noexcept {
  check_alive();
  require(request_ || headed_, "no trailers before the head");
  require(!ended_ && !trailed_, "trailers once, before the end");
  trailed_ = true;
  event("trailers " + std::to_string(fields.size()));
}

void Stream::on_end() noexcept {
  check_alive();
  require(!ended_, "one end");
  require(request_ || headed_, "no end before the head");
  ended_ = true;
  event("end");
}

void Stream::on_sent() noexcept {
  check_alive();
  require(!sent_, "sent once");
  sent_ = true;
}

void Stream::on_closed(H2Code code) noexcept {
  check_alive();
  alive = false;
  failed_ = code != H2Code::no_error;
  event("closed");
  // Whoever goes may set others in motion.
  for (const auto& other : owner_.streams) {
    if (!other->alive || other.get() == this || other->queue == 0) continue;
    owner_.session->resume(other->id);
    break;
  }
}

H2Stream::Ready Stream::ready() noexcept {
  check_alive();
  offered_ = queue;
  return {queue, end, reset_when_empty};
}

void Stream::take(char* to, std::size_t bytes) noexcept {
  check_alive();
  require(bytes <= offered_ && bytes <= queue, "no more than is ready");
  std::fill_n(to, bytes, 'd');
  queue -= bytes;
  offered_ -= bytes;
}

// Header sections that HPACK needs no state for.
std::string block(H2Session::Role role, unsigned choice) {
  const auto literal = [](std::string_view name, std::string_view value) {
    std::string text(1, '\0');
    for (const std::string_view part : {name, value}) {
      text += static_cast<char>(part.size());
      text += part;
    }
    return text;
  };
  if (choice % 8 == 7) return literal("x-trailer", "1");
  if (role == H2Session::Role::server) {
    std::string text{
        static_cast<char>(choice % 2 == 0 ? 0x82 : 0x83), '\x87', '\x84', '\x41', '\x01', 'a'};
    if (choice % 8 == 4) text += literal("content-length", "100");
    if (choice % 8 == 5)
      for (int i = 0; i < 40; ++i) text += literal("x-many", std::string(100, 'v'));
    return text;
  }
  if (choice % 8 == 6) return std::string("\x08\x03") + "103";
  std::string text(1, static_cast<char>(choice % 2 == 0 ? 0x88 : 0x8d));  // 200, 404
  if (choice % 8 == 4) text += literal("content-length", "100");
  return text;
}

std::string_view take_bytes(std::string_view& input, std::size_t bytes) {
  const std::string_view taken = input.substr(0, bytes);
  input.remove_prefix(taken.size());
  return taken;
}

// Plays the script; what the streams saw. Nothing of a peer that overdrew its windows: that is seen
// piece by piece.
std::optional<std::string> play(std::string_view input, std::size_t cut) {
  const auto role = take_choice(input) % 2 == 0 ? H2Session::Role::server : H2Session::Role::client;
  const bool greets = take_choice(input) % 8 != 0;
  Owner owner(role);
  for (auto& each : owner.reactions) each = static_cast<std::uint8_t>(take_choice(input));
  if (greets) {
    const std::string hello = std::string(role == H2Session::Role::server ? preface : "") +
                              frame(settings, 0, 0, "") + frame(settings, 1, 0, "");
    owner.receive(hello, cut);
  }
  for (std::size_t step = 0; step < most_steps && !input.empty() && !owner.over; ++step) {
    const unsigned choice = take_choice(input);
    // The stream that the step is about; ids of the peer's and ours are odd.
    const unsigned which = take_choice(input);
    const std::uint32_t id = which % 64 * 2 + 1;
    Stream* stream = nullptr;
    if (!owner.streams.empty()) stream = owner.streams[which % owner.streams.size()].get();
    if (stream != nullptr && !stream->alive) stream = nullptr;
    switch (choice % 20) {
      case 0: {
        const std::size_t length = take_choice(input);
        owner.receive(take_bytes(input, length), cut);
        break;
      }
      case 1: {
        const unsigned type = take_choice(input) % 12;
        const unsigned flags = take_choice(input);
        const std::size_t length = take_choice(input) % 64;
        owner.receive(frame(type, flags, which % 3 == 0 ? 0 : id, take_bytes(input, length)), cut);
        break;
      }
      case 2:
      case 3: {
        const unsigned form = take_choice(input);
        owner.receive(frame(headers, 4 | (form >> 7), id, block(role, form & 0x7f)), cut);
        break;
      }
      case 4:
      case 5: {
        const unsigned form = take_choice(input);
        const std::size_t length = std::size_t{form & 0x3f} * 260;
        const std::string payload =
            (form & 0x40) != 0 && length > 0
                ? std::string(1, static_cast<char>(std::min<std::size_t>(length - 1, 100))) +
                      std::string(length - 1, 'p')
                : std::string(length, 'p');
        const unsigned padded = (form & 0x40) != 0 && length > 0 ? 8 : 0;
        owner.receive(frame(data, padded | (form >> 7), id, payload), cut);
        break;
      }
      case 6:
        owner.receive(frame(reset, 0, id, big_endian(take_choice(input) % 14, 4)), cut);
        break;
      case 7:
        owner.receive(
            frame(window, 0, which % 3 == 0 ? 0 : id, big_endian(take_choice(input) * 700 + 1, 4)),
            cut);
        break;
      case 8: {
        const unsigned setting = take_choice(input) % 7;
        const unsigned value = take_choice(input);
        owner.receive(frame(settings, 0, 0, big_endian(setting, 2) + big_endian(value * 300, 4)),
                      cut);
        break;
      }
      case 9:
        owner.receive(frame(ping, which & 1, 0, "12345678"), cut);
        break;
      case 10:
        if (role == H2Session::Role::server) {
          if (stream != nullptr)
            owner.answer(*stream, 200, which % 4 != 0, take_choice(input) % 2 == 0);
        } else if (owner.streams.size() < most_streams_asked) {
          const unsigned form = take_choice(input);
          H2Head head;
          head.method = "GET";
          head.scheme = "https";
          head.authority = "a";
          head.path = "/";
          Stream& made = owner.add(false);
          made.consumes_at_once = (form & 2) != 0;
          made.resets_at_data = (form & 4) != 0;
          made.with_trailers = (form & 8) != 0;
          made.id = owner.session->submit_request(head, {}, (form & 1) != 0, made);
          if (made.id == 0) made.alive = false;
        }
        break;
      case 11:
        if (stream == nullptr || stream->end) break;
        stream->queue += std::size_t{take_choice(input)} * 300;
        stream->end = which >= 128;
        owner.session->resume(stream->id);
        break;
      case 12:
        if (stream != nullptr) owner.session->reset(stream->id, H2Code::cancel);
        break;
      case 13:
        if (stream == nullptr || stream->held == 0) break;
        owner.session->consumed(stream->id, std::exchange(stream->held, 0));
        break;
      case 14:
        owner.fill(std::size_t{which} * 256 + 1, 4);
        break;
      case 15:
        owner.now += std::chrono::milliseconds(which * 10);
        break;
      case 16:
        if (which % 4 == 0) owner.session->ping();
        if (which % 4 == 1) owner.session->announce_shutdown();
        if (which % 16 == 2) owner.session->goaway(H2Code::no_error);
        if (which % 32 == 3) owner.session->terminate(H2Code::enhance_your_calm);
        break;
      case 17:
        if (stream != nullptr && role == H2Session::Role::server && !stream->answered)
          owner.session->submit_interim(stream->id, 103, {});
        break;
      case 18:
        // Only together with a reset, as the product does it.
        if (stream == nullptr) break;
        owner.disown(*stream);
        owner.session->reset(stream->id, H2Code::cancel);
        break;
      default:
        if (stream == nullptr) break;
        if (which % 2 == 0) {
          owner.session->widen_window(stream->id, grown_window);
        } else if (stream->queue == 0) {
          stream->reset_when_empty = H2Code::internal_error;
          owner.session->resume(stream->id);
        }
        break;
    }
  }
  // Everything moves on: credit comes back, and there is an end to what is said.
  const bool well = !owner.over && !owner.overdrawn;
  for (const auto& stream : owner.streams)
    if (stream->alive && stream->held > 0)
      owner.session->consumed(stream->id, std::exchange(stream->held, 0));
  owner.fill(64UL * 1024, 1000);
  require(owner.silent || owner.broken, "it falls silent");
  if (well && !owner.broken && !owner.session->finished() && !owner.session->goaway_sent()) {
    require(owner.peer_connection_window * 2 >= owner.limits.connection_window_bytes,
            "the connection's credit comes back");
    for (const auto& stream : owner.streams)
      if (stream->alive && !stream->ended() &&
          owner.peer_stream_window.contains(static_cast<std::uint32_t>(stream->id)))
        require(owner.peer_stream_window[static_cast<std::uint32_t>(stream->id)] * 2 >=
                    owner.peer_initial_window,
                "a stream's credit comes back");
  }
  if (owner.overdrawn) return std::nullopt;
  std::string seen = owner.log;
  for (const auto& stream : owner.streams) seen += stream->log() + "--\n";
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(bytes), std::min<std::size_t>(size, 16'384));
  const std::size_t cut = take_choice(input) % 40 + 1;
  const std::optional<std::string> whole = play(input, 0);
  const std::optional<std::string> pieces = play(input, cut);
  require(!whole || !pieces || *whole == *pieces, "how the bytes are cut makes no difference");
  return 0;
}
