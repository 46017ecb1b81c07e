// Reads a request body piece by piece by its framing (RFC 9112 section 6), keeping the chunk
// boundaries, for handlers that answer while they read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/lab/http.hpp"

namespace lab {

class BodyReader {
 public:
  // Sends "100 Continue" before the first read when the request asks for it, as Go's server does.
  // Throws ConnectionLost on framing that RFC 9112 does not allow. `stream` must outlive this.
  BodyReader(Stream& stream, const Request& request);

  // One whole chunk, or up to 64 KiB of a body with a length; nothing at the end of the body.
  std::optional<std::string> next();
  bool chunked() const { return chunked_; }
  // Total of a body with Content-Length; 0 for a chunked one.
  std::uint64_t length() const { return length_; }
  // Complete after next() has returned nothing.
  const std::vector<std::pair<std::string, std::string>>& trailers() const { return trailers_; }

 private:
  void read_trailers();

  Stream& stream_;
  bool chunked_ = false;
  bool ended_ = false;
  bool continue_wanted_ = false;
  std::uint64_t length_ = 0;
  std::uint64_t left_ = 0;
  std::vector<std::pair<std::string, std::string>> trailers_;
};

// True when the request announces a body.
bool has_body(const Request& request);

// `name: value` of one line without its CRLF. Throws ConnectionLost when it is not strictly that.
std::pair<std::string, std::string> parse_field(std::string_view line);

// Case-insensitive comparison of ASCII text.
bool same_text(std::string_view a, std::string_view b);

}  // namespace lab
