#include "tests/lab/grpc_stream.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "tests/lab/call_error.hpp"

namespace lab {
namespace {

constexpr std::size_t kFrameHead = 5;
constexpr std::size_t kLongest = 4 << 20;  // what Go's server takes

// Printable ASCII but '%' stays.
std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out += c;
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned char>(c));
      out += escaped;
    }
  }
  return out;
}

std::optional<std::uint64_t> take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

}  // namespace

bool GrpcStream::fill(std::size_t bytes) {
  while (buffer_.size() < bytes) {
    const auto piece = body_.next();
    if (!piece) return false;
    buffer_ += *piece;
  }
  return true;
}

std::optional<std::string> GrpcStream::read_message() {
  if (!fill(kFrameHead)) {
    if (buffer_.empty()) return std::nullopt;
    throw CallError{grpc_code::internal, "a cut message"};
  }
  std::size_t length = 0;
  for (std::size_t i = 1; i < kFrameHead; ++i) {
    length = (length << 8) | static_cast<unsigned char>(buffer_[i]);
  }
  if (buffer_[0] != 0) throw CallError{grpc_code::unimplemented, "compression is not supported"};
  if (length > kLongest) throw CallError{grpc_code::resource_exhausted, "message too large"};
  if (!fill(kFrameHead + length)) throw CallError{grpc_code::internal, "a cut message"};
  std::string message = buffer_.substr(kFrameHead, length);
  buffer_.erase(0, kFrameHead + length);
  return message;
}

void GrpcStream::begin() {
  if (begun_) return;
  begun_ = true;
  stream_.send_head({{":status", "200"}, {"content-type", "application/grpc"}});
}

void GrpcStream::write_message(std::string_view message) {
  begin();
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>((message.size() >> shift) & 0xff);
  }
  frame += message;
  stream_.send_data(frame);
}

void GrpcStream::finish(int code, std::string_view message) {
  h2::Fields fields{{"grpc-status", std::to_string(code)},
                    {"grpc-message", percent_encoded(message)}};
  if (begun_) {
    stream_.send_trailers(std::move(fields));
    return;
  }
  begun_ = true;
  fields.insert(fields.begin(), {{":status", "200"}, {"content-type", "application/grpc"}});
  stream_.send_head(std::move(fields), true);
}

std::vector<int> field_numbers(std::string_view message) {
  std::vector<int> numbers;
  while (!message.empty()) {
    const auto tag = take_varint(message);
    if (!tag) return {};
    std::size_t skip = 0;
    switch (*tag & 7) {
      case 0:
        if (!take_varint(message)) return {};
        break;
      case 1:
        skip = 8;
        break;
      case 2: {
        const auto length = take_varint(message);
        if (!length) return {};
        skip = *length;
        break;
      }
      case 5:
        skip = 4;
        break;
      default:
        return {};
    }
    if (skip > message.size()) return {};
    message.remove_prefix(skip);
    const int number = static_cast<int>(*tag >> 3);
    if (std::find(numbers.begin(), numbers.end(), number) == numbers.end()) {
      numbers.push_back(number);
    }
  }
  return numbers;
}

}  // namespace lab
