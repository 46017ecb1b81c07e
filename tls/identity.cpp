#include "tls/identity.hpp"

#include <algorithm>
#include <utility>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "tls/context.hpp"
#include "tls/key.hpp"
#include "tls/pem.hpp"
#include "tls/teleport_subject.hpp"

namespace kubelane::tls {
namespace {

constexpr std::size_t max_file_bytes = 1 << 20;
constexpr std::size_t max_certificates = 512;

Failure unusable(std::string message) { return {Code::io, std::move(message)}; }

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
  std::shared_ptr<EVP_PKEY> key;
};

Outcome<void> check(const Pair& pair, const std::string& what) {
  if (X509_check_private_key(pair.certificate.get(), pair.key.get()) == 1) return {};
  drain_errors();
  return unusable(what + ": the private key does not belong to the certificate");
}

// The first key and the first certificate of these blocks, when they belong together.
Outcome<Pair> match(const PemBlocks& key_blocks, const PemBlocks& certificate_blocks,
                    const std::string& what) {
  if (key_blocks.torn || certificate_blocks.torn)
    return unusable(what + " incomplete: a PEM block without its end");
  if (key_blocks.keys.empty()) return unusable(what + " incomplete: no private key yet");
  if (certificate_blocks.certificates.empty())
    return unusable(what + " incomplete: no certificate yet");
  Pair pair;
  pair.certificate = parse_certificate(certificate_blocks.certificates.front());
  if (!pair.certificate) return unusable(what + ": the certificate cannot be read");
  Outcome<KeyPtr> key = parse_key(key_blocks.keys.front());
  if (!key) return unusable(what + ": the private key " + key.error().message);
  pair.key = std::move(*key);
  if (Outcome<void> belongs = check(pair, what); !belongs) return belongs.error();
  return pair;
}

// A certificate that was made for a key of our own.
Outcome<Pair> pair_with(const std::shared_ptr<EVP_PKEY>& key, std::string_view certificate) {
  Pair pair{parse_certificate(certificate), key};
  if (!pair.certificate) return unusable("the certificate cannot be read");
  if (Outcome<void> belongs = check(pair, "the certificate"); !belongs) return belongs.error();
  return pair;
}

// `identity` when it is usable; else `tlscert` and `key`.
Outcome<Pair> find_pair(const IdentityFiles& files, const PemBlocks& identity_blocks) {
  if (files.own_key) return pair_with(files.own_key, files.certificate);
  Outcome<Pair> whole = unusable("no `identity` file");
  if (!files.identity.empty()) whole = match(identity_blocks, identity_blocks, "`identity`");
  if (whole || (files.certificate.empty() && files.key.empty())) return whole;
  Outcome<Pair> separate =
      match(split_pem(files.key), split_pem(files.certificate), "`tlscert` and `key`");
  // What is said is about the file that comes first, unless it is not there.
  if (separate || files.identity.empty()) return separate;
  return whole;
}

std::string one_line(const X509_NAME* subject) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), subject, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(std::max(0L, length))};
}

struct WipeOnExit {
  IdentityFiles& files;
  ~WipeOnExit() {
    wipe(files.identity);
    wipe(files.certificate);
    wipe(files.key);
  }
};

// What the certificate says about the bot (DP 2.4). Fails when it is no output of tbot.
Outcome<void> take_subject(X509* leaf, Identity& identity) {
  if ((X509_get_extension_flags(leaf) & EXFLAG_CA) != 0)
    return unusable("the certificate is not a leaf: it is a CA's");
  Outcome<TeleportSubject> read = tls::read_subject(leaf);
  if (!read) return read.error();
  TeleportSubject& subject = *read;
  if (subject.renewable)
    return unusable(
        "this is the bot's own renewable identity (tbot's storage), whose every use is counted; "
        "point credentials at the destination of a `kubernetes`, `kubernetes/v2` or `identity` "
        "output instead");
  identity.user = std::move(subject.user);
  identity.route_to_cluster = std::move(subject.route_to_cluster);
  identity.kubernetes_cluster = std::move(subject.kubernetes_cluster);
  identity.teleport_cluster = std::move(subject.teleport_cluster);
  identity.pinned_ip = std::move(subject.pinned_ip);
  identity.bot_name = std::move(subject.bot_name);
  identity.not_before = subject.not_before;
  identity.not_after = subject.not_after;
  identity.serial = std::move(subject.serial);
  return {};
}

// Host CAs of the root cluster only, from both sources (DP 8.1), into the store of the identity's
// context. Gives their DER, sorted.
Outcome<std::vector<std::string>> trust_host_cas(const PemBlocks& host_ca,
                                                 const PemBlocks& identity_file,
                                                 Identity& identity) {
  std::vector<std::string_view> blocks = host_ca.certificates;
  if (identity_file.certificates.size() > 1)
    blocks.insert(blocks.end(), identity_file.certificates.begin() + 1,
                  identity_file.certificates.end());
  if (blocks.size() > max_certificates)
    return unusable("the credentials hold more than " + std::to_string(max_certificates) + " CAs");
  X509_STORE* store = SSL_CTX_get_cert_store(identity.context.get());
  std::vector<std::string> roots;
  bool unreadable = false;
  for (const std::string_view block : blocks) {
    const CertificatePtr authority = parse_certificate(block);
    if (!authority) {
      unreadable = true;
      continue;
    }
    const X509_NAME* name = X509_get_subject_name(authority.get());
    if (subject_attribute(name, oid_common_name) != identity.teleport_cluster ||
        X509_check_ca(authority.get()) != 1)
      continue;
    std::string bytes = der(authority.get());
    if (std::find(roots.begin(), roots.end(), bytes) != roots.end()) continue;
    if (X509_STORE_add_cert(store, authority.get()) != 1)
      return unusable("OpenSSL does not take a host CA: " + drain_errors());
    roots.push_back(std::move(bytes));
    identity.ca_subjects.push_back(one_line(name));
  }
  // A torn file may lack the second CA of a rotation; the identity file may have it all the same.
  const bool all_in_identity_file = !identity_file.torn && identity_file.certificates.size() > 1;
  if (roots.empty() ? (host_ca.torn || unreadable || blocks.empty())
                    : (host_ca.torn && !all_in_identity_file))
    return unusable("`teleport-host-ca.crt` incomplete: host CAs of cluster " +
                    identity.teleport_cluster + " are missing");
  if (roots.empty())
    return unusable("no host CA of cluster " + identity.teleport_cluster +
                    " among the CAs in the credentials");
  std::sort(roots.begin(), roots.end());
  return roots;
}

std::string fingerprint(std::string leaf, const std::vector<std::string>& roots) {
  std::string all = std::move(leaf);
  for (const std::string& root : roots) all += root;
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest);
  return hex(digest, sizeof digest);
}

}  // namespace

Outcome<IdentityPtr> make_identity(IdentityFiles files) {
  const WipeOnExit wiper{files};
  for (const std::string* file : {&files.identity, &files.certificate, &files.key, &files.host_ca})
    if (file->size() > max_file_bytes) return unusable("a credential file is larger than 1 MiB");
  if (files.identity.empty() && files.certificate.empty() && files.key.empty())
    return unusable("no credentials: neither `identity` nor `tlscert` and `key` hold anything");

  const PemBlocks identity_blocks = split_pem(files.identity);
  const Outcome<Pair> pair = find_pair(files, identity_blocks);
  if (!pair) return pair.error();
  X509* leaf = pair->certificate.get();
  auto identity = std::make_shared<Identity>();
  if (const Outcome<void> read = take_subject(leaf, *identity); !read) return read.error();

  Outcome<ContextPtr> context = make_upstream_context();
  if (!context) return context.error();
  identity->context = std::move(*context);
  if (SSL_CTX_use_certificate(identity->context.get(), leaf) != 1 ||
      SSL_CTX_use_PrivateKey(identity->context.get(), pair->key.get()) != 1)
    return unusable("OpenSSL does not take the certificate: " + drain_errors());
  const Outcome<std::vector<std::string>> roots =
      trust_host_cas(split_pem(files.host_ca), identity_blocks, *identity);
  if (!roots) return roots.error();
  identity->fingerprint = fingerprint(der(leaf), *roots);
  drain_errors();
  return IdentityPtr(std::move(identity));
}

}  // namespace kubelane::tls
