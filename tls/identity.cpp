#include "tls/identity.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "tls/context.hpp"

namespace kubelane::tls {
namespace {

constexpr std::size_t max_file_bytes = 1 << 20;
constexpr std::size_t max_certificates = 512;

Failure unusable(std::string message) { return {Code::io, std::move(message)}; }

int no_password(char*, int, int, void*) { return 0; }

BioPtr memory(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// PEM blocks of a file in order, by label. Lines outside blocks are ignored (SSH certificate,
// @cert-authority). Spaces around lines are tolerated, as in Teleport's own reader (DP 1.3).
struct Blocks {
  std::vector<std::string_view> keys;
  std::vector<std::string_view> certificates;
  const char* problem = nullptr;
};

std::string_view trim(std::string_view line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r'))
    line.remove_suffix(1);
  return line;
}

Blocks split_pem(std::string_view text) {
  constexpr std::string_view begin_mark = "-----BEGIN ";
  constexpr std::string_view end_mark = "-----END ";
  constexpr std::string_view tail = "-----";
  Blocks blocks;
  std::size_t block_begin = std::string_view::npos;
  std::string_view label;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find('\n', at);
    const bool whole_line = end != std::string_view::npos;
    if (!whole_line) end = text.size();
    const std::string_view line = trim(text.substr(at, end - at));
    if (line.starts_with(begin_mark) && line.ends_with(tail)) {
      if (block_begin != std::string_view::npos) {
        blocks.problem = "a PEM block without its end";
        return blocks;
      }
      block_begin = at;
      label = line.substr(begin_mark.size(), line.size() - begin_mark.size() - tail.size());
    } else if (line.starts_with(end_mark) && block_begin != std::string_view::npos) {
      if (line != std::string(end_mark) + std::string(label) + std::string(tail)) {
        // A prefix of the end line: still being written.
        blocks.problem = "a PEM block without its end";
        return blocks;
      }
      const std::string_view block = text.substr(block_begin, end - block_begin);
      if (label == "CERTIFICATE") {
        blocks.certificates.push_back(block);
      } else if (label.ends_with("PRIVATE KEY")) {
        blocks.keys.push_back(block);
      }
      block_begin = std::string_view::npos;
    }
    at = end + 1;
  }
  if (block_begin != std::string_view::npos) blocks.problem = "a PEM block without its end";
  if (blocks.certificates.size() > max_certificates) blocks.problem = "too many certificates";
  return blocks;
}

CertificatePtr parse_certificate(std::string_view block) {
  CertificatePtr certificate(
      PEM_read_bio_X509(memory(block).get(), nullptr, no_password, nullptr));
  drain_errors();
  return certificate;
}

KeyPtr parse_key(std::string_view block) {
  KeyPtr key(PEM_read_bio_PrivateKey(memory(block).get(), nullptr, no_password, nullptr));
  drain_errors();
  return key;
}

std::string to_text(const ASN1_STRING* value) {
  unsigned char* bytes = nullptr;
  const int length = ASN1_STRING_to_UTF8(&bytes, value);
  if (length < 0) return {};
  std::string text(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(length));
  OPENSSL_free(bytes);
  return text;
}

// First value of an attribute, by dotted OID.
std::string attribute(const X509_NAME* subject, const char* oid) {
  ASN1_OBJECT* object = OBJ_txt2obj(oid, 1);
  if (object == nullptr) return {};
  const int at = X509_NAME_get_index_by_OBJ(subject, object, -1);
  ASN1_OBJECT_free(object);
  if (at < 0) return {};
  return to_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

constexpr const char* oid_common_name = "2.5.4.3";
constexpr const char* oid_organization = "2.5.4.10";
constexpr const char* oid_street = "2.5.4.9";

std::chrono::system_clock::time_point to_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string hex(const unsigned char* bytes, std::size_t count) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15u];
  }
  return text;
}

std::string der(const X509* certificate) {
  unsigned char* bytes = nullptr;
  const int length = i2d_X509(certificate, &bytes);
  if (length <= 0) return {};
  std::string out(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(length));
  OPENSSL_free(bytes);
  return out;
}

struct Pair {
  CertificatePtr certificate;
  KeyPtr key;
};

// The first key and the first certificate of these blocks, when they belong together.
Outcome<Pair> match(const Blocks& key_blocks, const Blocks& certificate_blocks,
                    const std::string& what) {
  for (const Blocks* blocks : {&key_blocks, &certificate_blocks})
    if (blocks->problem != nullptr) return unusable(what + " incomplete: " + blocks->problem);
  if (key_blocks.keys.empty()) return unusable(what + " incomplete: no private key yet");
  if (certificate_blocks.certificates.empty())
    return unusable(what + " incomplete: no certificate yet");
  Pair pair;
  pair.certificate = parse_certificate(certificate_blocks.certificates.front());
  if (!pair.certificate) return unusable(what + ": the certificate cannot be read");
  pair.key = parse_key(key_blocks.keys.front());
  if (!pair.key) return unusable(what + ": the private key cannot be read (is it encrypted?)");
  if (X509_check_private_key(pair.certificate.get(), pair.key.get()) != 1) {
    drain_errors();
    return unusable(what + ": the private key does not belong to the certificate");
  }
  return pair;
}

std::string one_line(const X509_NAME* subject) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), subject, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(std::max(0L, length))};
}

void wipe(std::string& text) {
  if (!text.empty()) OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

struct WipeOnExit {
  IdentityFiles& files;
  ~WipeOnExit() {
    wipe(files.identity);
    wipe(files.key);
  }
};

}  // namespace

Outcome<IdentityPtr> make_identity(IdentityFiles files) {
  const WipeOnExit wiper{files};
  for (const std::string* file : {&files.identity, &files.certificate, &files.key, &files.host_ca})
    if (file->size() > max_file_bytes) return unusable("a credential file is larger than 1 MiB");
  if (files.identity.empty() && files.certificate.empty() && files.key.empty())
    return unusable("no credentials: neither `identity` nor `tlscert` and `key` hold anything");

  const Blocks identity_blocks = split_pem(files.identity);
  Outcome<Pair> pair = unusable("no `identity` file");
  bool from_identity_file = false;
  if (!files.identity.empty()) {
    pair = match(identity_blocks, identity_blocks, "`identity`");
    from_identity_file = pair.has_value();
  }
  if (!pair && !(files.certificate.empty() && files.key.empty())) {
    Outcome<Pair> separate =
        match(split_pem(files.key), split_pem(files.certificate), "`tlscert` and `key`");
    // What is said is about the file that comes first, unless it is not there.
    if (separate || files.identity.empty()) pair = std::move(separate);
  }
  if (!pair) return pair.error();
  const X509* leaf = pair->certificate.get();
  if (X509_check_ca(pair->certificate.get()) == 1)
    return unusable("the certificate is a CA, not a client certificate");

  auto identity = std::make_shared<Identity>();
  const X509_NAME* subject = X509_get_subject_name(leaf);
  identity->user = attribute(subject, oid_common_name);
  identity->route_to_cluster = attribute(subject, oid_street);
  identity->kubernetes_cluster = attribute(subject, "1.3.9999.1.3");
  identity->teleport_cluster = attribute(subject, "1.3.9999.1.7");
  identity->pinned_ip = attribute(subject, "1.3.9999.2.15");
  identity->bot_name = attribute(subject, "1.3.9999.2.18");
  if (identity->teleport_cluster.empty())
    identity->teleport_cluster = attribute(X509_get_issuer_name(leaf), oid_organization);
  if (identity->teleport_cluster.empty())
    return unusable("the certificate names no Teleport cluster: was it issued by Teleport?");
  if (const std::string renewable = attribute(subject, "1.3.9999.1.13");
      renewable == "true" || renewable == "yes" || renewable == "1")
    return unusable(
        "this is the bot's own renewable identity (tbot's storage), whose every use is counted; "
        "point credentials at the destination of a `kubernetes`, `kubernetes/v2` or `identity` "
        "output instead");
  identity->not_before = to_time(X509_get0_notBefore(leaf));
  identity->not_after = to_time(X509_get0_notAfter(leaf));
  const ASN1_INTEGER* serial = X509_get0_serialNumber(leaf);
  identity->serial = hex(ASN1_STRING_get0_data(serial),
                         static_cast<std::size_t>(ASN1_STRING_length(serial)));

  Outcome<ContextPtr> context = make_upstream_context();
  if (!context) return context.error();
  SSL_CTX* ssl = context->get();
  if (SSL_CTX_use_certificate(ssl, pair->certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(ssl, pair->key.get()) != 1)
    return unusable("OpenSSL does not take the certificate: " + drain_errors());

  // Roots: host CAs of the root cluster only, from both sources (DP 8.1).
  const Blocks host_ca_blocks = split_pem(files.host_ca);
  std::vector<std::string_view> blocks = host_ca_blocks.certificates;
  if (from_identity_file && !identity_blocks.certificates.empty())
    blocks.insert(blocks.end(), identity_blocks.certificates.begin() + 1,
                  identity_blocks.certificates.end());
  std::vector<std::string> roots;
  std::size_t unreadable = 0;
  for (const std::string_view block : blocks) {
    const CertificatePtr authority = parse_certificate(block);
    if (!authority) {
      ++unreadable;
      continue;
    }
    const X509_NAME* name = X509_get_subject_name(authority.get());
    if (attribute(name, oid_common_name) != identity->teleport_cluster ||
        X509_check_ca(authority.get()) != 1)
      continue;
    std::string bytes = der(authority.get());
    if (std::find(roots.begin(), roots.end(), bytes) != roots.end()) continue;
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), authority.get()) != 1)
      return unusable("OpenSSL does not take a host CA: " + drain_errors());
    roots.push_back(std::move(bytes));
    identity->ca_subjects.push_back(one_line(name));
  }
  if (roots.empty()) {
    const bool torn = host_ca_blocks.problem != nullptr || unreadable > 0 || blocks.empty();
    return unusable(torn ? "`teleport-host-ca.crt` incomplete: no host CA of cluster " +
                               identity->teleport_cluster + " yet"
                         : "no host CA of cluster " + identity->teleport_cluster +
                               " among the CAs in the credentials");
  }
  std::sort(roots.begin(), roots.end());
  std::string all = der(leaf);
  for (const std::string& root : roots) all += root;
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest);
  identity->fingerprint = hex(digest, sizeof digest);
  identity->context = std::move(*context);
  drain_errors();
  return IdentityPtr(std::move(identity));
}

}  // namespace kubelane::tls
