// JSON Web Signatures, compact form (RFC 7515, 7517, 7518): making and really verifying them.
// Knows ES256, RS256 and EdDSA.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "tests/lab/pki.hpp"

namespace lab {

// A compact JWS over exactly these payload bytes; "alg" by the kind of key.
std::string sign_jws(const KeyPtr& key, std::string_view payload, const std::string& key_id = {});

// The public half as a JWK with "alg" and "use", and a set of one.
boost::json::object public_jwk(const KeyPtr& key, const std::string& key_id);
std::string jwks(const KeyPtr& key, const std::string& key_id);

struct Jws {
  boost::json::object header;
  std::string payload;
};
// The parts of a compact JWS whose signature is right; nothing otherwise, or when "alg" does not
// suit the key.
std::optional<Jws> verify_jws(const KeyPtr& key, std::string_view compact);
// The same with the key of the set that has the header's "kid"; without a "kid" every key is tried.
std::optional<Jws> verify_jws(const std::string& key_set, std::string_view compact);

}  // namespace lab
