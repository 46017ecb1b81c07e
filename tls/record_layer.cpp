#include "tls/record_layer.hpp"

#include <cstring>

#include <openssl/crypto.h>

#include "tls/hkdf.hpp"

namespace kubelane::tls {
namespace {

using Secret = RecordLayer::Secret;

constexpr std::uint8_t legacy_version[] = {3, 3};

bool expand_label(const Secret& secret, std::string_view label, std::span<std::uint8_t> out) {
  return Hkdf::sha256().expand_label(secret, Hkdf::tls13_prefix, label, {}, out);
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
  const bool good = expand_label(direction.secret, "key", key) &&
                    expand_label(direction.secret, "iv", direction.iv) &&
                    direction.cipher.set_key(key, seals, engine_);
  OPENSSL_cleanse(key.data(), key.size());
  direction.sequence = 0;
  return good;
}

bool RecordLayer::next_key(Direction& direction, bool seals) {
  Secret next;
  const bool good = expand_label(direction.secret, "traffic upd", next);
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
