// HTTP/2 frames and uncompressed header blocks as bytes (RFC 9113, RFC 7541), for saying what no
// library would say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lab::h2 {

using Fields = std::vector<std::pair<std::string, std::string>>;

namespace frame_type {
inline constexpr std::uint8_t data = 0;
inline constexpr std::uint8_t headers = 1;
inline constexpr std::uint8_t priority = 2;
inline constexpr std::uint8_t rst_stream = 3;
inline constexpr std::uint8_t settings = 4;
inline constexpr std::uint8_t push_promise = 5;
inline constexpr std::uint8_t ping = 6;
inline constexpr std::uint8_t goaway = 7;
inline constexpr std::uint8_t window_update = 8;
inline constexpr std::uint8_t continuation = 9;
}  // namespace frame_type

namespace flag {
inline constexpr std::uint8_t ack = 0x1;
inline constexpr std::uint8_t end_stream = 0x1;
inline constexpr std::uint8_t end_headers = 0x4;
inline constexpr std::uint8_t padded = 0x8;
inline constexpr std::uint8_t priority = 0x20;
}  // namespace flag

namespace error_code {
inline constexpr std::uint32_t no_error = 0;
inline constexpr std::uint32_t protocol_error = 1;
inline constexpr std::uint32_t internal_error = 2;
inline constexpr std::uint32_t flow_control_error = 3;
inline constexpr std::uint32_t settings_timeout = 4;
inline constexpr std::uint32_t stream_closed = 5;
inline constexpr std::uint32_t frame_size_error = 6;
inline constexpr std::uint32_t refused_stream = 7;
inline constexpr std::uint32_t cancel = 8;
inline constexpr std::uint32_t compression_error = 9;
inline constexpr std::uint32_t connect_error = 10;
inline constexpr std::uint32_t enhance_your_calm = 11;
inline constexpr std::uint32_t inadequate_security = 12;
inline constexpr std::uint32_t http_1_1_required = 13;
}  // namespace error_code

namespace setting {
inline constexpr std::uint16_t header_table_size = 1;
inline constexpr std::uint16_t enable_push = 2;
inline constexpr std::uint16_t max_concurrent_streams = 3;
inline constexpr std::uint16_t initial_window_size = 4;
inline constexpr std::uint16_t max_frame_size = 5;
inline constexpr std::uint16_t max_header_list_size = 6;
inline constexpr std::uint16_t enable_connect_protocol = 8;
}  // namespace setting

inline constexpr std::string_view kClientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr std::size_t kFrameHead = 9;

// 32 and 16 bits in network order.
std::string u32(std::uint32_t value);
std::string u16(std::uint16_t value);

// Nine bytes and the payload. The length field says what the payload has.
std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload = {});
// The same with a length field that may lie.
std::string frame_of_length(std::uint32_t length, std::uint8_t type, std::uint8_t flags,
                            std::uint32_t stream, std::string_view payload = {});

std::string settings_frame(
    const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings = {});
std::string rst_stream_frame(std::uint32_t stream, std::uint32_t code);
std::string window_update_frame(std::uint32_t stream, std::uint32_t increment);
std::string ping_frame(std::string_view eight_bytes, bool ack = false);
std::string goaway_frame(std::uint32_t last_stream, std::uint32_t code,
                         std::string_view debug = {});

// A header block of literals without indexing and without Huffman coding: names and values go out
// as they are, and the peer's dynamic table is not touched.
std::string header_block(const Fields& fields);
// One HEADERS frame with a whole block.
std::string headers_frame(std::uint32_t stream, const Fields& fields, bool end_stream);
// An HPACK integer (RFC 7541, 5.1); `first` holds the bits above the prefix.
std::string hpack_integer(std::uint8_t first, int prefix_bits, std::uint64_t value);
// A block that puts one field of `size` value bytes into the dynamic table and then names it
// `count` times, one byte each: little to send, much to hold.
std::string table_bomb(const Fields& leading, std::size_t size, std::size_t count);

}  // namespace lab::h2
