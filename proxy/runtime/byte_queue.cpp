#include "proxy/runtime/byte_queue.hpp"

#include <algorithm>
#include <cstring>

namespace kubelane::runtime {

void ByteQueue::append(std::string_view bytes) {
  while (!bytes.empty()) {
    if (last_ == nullptr || last_->end == SmallBlock::capacity_bytes) {
      SmallBlockPtr& place = last_ == nullptr ? first_ : last_->next;
      place = pool_.lend_small();
      last_ = place.get();
    }
    const std::size_t part = std::min(bytes.size(), SmallBlock::capacity_bytes - last_->end);
    std::memcpy(last_->bytes.data() + last_->end, bytes.data(), part);
    last_->end += part;
    size_ += part;
    bytes.remove_prefix(part);
  }
}

void ByteQueue::take(char* to, std::size_t bytes) noexcept {
  size_ -= bytes;
  while (bytes > 0) {
    SmallBlock& block = *first_;
    const std::size_t part = std::min(bytes, block.end - block.begin);
    std::memcpy(to, block.bytes.data() + block.begin, part);
    to += part;
    bytes -= part;
    block.begin += part;
    if (block.begin < block.end) break;
    SmallBlockPtr empty = std::move(first_);
    first_ = std::move(empty->next);
    pool_.take_back_small(std::move(empty));
  }
  if (!first_) last_ = nullptr;
}

void ByteQueue::truncate(std::size_t bytes) noexcept {
  if (bytes >= size_) return;
  size_ = bytes;
  SmallBlockPtr* place = &first_;
  last_ = nullptr;
  while (bytes > 0) {
    SmallBlock& block = **place;
    const std::size_t part = std::min(bytes, block.end - block.begin);
    block.end = block.begin + part;
    bytes -= part;
    last_ = &block;
    place = &block.next;
  }
  give_back_from(*place);
}

void ByteQueue::clear() noexcept {
  give_back_from(first_);
  last_ = nullptr;
  size_ = 0;
}

void ByteQueue::give_back_from(SmallBlockPtr& block) noexcept {
  while (block) {
    SmallBlockPtr gone = std::move(block);
    block = std::move(gone->next);
    pool_.take_back_small(std::move(gone));
  }
}

}  // namespace kubelane::runtime
