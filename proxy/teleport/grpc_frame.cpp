#include "proxy/teleport/grpc_frame.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "config/text.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::size_t prefix_bytes = 5;
constexpr std::size_t most_text_bytes = 500;

std::size_t length_at(std::string_view prefix) {
  std::size_t length = 0;
  for (std::size_t i = 1; i < prefix_bytes; ++i)
    length = (length << 8) | static_cast<unsigned char>(prefix[i]);
  return length;
}

// What is no escape stays as it is.
std::string decode_text(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size() && out.size() < most_text_bytes; ++i) {
    char c = text[i];
    if (c == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
        hex_value(text[i + 2]) >= 0) {
      c = static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    }
    out += is_control(c) ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string frame_message(std::string_view message) {
  std::string frame(1, '\0');
  for (const unsigned shift : {24u, 16u, 8u, 0u})
    frame += static_cast<char>((message.size() >> shift) & 0xffu);
  return frame.append(message);
}

bool GrpcReader::feed(std::string_view bytes) {
  if (too_large_) return false;
  while (!bytes.empty()) {
    if (partial_.size() < prefix_bytes) {
      const std::size_t wanted = std::min(prefix_bytes - partial_.size(), bytes.size());
      partial_.append(bytes.substr(0, wanted));
      bytes.remove_prefix(wanted);
      if (partial_.size() < prefix_bytes) return true;
      if (partial_.front() != '\0') return false;  // compressed: we offered no coding
      if (length_at(partial_) > most_) {
        too_large_ = true;
        return false;
      }
    }
    const std::size_t whole = prefix_bytes + length_at(partial_);
    const std::size_t wanted = std::min(whole - partial_.size(), bytes.size());
    partial_.append(bytes.substr(0, wanted));
    bytes.remove_prefix(wanted);
    if (partial_.size() < whole) return true;
    partial_.erase(0, prefix_bytes);
    waiting_bytes_ += partial_.size();
    messages_.push_back(std::exchange(partial_, {}));
  }
  return true;
}

std::string GrpcReader::take() {
  std::string message = std::move(messages_.front());
  messages_.pop_front();
  waiting_bytes_ -= message.size();
  return message;
}

bool read_status(http::Fields fields, GrpcCode& code, std::string& message) {
  bool found = false;
  for (const http::Field& field : fields) {
    if (field.name == "grpc-status") {
      int value = 0;
      const char* const end = field.value.data() + field.value.size();
      const auto [at, error] = std::from_chars(field.value.data(), end, value);
      if (found || error != std::errc() || at != end || value < 0) return false;
      code = static_cast<GrpcCode>(value);
      found = true;
    } else if (field.name == "grpc-message") {
      message = decode_text(field.value);
    }
  }
  return found;
}

}  // namespace kubelane::teleport
