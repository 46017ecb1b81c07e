// Looks for private keys as a thief would who got hold of bytes: a core file, a log, a disk. The
// public halves are known, so that whatever multiplies the curve's base point to one of them is a
// key, whoever wrote it there and for whatever reason. Of RSA the private numbers must be known.
// Needs root for a process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "tests/lab/pki.hpp"

namespace support {

// A private key that was found.
struct FoundKey {
  std::size_t key = 0;  // index into the hunted
  std::string form;     // "number", "octets", "PEM"
  std::string where;    // the mapping, and whether a core file would hold it
  bool locked = false;  // into memory
};

// A mapping of a process.
struct MemoryArea {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string name;     // "[heap]", a file, or empty
  bool dumped = true;   // not marked MADV_DONTDUMP
  bool locked = false;  // mlock
  bool own = false;     // private pages of the process, not a file's unchanged ones
};

class KeyHunt {
 public:
  // P-256: public keys do; RSA: private keys.
  explicit KeyHunt(const std::vector<lab::KeyPtr>& keys);

  std::vector<FoundKey> search(std::string_view bytes, const std::string& where) const;
  enum class Pages { all, not_excluded };
  // Of a running process: every page that can be read, or those that were not marked
  // MADV_DONTDUMP. Throws std::runtime_error where memory cannot be read.
  std::vector<FoundKey> search(pid_t process, Pages pages) const;

 private:
  void try_scalar(const std::uint8_t* big_endian, const char* form, const std::string& where,
                  std::vector<FoundKey>& found) const;

  void take_rsa(const lab::KeyPtr& key, std::size_t index);

  std::map<std::string, std::size_t> hunted_;  // by X coordinate
  struct Needle {
    std::string bytes;
    std::size_t key;
    const char* form;
  };
  std::vector<Needle> needles_;  // of RSA
};

std::vector<MemoryArea> memory_areas(pid_t process);
// What the kernel would write into a core file beside these marks, as bits; core(5).
unsigned long core_filter(pid_t process);

}  // namespace support
