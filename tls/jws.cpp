#include "tls/jws.hpp"

#include <memory>

#include <openssl/ecdsa.h>

#include "tls/base64.hpp"

namespace kubelane::tls {
namespace {

using DigestPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using EcSignaturePtr = std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>>;

std::string_view algorithm(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
      return "EdDSA";
    case EVP_PKEY_EC: {
      char group[32];
      std::size_t length = 0;
      const bool known = EVP_PKEY_get_group_name(key, group, sizeof group, &length) == 1;
      return known && std::string_view(group, length) == "prime256v1" ? "ES256" : "";
    }
    case EVP_PKEY_RSA:
      return "RS256";
    default:
      return {};
  }
}

// As OpenSSL writes it: DER for EC.
std::string signature_over(EVP_PKEY* key, std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const EVP_MD* digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  const DigestPtr context(EVP_MD_CTX_new());
  std::size_t length = 0;
  if (!context || EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &length, bytes, text.size()) != 1)
    return {};
  std::string out(length, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length, bytes,
                     text.size()) != 1)
    return {};
  out.resize(length);
  return out;
}

// RFC 7518 section 3.4: r and s side by side, 32 bytes each.
std::string side_by_side(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const EcSignaturePtr pair(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  unsigned char raw[64];
  if (!pair || BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), raw, 32) != 32 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), raw + 32, 32) != 32)
    return {};
  return {reinterpret_cast<const char*>(raw), sizeof raw};
}

}  // namespace

std::string sign_jws(EVP_PKEY* key, std::string_view payload) {
  const std::string_view alg = algorithm(key);
  if (alg.empty()) return {};
  std::string out = base64url(std::string(R"({"alg":")").append(alg).append(R"(","typ":"JWT"})"));
  out.append(".").append(base64url(payload));
  std::string signature = signature_over(key, out);
  if (alg == "ES256" && !signature.empty()) signature = side_by_side(signature);
  if (signature.empty()) {
    drain_errors();
    return {};
  }
  return out.append(".").append(base64url(signature));
}

}  // namespace kubelane::tls
