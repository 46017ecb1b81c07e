// Private keys: made, read from PEM, written as PEM, wiped.
#pragma once

#include <string>
#include <string_view>

#include "config/result.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {

// A new P-256 key; null when OpenSSL has no randomness or memory. The others likewise; RSA takes a
// noticeable part of a second.
KeyPtr make_key();
KeyPtr make_rsa_key();  // 2048 bits
KeyPtr make_ed25519_key();

// RSA, EC or Ed25519 from a block labelled PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY
// (data-path spec 1.4). Failure{Code::io} otherwise, with a message that fits after "the private
// key"; an encrypted key is one, and nobody is asked for its password.
Outcome<KeyPtr> parse_key(std::string_view pem);

// PKCS#8, not encrypted: wipe() it after use. Empty when out of memory.
std::string key_pem(EVP_PKEY* key);
// As tbot stores it: RSA as PKCS#1, others as PKCS#8 (control-plane spec 7). The same.
std::string stored_key_pem(EVP_PKEY* key);

// Overwrites the bytes, then empties the text.
void wipe(std::string& text) noexcept;

}  // namespace kubelane::tls
