// The public half of a key in the encodings that Teleport asks for (control-plane spec 1.7).
#pragma once

#include <string>

#include "tls/openssl.hpp"

namespace kubelane::tls {

// Each is empty for a kind of key that the encoding does not have, or without memory.
std::string public_key_pem(EVP_PKEY* key);   // PKIX, PUBLIC KEY
std::string public_key_der(EVP_PKEY* key);   // PKIX
std::string ssh_public_blob(EVP_PKEY* key);  // RFC 4253 section 6.6: RSA, P-256, Ed25519
std::string ssh_public_line(EVP_PKEY* key);  // authorized_keys, newline at the end

}  // namespace kubelane::tls
