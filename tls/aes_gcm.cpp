#include "tls/aes_gcm.hpp"

#include <cstring>
#include <vector>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#if defined(KUBELANE_VAES_GCM)
#include <cpuid.h>
#define NO_COMPAT_IMB_API_053  // old names of the library that collide with OpenSSL's
#include <intel-ipsec-mb.h>

// The library's entry points for these instructions. Its public way to them is a manager object
// that references each algorithm it has: 12 MB of code for six functions. CMake checks that they
// link, has_vaes() that they do what they should.
extern "C" {
void aes_gcm_pre_128_vaes_avx512(const void*, gcm_key_data*);
void aes_gcm_init_128_vaes_avx512(const gcm_key_data*, gcm_context_data*, const std::uint8_t*,
                                  const std::uint8_t*, std::uint64_t);
void aes_gcm_enc_128_update_vaes_avx512(const gcm_key_data*, gcm_context_data*, std::uint8_t*,
                                        const std::uint8_t*, std::uint64_t);
void aes_gcm_dec_128_update_vaes_avx512(const gcm_key_data*, gcm_context_data*, std::uint8_t*,
                                        const std::uint8_t*, std::uint64_t);
void aes_gcm_enc_128_finalize_vaes_avx512(const gcm_key_data*, gcm_context_data*, std::uint8_t*,
                                          std::uint64_t);
void aes_gcm_dec_128_finalize_vaes_avx512(const gcm_key_data*, gcm_context_data*, std::uint8_t*,
                                          std::uint64_t);
}
#endif

namespace kubelane::tls {
namespace {

using Tag = std::array<std::uint8_t, AesGcm::tag_bytes>;

const std::uint8_t* octets(const char* bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes);
}
std::uint8_t* octets(char* bytes) { return reinterpret_cast<std::uint8_t*>(bytes); }

const EVP_CIPHER* openssl_cipher() {
  static const std::unique_ptr<EVP_CIPHER, Deleter<EVP_CIPHER_free>> cipher(
      EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr));
  return cipher.get();
}

}  // namespace

#if defined(KUBELANE_VAES_GCM)

struct VaesKey {
  gcm_key_data expanded{};
  ~VaesKey() { OPENSSL_cleanse(&expanded, sizeof expanded); }
};

namespace {

// __builtin_cpu_supports knows whether the system saves these registers, but not every compiler's
// knows VAES by name: bits 9 and 10 of leaf 7.
bool cpu_has_vaes() {
  constexpr unsigned vaes_and_vpclmulqdq = 3u << 9;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (c & vaes_and_vpclmulqdq) == vaes_and_vpclmulqdq;
}

void seal_by_vaes(const VaesKey& key, const AesGcm::Nonce& nonce, const char* header,
                  const char* text, std::size_t length, std::uint8_t last, char* out) noexcept {
  gcm_context_data state;
  aes_gcm_init_128_vaes_avx512(&key.expanded, &state, nonce.data(), octets(header),
                               AesGcm::header_bytes);
  if (length > 0)
    aes_gcm_enc_128_update_vaes_avx512(&key.expanded, &state, octets(out), octets(text), length);
  aes_gcm_enc_128_update_vaes_avx512(&key.expanded, &state, octets(out) + length, &last, 1);
  aes_gcm_enc_128_finalize_vaes_avx512(&key.expanded, &state, octets(out) + length + 1,
                                       AesGcm::tag_bytes);
}

bool open_by_vaes(const VaesKey& key, const AesGcm::Nonce& nonce, const char* header,
                  const char* sealed, std::size_t length, char* out) noexcept {
  gcm_context_data state;
  Tag tag;
  Tag expected;
  std::memcpy(expected.data(), sealed + length, tag.size());
  aes_gcm_init_128_vaes_avx512(&key.expanded, &state, nonce.data(), octets(header),
                               AesGcm::header_bytes);
  if (length > 0)
    aes_gcm_dec_128_update_vaes_avx512(&key.expanded, &state, octets(out), octets(sealed), length);
  aes_gcm_dec_128_finalize_vaes_avx512(&key.expanded, &state, tag.data(), tag.size());
  return CRYPTO_memcmp(tag.data(), expected.data(), tag.size()) == 0;
}

bool agrees_with_openssl() {
  AesGcm::Key key;
  AesGcm::Nonce nonce;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(7 * i + 1);
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::uint8_t>(11 * i + 3);
  AesGcm reference;
  if (!reference.set_key(key, true, AesGcm::Engine::openssl)) return false;
  VaesKey ours;
  aes_gcm_pre_128_vaes_avx512(key.data(), &ours.expanded);
  constexpr const char* header = "\x17\x03\x03\x01\x02";
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{15},
                                   std::size_t{300}, std::size_t{1100}, std::size_t{16384}}) {
    std::vector<char> text(length + 1);
    for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(i * 31 + 5);
    std::vector<char> expected(length + 1 + AesGcm::tag_bytes);
    std::vector<char> sealed(expected.size());
    if (!reference.seal(nonce, header, text.data(), length, 0x17, expected.data())) return false;
    seal_by_vaes(ours, nonce, header, text.data(), length, 0x17, sealed.data());
    if (sealed != expected) return false;
    std::vector<char> opened(length + 1);
    if (!open_by_vaes(ours, nonce, header, sealed.data(), length + 1, opened.data())) return false;
    text[length] = 0x17;
    if (opened != text) return false;
  }
  return true;
}

}  // namespace

bool AesGcm::has_vaes() {
  static const bool answer =
      OpenSSL_version_num() < 0x30100000L && cpu_has_vaes() && agrees_with_openssl();
  return answer;
}

#else

struct VaesKey {};

bool AesGcm::has_vaes() { return false; }

#endif

AesGcm::AesGcm() noexcept = default;
AesGcm::AesGcm(AesGcm&&) noexcept = default;
AesGcm& AesGcm::operator=(AesGcm&&) noexcept = default;
AesGcm::~AesGcm() = default;

bool AesGcm::set_key(const Key& key, bool seals, Engine engine) {
#if defined(KUBELANE_VAES_GCM)
  if (engine == Engine::best && has_vaes()) {
    if (!vaes_) vaes_ = std::make_unique<VaesKey>();
    aes_gcm_pre_128_vaes_avx512(key.data(), &vaes_->expanded);
    return true;
  }
#else
  static_cast<void>(engine);
#endif
  if (!context_) context_.reset(EVP_CIPHER_CTX_new());
  return context_ && EVP_CipherInit_ex(context_.get(), openssl_cipher(), nullptr, key.data(),
                                       nullptr, seals ? 1 : 0) == 1;
}

bool AesGcm::seal(const Nonce& nonce, const char* header, const char* text, std::size_t length,
                  std::uint8_t last, char* out) noexcept {
#if defined(KUBELANE_VAES_GCM)
  if (vaes_) {
    seal_by_vaes(*vaes_, nonce, header, text, length, last, out);
    return true;
  }
#endif
  EVP_CIPHER_CTX* const context = context_.get();
  int got = 0;
  return EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce.data(), -1) == 1 &&
         EVP_CipherUpdate(context, nullptr, &got, octets(header), header_bytes) == 1 &&
         (length == 0 || EVP_CipherUpdate(context, octets(out), &got, octets(text),
                                          static_cast<int>(length)) == 1) &&
         EVP_CipherUpdate(context, octets(out) + length, &got, &last, 1) == 1 &&
         EVP_CipherFinal_ex(context, octets(out) + length + 1, &got) == 1 &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, tag_bytes, out + length + 1) == 1;
}

bool AesGcm::open(const Nonce& nonce, const char* header, const char* sealed, std::size_t length,
                  char* out) noexcept {
  if (length < tag_bytes) return false;
  length -= tag_bytes;
  bool genuine = false;
#if defined(KUBELANE_VAES_GCM)
  if (vaes_) genuine = open_by_vaes(*vaes_, nonce, header, sealed, length, out);
#endif
  if (!vaes_) {
    EVP_CIPHER_CTX* const context = context_.get();
    Tag tag;
    std::memcpy(tag.data(), sealed + length, tag.size());
    int got = 0;
    genuine = EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce.data(), -1) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, tag_bytes, tag.data()) == 1 &&
              EVP_CipherUpdate(context, nullptr, &got, octets(header), header_bytes) == 1 &&
              (length == 0 || EVP_CipherUpdate(context, octets(out), &got, octets(sealed),
                                               static_cast<int>(length)) == 1) &&
              EVP_CipherFinal_ex(context, octets(out) + length, &got) == 1;
  }
  if (!genuine) OPENSSL_cleanse(out, length);
  return genuine;
}

}  // namespace kubelane::tls
