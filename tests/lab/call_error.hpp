// A refused call, by gRPC's code; over HTTP the same has a status (control-plane spec 11).
#pragma once

#include <string>

namespace lab {

namespace grpc_code {
inline constexpr int ok = 0;
inline constexpr int cancelled = 1;
inline constexpr int unknown = 2;
inline constexpr int invalid_argument = 3;
inline constexpr int deadline_exceeded = 4;
inline constexpr int not_found = 5;
inline constexpr int already_exists = 6;
inline constexpr int permission_denied = 7;
inline constexpr int resource_exhausted = 8;
inline constexpr int failed_precondition = 9;
inline constexpr int unimplemented = 12;
inline constexpr int internal = 13;
inline constexpr int unavailable = 14;
}  // namespace grpc_code

// Thrown by what Auth decides, caught where the answer is written.
struct CallError {
  int code = grpc_code::unknown;
  std::string message;
};

[[noreturn]] inline void deny(std::string message) {
  throw CallError{grpc_code::permission_denied, std::move(message)};
}

inline int http_status_of(int code) {
  switch (code) {
    case grpc_code::ok:
      return 200;
    case grpc_code::invalid_argument:
      return 400;
    case grpc_code::permission_denied:
      return 403;
    case grpc_code::not_found:
      return 404;
    case grpc_code::already_exists:
      return 409;
    case grpc_code::failed_precondition:
      return 412;
    case grpc_code::resource_exhausted:
      return 429;
    case grpc_code::unimplemented:
      return 501;
    case grpc_code::unavailable:
      return 504;
    default:
      return 500;
  }
}

}  // namespace lab
