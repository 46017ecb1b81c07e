// A non-blocking socket and what the event loop knows about it. The flags let the byte streams skip
// system calls that would only say "would block".
#pragma once

#include <utility>

#include <unistd.h>

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

// Asks for the edge of writability, which sockets are not registered for from the start: it would
// wake the loop for news that nobody waits for.
class WriteEdge {
 public:
  virtual void arm() noexcept = 0;

 protected:
  ~WriteEdge() = default;
};

// Edge-triggered readiness. Set by the event loop; cleared by whoever met "would block".
struct SocketState {
  void would_block_writing() noexcept {
    writable = false;
    if (write_edge != nullptr) write_edge->arm();
  }

  WriteEdge* write_edge = nullptr;  // null: registered for it
  int fd = -1;
  bool readable = true;     // a receive may yield bytes or the end
  bool writable = true;     // a send may take bytes
  bool peer_ended = false;  // FIN or error seen: receive until the end, a short receive is no proof
  bool broken = false;      // reset or error reported by the kernel
};

}  // namespace kubelane::tls
