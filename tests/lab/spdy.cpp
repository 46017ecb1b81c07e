#include "tests/lab/spdy.hpp"

#include <algorithm>
#include <array>

#include "tests/lab/body_reader.hpp"

namespace lab {
namespace {

enum Type : std::uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};
constexpr std::uint8_t kFin = 1;
constexpr std::uint16_t kVersion = 3;
constexpr std::size_t kLargestPiece = 32 * 1024;
constexpr int kStopCheck = 50;  // milliseconds

std::uint32_t number(std::string_view bytes, std::size_t at) {
  if (bytes.size() < at + 4) throw ConnectionLost{"SPDY: a frame too short for its type"};
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((value >> shift) & 0xff);
  return bytes;
}

std::uint32_t flags_and_length(std::uint8_t flags, std::size_t length) {
  return static_cast<std::uint32_t>(flags) << 24 | static_cast<std::uint32_t>(length);
}

}  // namespace

std::string SpdyConnection::Event::header(std::string_view name) const {
  for (const auto& [field, value] : headers) {
    if (same_text(field, name)) return value;
  }
  return "";
}

std::optional<SpdyConnection::Event> SpdyConnection::next(const std::atomic<bool>& stop) {
  try {
    for (bool ended = false; !ended;) {
      while (!stream_.wait_readable(kStopCheck)) {
        if (stop) return std::nullopt;
      }
      if (auto event = read_frame(ended)) return event;
    }
  } catch (const ConnectionLost&) {
    // An end in the middle of a frame is an end all the same.
  }
  return std::nullopt;
}

std::optional<SpdyConnection::Event> SpdyConnection::read_frame(bool& ended) {
  std::array<char, 8> raw;
  if (stream_.read(raw.data(), 1) == 0) {
    ended = true;
    return std::nullopt;
  }
  stream_.read_exactly(raw.data() + 1, raw.size() - 1);
  const std::string_view head(raw.data(), raw.size());
  const std::uint32_t first = number(head, 0);
  const std::uint32_t second = number(head, 4);
  const auto flags = static_cast<std::uint8_t>(second >> 24);
  std::string payload(second & 0xff'ffff, '\0');
  stream_.read_exactly(payload.data(), payload.size());

  Event event;
  event.last = (flags & kFin) != 0;
  if ((first & 0x8000'0000) == 0) {
    event.kind = Event::Kind::data;
    event.stream = first;
    event.data = std::move(payload);
    return event;
  }
  if ((first >> 16 & 0x7fff) != kVersion) throw ConnectionLost{"SPDY: not version 3"};
  switch (first & 0xffff) {
    case kSynStream:
      event.stream = number(payload, 0) & 0x7fff'ffff;
      if (payload.size() < 10 || event.stream % 2 == 0 || event.stream <= newest_) {
        throw ConnectionLost{"SPDY: bad SYN_STREAM"};
      }
      newest_ = event.stream;
      event.headers = header_reader_.read(std::string_view(payload).substr(10));
      return event;
    case kRstStream:
      event.kind = Event::Kind::reset;
      event.stream = number(payload, 0) & 0x7fff'ffff;
      return event;
    case kHeaders:
      // Only the zlib state matters: nothing in Kubernetes sends headers later.
      if (payload.size() >= 4) header_reader_.read(std::string_view(payload).substr(4));
      return std::nullopt;
    case kPing:
      number(payload, 0);
      write_control(kPing, 0, payload);
      return std::nullopt;
    case kGoAway:
      ended = true;
      return std::nullopt;
    case kSettings:
    case kWindowUpdate:
      return std::nullopt;
    default:
      throw ConnectionLost{"SPDY: unknown frame type"};
  }
}

void SpdyConnection::write_control(std::uint16_t type, std::uint8_t flags,
                                   std::string_view payload) {
  const std::scoped_lock lock(write_mutex_);
  std::string frame = big_endian(0x8000'0000u | static_cast<std::uint32_t>(kVersion) << 16 | type);
  frame += big_endian(flags_and_length(flags, payload.size()));
  frame += payload;
  stream_.write(frame);
}

void SpdyConnection::accept(std::uint32_t stream) {
  const std::scoped_lock lock(write_mutex_);
  const std::string block = header_writer_.write({});
  stream_.write(big_endian(0x8000'0000u | static_cast<std::uint32_t>(kVersion) << 16 | kSynReply) +
                big_endian(flags_and_length(0, 4 + block.size())) + big_endian(stream) + block);
}

void SpdyConnection::send(std::uint32_t stream, std::string_view data, bool last) {
  do {
    const std::string_view piece = data.substr(0, kLargestPiece);
    data.remove_prefix(piece.size());
    const std::uint8_t flags = last && data.empty() ? kFin : 0;
    std::string frame = big_endian(stream) + big_endian(flags_and_length(flags, piece.size()));
    frame += piece;
    const std::scoped_lock lock(write_mutex_);
    stream_.write(frame);
  } while (!data.empty());
}

void SpdyConnection::reset(std::uint32_t stream, std::uint32_t status) {
  write_control(kRstStream, 0, big_endian(stream) + big_endian(status));
}

}  // namespace lab
