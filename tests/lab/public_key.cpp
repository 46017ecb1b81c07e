#include "tests/lab/public_key.hpp"

#include <array>
#include <stdexcept>

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "tests/lab/base64.hpp"

namespace lab {
namespace {

KeyPtr decode(std::string_view bytes, const char* format) {
  EVP_PKEY* key = nullptr;
  const std::unique_ptr<OSSL_DECODER_CTX, decltype(&OSSL_DECODER_CTX_free)> context(
      OSSL_DECODER_CTX_new_for_pkey(&key, format, nullptr, nullptr, EVP_PKEY_PUBLIC_KEY, nullptr,
                                    nullptr),
      OSSL_DECODER_CTX_free);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t left = bytes.size();
  if (OSSL_DECODER_from_data(context.get(), &data, &left) != 1) return nullptr;
  return {key, EVP_PKEY_free};
}

std::string bignum(const KeyPtr& key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), name, &number) != 1) {
    throw std::runtime_error("lab: no such part of a key");
  }
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
  BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
  BN_free(number);
  return bytes;
}

KeyPtr build(const char* algorithm, const std::vector<std::pair<const char*, std::string>>& numbers,
             const std::vector<std::pair<const char*, std::string>>& octets,
             const char* group = nullptr) {
  const std::unique_ptr<OSSL_PARAM_BLD, decltype(&OSSL_PARAM_BLD_free)> parts(OSSL_PARAM_BLD_new(),
                                                                              OSSL_PARAM_BLD_free);
  std::vector<std::unique_ptr<BIGNUM, decltype(&BN_free)>> held;
  for (const auto& [name, bytes] : numbers) {
    held.emplace_back(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                                static_cast<int>(bytes.size()), nullptr),
                      BN_free);
    OSSL_PARAM_BLD_push_BN(parts.get(), name, held.back().get());
  }
  for (const auto& [name, bytes] : octets) {
    OSSL_PARAM_BLD_push_octet_string(parts.get(), name, bytes.data(), bytes.size());
  }
  if (group != nullptr) {
    OSSL_PARAM_BLD_push_utf8_string(parts.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
  }
  const std::unique_ptr<OSSL_PARAM, decltype(&OSSL_PARAM_free)> parameters(
      OSSL_PARAM_BLD_to_param(parts.get()), OSSL_PARAM_free);
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
      EVP_PKEY_CTX_new_from_name(nullptr, algorithm, nullptr), EVP_PKEY_CTX_free);
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    return nullptr;
  }
  return {key, EVP_PKEY_free};
}

std::string ec_point(const KeyPtr& key) {
  std::array<unsigned char, 256> point{};
  std::size_t length = 0;
  if (EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                      point.size(), &length) != 1) {
    throw std::runtime_error("lab: no point in the key");
  }
  return {reinterpret_cast<const char*>(point.data()), length};
}

std::string raw_ed25519(const KeyPtr& key) {
  std::array<unsigned char, 32> raw{};
  std::size_t length = raw.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), raw.data(), &length) != 1) {
    throw std::runtime_error("lab: no raw key");
  }
  return {reinterpret_cast<const char*>(raw.data()), length};
}

// --- SSH's encodings (RFC 4251, section 5)

std::string number(unsigned long long value, int width) {
  std::string bytes;
  for (int shift = (width - 1) * 8; shift >= 0; shift -= 8) {
    bytes += static_cast<char>((value >> shift) & 0xff);
  }
  return bytes;
}

std::string text(std::string_view bytes) { return number(bytes.size(), 4) + std::string(bytes); }

std::string positive(std::string bytes) {
  if (!bytes.empty() && (static_cast<unsigned char>(bytes[0]) & 0x80) != 0) bytes.insert(0, 1, 0);
  return text(bytes);
}

// Takes one length-prefixed string off the front; nothing when it is cut.
std::optional<std::string_view> take_text(std::string_view& bytes) {
  if (bytes.size() < 4) return std::nullopt;
  std::size_t length = 0;
  for (int i = 0; i < 4; ++i) {
    length = (length << 8) | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  }
  if (length > bytes.size() - 4) return std::nullopt;
  const std::string_view taken = bytes.substr(4, length);
  bytes.remove_prefix(4 + length);
  return taken;
}

constexpr std::string_view kRsa = "ssh-rsa";
constexpr std::string_view kP256 = "ecdsa-sha2-nistp256";
constexpr std::string_view kEd25519 = "ssh-ed25519";

}  // namespace

KeyPtr public_key_from_pem(std::string_view pem) { return decode(pem, "PEM"); }

KeyPtr public_key_from_der(std::string_view der) {
  const auto* data = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = data + der.size();
  KeyPtr key(d2i_PUBKEY(nullptr, &data, static_cast<long>(der.size())), EVP_PKEY_free);
  return key && data == end ? key : nullptr;
}

std::string public_key_pem(const KeyPtr& key) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  PEM_write_bio_PUBKEY(bio.get(), key.get());
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(length)};
}

std::string public_key_der(const KeyPtr& key) {
  unsigned char* out = nullptr;
  const int length = i2d_PUBKEY(key.get(), &out);
  std::string der(reinterpret_cast<char*>(out), static_cast<std::size_t>(length));
  OPENSSL_free(out);
  return der;
}

namespace ssh {

std::string wire_key(const KeyPtr& key) {
  switch (EVP_PKEY_get_base_id(key.get())) {
    case EVP_PKEY_RSA:
      return text(kRsa) + positive(bignum(key, OSSL_PKEY_PARAM_RSA_E)) +
             positive(bignum(key, OSSL_PKEY_PARAM_RSA_N));
    case EVP_PKEY_EC:
      return text(kP256) + text("nistp256") + text(ec_point(key));
    case EVP_PKEY_ED25519:
      return text(kEd25519) + text(raw_ed25519(key));
    default:
      throw std::runtime_error("lab: a kind of key that SSH does not have here");
  }
}

KeyPtr key_from_wire(std::string_view wire) {
  const auto type = take_text(wire);
  if (!type) return nullptr;
  const auto first = take_text(wire);
  if (*type == kEd25519) {
    if (!first || first->size() != 32 || !wire.empty()) return nullptr;
    return {EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr,
                                        reinterpret_cast<const unsigned char*>(first->data()), 32),
            EVP_PKEY_free};
  }
  const auto second = take_text(wire);
  if (!first || !second || !wire.empty()) return nullptr;
  if (*type == kRsa) {
    return build("RSA",
                 {{OSSL_PKEY_PARAM_RSA_E, std::string(*first)},
                  {OSSL_PKEY_PARAM_RSA_N, std::string(*second)}},
                 {});
  }
  if (*type == kP256 && *first == "nistp256") {
    return build("EC", {}, {{OSSL_PKEY_PARAM_PUB_KEY, std::string(*second)}}, "P-256");
  }
  return nullptr;
}

std::optional<std::string> wire_from_line(std::string_view line) {
  while (line.ends_with('\n') || line.ends_with(' ')) line.remove_suffix(1);
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find('\n') != std::string_view::npos) {
    return std::nullopt;
  }
  const std::size_t end = line.find(' ', space + 1);
  const auto wire = from_base64(line.substr(
      space + 1, end == std::string_view::npos ? std::string_view::npos : end - space - 1));
  if (!wire) return std::nullopt;
  std::string_view rest = *wire;
  const auto type = take_text(rest);
  if (!type || *type != line.substr(0, space)) return std::nullopt;
  return wire;
}

std::string line_from_wire(std::string_view wire) {
  std::string_view rest = wire;
  const auto type = take_text(rest);
  if (!type) throw std::runtime_error("lab: no SSH key");
  return std::string(*type) + " " + base64(wire);
}

std::string sign_certificate(const KeyPtr& authority, std::string_view wire,
                             const CertificateSpec& spec) {
  std::string_view numbers = wire;
  const auto type = take_text(numbers);
  if (!type) throw std::runtime_error("lab: no SSH key");
  std::string nonce(32, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size()));
  std::string principals;
  for (const auto& each : spec.principals) principals += text(each);
  std::string signed_part = text(std::string(*type) + "-cert-v01@openssh.com") + text(nonce);
  signed_part += numbers;
  signed_part += number(0, 8) + number(1, 4) + text(spec.key_id) + text(principals);
  signed_part += number(spec.valid_after, 8) + number(spec.valid_before, 8);
  signed_part += text("") + text("") + text("") + text(wire_key(authority));

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  std::array<unsigned char, 64> signature{};
  std::size_t length = signature.size();
  if (EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, authority.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &length,
                     reinterpret_cast<const unsigned char*>(signed_part.data()),
                     signed_part.size()) != 1) {
    throw std::runtime_error("lab: SSH signature");
  }
  return signed_part +
         text(text(kEd25519) + text({reinterpret_cast<const char*>(signature.data()), length}));
}

}  // namespace ssh
}  // namespace lab
