// Signatures in the compact form, held against OpenSSL and the parts of their text.
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ecdsa.h>

#include "tls/base64.hpp"
#include "tls/jws.hpp"
#include "tls/key.hpp"

namespace kubelane::tls {
namespace {

std::string from_base64url(std::string text) {
  for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
  text.append((4 - text.size() % 4) % 4, '=');
  return from_base64(text).value_or("not base64");
}

std::vector<std::string> parts_of(const std::string& compact) {
  std::vector<std::string> parts(1);
  for (const char c : compact) c == '.' ? parts.emplace_back() : parts.back().append(1, c);
  return parts;
}

bool verifies(EVP_PKEY* key, const std::string& text, const std::string& signature) {
  const std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  const EVP_MD* digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  return EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                          signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                          text.size()) == 1;
}

std::string der_of(const std::string& raw) {
  const std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>> pair(ECDSA_SIG_new());
  const auto* bytes = reinterpret_cast<const unsigned char*>(raw.data());
  ECDSA_SIG_set0(pair.get(), BN_bin2bn(bytes, 32, nullptr), BN_bin2bn(bytes + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int length = i2d_ECDSA_SIG(pair.get(), &der);
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return out;
}

TEST(Jws, each_kind_of_key_signs_exactly_the_payload) {
  const std::string payload = "{\"nonce\":\"\xc3\xbc~?>\"}\n";
  struct Kind {
    const char* algorithm;
    KeyPtr key;
    std::size_t signature_bytes;
  };
  Kind kinds[] = {
      {"EdDSA", make_ed25519_key(), 64}, {"ES256", make_key(), 64}, {"RS256", make_rsa_key(), 256}};
  for (Kind& kind : kinds) {
    // A leading zero in r or s is rare: 64 bytes must come out each time.
    for (int i = 0; i < (kind.signature_bytes == 64 ? 300 : 1); ++i) {
      const std::string compact = sign_jws(kind.key.get(), payload);
      const auto parts = parts_of(compact);
      ASSERT_EQ(parts.size(), 3u) << compact;
      EXPECT_EQ(from_base64url(parts[0]),
                std::string("{\"alg\":\"") + kind.algorithm + "\",\"typ\":\"JWT\"}");
      EXPECT_EQ(from_base64url(parts[1]), payload);
      std::string signature = from_base64url(parts[2]);
      ASSERT_EQ(signature.size(), kind.signature_bytes);
      if (std::string(kind.algorithm) == "ES256") signature = der_of(signature);
      ASSERT_TRUE(verifies(kind.key.get(), parts[0] + "." + parts[1], signature));
      EXPECT_FALSE(verifies(kind.key.get(), parts[0] + "." + parts[1] + "A", signature));
    }
  }
}

TEST(Jws, other_keys_sign_nothing) {
  const KeyPtr p384(EVP_EC_gen("P-384"));
  EXPECT_EQ(sign_jws(p384.get(), "x"), "");
  const KeyPtr x25519(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"));
  EXPECT_EQ(sign_jws(x25519.get(), "x"), "");
}

TEST(Jws, the_alphabet_is_that_of_urls) {
  EXPECT_EQ(base64url("\xfb\xff\xfe"), "-__-");
  EXPECT_EQ(base64url("\xfb"), "-w");
  EXPECT_EQ(base64url(""), "");
}

}  // namespace
}  // namespace kubelane::tls
