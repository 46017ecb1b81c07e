// One direction of an exchange: bytes on their way, and how many of them the framing has admitted.
// Sans I/O but for write(). Bodies pass verbatim; only trailer sections are rewritten.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proxy/http/body.hpp"
#include "proxy/http/head_writer.hpp"
#include "proxy/runtime/buffer.hpp"
#include "tls/stream.hpp"

namespace kubelane::relay {

class Flow {
 public:
  Flow(runtime::BufferPool& pool, http::Direction direction) noexcept
      : buffer(pool), direction_(direction) {}

  runtime::Buffer buffer;  // cleared bytes first, then what is not looked at yet
  http::BodyFramer framer;
  std::size_t cleared = 0;   // bytes at the front that may be written
  std::uint64_t passed = 0;  // bytes written so far in this exchange

  // Admits what the framer finds behind the cleared bytes. False: malformed, see bad().
  bool clear_more() {
    while (!framer.done()) {
      if (trailers_) return clear_trailers();
      const std::string_view rest = buffer.view().substr(cleared);
      if (rest.empty()) return true;
      const http::BodyFramer::Scan scan = framer.scan(rest);
      if (scan.bad != nullptr) {
        bad_ = scan.bad;
        return false;
      }
      cleared += scan.bytes;
      if (!scan.trailers) return true;
      trailers_ = true;
    }
    return true;
  }

  // Everything of the message is admitted and written.
  bool finished() const noexcept { return framer.done() && cleared == 0; }

  // Writes cleared bytes until the stream blocks. moved: none are left.
  tls::Step write(tls::Stream& to) noexcept {
    while (cleared > 0) {
      const tls::Step step = to.write(buffer.view().substr(0, cleared));
      if (step.kind != tls::Step::Kind::moved) return step;
      buffer.consume(step.bytes);
      cleared -= step.bytes;
      passed += step.bytes;
    }
    return {};
  }

  void begin(http::BodyKind kind, std::uint64_t length) noexcept {
    framer = http::BodyFramer(kind, length);
    trailers_ = false;
    bad_ = "";
  }
  const char* bad() const noexcept { return bad_; }

 private:
  bool clear_trailers() {
    const std::string_view rest = buffer.view().substr(cleared);
    if (rest.starts_with("\r\n")) {  // none, the usual case
      cleared += 2;
      trailers_ = false;
      framer.end_trailers();
      return true;
    }
    const std::size_t bytes = http::trailer_section_bytes(rest);
    if (bytes == std::string_view::npos) {
      bad_ = "malformed trailer section";
      return false;
    }
    if (bytes == 0 || cleared > 0) return true;  // more is needed, or must be written first
    std::string section;
    if (!http::write_trailers(rest.substr(0, bytes), direction_, section)) {
      bad_ = "malformed trailer section";
      return false;
    }
    buffer.consume(bytes);
    if (!buffer.prepend(section)) {
      bad_ = "trailer section too large";
      return false;
    }
    cleared = section.size();
    trailers_ = false;
    framer.end_trailers();
    return true;
  }

  http::Direction direction_;
  const char* bad_ = "";
  bool trailers_ = false;  // the last chunk has passed, its trailer section has not
};

}  // namespace kubelane::relay
