#include "tls/public_key.hpp"

#include <cstdint>
#include <vector>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>

#include "tls/base64.hpp"

namespace kubelane::tls {
namespace {

using NumberPtr = std::unique_ptr<BIGNUM, Deleter<BN_free>>;

void add_uint32(std::string& out, std::size_t value) {
  for (const unsigned shift : {24u, 16u, 8u, 0u})
    out += static_cast<char>((value >> shift) & 0xffu);
}

void add_string(std::string& out, std::string_view text) {
  add_uint32(out, text.size());
  out += text;
}

// RFC 4251 section 5: big endian, with a zero byte before a set sign bit.
bool add_mpint(std::string& out, EVP_PKEY* key, const char* parameter) {
  BIGNUM* raw = nullptr;
  if (EVP_PKEY_get_bn_param(key, parameter, &raw) != 1) return false;
  const NumberPtr number(raw);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  if (!bytes.empty() && (static_cast<unsigned char>(bytes.front()) & 0x80u) != 0)
    bytes.insert(bytes.begin(), '\0');
  add_string(out, bytes);
  return true;
}

std::string_view ssh_name(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
      return "ssh-rsa";
    case EVP_PKEY_EC:
      return "ecdsa-sha2-nistp256";
    case EVP_PKEY_ED25519:
      return "ssh-ed25519";
    default:
      return {};
  }
}

// The point without compression: 0x04, X, Y.
std::string p256_point(EVP_PKEY* key) {
  char group[32];
  std::size_t group_bytes = 0;
  if (EVP_PKEY_get_group_name(key, group, sizeof group, &group_bytes) != 1 ||
      std::string_view(group, group_bytes) != "prime256v1")
    return {};
  std::string point = "\x04";
  for (const char* parameter : {OSSL_PKEY_PARAM_EC_PUB_X, OSSL_PKEY_PARAM_EC_PUB_Y}) {
    BIGNUM* raw = nullptr;
    if (EVP_PKEY_get_bn_param(key, parameter, &raw) != 1) return {};
    const NumberPtr number(raw);
    unsigned char bytes[32];
    if (BN_bn2binpad(number.get(), bytes, sizeof bytes) != sizeof bytes) return {};
    point.append(reinterpret_cast<const char*>(bytes), sizeof bytes);
  }
  return point;
}

}  // namespace

std::string public_key_pem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key) != 1) return {};
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

std::string public_key_der(EVP_PKEY* key) {
  unsigned char* bytes = nullptr;
  const int length = i2d_PUBKEY(key, &bytes);
  if (length <= 0) return {};
  std::string out(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(length));
  OPENSSL_free(bytes);
  return out;
}

std::string ssh_public_blob(EVP_PKEY* key) {
  std::string blob;
  add_string(blob, ssh_name(key));
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
      if (!add_mpint(blob, key, OSSL_PKEY_PARAM_RSA_E) ||
          !add_mpint(blob, key, OSSL_PKEY_PARAM_RSA_N))
        return {};
      return blob;
    case EVP_PKEY_EC: {
      const std::string point = p256_point(key);
      if (point.empty()) return {};
      add_string(blob, "nistp256");
      add_string(blob, point);
      return blob;
    }
    case EVP_PKEY_ED25519: {
      std::string raw(32, '\0');
      std::size_t length = raw.size();
      if (EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(raw.data()), &length) !=
              1 ||
          length != raw.size())
        return {};
      add_string(blob, raw);
      return blob;
    }
    default:
      return {};
  }
}

std::string ssh_public_line(EVP_PKEY* key) {
  const std::string blob = ssh_public_blob(key);
  if (blob.empty()) return {};
  return std::string(ssh_name(key)) + " " + base64(blob) + "\n";
}

}  // namespace kubelane::tls
