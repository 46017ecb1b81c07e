// Read buffers, borrowed only while bytes are in them: idle connections hold none.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace kubelane::runtime {

class BufferPool;

// A flat buffer with a window of unread bytes. In front of the window there is always some room, so
// that a rewritten head can be put before the body bytes without moving them.
// Owns: a block while not empty() or reserved; gives it back to its pool when released.
class Buffer {
 public:
  static constexpr std::size_t headroom_bytes = 1024;
  static constexpr std::size_t capacity_bytes = 64UL * 1024;  // behind the headroom

  explicit Buffer(BufferPool& pool) noexcept : pool_(pool) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  std::string_view view() const noexcept { return {block_.get() + begin_, end_ - begin_}; }
  std::size_t size() const noexcept { return end_ - begin_; }
  bool empty() const noexcept { return begin_ == end_; }
  bool held() const noexcept { return block_ != nullptr; }

  // Free space behind the window; borrows a block when none is held. Moves the window to the front
  // when there is little room behind it (invalidates views).
  std::span<char> space();
  void commit(std::size_t bytes) noexcept { end_ += bytes; }
  void consume(std::size_t bytes) noexcept { begin_ += bytes; }
  // Puts bytes directly before the window. False when there is no room.
  bool prepend(std::string_view bytes) noexcept;
  // Gives the block back; what was in it is gone.
  void release() noexcept;
  void release_if_empty() noexcept {
    if (empty()) release();
  }

 private:
  BufferPool& pool_;
  std::unique_ptr<char[]> block_;
  std::size_t begin_ = headroom_bytes;
  std::size_t end_ = headroom_bytes;
};

// A block of a ByteQueue: 16 KiB with its book-keeping.
struct SmallBlock;
using SmallBlockPtr = std::unique_ptr<SmallBlock>;
struct SmallBlock {
  static constexpr std::size_t capacity_bytes = 16UL * 1024 - 3 * sizeof(void*);
  SmallBlockPtr next;
  std::size_t begin = 0;
  std::size_t end = 0;
  std::array<char, capacity_bytes> bytes;
};

// Blocks of one worker. Thread: its worker.
class BufferPool {
 public:
  explicit BufferPool(std::size_t limit_bytes) noexcept : limit_bytes_(limit_bytes) {}

  void set_limit(std::size_t bytes) noexcept { limit_bytes_ = bytes; }
  // New work should be refused: three quarters of the limit are lent.
  bool scarce() const noexcept { return lent_bytes_ > limit_bytes_ / 4 * 3; }
  // Nothing is left to lend: who holds bytes that nobody takes must give them up.
  bool exhausted() const noexcept { return lent_bytes_ > limit_bytes_; }
  std::size_t lent_bytes() const noexcept { return lent_bytes_; }

 private:
  friend class Buffer;
  friend class ByteQueue;
  static constexpr std::size_t keep_blocks = 8;  // more than that go back to the system
  static constexpr std::size_t keep_small_blocks = 32;
  std::unique_ptr<char[]> lend();
  void take_back(std::unique_ptr<char[]> block) noexcept;
  SmallBlockPtr lend_small();
  void take_back_small(SmallBlockPtr block) noexcept;

  std::size_t limit_bytes_;
  std::size_t lent_bytes_ = 0;
  std::vector<std::unique_ptr<char[]>> free_;
  std::vector<SmallBlockPtr> free_small_;
};

}  // namespace kubelane::runtime
