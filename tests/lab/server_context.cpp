#include "tests/lab/server_context.hpp"

#include <stdexcept>
#include <string_view>

namespace lab {
namespace {

int choose_alpn(SSL*, const unsigned char** out, unsigned char* length,
                const unsigned char* offered, unsigned offered_length, void* wanted) {
  const std::string_view list(reinterpret_cast<const char*>(offered), offered_length);
  for (const char* each : *static_cast<const std::vector<const char*>*>(wanted)) {
    const std::string_view name(each);
    for (std::size_t at = 0; at < list.size(); at += 1 + static_cast<unsigned char>(list[at])) {
      const std::size_t size = static_cast<unsigned char>(list[at]);
      if (list.substr(at + 1, size) != name) continue;
      *out = offered + at + 1;
      *length = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

ContextPtr server_context(const Issued& certificate, const std::vector<const char*>& alpn) {
  const ContextPtr context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  if (SSL_CTX_use_certificate(raw, certificate.certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(raw, certificate.key.get()) != 1) {
    throw std::runtime_error("lab: certificate and key do not match");
  }
  SSL_CTX_set_alpn_select_cb(raw, choose_alpn,
                             const_cast<std::vector<const char*>*>(&alpn));  // only read there
  return context;
}

std::string chosen_alpn(TlsStream& stream) {
  const unsigned char* alpn = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(stream.ssl(), &alpn, &length);
  return {reinterpret_cast<const char*>(alpn), length};
}

}  // namespace lab
