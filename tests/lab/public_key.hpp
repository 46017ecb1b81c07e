// A client's public key in the encodings that Teleport's requests carry (control-plane spec 1.7).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/lab/pki.hpp"

namespace lab {

// PEM, PKIX or PKCS#1. Null when it is no such thing.
KeyPtr public_key_from_pem(std::string_view pem);
// PKIX DER, nothing behind it.
KeyPtr public_key_from_der(std::string_view der);
std::string public_key_pem(const KeyPtr& key);
std::string public_key_der(const KeyPtr& key);

namespace ssh {

// The binary public key: type, then its numbers, each with a length.
std::string wire_key(const KeyPtr& key);
KeyPtr key_from_wire(std::string_view wire);
// "type base64" with or without a comment; nothing when it is malformed or the types differ.
std::optional<std::string> wire_from_line(std::string_view line);
std::string line_from_wire(std::string_view wire);  // no newline

// What an SSH user certificate says.
struct CertificateSpec {
  std::string key_id;
  std::vector<std::string> principals;
  unsigned long long valid_after = 0;  // seconds since 1970
  unsigned long long valid_before = 0;
};
// The binary certificate for a binary key, signed by an Ed25519 authority.
std::string sign_certificate(const KeyPtr& authority, std::string_view wire,
                             const CertificateSpec& spec);

}  // namespace ssh
}  // namespace lab
