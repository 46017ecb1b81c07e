#include "proxy/http/body.hpp"

#include <algorithm>

#include "config/text.hpp"

namespace kubelane::http {
namespace {

constexpr std::size_t max_extension_bytes = 256;
constexpr std::size_t max_size_digits = 16;
constexpr std::size_t max_trailer_bytes = 16UL * 1024;

}  // namespace

BodyFramer::BodyFramer(BodyKind kind, std::uint64_t content_length) noexcept : kind_(kind) {
  switch (kind) {
    case BodyKind::none:
      break;
    case BodyKind::length:
      left_ = content_length;
      state_ = content_length > 0 ? State::length : State::done;
      break;
    case BodyKind::chunked:
      state_ = State::size_first;
      break;
    case BodyKind::until_close:
      state_ = State::until_close;
      break;
  }
}

BodyFramer::Scan BodyFramer::scan(std::string_view input) noexcept {
  const auto refuse = [this](const char* why) {
    state_ = State::bad;
    return Scan{0, false, why};
  };
  std::size_t at = 0;
  while (at < input.size()) {
    const char c = input[at];
    switch (state_) {
      case State::done:
      case State::trailers:
        return {at, false, nullptr};
      case State::bad:
        return refuse("malformed body");
      case State::until_close:
        return {input.size(), false, nullptr};
      case State::length: {
        const std::uint64_t take = std::min<std::uint64_t>(left_, input.size() - at);
        left_ -= take;
        at += static_cast<std::size_t>(take);
        if (left_ == 0) state_ = State::done;
        break;
      }
      case State::size_first:
        left_ = 0;
        line_bytes_ = 0;
        state_ = State::size;
        [[fallthrough]];
      case State::size: {
        const int digit = hex_value(c);
        if (digit >= 0) {
          if (++line_bytes_ > max_size_digits || left_ > (UINT64_MAX >> 8))
            return refuse("chunk size too large");
          left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        } else if (line_bytes_ == 0 || (c != '\r' && c != ';')) {
          return refuse("chunk size is not a hexadecimal number");
        } else {
          line_bytes_ = 0;
          state_ = c == ';' ? State::extension : State::size_lf;
        }
        ++at;
        break;
      }
      case State::extension: {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\r') {
          state_ = State::size_lf;
        } else if (byte < 0x20 || byte >= 0x7f || ++line_bytes_ > max_extension_bytes) {
          return refuse("malformed chunk extension");
        }
        ++at;
        break;
      }
      case State::size_lf:
        if (c != '\n') return refuse("chunk size line does not end with CRLF");
        ++at;
        if (left_ == 0) {
          state_ = State::trailers;
          return {at, true, nullptr};
        }
        state_ = State::data;
        break;
      case State::data: {
        const std::uint64_t take = std::min<std::uint64_t>(left_, input.size() - at);
        left_ -= take;
        at += static_cast<std::size_t>(take);
        last_data_byte_ = input[at - 1];
        if (left_ == 0) state_ = State::data_cr;
        break;
      }
      case State::data_cr:
        if (c != '\r') return refuse("chunk is longer than its size");
        state_ = State::data_lf;
        ++at;
        break;
      case State::data_lf:
        if (c != '\n') return refuse("chunk does not end with CRLF");
        state_ = State::size_first;
        ++at;
        break;
    }
  }
  return {at, false, nullptr};
}

void BodyFramer::end_trailers() noexcept {
  if (state_ == State::trailers) state_ = State::done;
}

bool BodyFramer::end_of_stream() noexcept {
  if (state_ == State::until_close) state_ = State::done;
  return state_ == State::done;
}

bool BodyFramer::at_event_boundary() const noexcept {
  return kind_ == BodyKind::chunked && state_ == State::size_first && last_data_byte_ == '\n';
}

std::size_t trailer_section_bytes(std::string_view input) noexcept {
  const std::string_view within = input.substr(0, max_trailer_bytes);
  std::size_t line = 0;
  for (;;) {
    const std::size_t end = within.find_first_of("\r\n", line);
    if (end == std::string_view::npos || end + 1 == within.size()) {
      if (end != std::string_view::npos && within[end] == '\n') return std::string_view::npos;
      return input.size() > max_trailer_bytes ? std::string_view::npos : 0;
    }
    // A CR alone is refused as soon as the next byte is there: some readers take it for the end.
    if (within[end] != '\r' || within[end + 1] != '\n') return std::string_view::npos;
    if (end == line) return end + 2;
    line = end + 2;
  }
}

}  // namespace kubelane::http
