#include "proxy/runtime/buffer.hpp"

#include <cstring>
#include <utility>

namespace kubelane::runtime {
namespace {
constexpr std::size_t block_bytes = Buffer::headroom_bytes + Buffer::capacity_bytes;
}

std::span<char> Buffer::space() {
  if (!block_) {
    block_ = pool_.lend();
    begin_ = end_ = headroom_bytes;
  } else if (empty()) {
    begin_ = end_ = headroom_bytes;
  } else if (block_bytes - end_ < 4096 && begin_ > headroom_bytes) {
    const std::size_t bytes = size();
    std::memmove(block_.get() + headroom_bytes, block_.get() + begin_, bytes);
    begin_ = headroom_bytes;
    end_ = begin_ + bytes;
  }
  return {block_.get() + end_, block_bytes - end_};
}

bool Buffer::prepend(std::string_view bytes) noexcept {
  if (!block_ || bytes.size() > begin_) return false;
  begin_ -= bytes.size();
  std::memcpy(block_.get() + begin_, bytes.data(), bytes.size());
  return true;
}

void Buffer::release() noexcept {
  if (block_) pool_.take_back(std::move(block_));
  begin_ = end_ = headroom_bytes;
}

std::unique_ptr<char[]> BufferPool::lend() {
  lent_bytes_ += block_bytes;
  if (!free_.empty()) {
    std::unique_ptr<char[]> block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  return std::make_unique_for_overwrite<char[]>(block_bytes);
}

void BufferPool::take_back(std::unique_ptr<char[]> block) noexcept {
  lent_bytes_ -= block_bytes;
  if (free_.size() < keep_blocks) free_.push_back(std::move(block));
}

SmallBlockPtr BufferPool::lend_small() {
  lent_bytes_ += sizeof(SmallBlock);
  if (free_small_.empty()) return std::make_unique_for_overwrite<SmallBlock>();
  SmallBlockPtr block = std::move(free_small_.back());
  free_small_.pop_back();
  return block;
}

void BufferPool::take_back_small(SmallBlockPtr block) noexcept {
  lent_bytes_ -= sizeof(SmallBlock);
  if (free_small_.size() >= keep_small_blocks) return;
  block->begin = block->end = 0;
  free_small_.push_back(std::move(block));
}

}  // namespace kubelane::runtime
