// TLS 1.3 records after the handshake (RFC 8446 section 5), for AES-128-GCM: OpenSSL makes the
// handshake, this moves the bytes. Sealing goes from the caller's buffer straight into the send
// buffer and opening from the receive buffer straight into the caller's: OpenSSL's own record layer
// copies each byte once more per side and costs 1 µs per record before the first byte. No I/O here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "tls/aes_gcm.hpp"

namespace kubelane::tls {

// Owns: both directions' keys, cleansed at the end. Thread: its connection's.
class RecordLayer {
 public:
  static constexpr std::size_t header_bytes = AesGcm::header_bytes;
  static constexpr std::size_t most_text_bytes = 16384;
  // What a record has beyond its text: header, content type, tag.
  static constexpr std::size_t overhead_bytes = header_bytes + 1 + AesGcm::tag_bytes;
  static constexpr std::size_t most_record_bytes = header_bytes + most_text_bytes + 256;
  // Keys are renewed long before AES-GCM's limit of 2^24.5 records (section 5.5).
  static constexpr std::uint64_t records_per_key = std::uint64_t{1} << 23;

  using Secret = std::array<std::uint8_t, 32>;  // of a SHA-256 suite
  enum class Type : std::uint8_t { alert = 21, handshake = 22, application = 23 };
  // Alert descriptions (section 6).
  enum class Alert : std::uint8_t {
    close_notify = 0,
    unexpected_message = 10,
    bad_record_mac = 20,
    record_overflow = 22,
    decode_error = 50,
    user_canceled = 90
  };

  // From the first application traffic secrets. `records_written`: how many OpenSSL has sealed with
  // `write` already (tickets). Null when OpenSSL fails.
  static std::unique_ptr<RecordLayer> make(const Secret& read, const Secret& write,
                                           std::uint64_t records_written,
                                           AesGcm::Engine engine = AesGcm::Engine::best);
  RecordLayer() = default;  // without keys: make() gives them
  ~RecordLayer();
  RecordLayer(const RecordLayer&) = delete;
  RecordLayer& operator=(const RecordLayer&) = delete;

  // Length of the record at the front of `bytes`, header included; 0: more bytes are needed to
  // tell. A length that no record may have, and a type that none may have now, is found by open().
  static std::size_t record_bytes(std::string_view bytes) noexcept;

  // Writes one record: text.size() + overhead_bytes. At most most_text_bytes of text. 0: failed.
  std::size_t seal(Type type, std::string_view text, char* out) noexcept;

  struct Opened {
    bool good = false;
    Type type = Type::application;
    std::size_t bytes = 0;                // of text, in `out`
    Alert alert = Alert::bad_record_mac;  // !good: what to tell the peer
  };
  // Opens one whole record. `out` takes record.size() - overhead_bytes + 1 bytes at most, in place
  // (record.data() + header_bytes) or elsewhere.
  Opened open(std::string_view record, char* out) noexcept;

  // The next generation of keys (section 7.2). False when OpenSSL fails.
  bool update_read_key() { return next_key(read_, false); }
  bool update_write_key() { return next_key(write_, true); }
  bool write_key_used_up() const noexcept { return write_.sequence >= records_per_key; }

 private:
  struct Direction {
    Secret secret{};
    AesGcm cipher;
    AesGcm::Nonce iv{};
    std::uint64_t sequence = 0;
  };
  bool derive(Direction& direction, bool seals);
  bool next_key(Direction& direction, bool seals);
  static AesGcm::Nonce nonce(const Direction& direction) noexcept;

  Direction read_;
  Direction write_;
  AesGcm::Engine engine_ = AesGcm::Engine::best;
};

}  // namespace kubelane::tls
