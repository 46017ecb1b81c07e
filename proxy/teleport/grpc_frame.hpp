// gRPC's framing over HTTP/2 streams: five bytes before each message, status in the trailers.
// Sans I/O (control-plane spec 3.2, 11).
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "proxy/http/field.hpp"

namespace kubelane::teleport {

// Codes that mean something here; a peer may send others.
enum class GrpcCode : int {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16
};

// The message with its prefix.
std::string frame_message(std::string_view message);

// Takes a stream's bytes apart.
class GrpcReader {
 public:
  explicit GrpcReader(std::size_t most_message_bytes) noexcept : most_(most_message_bytes) {}

  // False: the bytes are no gRPC, or a message is too large (too_large()); nothing more is taken.
  bool feed(std::string_view bytes);
  bool too_large() const noexcept { return too_large_; }
  bool empty() const noexcept { return messages_.empty(); }
  std::string take();
  // Of messages that nobody took yet.
  std::size_t waiting_bytes() const noexcept { return waiting_bytes_; }
  // The stream may end here.
  bool at_boundary() const noexcept { return partial_.empty(); }

 private:
  std::size_t most_;
  std::string partial_;
  std::deque<std::string> messages_;
  std::size_t waiting_bytes_ = 0;
  bool too_large_ = false;
};

// grpc-status and grpc-message of a trailer section, or of a head that is one. False: there is no
// readable grpc-status. The message is percent-decoded, cut, and free of control characters.
bool read_status(http::Fields fields, GrpcCode& code, std::string& message);

}  // namespace kubelane::teleport
