// Memory that is freed and wanted again at once: free lists per thread and size class, no lock.
// Serves OpenSSL's record buffers, the coroutine frames of the data threads and nghttp2, where
// malloc was 5 to 10 % of the CPU of a small request. Falls back to malloc for large blocks and
// after thread end.
#pragma once

#include <cstddef>

namespace kubelane::tls {

// As malloc, realloc and free; blocks may be freed by another thread than the one that allocated
// them. Reallocation wipes the block that it leaves: what moves may be a secret.
void* pooled_allocate(std::size_t bytes) noexcept;
void* pooled_reallocate(void* block, std::size_t bytes) noexcept;
void pooled_free(void* block) noexcept;

// While one lives, what this thread frees is wiped: OpenSSL's readers and writers of keys leave
// copies behind in blocks that they free as they are.
class WipeFreed {
 public:
  WipeFreed() noexcept;
  ~WipeFreed();
  WipeFreed(const WipeFreed&) = delete;
  WipeFreed& operator=(const WipeFreed&) = delete;
};

// Gives this thread's free blocks back to the heap.
void release_pooled() noexcept;

// Makes OpenSSL use these. Call before any other OpenSSL function; once per process.
void install_openssl_memory() noexcept;

}  // namespace kubelane::tls
