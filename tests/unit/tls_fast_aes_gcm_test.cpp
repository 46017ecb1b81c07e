// The fast AES-GCM beside OpenSSL's own: the same bytes, the same refusals, and TLS between the
// two. On a CPU or build without it, that nothing is offered and TLS goes on with OpenSSL's.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "tests/support/pki.hpp"
#include "tls/fast_aes_gcm.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {
namespace {

using namespace kubelane_test;
using Bytes = std::vector<std::uint8_t>;
using CipherPtr = std::unique_ptr<EVP_CIPHER, Deleter<EVP_CIPHER_free>>;
using CipherContextPtr = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;

constexpr int tag_bytes = 16;

bool offered() {
  static const bool answer = install_fast_aes_gcm();
  return answer;
}

CipherPtr ours() {
  return CipherPtr(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", "provider=kubelane"));
}
CipherPtr theirs() {
  return CipherPtr(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", "provider=default"));
}

Bytes random_bytes(std::size_t length, unsigned seed) {
  std::minstd_rand random(seed + 1);
  Bytes bytes(length);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random() >> 7);
  return bytes;
}

// One message under a context: AAD and text in two pieces each, split at `cut`.
struct Message {
  Bytes key = random_bytes(16, 1);
  Bytes iv = random_bytes(12, 2);
  Bytes aad;
  Bytes text;
  std::size_t cut = 0;
};

bool pass(EVP_CIPHER_CTX* context, const Message& message, const Bytes& in, Bytes& out) {
  out.assign(in.size() + 1, 0);
  int got = 0;
  int total = 0;
  const std::size_t aad_cut = std::min(message.cut, message.aad.size());
  const std::size_t cut = std::min(message.cut, in.size());
  for (const auto& [from, to] : {std::pair{std::size_t{0}, aad_cut}, {aad_cut, message.aad.size()}})
    if (to > from && EVP_CipherUpdate(context, nullptr, &got, message.aad.data() + from,
                                      static_cast<int>(to - from)) != 1)
      return false;
  for (const auto& [from, to] : {std::pair{std::size_t{0}, cut}, {cut, in.size()}}) {
    if (to == from) continue;
    if (EVP_CipherUpdate(context, out.data() + total, &got, in.data() + from,
                         static_cast<int>(to - from)) != 1)
      return false;
    total += got;
  }
  if (EVP_CipherFinal_ex(context, out.data() + total, &got) != 1) return false;
  out.resize(static_cast<std::size_t>(total + got));
  return true;
}

// Ciphertext and tag; empty on failure.
Bytes seal(const EVP_CIPHER* cipher, const Message& message) {
  const CipherContextPtr context(EVP_CIPHER_CTX_new());
  Bytes out;
  Bytes tag(tag_bytes);
  if (EVP_CipherInit_ex(context.get(), cipher, nullptr, message.key.data(), message.iv.data(), 1) !=
          1 ||
      !pass(context.get(), message, message.text, out) ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, tag_bytes, tag.data()) != 1)
    return {};
  out.insert(out.end(), tag.begin(), tag.end());
  return out;
}

bool open(const EVP_CIPHER* cipher, const Message& message, const Bytes& sealed, Bytes& text) {
  const CipherContextPtr context(EVP_CIPHER_CTX_new());
  Bytes in(sealed.begin(), sealed.end() - tag_bytes);
  Bytes tag(sealed.end() - tag_bytes, sealed.end());
  return EVP_CipherInit_ex(context.get(), cipher, nullptr, message.key.data(), message.iv.data(),
                           0) == 1 &&
         EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, tag_bytes, tag.data()) == 1 &&
         pass(context.get(), message, in, text);
}

TEST(FastAesGcm, is_offered_once_it_is_installed_and_only_then) {
  EXPECT_EQ(ours(), nullptr);
  const bool installed = offered();
  EXPECT_EQ(ours() != nullptr, installed);
  ERR_clear_error();
}

TEST(FastAesGcm, seals_as_openssl_does_at_every_length) {
  const bool fast = offered();
  const CipherPtr cipher = fast ? ours() : theirs();
  const CipherPtr reference = theirs();
  std::vector<std::size_t> lengths;
  for (std::size_t length = 1; length <= 800; ++length) lengths.push_back(length);
  for (const std::size_t length : {1024, 4095, 16384, 16385, 70001}) lengths.push_back(length);
  for (const std::size_t length : lengths) {
    Message message;
    message.aad = random_bytes(std::array<std::size_t, 4>{5, 13, 0, 64}[length % 4], 3);
    message.text = random_bytes(length, static_cast<unsigned>(length));
    message.cut = length * 7 % 61;
    const Bytes expected = seal(reference.get(), message);
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(seal(cipher.get(), message), expected) << length;
    Bytes text;
    ASSERT_TRUE(open(cipher.get(), message, expected, text)) << length;
    ASSERT_EQ(text, message.text) << length;
  }
}

TEST(FastAesGcm, refuses_what_was_changed_on_the_way) {
  const bool fast = offered();
  const CipherPtr cipher = fast ? ours() : theirs();
  Message message;
  message.aad = random_bytes(13, 4);
  message.text = random_bytes(333, 5);
  const Bytes sealed = seal(cipher.get(), message);
  Bytes text;
  for (const std::size_t at : {std::size_t{0}, std::size_t{200}, sealed.size() - 1}) {
    Bytes changed = sealed;
    changed[at] ^= 0x10;
    EXPECT_FALSE(open(cipher.get(), message, changed, text)) << at;
  }
  Message other = message;
  other.aad[12] ^= 1;
  EXPECT_FALSE(open(cipher.get(), other, sealed, text));
  EXPECT_TRUE(open(cipher.get(), message, sealed, text));
}

TEST(FastAesGcm, uses_a_nonce_once) {
  if (!offered()) return;  // OpenSSL's own is not ours to test
  const CipherPtr cipher = ours();
  Message message;
  message.text = random_bytes(40, 6);
  const CipherContextPtr context(EVP_CIPHER_CTX_new());
  Bytes out;
  ASSERT_EQ(EVP_CipherInit_ex(context.get(), cipher.get(), nullptr, message.key.data(),
                              message.iv.data(), 1),
            1);
  EXPECT_TRUE(pass(context.get(), message, message.text, out));
  EXPECT_FALSE(pass(context.get(), message, message.text, out));
  ASSERT_EQ(EVP_CipherInit_ex(context.get(), nullptr, nullptr, nullptr, message.iv.data(), -1), 1);
  EXPECT_TRUE(pass(context.get(), message, message.text, out));
  ERR_clear_error();
}

TEST(FastAesGcm, does_not_open_without_a_tag) {
  if (!offered()) return;
  const CipherPtr cipher = ours();
  Message message;
  message.text = random_bytes(40, 7);
  const CipherContextPtr context(EVP_CIPHER_CTX_new());
  Bytes out;
  ASSERT_EQ(EVP_CipherInit_ex(context.get(), cipher.get(), nullptr, message.key.data(),
                              message.iv.data(), 0),
            1);
  EXPECT_FALSE(pass(context.get(), message, message.text, out));
  ERR_clear_error();
}

// ---------------------------------------------------------------- in TLS

// A client and a server joined in memory; one of them asks for the fast cipher, the other does not.
struct TlsPair {
  ContextPtr client_context;
  ContextPtr server_context;
  SslPtr client;
  SslPtr server;

  TlsPair(int version, bool fast_client) {
    client_context.reset(SSL_CTX_new_ex(
        nullptr, fast_client ? fast_aes_gcm_query : "provider=default", TLS_client_method()));
    server_context.reset(SSL_CTX_new_ex(
        nullptr, fast_client ? "provider=default" : fast_aes_gcm_query, TLS_server_method()));
    const Issued leaf = issue_proxy(make_authority("test"), "DNS:localhost");
    require(SSL_CTX_use_certificate(server_context.get(), leaf.certificate.get()) == 1, "leaf");
    require(SSL_CTX_use_PrivateKey(server_context.get(), leaf.key.get()) == 1, "key");
    for (SSL_CTX* context : {client_context.get(), server_context.get()}) {
      SSL_CTX_set_min_proto_version(context, version);
      SSL_CTX_set_max_proto_version(context, version);
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
      SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256");
    }
    client.reset(SSL_new(client_context.get()));
    server.reset(SSL_new(server_context.get()));
    BIO* one = nullptr;
    BIO* two = nullptr;
    require(BIO_new_bio_pair(&one, 1 << 20, &two, 1 << 20) == 1, "BIO pair");
    SSL_set_bio(client.get(), one, one);
    SSL_set_bio(server.get(), two, two);
    SSL_set_connect_state(client.get());
    SSL_set_accept_state(server.get());
    for (int turn = 0; turn < 4; ++turn) {
      SSL_do_handshake(client.get());
      SSL_do_handshake(server.get());
    }
  }

  // What arrives of `bytes`.
  static std::string carry(SSL* from, SSL* to, const std::string& bytes) {
    std::size_t sent = 0;
    if (SSL_write_ex(from, bytes.data(), bytes.size(), &sent) != 1) return {};
    std::string arrived;
    std::array<char, 4000> block;
    std::size_t got = 0;
    while (arrived.size() < bytes.size() && SSL_read_ex(to, block.data(), block.size(), &got) == 1)
      arrived.append(block.data(), got);
    return arrived;
  }
};

class FastAesGcmInTls : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(FastAesGcmInTls, talks_with_openssl) {
  offered();
  const auto [version, fast_client] = GetParam();
  TlsPair pair(version, fast_client);
  ASSERT_TRUE(SSL_is_init_finished(pair.client.get()) && SSL_is_init_finished(pair.server.get()));
  std::minstd_rand random(9);
  for (const std::size_t length : {1, 2, 15, 16, 17, 100, 1000, 16383, 16384, 16385, 300000}) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() >> 7);
    ASSERT_EQ(TlsPair::carry(pair.client.get(), pair.server.get(), bytes), bytes) << length;
    ASSERT_EQ(TlsPair::carry(pair.server.get(), pair.client.get(), bytes), bytes) << length;
    if (version == TLS1_3_VERSION) {
      ASSERT_EQ(SSL_key_update(pair.client.get(), SSL_KEY_UPDATE_REQUESTED), 1);
    }
  }
}

TEST_P(FastAesGcmInTls, refuses_a_changed_record) {
  offered();
  const auto [version, fast_client] = GetParam();
  TlsPair pair(version, fast_client);
  SSL* const fast = fast_client ? pair.client.get() : pair.server.get();
  SSL* const other = fast_client ? pair.server.get() : pair.client.get();
  std::size_t count = 0;
  ASSERT_EQ(SSL_write_ex(other, "a record", 8, &count), 1);
  // Take the record off the wire and give it back with one bit changed.
  std::array<char, 4096> wire;
  const int length = BIO_read(SSL_get_rbio(fast), wire.data(), static_cast<int>(wire.size()));
  ASSERT_GT(length, 8);
  wire[static_cast<std::size_t>(length) - 3] ^= 4;
  ASSERT_EQ(BIO_write(SSL_get_wbio(other), wire.data(), length), length);
  std::array<char, 64> text;
  EXPECT_EQ(SSL_read_ex(fast, text.data(), text.size(), &count), 0);
  EXPECT_EQ(SSL_get_error(fast, 0), SSL_ERROR_SSL);
  ERR_clear_error();
}

INSTANTIATE_TEST_SUITE_P(
    , FastAesGcmInTls,
    testing::Combine(testing::Values(TLS1_2_VERSION, TLS1_3_VERSION), testing::Bool()),
    [](const auto& given) {
      return std::string(std::get<0>(given.param) == TLS1_2_VERSION ? "tls12" : "tls13") +
             (std::get<1>(given.param) ? "_client" : "_server");
    });

}  // namespace
}  // namespace kubelane::tls
