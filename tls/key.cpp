#include "tls/key.hpp"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "tls/free_lists.hpp"
#include "tls/pem.hpp"

namespace kubelane::tls {

KeyPtr make_key() {
  const WipeFreed wiper;
  return KeyPtr(EVP_EC_gen("P-256"));
}
KeyPtr make_rsa_key() {
  const WipeFreed wiper;
  return KeyPtr(EVP_RSA_gen(2048));
}
KeyPtr make_ed25519_key() {
  const WipeFreed wiper;
  return KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
}

Outcome<KeyPtr> parse_key(std::string_view pem) {
  const std::string_view label = pem_label(pem);
  if (label == "ENCRYPTED PRIVATE KEY" || pem.find("Proc-Type:") != std::string_view::npos)
    return Failure{Code::io, "is encrypted, which tbot's never is"};
  if (label != "PRIVATE KEY" && label != "RSA PRIVATE KEY" && label != "EC PRIVATE KEY")
    return Failure{Code::io, "has a format that tbot does not write"};
  const WipeFreed wiper;
  std::string lines = trim_lines(pem);
  KeyPtr key(PEM_read_bio_PrivateKey(memory_bio(lines).get(), nullptr, refuse_password, nullptr));
  wipe(lines);
  drain_errors();
  if (!key) return Failure{Code::io, "cannot be read"};
  switch (EVP_PKEY_get_base_id(key.get())) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_EC:
    case EVP_PKEY_ED25519:
      return key;
    default:
      return Failure{Code::io, "is neither RSA, nor EC, nor Ed25519"};
  }
}

std::string stored_key_pem(EVP_PKEY* key) {
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) return key_pem(key);
  const WipeFreed wiper;
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PrivateKey_traditional(bio.get(), key, nullptr, nullptr, 0, nullptr,
                                                   nullptr) != 1)
    return {};
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

std::string key_pem(EVP_PKEY* key) {
  const WipeFreed wiper;
  const BioPtr bio(BIO_new(BIO_s_secmem()));  // wipes its copy
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return {};
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

void wipe(std::string& text) noexcept {
  if (!text.empty()) OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

}  // namespace kubelane::tls
