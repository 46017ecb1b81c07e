#include "tls/key_schedule.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>

#include "tls/hkdf.hpp"
#include "tls/openssl.hpp"
#include "tls/traffic_secrets.hpp"

namespace kubelane::tls {
namespace {

constexpr const char* provider_name = "kubelane";

struct Request {
  int mode = -1;
  Hkdf* hkdf = nullptr;
  Hkdf::Bytes key;
  Hkdf::Bytes salt;
  Hkdf::Bytes context;
  std::string_view prefix;
  std::string_view label;
  bool has_key = false;
  bool has_salt = false;
};

Hkdf::Bytes octets(const OSSL_PARAM& param) {
  return {static_cast<const std::uint8_t*>(param.data), param.data_size};
}

std::string_view text(const OSSL_PARAM& param) {
  return {static_cast<const char*>(param.data), param.data_size};
}

// What EVP_KDF-TLS13_KDF(7) lists; one pass, because OpenSSL's look-up is a search per name.
Request read(const OSSL_PARAM* params) {
  Request request;
  for (; params != nullptr && params->key != nullptr; ++params) {
    const std::string_view key = params->key;
    if (key == OSSL_KDF_PARAM_MODE) {
      if (OSSL_PARAM_get_int(params, &request.mode) != 1) request.mode = -1;
    } else if (key == OSSL_KDF_PARAM_DIGEST) {
      request.hkdf = Hkdf::of_digest(text(*params));
    } else if (key == OSSL_KDF_PARAM_KEY) {
      request.key = octets(*params);
      request.has_key = true;
    } else if (key == OSSL_KDF_PARAM_SALT) {
      request.salt = octets(*params);
      request.has_salt = true;
    } else if (key == OSSL_KDF_PARAM_PREFIX) {
      request.prefix = text(*params);
    } else if (key == OSSL_KDF_PARAM_LABEL) {
      request.label = text(*params);
    } else if (key == OSSL_KDF_PARAM_DATA) {
      request.context = octets(*params);
    }
  }
  return request;
}

// The step from one stage to the next (RFC 8446 section 7.1): the salt is derived from the secret
// before, and a secret that there is none of is zeros.
bool next_stage(const Request& request, std::span<std::uint8_t> out) {
  Hkdf& hkdf = *request.hkdf;
  constexpr std::array<std::uint8_t, Hkdf::most_hash_bytes> zeros{};
  const Hkdf::Bytes none(zeros.data(), hkdf.hash_bytes());
  const Hkdf::Bytes secret = request.has_key ? request.key : none;
  if (!request.has_salt) return hkdf.extract(none, secret, out);
  std::array<std::uint8_t, Hkdf::most_hash_bytes> derived;
  const std::span<std::uint8_t> salt(derived.data(), hkdf.hash_bytes());
  const bool good = hkdf.expand_label(request.salt, request.prefix, request.label,
                                      hkdf.hash_of_nothing(), salt) &&
                    hkdf.extract(salt, secret, out);
  OPENSSL_cleanse(derived.data(), derived.size());
  return good;
}

int derive(void*, unsigned char* out, std::size_t length, const OSSL_PARAM* params) {
  const Request request = read(params);
  if (request.hkdf == nullptr) return 0;
  const std::span<std::uint8_t> result(out, length);
  switch (request.mode) {
    case EVP_KDF_HKDF_MODE_EXTRACT_ONLY:
      return next_stage(request, result) ? 1 : 0;
    case EVP_KDF_HKDF_MODE_EXPAND_ONLY:
      if (!request.has_key || !request.hkdf->expand_label(request.key, request.prefix,
                                                          request.label, request.context, result))
        return 0;
      TrafficSecrets::derived(request.label, result);
      return 1;
    default:
      return 0;
  }
}

// There is nothing to keep between calls: all parameters come with the derivation.
void* new_context(void* provider) { return provider; }
void free_context(void*) {}

template <class Function>
void (*entry(Function function))() {
  return reinterpret_cast<void (*)()>(function);
}

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) {
  static const OSSL_DISPATCH functions[] = {
      {OSSL_FUNC_KDF_NEWCTX, entry<OSSL_FUNC_kdf_newctx_fn*>(new_context)},
      {OSSL_FUNC_KDF_FREECTX, entry<OSSL_FUNC_kdf_freectx_fn*>(free_context)},
      {OSSL_FUNC_KDF_DERIVE, entry<OSSL_FUNC_kdf_derive_fn*>(derive)},
      {0, nullptr}};
  static const OSSL_ALGORITHM algorithms[] = {
      {OSSL_KDF_NAME_TLS1_3_KDF, "provider=kubelane", functions, nullptr},
      {nullptr, nullptr, nullptr, nullptr}};
  *no_cache = 0;
  return operation == OSSL_OP_KDF ? algorithms : nullptr;
}

int start(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
          void** context) {
  static const OSSL_DISPATCH functions[] = {
      {OSSL_FUNC_PROVIDER_QUERY_OPERATION, entry<OSSL_FUNC_provider_query_operation_fn*>(query)},
      {0, nullptr}};
  static int self = 0;
  *context = &self;
  *out = functions;
  return 1;
}

}  // namespace

const char* key_schedule_properties() {
  // Loaded for good. The default provider stays, which any other way of loading would end.
  static const OSSL_PROVIDER* const provider = [] {
    const bool added = OSSL_PROVIDER_add_builtin(nullptr, provider_name, start) == 1;
    OSSL_PROVIDER* const loaded =
        added ? OSSL_PROVIDER_try_load(nullptr, provider_name, 1) : nullptr;
    drain_errors();
    return loaded;
  }();
  return provider != nullptr ? "?provider=kubelane" : nullptr;
}

}  // namespace kubelane::tls
