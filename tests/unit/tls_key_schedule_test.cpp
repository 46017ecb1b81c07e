// Our key schedule of TLS 1.3 against OpenSSL's and against what RFC 8448 prints.
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>

#include "tls/hkdf.hpp"
#include "tls/key_schedule.hpp"
#include "tls/openssl.hpp"
#include "tls/traffic_secrets.hpp"

namespace kubelane::tls {
namespace {

using Octets = std::vector<std::uint8_t>;

Octets from_hex(std::string_view hex) {
  Octets bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(
        static_cast<std::uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

Octets some_octets(std::size_t length, std::uint8_t seed) {
  Octets bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::uint8_t>(seed + i * 37);
  return bytes;
}

// A derivation as OpenSSL asks for it.
struct Derivation {
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  std::string digest = "SHA2-256";
  const Octets* key = nullptr;
  const Octets* salt = nullptr;
  const Octets* data = nullptr;
  std::string prefix = "tls13 ";
  std::string label;
  std::size_t length = 32;

  // Empty: refused.
  Octets by(const char* properties) const {
    using Kdf = std::unique_ptr<EVP_KDF, Deleter<EVP_KDF_free>>;
    using Context = std::unique_ptr<EVP_KDF_CTX, Deleter<EVP_KDF_CTX_free>>;
    const Kdf kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_TLS1_3_KDF, properties));
    if (!kdf) return {};
    const Context context(EVP_KDF_CTX_new(kdf.get()));
    int asked = mode;
    std::vector<OSSL_PARAM> params;
    const auto octets = [&params](const char* name, const void* bytes, std::size_t size) {
      params.push_back(OSSL_PARAM_construct_octet_string(name, const_cast<void*>(bytes), size));
    };
    params.push_back(OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &asked));
    params.push_back(OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                      const_cast<char*>(digest.c_str()), 0));
    if (key != nullptr) octets(OSSL_KDF_PARAM_KEY, key->data(), key->size());
    if (salt != nullptr) octets(OSSL_KDF_PARAM_SALT, salt->data(), salt->size());
    octets(OSSL_KDF_PARAM_PREFIX, prefix.data(), prefix.size());
    octets(OSSL_KDF_PARAM_LABEL, label.data(), label.size());
    if (data != nullptr) octets(OSSL_KDF_PARAM_DATA, data->data(), data->size());
    params.push_back(OSSL_PARAM_construct_end());
    Octets out(length);
    const int good = EVP_KDF_derive(context.get(), out.data(), out.size(), params.data());
    ERR_clear_error();
    return good == 1 ? out : Octets();
  }
};

constexpr const char* ours = "provider=kubelane";
constexpr const char* openssl = "provider=default";

class KeySchedule : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(key_schedule_properties(), nullptr); }
};

TEST_F(KeySchedule, leaves_the_default_provider_in_place) {
  EXPECT_EQ(OSSL_PROVIDER_available(nullptr, "default"), 1);
  EXPECT_EQ(OSSL_PROVIDER_available(nullptr, "kubelane"), 1);
}

TEST_F(KeySchedule, expands_as_openssl_does) {
  for (const auto& [digest, hash_bytes] :
       {std::pair<const char*, std::size_t>{"SHA2-256", 32}, {"SHA2-384", 48}}) {
    const Octets secret = some_octets(hash_bytes, 3);
    const Octets transcript = some_octets(hash_bytes, 90);
    for (const char* label : {"key", "iv", "finished", "c ap traffic", "s hs traffic", ""}) {
      for (const Octets* data : {static_cast<const Octets*>(nullptr), &transcript}) {
        for (const std::size_t length : {1, 12, 16, 32, 48, 64, 100, 255}) {
          Derivation asked;
          asked.digest = digest;
          asked.key = &secret;
          asked.data = data;
          asked.label = label;
          asked.length = length;
          const Octets expected = asked.by(openssl);
          ASSERT_EQ(expected.size(), length);
          EXPECT_EQ(asked.by(ours), expected) << digest << ' ' << label << ' ' << length;
        }
      }
    }
  }
}

TEST_F(KeySchedule, goes_from_stage_to_stage_as_openssl_does) {
  for (const auto& [digest, hash_bytes] :
       {std::pair<const char*, std::size_t>{"SHA2-256", 32}, {"SHA2-384", 48}}) {
    const Octets before = some_octets(hash_bytes, 11);
    for (const std::size_t secret_bytes : {32, 48, 66, 133, 512}) {
      const Octets secret = some_octets(secret_bytes, 70);
      for (const Octets* salt : {static_cast<const Octets*>(nullptr), &before}) {
        for (const Octets* key : {static_cast<const Octets*>(nullptr), &secret}) {
          Derivation asked;
          asked.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
          asked.digest = digest;
          asked.salt = salt;
          asked.key = key;
          asked.label = "derived";
          asked.length = hash_bytes;
          const Octets expected = asked.by(openssl);
          ASSERT_EQ(expected.size(), hash_bytes);
          EXPECT_EQ(asked.by(ours), expected);
        }
      }
    }
  }
}

// Section 3 of RFC 8448: a simple handshake.
TEST_F(KeySchedule, derives_what_the_rfc_prints) {
  Derivation early;
  early.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  early.label = "derived";
  const Octets early_secret = early.by(ours);
  EXPECT_EQ(early_secret,
            from_hex("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a"));
  const Octets shared =
      from_hex("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d");
  Derivation handshake = early;
  handshake.salt = &early_secret;
  handshake.key = &shared;
  EXPECT_EQ(handshake.by(ours),
            from_hex("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac"));
}

TEST_F(KeySchedule, refuses_what_tls_does_not_ask_for) {
  const Octets secret = some_octets(32, 1);
  Derivation good;
  good.key = &secret;
  good.label = "key";
  EXPECT_FALSE(good.by(ours).empty());
  Derivation bad = good;
  bad.key = nullptr;
  EXPECT_TRUE(bad.by(ours).empty());
  bad = good;
  bad.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
  EXPECT_TRUE(bad.by(ours).empty());
  bad = good;
  bad.digest = "SHA2-512";
  EXPECT_TRUE(bad.by(ours).empty());
  bad = good;
  bad.label = std::string(250, 'x');
  EXPECT_TRUE(bad.by(ours).empty());
  bad = good;
  bad.length = std::size_t{255} * 32 + 1;
  EXPECT_TRUE(bad.by(ours).empty());
  const Octets long_data = some_octets(256, 9);
  bad = good;
  bad.data = &long_data;
  EXPECT_TRUE(bad.by(ours).empty());
  const Octets long_key = some_octets(65, 9);
  bad = good;
  bad.key = &long_key;
  EXPECT_TRUE(bad.by(ours).empty());
  EXPECT_FALSE(good.by(ours).empty());
}

TEST_F(KeySchedule, every_thread_has_its_own) {
  const Octets secret = some_octets(32, 5);
  Derivation asked;
  asked.key = &secret;
  asked.label = "key";
  asked.length = 16;
  const Octets expected = asked.by(openssl);
  std::vector<std::thread> threads;
  std::array<bool, 4> equal{};
  for (bool& mine : equal) {
    threads.emplace_back([&asked, &expected, &mine] {
      mine = true;
      for (int i = 0; i < 500; ++i) mine = mine && asked.by(ours) == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const bool mine : equal) EXPECT_TRUE(mine);
}

TEST_F(KeySchedule, gives_traffic_secrets_to_whom_they_belong) {
  const Octets secret = some_octets(32, 5);
  const auto derive = [&secret](const char* label, const char* digest = "SHA2-256",
                                std::size_t length = 32) {
    const Octets long_secret = some_octets(48, 5);
    Derivation asked;
    asked.key = length == 32 ? &secret : &long_secret;
    asked.label = label;
    asked.digest = digest;
    asked.length = length;
    return asked.by(ours);
  };
  TrafficSecrets one;
  TrafficSecrets two;
  const Octets client = derive("c ap traffic");  // nobody takes it
  {
    const TrafficSecrets::Taking taking(one);
    derive("c hs traffic");
    derive("exp master");
    derive("c ap traffic", "SHA2-384", 48);  // not our record layer's
    derive("s ap traffic");
    EXPECT_FALSE(one.complete());
    derive("c ap traffic");
    EXPECT_TRUE(one.complete());
  }
  EXPECT_EQ(std::memcmp(one.client().data(), client.data(), client.size()), 0);
  EXPECT_EQ(std::memcmp(one.server().data(), derive("s ap traffic").data(), 32), 0);
  const TrafficSecrets::Taking taking(two);
  derive("c ap traffic");
  EXPECT_FALSE(two.complete());
}

}  // namespace
}  // namespace kubelane::tls
