#include "proxy/http/event_boundary.hpp"

#include <algorithm>

#include "proxy/http/field.hpp"

namespace kubelane::http {
namespace {
constexpr std::uint8_t length_bytes = 4;
}

EventBoundary EventBoundary::of(std::string_view content_type,
                                std::string_view content_encoding) noexcept {
  EventBoundary made;
  if (!content_encoding.empty() && !iequals(content_encoding, "identity")) return made;
  if (content_type.find("protobuf") != std::string_view::npos) {
    made.form_ = Form::length_prefixed;
    made.resumable_ = true;
  } else if (content_type.find("json") != std::string_view::npos) {
    made.form_ = Form::lines;
    made.resumable_ = true;
  } else if (content_type.starts_with("text/")) {
    made.form_ = Form::lines;
  }
  return made;
}

void EventBoundary::pass(std::string_view bytes) noexcept {
  switch (form_) {
    case Form::unknown:
      open_bytes_ += bytes.size();
      return;
    case Form::lines: {
      const std::size_t newline = bytes.rfind('\n');
      open_bytes_ = newline == std::string_view::npos ? open_bytes_ + bytes.size()
                                                      : bytes.size() - newline - 1;
      return;
    }
    case Form::length_prefixed:
      while (!bytes.empty()) {
        if (prefix_bytes_ < length_bytes) {
          length_ = length_ << 8 | static_cast<unsigned char>(bytes.front());
          bytes.remove_prefix(1);
          ++open_bytes_;
          if (++prefix_bytes_ < length_bytes) continue;
          left_ = length_;
        }
        const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
        bytes.remove_prefix(part);
        left_ -= part;
        open_bytes_ += part;
        if (left_ == 0) {
          prefix_bytes_ = 0;
          length_ = 0;
          open_bytes_ = 0;
        }
      }
      return;
  }
}

}  // namespace kubelane::http
