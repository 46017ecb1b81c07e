// Ciphertext of one burst: room for four full TLS records, so that they leave in one send().
// One per worker, lent to a stream for the length of one call.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace kubelane::tls {

class WriteBatch {
 public:
  // Four records of 16 KiB with header, content type and tag, and room for an alert or ticket.
  static constexpr std::size_t capacity_bytes = 4 * (16384 + 5 + 256) + 4096;

  std::string_view view() const noexcept { return {bytes_.data(), size_}; }
  std::size_t free_bytes() const noexcept { return capacity_bytes - size_; }
  bool empty() const noexcept { return size_ == 0; }
  void clear() noexcept { size_ = 0; }
  // Where the next bytes go, and how many were put there.
  char* end() noexcept { return bytes_.data() + size_; }
  void commit(std::size_t length) noexcept { size_ += length; }
  void append(const char* bytes, std::size_t length) noexcept {
    std::memcpy(bytes_.data() + size_, bytes, length);
    size_ += length;
  }

 private:
  std::size_t size_ = 0;
  std::array<char, capacity_bytes> bytes_;
};

}  // namespace kubelane::tls
