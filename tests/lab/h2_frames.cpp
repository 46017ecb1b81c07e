#include "tests/lab/h2_frames.hpp"

namespace lab::h2 {
namespace {

char byte(std::uint64_t value) { return static_cast<char>(static_cast<unsigned char>(value)); }

std::string hpack_text(std::string_view text) {
  return hpack_integer(0, 7, text.size()) + std::string(text);
}

}  // namespace

std::string u16(std::uint16_t value) { return {byte(value >> 8), byte(value)}; }

std::string u32(std::uint32_t value) {
  return {byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)};
}

std::string frame_of_length(std::uint32_t length, std::uint8_t type, std::uint8_t flags,
                            std::uint32_t stream, std::string_view payload) {
  std::string bytes{byte(length >> 16), byte(length >> 8), byte(length), byte(type), byte(flags)};
  bytes += u32(stream);
  bytes += payload;
  return bytes;
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload) {
  return frame_of_length(static_cast<std::uint32_t>(payload.size()), type, flags, stream, payload);
}

std::string settings_frame(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings) {
  std::string payload;
  for (const auto& [id, value] : settings) payload += u16(id) + u32(value);
  return frame(frame_type::settings, 0, 0, payload);
}

std::string rst_stream_frame(std::uint32_t stream, std::uint32_t code) {
  return frame(frame_type::rst_stream, 0, stream, u32(code));
}

std::string window_update_frame(std::uint32_t stream, std::uint32_t increment) {
  return frame(frame_type::window_update, 0, stream, u32(increment));
}

std::string ping_frame(std::string_view eight_bytes, bool ack) {
  return frame(frame_type::ping, ack ? flag::ack : std::uint8_t{0}, 0, eight_bytes);
}

std::string goaway_frame(std::uint32_t last_stream, std::uint32_t code, std::string_view debug) {
  return frame(frame_type::goaway, 0, 0, u32(last_stream) + u32(code) + std::string(debug));
}

std::string hpack_integer(std::uint8_t first, int prefix_bits, std::uint64_t value) {
  const std::uint64_t most = (std::uint64_t{1} << prefix_bits) - 1;
  if (value < most) return {byte(first | value)};
  std::string bytes{byte(first | most)};
  for (value -= most; value >= 0x80; value >>= 7) bytes += byte((value & 0x7f) | 0x80);
  bytes += byte(value);
  return bytes;
}

std::string header_block(const Fields& fields) {
  std::string block;
  for (const auto& [name, value] : fields) {
    block += '\0';  // literal without indexing, a new name
    block += hpack_text(name) + hpack_text(value);
  }
  return block;
}

std::string headers_frame(std::uint32_t stream, const Fields& fields, bool end_stream) {
  const std::uint8_t flags = end_stream ? flag::end_headers | flag::end_stream : flag::end_headers;
  return frame(frame_type::headers, flags, stream, header_block(fields));
}

std::string table_bomb(const Fields& leading, std::size_t size, std::size_t count) {
  std::string block = header_block(leading);
  block += '\x40';  // literal with incremental indexing: it becomes entry 62
  block += hpack_text("x-bomb") + hpack_text(std::string(size, 'b'));
  block.append(count, '\xbe');
  return block;
}

}  // namespace lab::h2
