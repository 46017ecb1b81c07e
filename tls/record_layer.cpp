#include "tls/record_layer.hpp"

#include <cstring>

#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace kubelane::tls {
namespace {

using Secret = RecordLayer::Secret;

constexpr std::size_t hash_bytes = 32;
constexpr std::size_t block_bytes = 64;
constexpr std::uint8_t legacy_version[] = {3, 3};

const EVP_MD* sha256() {
  static const std::unique_ptr<EVP_MD, Deleter<EVP_MD_free>> digest(
      EVP_MD_fetch(nullptr, "SHA256", nullptr));
  return digest.get();
}

// HKDF-Expand-Label with an empty context (section 7.1). One block of output is enough for all
// labels here, so the expansion is a single HMAC (RFC 2104) over the label and the counter.
bool expand_label(const Secret& secret, std::string_view label, std::uint8_t* out,
                  std::size_t length) {
  constexpr std::string_view prefix = "tls13 ";
  std::array<std::uint8_t, block_bytes + 64> inner{};
  std::array<std::uint8_t, block_bytes + hash_bytes> outer{};
  std::memcpy(inner.data(), secret.data(), secret.size());
  std::memcpy(outer.data(), secret.data(), secret.size());
  for (std::size_t i = 0; i < block_bytes; ++i) {
    inner[i] ^= 0x36;
    outer[i] ^= 0x5c;
  }
  std::size_t at = block_bytes;
  inner[at++] = 0;
  inner[at++] = static_cast<std::uint8_t>(length);
  inner[at++] = static_cast<std::uint8_t>(prefix.size() + label.size());
  for (const std::string_view part : {prefix, label}) {
    std::memcpy(inner.data() + at, part.data(), part.size());
    at += part.size();
  }
  inner[at++] = 0;  // context
  inner[at++] = 1;  // counter
  std::array<std::uint8_t, hash_bytes> hash;
  unsigned size = 0;
  const bool good =
      EVP_Digest(inner.data(), at, outer.data() + block_bytes, &size, sha256(), nullptr) == 1 &&
      EVP_Digest(outer.data(), outer.size(), hash.data(), &size, sha256(), nullptr) == 1;
  if (good) std::memcpy(out, hash.data(), length);
  OPENSSL_cleanse(inner.data(), inner.size());
  OPENSSL_cleanse(outer.data(), outer.size());
  OPENSSL_cleanse(hash.data(), hash.size());
  return good;
}

}  // namespace

std::unique_ptr<RecordLayer> RecordLayer::make(const Secret& read, const Secret& write,
                                               std::uint64_t records_written,
                                               AesGcm::Engine engine) {
  auto made = std::make_unique<RecordLayer>();
  made->engine_ = engine;
  made->read_.secret = read;
  made->write_.secret = write;
  if (!made->derive(made->read_, false) || !made->derive(made->write_, true)) return nullptr;
  made->write_.sequence = records_written;
  return made;
}

RecordLayer::~RecordLayer() {
  for (Direction* direction : {&read_, &write_}) {
    OPENSSL_cleanse(direction->secret.data(), direction->secret.size());
    OPENSSL_cleanse(direction->iv.data(), direction->iv.size());
  }
}

bool RecordLayer::derive(Direction& direction, bool seals) {
  AesGcm::Key key;
  const bool good =
      expand_label(direction.secret, "key", key.data(), key.size()) &&
      expand_label(direction.secret, "iv", direction.iv.data(), direction.iv.size()) &&
      direction.cipher.set_key(key, seals, engine_);
  OPENSSL_cleanse(key.data(), key.size());
  direction.sequence = 0;
  return good;
}

bool RecordLayer::next_key(Direction& direction, bool seals) {
  Secret next;
  const bool good = expand_label(direction.secret, "traffic upd", next.data(), next.size());
  direction.secret = next;
  OPENSSL_cleanse(next.data(), next.size());
  return good && derive(direction, seals);
}

AesGcm::Nonce RecordLayer::nonce(const Direction& direction) noexcept {
  AesGcm::Nonce nonce = direction.iv;
  std::uint64_t sequence = direction.sequence;
  for (std::size_t i = nonce.size(); i-- > nonce.size() - sizeof sequence; sequence >>= 8)
    nonce[i] ^= static_cast<std::uint8_t>(sequence & 0xff);
  return nonce;
}

std::size_t RecordLayer::record_bytes(std::string_view bytes) noexcept {
  if (bytes.size() < header_bytes) return 0;
  const auto byte = [bytes](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i]));
  };
  return header_bytes + (byte(3) << 8 | byte(4));
}

std::size_t RecordLayer::seal(Type type, std::string_view text, char* out) noexcept {
  const std::size_t sealed = text.size() + 1 + AesGcm::tag_bytes;
  out[0] = static_cast<char>(Type::application);
  std::memcpy(out + 1, legacy_version, sizeof legacy_version);
  out[3] = static_cast<char>(sealed >> 8);
  out[4] = static_cast<char>(sealed & 0xff);
  if (!write_.cipher.seal(nonce(write_), out, text.data(), text.size(),
                          static_cast<std::uint8_t>(type), out + header_bytes))
    return 0;
  ++write_.sequence;
  return header_bytes + sealed;
}

RecordLayer::Opened RecordLayer::open(std::string_view record, char* out) noexcept {
  Opened opened;
  if (record.size() > most_record_bytes) {
    opened.alert = Alert::record_overflow;
    return opened;
  }
  // The version must be ignored (section 5.1); nothing but protected records may come now.
  if (record[0] != static_cast<char>(Type::application) ||
      record.size() < header_bytes + 1 + AesGcm::tag_bytes) {
    opened.alert = Alert::unexpected_message;
    return opened;
  }
  if (!read_.cipher.open(nonce(read_), record.data(), record.data() + header_bytes,
                         record.size() - header_bytes, out))
    return opened;
  ++read_.sequence;
  std::size_t length = record.size() - header_bytes - AesGcm::tag_bytes;
  // The type is the last byte that is not zero: padding stands behind it.
  while (length > 0 && out[length - 1] == 0) --length;
  if (length == 0) {
    opened.alert = Alert::unexpected_message;
    return opened;
  }
  const auto type = static_cast<std::uint8_t>(out[--length]);
  if (length > most_text_bytes) {
    opened.alert = Alert::record_overflow;
    return opened;
  }
  if (type < static_cast<std::uint8_t>(Type::alert) ||
      type > static_cast<std::uint8_t>(Type::application)) {
    opened.alert = Alert::unexpected_message;
    return opened;
  }
  opened.good = true;
  opened.type = static_cast<Type>(type);
  opened.bytes = length;
  return opened;
}

}  // namespace kubelane::tls
