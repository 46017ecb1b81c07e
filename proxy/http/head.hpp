// Request and response heads: a strict reading of our own, and llhttp over requests. A head that
// two parsers could read differently is refused, whatever llhttp's version lets through
// (CVE-2023-30589, CVE-2024-27982): bare CR or LF, obs-fold, space before the colon, NUL and other
// control bytes, CL+TE, more than one Content-Length, signed or spaced lengths, any coding but
// exactly one `chunked`, absolute-form whose authority is not Host, zero or several Host. Bodies
// never pass through llhttp: see body.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/http/field.hpp"

namespace kubelane::http {

inline constexpr std::size_t max_fields = 256;  // hard bound of the arrays below

enum class BodyKind : std::uint8_t { none, length, chunked, until_close };

// Slices point into the buffer given to the parser and live as long as its bytes stay in place.
struct RequestHead {
  std::string_view method;  // token as received, e.g. "GET"; one that llhttp knows
  std::string_view target;  // as received
  std::string_view
      path;  // target up to '?', after scheme and authority of an absolute-form; never empty
  std::string_view query;      // from '?' to the end, the '?' included; empty when there is none
  std::string_view authority;  // value of Host
  std::array<Field, max_fields> field_array;
  std::size_t field_count = 0;
  BodyKind body = BodyKind::none;
  std::uint64_t content_length = 0;  // for BodyKind::length
  bool keep_alive = true;            // HTTP/1.1 without `Connection: close`
  // Upgrade field present and nominated by Connection. Not for h2c, HTTP/x and TLS/x: inside such a
  // tunnel further requests would pass unseen, so they are served without the upgrade.
  bool upgrade = false;
  bool expect_continue = false;
  bool te_trailers = false;  // TE: trailers, nominated or not

  Fields fields() const noexcept { return {field_array.data(), field_count}; }
};

struct ResponseHead {
  int status = 0;           // 100 to 999
  std::string_view reason;  // may be empty
  std::array<Field, max_fields> field_array;
  std::size_t field_count = 0;
  BodyKind body = BodyKind::none;  // decided with the request's method (RFC 9112 section 6.3)
  std::uint64_t content_length = 0;
  bool keep_alive = true;  // the connection may be used again after the body
  int minor_version = 1;

  Fields fields() const noexcept { return {field_array.data(), field_count}; }
};

struct HeadLimits {
  std::size_t max_bytes = 64UL * 1024;
  std::size_t max_fields = 96;
};

struct HeadVerdict {
  enum class Kind : std::uint8_t { need_more, done, bad, too_large, version };
  Kind kind = Kind::need_more;
  std::size_t bytes = 0;    // done: length of the head, blank line included
  const char* reason = "";  // bad: a literal for the Status message and the log
};

// Finds the end of a head in a growing buffer without reading any byte twice, then parses once.
// One object per connection and direction; reset() after each message.
class HeadParser {
 public:
  explicit HeadParser(HeadLimits limits = {}) noexcept : limits_(limits) {}

  // `buffer` starts at the first byte of the message and only grows between calls. Up to two empty
  // lines before a request line are skipped (RFC 9112 section 2.2) and counted in `bytes`.
  HeadVerdict request(std::string_view buffer, RequestHead& head) noexcept;

  // `request_method` is needed for the body's kind: HEAD and CONNECT differ. Interim (1xx) heads
  // are returned like any other, with BodyKind::none; 101 has BodyKind::none too.
  HeadVerdict response(std::string_view buffer, std::string_view request_method,
                       ResponseHead& head) noexcept;

  void reset() noexcept { scanned_ = 0; }

 private:
  HeadLimits limits_;
  std::size_t scanned_ = 0;  // bytes already searched for the end of the head
};

}  // namespace kubelane::http
