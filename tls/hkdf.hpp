// HKDF as TLS 1.3 uses it (RFC 5869, RFC 8446 section 7.1), without what OpenSSL's EVP_KDF and
// HMAC cost around the hash: objects looked up by name, allocated and copied for each of the twenty
// or so secrets of a handshake.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "tls/openssl.hpp"

namespace kubelane::tls {

// Owns: a hash context, which holds nothing of a secret between calls. Thread: one.
class Hkdf {
 public:
  using Bytes = std::span<const std::uint8_t>;
  static constexpr std::size_t most_hash_bytes = 48;
  static constexpr std::string_view tls13_prefix = "tls13 ";

  // This thread's own. By OpenSSL's name of the digest: null when no suite of TLS 1.3 has it.
  static Hkdf& sha256();
  static Hkdf* of_digest(std::string_view name);

  explicit Hkdf(const EVP_MD* digest);
  Hkdf(const Hkdf&) = delete;
  Hkdf& operator=(const Hkdf&) = delete;
  ~Hkdf();

  std::size_t hash_bytes() const noexcept { return hash_bytes_; }
  Bytes hash_of_nothing() const noexcept { return {hash_of_nothing_.data(), hash_bytes_}; }

  // The functions write nothing but zeros when they return false: OpenSSL failed, or a length is
  // beyond what the functions are defined for.
  // `out` takes hash_bytes().
  bool extract(Bytes salt, Bytes secret, std::span<std::uint8_t> out) noexcept;
  bool expand_label(Bytes secret, std::string_view prefix, std::string_view label, Bytes context,
                    std::span<std::uint8_t> out) noexcept;

 private:
  static constexpr std::size_t most_block_bytes = 128;
  static constexpr std::size_t most_message_bytes = 640;

  bool hmac(Bytes key, Bytes message, std::uint8_t* out) noexcept;
  bool hash(Bytes message, std::uint8_t* out) noexcept;

  const EVP_MD* digest_;
  std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>> context_;
  std::size_t hash_bytes_ = 0;
  std::size_t block_bytes_ = 0;
  std::array<std::uint8_t, most_hash_bytes> hash_of_nothing_{};
  // A padded key and what is hashed behind it; cleansed after each use.
  std::array<std::uint8_t, most_block_bytes + most_message_bytes> inner_{};
};

}  // namespace kubelane::tls
