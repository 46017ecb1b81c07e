// Where a stream of Kubernetes events may be cut so that a client decodes nothing wrong: between
// two events. JSON events and log lines end with a newline; protobuf events carry a four-byte
// length (streaming framer of k8s.io/apimachinery). Sans I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kubelane::http {

class EventBoundary {
 public:
  // From the response's Content-Type and Content-Encoding.
  static EventBoundary of(std::string_view content_type,
                          std::string_view content_encoding) noexcept;

  void pass(std::string_view bytes) noexcept;
  // Bytes passed since the last boundary; a cut must be before them.
  std::uint64_t open_bytes() const noexcept { return open_bytes_; }
  // Its client comes back for more when it ends, as of watches, not of logs.
  bool resumable() const noexcept { return resumable_; }

 private:
  enum class Form : std::uint8_t { unknown, lines, length_prefixed };
  Form form_ = Form::unknown;
  std::uint8_t prefix_bytes_ = 0;  // of the length seen so far
  std::uint32_t length_ = 0;
  std::uint64_t left_ = 0;  // of the event
  std::uint64_t open_bytes_ = 0;
  bool resumable_ = false;
};

}  // namespace kubelane::http
