// AES-128-GCM for TLS records (RFC 8446 section 5.2): one key, one direction. On CPUs with VAES and
// AVX-512 by intel-ipsec-mb, because OpenSSL before 3.1 does not know these instructions (12 GB/s
// instead of 4.5, and a quarter of the time for a 1 KB record); elsewhere by OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tls/openssl.hpp"

namespace kubelane::tls {

struct VaesKey;

// Owns: the expanded key, cleansed at the end. Thread: one at a time.
class AesGcm {
 public:
  static constexpr std::size_t key_bytes = 16;
  static constexpr std::size_t nonce_bytes = 12;
  static constexpr std::size_t tag_bytes = 16;
  static constexpr std::size_t header_bytes = 5;  // additional data: the record's header
  using Key = std::array<std::uint8_t, key_bytes>;
  using Nonce = std::array<std::uint8_t, nonce_bytes>;
  enum class Engine : std::uint8_t { best, openssl };

  AesGcm() noexcept;
  AesGcm(AesGcm&&) noexcept;
  AesGcm& operator=(AesGcm&&) noexcept;
  ~AesGcm();

  // False when out of memory, or when OpenSSL offers no AES-GCM.
  bool set_key(const Key& key, bool seals, Engine engine = Engine::best);

  // Writes the sealed `text`, the sealed byte `last` behind it, and the tag: length + 1 + 16 bytes.
  // `out` may not overlap `text`. False: OpenSSL failed (never by VAES).
  bool seal(const Nonce& nonce, const char* header, const char* text, std::size_t length,
            std::uint8_t last, char* out) noexcept;
  // `length` of `sealed` includes the tag. Writes length - 16 bytes; `out` may be `sealed` itself
  // but not overlap it otherwise. False: forged; what was written is cleared.
  bool open(const Nonce& nonce, const char* header, const char* sealed, std::size_t length,
            char* out) noexcept;

  // Whether Engine::best is VAES here: built in, supported by the CPU, and equal to OpenSSL in a
  // self-test at the first use.
  static bool has_vaes();

 private:
  using ContextPtr = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;
  std::unique_ptr<VaesKey> vaes_;  // null: OpenSSL's
  ContextPtr context_;
};

}  // namespace kubelane::tls
