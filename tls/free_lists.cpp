#include "tls/free_lists.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <openssl/crypto.h>

namespace kubelane::tls {
namespace {

// In front of each block: its class, so that free() and realloc() know its size.
struct alignas(16) Header {
  std::uint32_t size_class;
  std::uint32_t bytes;
};

struct FreeBlock {
  FreeBlock* next;
};

constexpr std::size_t small_step = 64;
constexpr std::size_t small_classes = 32;  // 64 B to 2 KiB
constexpr std::size_t large_classes = 6;   // 4 KiB to 128 KiB
constexpr std::size_t class_count = small_classes + large_classes;
constexpr std::uint32_t no_class = UINT32_MAX;
constexpr std::size_t kept_bytes = 256UL * 1024;  // per class and thread

constexpr std::size_t class_bytes(std::size_t index) {
  if (index < small_classes) return (index + 1) * small_step;
  return std::size_t{4096} << (index - small_classes);
}

std::uint32_t class_of(std::size_t bytes) noexcept {
  if (bytes <= small_classes * small_step)
    return bytes == 0 ? 0 : static_cast<std::uint32_t>((bytes - 1) / small_step);
  for (std::size_t i = small_classes; i < class_count; ++i)
    if (bytes <= class_bytes(i)) return static_cast<std::uint32_t>(i);
  return no_class;
}

struct Lists {
  std::array<FreeBlock*, class_count> heads{};
  std::array<std::uint32_t, class_count> counts{};
  ~Lists();
  void release() noexcept;
};

thread_local int wiping = 0;      // WipeFreed objects that live
thread_local bool ended = false;  // trivially destructible: may be asked after Lists is gone
thread_local Lists lists;

Lists::~Lists() {
  ended = true;
  release();
}

void Lists::release() noexcept {
  for (FreeBlock*& head : heads) {
    while (head != nullptr) {
      FreeBlock* const block = head;
      head = block->next;
      std::free(reinterpret_cast<char*>(block) - sizeof(Header));
    }
  }
  counts.fill(0);
}

Header* header_of(void* block) noexcept {
  return reinterpret_cast<Header*>(static_cast<char*>(block) - sizeof(Header));
}

// A sanitizer must see what is freed: a recycled block would hide its use afterwards.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool recycles = false;
#else
constexpr bool recycles = true;
#endif

[[maybe_unused]] void* openssl_allocate(std::size_t bytes, const char*, int) {
  return pooled_allocate(bytes);
}
[[maybe_unused]] void openssl_free(void* block, const char*, int) { pooled_free(block); }

[[maybe_unused]] void* openssl_reallocate(void* block, std::size_t bytes, const char*, int) {
  return pooled_reallocate(block, bytes);
}

}  // namespace

void* pooled_allocate(std::size_t bytes) noexcept {
  if (bytes > UINT32_MAX - sizeof(Header)) return nullptr;
  const std::uint32_t size_class = class_of(bytes);
  if (recycles && size_class != no_class && !ended && lists.heads[size_class] != nullptr) {
    FreeBlock* const block = lists.heads[size_class];
    lists.heads[size_class] = block->next;
    --lists.counts[size_class];
    return block;
  }
  const std::size_t room = size_class == no_class ? bytes : class_bytes(size_class);
  void* const memory = std::malloc(room + sizeof(Header));
  if (memory == nullptr) return nullptr;
  auto* header = static_cast<Header*>(memory);
  header->size_class = size_class;
  header->bytes = static_cast<std::uint32_t>(room);
  return static_cast<char*>(memory) + sizeof(Header);
}

void* pooled_reallocate(void* block, std::size_t bytes) noexcept {
  if (block == nullptr) return pooled_allocate(bytes);
  if (bytes == 0) {
    pooled_free(block);
    return nullptr;
  }
  const Header* header = header_of(block);
  const std::size_t room =
      header->size_class == no_class ? header->bytes : class_bytes(header->size_class);
  if (bytes <= room) return block;
  void* const larger = pooled_allocate(bytes);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, room);
  OPENSSL_cleanse(block, room);
  pooled_free(block);
  return larger;
}

void pooled_free(void* block) noexcept {
  if (block == nullptr) return;
  Header* const header = header_of(block);
  const std::uint32_t size_class = header->size_class;
  if (wiping != 0)
    OPENSSL_cleanse(block, size_class == no_class ? header->bytes : class_bytes(size_class));
  if (recycles && size_class != no_class && !ended &&
      (lists.counts[size_class] + 1) * class_bytes(size_class) <= kept_bytes) {
    auto* freed = static_cast<FreeBlock*>(block);
    freed->next = lists.heads[size_class];
    lists.heads[size_class] = freed;
    ++lists.counts[size_class];
    return;
  }
  std::free(header);
}

WipeFreed::WipeFreed() noexcept { ++wiping; }
WipeFreed::~WipeFreed() { --wiping; }

void release_pooled() noexcept {
  if (!ended) lists.release();
}

void install_openssl_memory() noexcept {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CRYPTO_set_mem_functions(openssl_allocate, openssl_reallocate, openssl_free);
#endif
}

}  // namespace kubelane::tls
