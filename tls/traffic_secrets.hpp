// The traffic secrets of a TLS 1.3 connection, on their way from OpenSSL, which makes the
// handshake, to our record layer: taken with OpenSSL's key log callback, the only public door to
// them. They are never written anywhere.
#pragma once

#include "tls/openssl.hpp"
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

  // Makes connections of `context` fill what they were given by attach(). Once per context, before
  // it is shared.
  static void enable(SSL_CTX* context);
  // `secrets` must outlive the connection or be detached with nullptr.
  static void attach(SSL* ssl, TrafficSecrets* secrets);

 private:
  static void on_line(const SSL* ssl, const char* line);

  RecordLayer::Secret client_{};
  RecordLayer::Secret server_{};
  bool has_client_ = false;
  bool has_server_ = false;
};

}  // namespace kubelane::tls
