// JSON Web Signatures in the compact form (RFC 7515): signing only.
#pragma once

#include <string>
#include <string_view>

#include "tls/openssl.hpp"

namespace kubelane::tls {

// The compact JWS over exactly these bytes: EdDSA, ES256 or RS256 by the kind of key (RFC 7518 3.1,
// RFC 8037 3.1), header {"alg":…,"typ":"JWT"}. Empty for another kind of key or curve.
std::string sign_jws(EVP_PKEY* key, std::string_view payload);

}  // namespace kubelane::tls
