#include "tests/lab/jwt.hpp"

#include <array>
#include <stdexcept>
#include <vector>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/public_key.hpp"

namespace lab {
namespace {

namespace json = boost::json;
using ContextPtr = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

const char* algorithm_of(const KeyPtr& key) {
  switch (EVP_PKEY_get_base_id(key.get())) {
    case EVP_PKEY_EC:
      return "ES256";
    case EVP_PKEY_RSA:
      return "RS256";
    case EVP_PKEY_ED25519:
      return "EdDSA";
    default:
      throw std::runtime_error("lab: a kind of key without JWS algorithm here");
  }
}

const EVP_MD* digest_of(const KeyPtr& key) {
  return EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// ES256 has r and s side by side, 32 bytes each; OpenSSL speaks DER.
std::string raw_from_der(std::string_view der) {
  const unsigned char* at = bytes(der);
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> signature(
      d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())), ECDSA_SIG_free);
  std::array<unsigned char, 64> raw{};
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), raw.data(), 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), raw.data() + 32, 32);
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

std::string der_from_raw(std::string_view raw) {
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> signature(ECDSA_SIG_new(),
                                                                        ECDSA_SIG_free);
  ECDSA_SIG_set0(signature.get(), BN_bin2bn(bytes(raw), 32, nullptr),
                 BN_bin2bn(bytes(raw) + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int length = i2d_ECDSA_SIG(signature.get(), &der);
  std::string text(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return text;
}

std::string number(const KeyPtr& key, const char* name) {
  BIGNUM* value = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), name, &value) != 1) throw std::runtime_error("lab: JWK");
  std::string text(static_cast<std::size_t>(BN_num_bytes(value)), '\0');
  BN_bn2bin(value, reinterpret_cast<unsigned char*>(text.data()));
  BN_free(value);
  return text;
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : "";
}

std::optional<json::object> parsed(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  boost::system::error_code error;
  json::value value = json::parse(*text, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

// SSH's encoding of the same numbers spares a second way to build a key.
KeyPtr key_of(const json::object& jwk) {
  const auto part = [&](std::string_view name) {
    std::string raw = from_base64url(text_of(jwk, name)).value_or("");
    return raw;
  };
  const auto field = [](std::string raw, bool is_number) {
    if (is_number && !raw.empty() && (raw[0] & 0x80) != 0) raw.insert(0, 1, '\0');
    std::string length;
    for (int shift = 24; shift >= 0; shift -= 8) {
      length += static_cast<char>((raw.size() >> shift) & 0xff);
    }
    return length + raw;
  };
  const std::string type = text_of(jwk, "kty");
  std::string wire;
  if (type == "RSA") {
    wire = field("ssh-rsa", false) + field(part("e"), true) + field(part("n"), true);
  } else if (type == "EC" && text_of(jwk, "crv") == "P-256") {
    wire = field("ecdsa-sha2-nistp256", false) + field("nistp256", false) +
           field('\x04' + part("x") + part("y"), false);
  } else if (type == "OKP" && text_of(jwk, "crv") == "Ed25519") {
    wire = field("ssh-ed25519", false) + field(part("x"), false);
  }
  return wire.empty() ? nullptr : ssh::key_from_wire(wire);
}

}  // namespace

std::string sign_jws(const KeyPtr& key, std::string_view payload, const std::string& key_id) {
  json::object header{{"alg", algorithm_of(key)}, {"typ", "JWT"}};
  if (!key_id.empty()) header["kid"] = key_id;
  const std::string input = base64url(json::serialize(header)) + "." + base64url(payload);
  const ContextPtr context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::size_t length = 0;
  if (EVP_DigestSignInit(context.get(), nullptr, digest_of(key), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &length, bytes(input), input.size()) != 1) {
    throw std::runtime_error("lab: JWS");
  }
  std::string signature(length, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &length,
                     bytes(input), input.size()) != 1) {
    throw std::runtime_error("lab: JWS");
  }
  signature.resize(length);
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_EC) signature = raw_from_der(signature);
  return input + "." + base64url(signature);
}

json::object public_jwk(const KeyPtr& key, const std::string& key_id) {
  json::object jwk{{"kid", key_id}, {"alg", algorithm_of(key)}, {"use", "sig"}};
  const std::string wire = ssh::wire_key(key);
  switch (EVP_PKEY_get_base_id(key.get())) {
    case EVP_PKEY_EC: {
      const std::string point = wire.substr(wire.size() - 64);
      jwk["kty"] = "EC";
      jwk["crv"] = "P-256";
      jwk["x"] = base64url(point.substr(0, 32));
      jwk["y"] = base64url(point.substr(32));
      break;
    }
    case EVP_PKEY_RSA:
      jwk["kty"] = "RSA";
      jwk["n"] = base64url(number(key, OSSL_PKEY_PARAM_RSA_N));
      jwk["e"] = base64url(number(key, OSSL_PKEY_PARAM_RSA_E));
      break;
    default:
      jwk["kty"] = "OKP";
      jwk["crv"] = "Ed25519";
      jwk["x"] = base64url(wire.substr(wire.size() - 32));
      break;
  }
  return jwk;
}

std::string jwks(const KeyPtr& key, const std::string& key_id) {
  return json::serialize(json::object{{"keys", json::array{public_jwk(key, key_id)}}});
}

std::optional<Jws> verify_jws(const KeyPtr& key, std::string_view compact) {
  const std::size_t first = compact.find('.');
  const std::size_t second = first == std::string_view::npos ? first : compact.find('.', first + 1);
  if (!key || second == std::string_view::npos) return std::nullopt;
  auto header = parsed(from_base64url(compact.substr(0, first)));
  const auto payload = from_base64url(compact.substr(first + 1, second - first - 1));
  auto signature = from_base64url(compact.substr(second + 1));
  if (!header || !payload || !signature) return std::nullopt;
  if (text_of(*header, "alg") != algorithm_of(key)) return std::nullopt;
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_EC) {
    if (signature->size() != 64) return std::nullopt;
    signature = der_from_raw(*signature);
  }
  const std::string_view input = compact.substr(0, second);
  const ContextPtr context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const bool good =
      EVP_DigestVerifyInit(context.get(), nullptr, digest_of(key), nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytes(*signature), signature->size(), bytes(input),
                       input.size()) == 1;
  if (!good) return std::nullopt;
  return Jws{std::move(*header), *payload};
}

std::optional<Jws> verify_jws(const std::string& key_set, std::string_view compact) {
  const auto set = parsed(key_set);
  const auto header = parsed(from_base64url(compact.substr(0, compact.find('.'))));
  if (!set || !header) return std::nullopt;
  const json::value* keys = set->if_contains("keys");
  if (keys == nullptr || !keys->is_array()) return std::nullopt;
  const std::string wanted = text_of(*header, "kid");
  for (const auto& each : keys->get_array()) {
    if (!each.is_object()) continue;
    const json::object& jwk = each.get_object();
    if (!wanted.empty() && text_of(jwk, "kid") != wanted) continue;
    if (auto good = verify_jws(key_of(jwk), compact)) return good;
  }
  return std::nullopt;
}

}  // namespace lab
