// A non-blocking socket and what the event loop knows about it. The flags let the byte streams skip
// system calls that would only say "would block".
#pragma once

#include <unistd.h>

#include <utility>

namespace kubelane::tls {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// Edge-triggered readiness. Set by the event loop; cleared by whoever met "would block".
struct SocketState {
  int fd = -1;
  bool readable = true;     // a receive may yield bytes or the end
  bool writable = true;     // a send may take bytes
  bool peer_ended = false;  // FIN or error seen: receive until the end, a short receive is no proof
  bool broken = false;      // reset or error reported by the kernel
};

}  // namespace kubelane::tls
