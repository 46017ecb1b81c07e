#include "tls/context.hpp"

#include <openssl/x509v3.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include <unistd.h>

#include "tls/key.hpp"
#include "tls/key_schedule.hpp"
#include "tls/pem.hpp"

namespace kubelane::tls {
namespace {

// ALPN lists: each name with its length before it (RFC 7301 section 3.1).
constexpr std::string_view alpn_both = "\x02h2\x08http/1.1";
constexpr std::string_view alpn_http2 = alpn_both.substr(0, 3);
constexpr std::string_view alpn_http1 = alpn_both.substr(3);

int http2_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

bool cpu_has_aes() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") != 0;
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return false;
#endif
}

Failure tls_failure(const std::string& what) {
  const std::string detail = drain_errors();
  return {Code::internal, detail.empty() ? what : what + ": " + detail};
}

ContextPtr new_context(const SSL_METHOD* method) {
  return ContextPtr(SSL_CTX_new_ex(nullptr, key_schedule_properties(), method));
}

// What both sides share.
bool apply_policy(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const bool aes = cpu_has_aes();
  const char* suites13 =
      aes ? "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
          : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
  // TLS 1.2: forward secrecy and AEAD only.
  const char* suites12 = aes ? "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                               "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                               "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
                             : "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
                               "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                               "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
  if (SSL_CTX_set_ciphersuites(context, suites13) != 1) return false;
  if (SSL_CTX_set_cipher_list(context, suites12) != 1) return false;
  // The post-quantum hybrid first where the library knows it.
  if (SSL_CTX_set1_groups_list(context, "X25519MLKEM768:X25519:P-256") != 1) {
    drain_errors();
    if (SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") != 1) return false;
  }
  return true;
}

// Finds `wanted`, a list of one, in what the client offered.
const unsigned char* find_protocol(std::string_view wanted, const unsigned char* offered,
                                   unsigned int offered_length) {
  for (unsigned int at = 0; at < offered_length;) {
    const unsigned int size = offered[at];
    if (at + 1 + size > offered_length) break;
    if (size + 1 == wanted.size() && std::memcmp(offered + at, wanted.data(), wanted.size()) == 0)
      return offered + at;
    at += 1 + size;
  }
  return nullptr;
}

int choose_alpn(SSL* ssl, const unsigned char** chosen, unsigned char* length,
                const unsigned char* offered, unsigned int offered_length, void*) {
  const unsigned char* found = nullptr;
  if (SSL_get_ex_data(ssl, http2_index()) != nullptr)
    found = find_protocol(alpn_http2, offered, offered_length);
  if (found == nullptr) found = find_protocol(alpn_http1, offered, offered_length);
  if (found == nullptr) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found + 1;
  *length = *found;
  return SSL_TLSEXT_ERR_OK;
}

// Whether `directory` has certificates under the hash of their names, as OpenSSL looks them up.
bool has_hashed_certificates(const std::filesystem::path& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.size() == 10 && name.ends_with(".0")) return true;
  }
  return false;
}

// A hashed directory is read one certificate at a time, when it is needed; a bundle costs 60 ms and
// 2 MB to parse, so it is the second choice. SSL_CERT_FILE and SSL_CERT_DIR count as with OpenSSL.
void trust_system_roots(SSL_CTX* context) {
  const char* file = std::getenv(X509_get_default_cert_file_env());
  const char* directory = std::getenv(X509_get_default_cert_dir_env());
  if (directory == nullptr) directory = X509_get_default_cert_dir();
  if (file == nullptr && has_hashed_certificates(directory)) {
    SSL_CTX_load_verify_dir(context, directory);
  } else {
    SSL_CTX_set_default_verify_paths(context);
    // Images without OpenSSL's own folders have one of these.
    if (file == nullptr && ::access(X509_get_default_cert_file(), R_OK) != 0) {
      for (const char* bundle : {"/etc/ssl/certs/ca-certificates.crt",
                                 "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"})
        if (::access(bundle, R_OK) == 0 && SSL_CTX_load_verify_file(context, bundle) == 1) break;
    }
  }
  drain_errors();
}

}  // namespace

Outcome<ContextPtr> make_upstream_context() {
  ContextPtr context = new_context(TLS_client_method());
  if (!context || !apply_policy(context.get())) return tls_failure("TLS client set-up");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_SERVER);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_mode(context.get(), SSL_MODE_NO_AUTO_CHAIN);  // one certificate only (DP 2.4)
  // A given CA is a root whether or not it signed itself.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.get()), X509_V_FLAG_PARTIAL_CHAIN);
  return context;
}

Outcome<ContextPtr> make_local_context(std::string_view certificate_pem, std::string_view key_pem,
                                       std::string_view client_ca_pem) {
  ContextPtr context = new_context(TLS_server_method());
  if (!context || !apply_policy(context.get())) return tls_failure("TLS server set-up");
  SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 1);
  constexpr unsigned char session_context[] = "kubelane";
  SSL_CTX_set_session_id_context(context.get(), session_context, sizeof session_context - 1);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);

  const PemBlocks chain = split_pem(certificate_pem);
  if (chain.torn || chain.certificates.empty()) return tls_failure("local server certificate");
  const CertificatePtr leaf = parse_certificate(chain.certificates.front());
  if (!leaf || SSL_CTX_use_certificate(context.get(), leaf.get()) != 1)
    return tls_failure("local server certificate");
  for (std::size_t i = 1; i < chain.certificates.size(); ++i) {
    const CertificatePtr issuer = parse_certificate(chain.certificates[i]);
    if (!issuer || SSL_CTX_add1_chain_cert(context.get(), issuer.get()) != 1)
      return tls_failure("local server certificate chain");
  }
  const Outcome<KeyPtr> key = parse_key(key_pem);
  if (!key) return tls_failure("local server key " + key.error().message);
  if (SSL_CTX_use_PrivateKey(context.get(), key->get()) != 1)
    return tls_failure("local server key");

  if (!client_ca_pem.empty()) {
    const PemBlocks authorities = split_pem(client_ca_pem);
    if (authorities.torn || authorities.certificates.empty()) return tls_failure("local client CA");
    for (const std::string_view block : authorities.certificates) {
      const CertificatePtr authority = parse_certificate(block);
      if (!authority ||
          X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), authority.get()) != 1 ||
          SSL_CTX_add_client_CA(context.get(), authority.get()) != 1)
        return tls_failure("local client CA");
    }
    SSL_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_CLIENT);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return context;
}

Outcome<ContextPtr> make_web_context(const std::string& ca_file, bool insecure) {
  ContextPtr context = new_context(TLS_client_method());
  if (!context || !apply_policy(context.get())) return tls_failure("TLS client set-up");
  SSL_CTX_set_verify(context.get(), insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (ca_file.empty()) {
    trust_system_roots(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr) != 1) {
    drain_errors();
    return Failure{Code::config, "proxy_ca: cannot read certificates from " + ca_file +
                                     "; it must be a readable PEM file"};
  }
  return context;
}

Outcome<ContextPtr> make_auth_context(std::string_view roots_pem, X509* certificate,
                                      EVP_PKEY* key) {
  ContextPtr context = new_context(TLS_client_method());
  if (!context || !apply_policy(context.get())) return tls_failure("TLS client set-up");
  SSL_CTX_set_verify(context.get(), roots_pem.empty() ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  for (const std::string_view block : split_pem(roots_pem).certificates) {
    const CertificatePtr root = parse_certificate(block);
    if (root && X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get()) != 1)
      return tls_failure("trusting a host CA");
  }
  SSL_CTX_set_mode(context.get(), SSL_MODE_NO_AUTO_CHAIN);
  if (certificate != nullptr && (SSL_CTX_use_certificate(context.get(), certificate) != 1 ||
                                 SSL_CTX_use_PrivateKey(context.get(), key) != 1))
    return tls_failure("the bot's certificate");
  return context;
}

bool offer_names(SSL* ssl, std::span<const std::string> names) {
  std::string list;
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 255) return false;
    list += static_cast<char>(name.size());
    list += name;
  }
  return SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(list.data()),
                             static_cast<unsigned int>(list.size())) == 0;
}

bool offer_protocols(SSL* ssl, bool http2, bool http1) {
  const std::string_view list = http2 && http1 ? alpn_both : http2 ? alpn_http2 : alpn_http1;
  return SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(list.data()),
                             static_cast<unsigned int>(list.size())) == 0;
}

void allow_http2(SSL* ssl, bool allowed) {
  static char yes;
  SSL_set_ex_data(ssl, http2_index(), allowed ? &yes : nullptr);
}

bool chose_http2(const SSL* ssl) {
  const unsigned char* chosen = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(ssl, &chosen, &length);
  return length + 1 == alpn_http2.size() && std::memcmp(chosen, alpn_http2.data() + 1, length) == 0;
}

bool set_expected_peer(SSL* ssl, const std::string& name) {
  // OpenSSL would take these for "verify no name" and for the part before the NUL.
  if (name.empty() || name.find('\0') != std::string::npos) return false;
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) == 1) return true;
  drain_errors();
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set1_host(ssl, name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
}

}  // namespace kubelane::tls
