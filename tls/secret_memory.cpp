#include "tls/secret_memory.hpp"

#include <cstddef>

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tls/socket.hpp"

namespace kubelane::tls {
namespace {

// A key is 32 bytes (P-256) to 1 KiB (RSA), a handshake's some hundred bytes for a moment; pages
// are touched, and locked, as they are needed. When it is full, handshakes fail: this is for more
// of them at once than there can be connections.
constexpr std::size_t arena_bytes = std::size_t{4} << 20;
constexpr std::size_t smallest_block = 32;

// Which mappings a core file holds, as bits (core(5)): none. Must come before the process ceases to
// be dumpable, since the file is root's from then on.
void leave_out_all_mappings() noexcept {
  const UniqueFd filter(::open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC));
  // Without /proc the other walls stand.
  if (filter && ::write(filter.get(), "0\n", 2) < 0) return;
}

}  // namespace

void guard_secrets() noexcept {
  leave_out_all_mappings();
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // 2: the arena is there, but may be neither locked nor left out. 0: OpenSSL goes on without it.
  CRYPTO_secure_malloc_init(arena_bytes, smallest_block);
}

}  // namespace kubelane::tls
