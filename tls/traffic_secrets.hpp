// The traffic secrets of a TLS 1.3 connection, on their way from the key schedule of OpenSSL's
// handshake (key_schedule.hpp) to our record layer. They are never written anywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tls/record_layer.hpp"

namespace kubelane::tls {

// Owns: the secrets, cleansed at the end. Thread: its connection's. Lives as long as the handshake.
class TrafficSecrets {
 public:
  TrafficSecrets() = default;
  ~TrafficSecrets();
  TrafficSecrets(const TrafficSecrets&) = delete;
  TrafficSecrets& operator=(const TrafficSecrets&) = delete;

  // Both known: the handshake got that far, with a suite of SHA-256.
  bool complete() const noexcept { return has_client_ && has_server_; }
  const RecordLayer::Secret& client() const noexcept { return client_; }
  const RecordLayer::Secret& server() const noexcept { return server_; }

  // While one lives, what this thread derives is kept in `secrets`: to be put around the calls of
  // OpenSSL that make one connection's handshake. They do not nest.
  class Taking {
   public:
    explicit Taking(TrafficSecrets& secrets) noexcept { taker() = &secrets; }
    ~Taking() { taker() = nullptr; }
    Taking(const Taking&) = delete;
    Taking& operator=(const Taking&) = delete;
  };

  // From the key schedule: a secret and its label in RFC 8446, section 7.1.
  static void derived(std::string_view label, std::span<const std::uint8_t> secret) noexcept;

 private:
  static TrafficSecrets*& taker() noexcept;

  RecordLayer::Secret client_{};
  RecordLayer::Secret server_{};
  bool has_client_ = false;
  bool has_server_ = false;
};

}  // namespace kubelane::tls
