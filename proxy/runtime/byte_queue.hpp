// Bytes of one HTTP/2 stream on their way from one connection to another: a queue of small blocks,
// borrowed only while bytes are in them.
#pragma once

#include <cstddef>
#include <string_view>

#include "proxy/runtime/buffer.hpp"

namespace kubelane::runtime {

// Owns: its blocks. Thread: its worker.
class ByteQueue {
 public:
  explicit ByteQueue(BufferPool& pool) noexcept : pool_(pool) {}
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;
  ~ByteQueue() { clear(); }

  void append(std::string_view bytes);
  // Copies the first `bytes` out and forgets them; there must be as many.
  void take(char* to, std::size_t bytes) noexcept;
  // Keeps the first `bytes` only.
  void truncate(std::size_t bytes) noexcept;
  void clear() noexcept;

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  void give_back_from(SmallBlockPtr& block) noexcept;

  BufferPool& pool_;
  SmallBlockPtr first_;
  SmallBlock* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kubelane::runtime
