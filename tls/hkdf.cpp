#include "tls/hkdf.hpp"

#include <algorithm>
#include <cstring>

#include <openssl/crypto.h>

namespace kubelane::tls {
namespace {

using DigestPtr = std::unique_ptr<EVP_MD, Deleter<EVP_MD_free>>;

const EVP_MD* sha256_digest() {
  static const DigestPtr digest(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  return digest.get();
}

const EVP_MD* sha384_digest() {
  static const DigestPtr digest(EVP_MD_fetch(nullptr, "SHA384", nullptr));
  return digest.get();
}

bool is_called(const EVP_MD* digest, std::string_view name) {
  const char* const own = digest != nullptr ? EVP_MD_get0_name(digest) : nullptr;
  return own != nullptr && name == own;
}

}  // namespace

Hkdf& Hkdf::sha256() {
  thread_local Hkdf instance(sha256_digest());
  return instance;
}

Hkdf* Hkdf::of_digest(std::string_view name) {
  if (is_called(sha256_digest(), name)) return &sha256();
  if (!is_called(sha384_digest(), name)) return nullptr;
  thread_local Hkdf sha384(sha384_digest());
  return &sha384;
}

Hkdf::Hkdf(const EVP_MD* digest) : digest_(digest), context_(EVP_MD_CTX_new()) {
  if (digest_ == nullptr || !context_) return;
  const int hash_size = EVP_MD_get_size(digest_);
  const int block_size = EVP_MD_get_block_size(digest_);
  if (hash_size <= 0 || static_cast<std::size_t>(hash_size) > most_hash_bytes) return;
  if (block_size <= 0 || static_cast<std::size_t>(block_size) > most_block_bytes) return;
  if (EVP_DigestInit_ex2(context_.get(), digest_, nullptr) != 1) return;
  block_bytes_ = static_cast<std::size_t>(block_size);
  hash_bytes_ = static_cast<std::size_t>(hash_size);
  if (!hash({}, hash_of_nothing_.data())) hash_bytes_ = block_bytes_ = 0;
}

Hkdf::~Hkdf() = default;

// The context is begun anew at the end instead of at the beginning: what it knew is overwritten.
bool Hkdf::hash(Bytes message, std::uint8_t* out) noexcept {
  unsigned size = 0;
  const bool good = EVP_DigestUpdate(context_.get(), message.data(), message.size()) == 1 &&
                    EVP_DigestFinal_ex(context_.get(), out, &size) == 1;
  return EVP_DigestInit_ex2(context_.get(), nullptr, nullptr) == 1 && good;
}

// RFC 2104. Keys are never longer than a block here.
bool Hkdf::hmac(Bytes key, Bytes message, std::uint8_t* out) noexcept {
  constexpr std::uint8_t inner_pad = 0x36;
  constexpr std::uint8_t outer_pad = 0x5c;
  if (hash_bytes_ == 0 || key.size() > block_bytes_ || message.size() > most_message_bytes)
    return false;
  std::array<std::uint8_t, most_block_bytes + most_hash_bytes> outer;
  std::memset(inner_.data(), inner_pad, block_bytes_);
  std::memset(outer.data(), outer_pad, block_bytes_);
  for (std::size_t i = 0; i < key.size(); ++i) {
    inner_[i] ^= key[i];
    outer[i] ^= key[i];
  }
  std::copy(message.begin(), message.end(), inner_.data() + block_bytes_);
  const bool good =
      hash({inner_.data(), block_bytes_ + message.size()}, outer.data() + block_bytes_) &&
      hash({outer.data(), block_bytes_ + hash_bytes_}, out);
  OPENSSL_cleanse(inner_.data(), block_bytes_ + message.size());
  OPENSSL_cleanse(outer.data(), outer.size());
  return good;
}

bool Hkdf::extract(Bytes salt, Bytes secret, std::span<std::uint8_t> out) noexcept {
  if (out.size() == hash_bytes_ && hmac(salt, secret, out.data())) return true;
  OPENSSL_cleanse(out.data(), out.size());
  return false;
}

bool Hkdf::expand_label(Bytes secret, std::string_view prefix, std::string_view label,
                        Bytes context, std::span<std::uint8_t> out) noexcept {
  constexpr std::size_t most_vector_bytes = 255;
  bool good = prefix.size() + label.size() <= most_vector_bytes &&
              context.size() <= most_vector_bytes && hash_bytes_ != 0 &&
              out.size() <= most_vector_bytes * hash_bytes_;
  // The previous block of output, the label as it is on the wire, the counter. The label stands
  // still: the first block has nothing in front of it.
  std::array<std::uint8_t, most_hash_bytes + 4 + 2 * most_vector_bytes + 1> message;
  static_assert(message.size() <= most_message_bytes);
  std::uint8_t* const info = message.data() + most_hash_bytes;
  std::uint8_t* end = info;
  if (good) {
    *end++ = static_cast<std::uint8_t>(out.size() >> 8);
    *end++ = static_cast<std::uint8_t>(out.size() & 0xff);
    *end++ = static_cast<std::uint8_t>(prefix.size() + label.size());
    end = std::copy(prefix.begin(), prefix.end(), end);
    end = std::copy(label.begin(), label.end(), end);
    *end++ = static_cast<std::uint8_t>(context.size());
    end = std::copy(context.begin(), context.end(), end);
    *end++ = 0;
  }
  std::array<std::uint8_t, most_hash_bytes> block;
  std::uint8_t* const previous = info - hash_bytes_;
  const std::uint8_t* begin = info;
  for (std::size_t done = 0; good && done < out.size();) {
    ++end[-1];
    good = hmac(secret, {begin, end}, block.data());
    if (!good) break;
    const std::size_t taken = std::min(hash_bytes_, out.size() - done);
    std::memcpy(out.data() + done, block.data(), taken);
    std::memcpy(previous, block.data(), hash_bytes_);
    begin = previous;
    done += taken;
  }
  OPENSSL_cleanse(block.data(), block.size());
  OPENSSL_cleanse(previous, hash_bytes_);
  if (!good) OPENSSL_cleanse(out.data(), out.size());
  return good;
}

}  // namespace kubelane::tls
