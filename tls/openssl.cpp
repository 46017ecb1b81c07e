#include "tls/openssl.hpp"

#include <openssl/crypto.h>
#include <openssl/err.h>

namespace kubelane::tls {

std::string drain_errors() {
  std::string first;
  while (const unsigned long code = ERR_get_error()) {
    if (!first.empty()) continue;
    char text[256];
    ERR_error_string_n(code, text, sizeof text);
    const char* reason = ERR_reason_error_string(code);
    first = reason != nullptr ? reason : text;
  }
  return first;
}

std::string openssl_version() { return OpenSSL_version(OPENSSL_VERSION); }

}  // namespace kubelane::tls
