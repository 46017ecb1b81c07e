// Body framing: tells how many of the bytes at hand belong to the message, so that they can be
// passed verbatim. Never stores body bytes. Strict: CRLF only, hex digits only, at most 16 of them,
// no overflow, chunk extensions bounded (256 bytes) and free of control bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/http/head.hpp"

namespace kubelane::http {

class BodyFramer {
 public:
  BodyFramer() noexcept = default;  // none: done from the start
  BodyFramer(BodyKind kind, std::uint64_t content_length) noexcept;

  struct Scan {
    std::size_t bytes = 0;      // from the front of the input: body, to be passed on verbatim
    bool trailers = false;      // chunked: the last-chunk line is within `bytes`, trailers follow
    const char* bad = nullptr;  // malformed: a literal that says how; nothing may pass any more
  };

  // Consumes from the front of `input`. After `trailers` the caller collects the section up to its
  // empty line, passes it through write_trailers() and calls end_trailers(). A body whose last
  // chunk is followed directly by an empty line still reports `trailers` (the section is "\r\n").
  Scan scan(std::string_view input) noexcept;
  void end_trailers() noexcept;

  // The peer ended its direction. True when that is a proper end of this body.
  bool end_of_stream() noexcept;

  bool done() const noexcept { return state_ == State::done; }
  BodyKind kind() const noexcept { return kind_; }

  // Chunked only: between two chunks, and the last data byte passed was '\n' (or there was none):
  // the place where a watch may be ended with a last chunk of our own.
  bool at_event_boundary() const noexcept;

  // Length: body bytes still to come. Otherwise 0.
  std::uint64_t remaining() const noexcept { return kind_ == BodyKind::length ? left_ : 0; }

 private:
  enum class State : std::uint8_t {
    done,
    length,
    until_close,
    size_first,
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailers,
    bad
  };
  State state_ = State::done;
  BodyKind kind_ = BodyKind::none;
  std::uint64_t left_ = 0;
  std::uint16_t line_bytes_ = 0;
  char last_data_byte_ = '\n';
};

// Length of a complete trailer section at the front of `input` (through its empty line), 0 when
// more bytes are needed, npos when it is malformed or longer than 16 KiB.
std::size_t trailer_section_bytes(std::string_view input) noexcept;

}  // namespace kubelane::http
