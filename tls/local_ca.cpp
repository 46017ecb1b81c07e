#include "tls/local_ca.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "tls/key.hpp"
#include "tls/openssl.hpp"
#include "tls/pem.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::tls {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;

constexpr hours day{24};
constexpr hours ca_lifetime = 3650 * day;
constexpr hours ca_renew_before = 30 * day;
constexpr hours leaf_lifetime = 90 * day;
constexpr hours clock_slack{1};

constexpr const char* ca_certificate_file = "kubelane-ca.crt";
constexpr const char* ca_key_file = "kubelane-ca.key";
constexpr const char* token_file = "kubelane-token";
constexpr const char* lock_file = "kubelane.lock";

Failure failure(std::string message) {
  const std::string detail = drain_errors();
  return {Code::internal, detail.empty() ? std::move(message) : message + ": " + detail};
}

Failure storage_failure(const std::string& path, const std::string& what) {
  return {Code::io, "storage " + path + ": " + what};
}

std::string sys_text(int error) { return std::generic_category().message(error); }

constexpr std::string_view token_alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// 256 bits: 43 characters of base64url. The alphabet's size divides 256, so none is likelier.
std::string new_token() {
  unsigned char random[43];
  if (RAND_bytes(random, sizeof random) != 1) return {};
  std::string text;
  for (const unsigned char byte : random) text += token_alphabet[byte % token_alphabet.size()];
  OPENSSL_cleanse(random, sizeof random);
  return text;
}

bool set_serial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, full length
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool done = number != nullptr &&
                    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return done;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return false;
  const bool done = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return done;
}

bool set_name(X509_NAME* subject, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

void set_validity(X509* certificate, system_clock::time_point not_after) {
  const std::time_t begin = system_clock::to_time_t(system_clock::now() - clock_slack);
  const std::time_t end = system_clock::to_time_t(not_after);
  ASN1_TIME_set(X509_getm_notBefore(certificate), begin);
  ASN1_TIME_set(X509_getm_notAfter(certificate), end);
}

// Of the public key, so that a certificate made anew for a stored key has the same name and clients
// that hold the earlier one still build their chain.
std::string authority_name(EVP_PKEY* key) {
  unsigned char* bytes = nullptr;
  const int length = i2d_PUBKEY(key, &bytes);
  if (length <= 0) return {};
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes, static_cast<std::size_t>(length), digest);
  OPENSSL_free(bytes);
  char suffix[9];
  std::snprintf(suffix, sizeof suffix, "%02x%02x%02x%02x", digest[0], digest[1], digest[2],
                digest[3]);
  return std::string("kubelane local CA ") + suffix;
}

// A self-signed CA certificate for the key, as PEM.
Outcome<std::string> certify_authority(EVP_PKEY* key, system_clock::time_point end) {
  const CertificatePtr certificate(X509_new());
  if (!certificate) return failure("making the local CA");
  X509* made = certificate.get();
  X509_set_version(made, X509_VERSION_3);
  set_validity(made, end);
  if (!set_serial(made) || X509_set_pubkey(made, key) != 1 ||
      !set_name(X509_get_subject_name(made), "O", "kubelane") ||
      !set_name(X509_get_subject_name(made), "CN", authority_name(key)) ||
      X509_set_issuer_name(made, X509_get_subject_name(made)) != 1 ||
      !add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(made, made, NID_subject_key_identifier, "hash") ||
      X509_sign(made, key, EVP_sha256()) == 0)
    return failure("making the local CA");
  std::string pem = certificate_pem(made);
  if (pem.empty()) return failure("making the local CA");
  return pem;
}

// Fills in what is empty. A certificate that is there belongs to the key that is there.
Outcome<void> complete(LocalTrust& trust) {
  if (trust.ca_certificate.empty()) {
    if (trust.ca_key.empty()) {
      const KeyPtr made = make_key();
      if (made) trust.ca_key = key_pem(made.get());
      if (trust.ca_key.empty()) return failure("making the key of the local CA");
    }
    const Outcome<KeyPtr> key = parse_key(trust.ca_key);
    if (!key) return failure("the key of the local CA " + key.error().message);
    // Whole seconds, as in the certificate.
    trust.not_after = std::chrono::floor<std::chrono::seconds>(system_clock::now() + ca_lifetime);
    Outcome<std::string> certificate = certify_authority(key->get(), trust.not_after);
    if (!certificate) return certificate.error();
    trust.ca_certificate = std::move(*certificate);
  }
  if (trust.token.empty()) trust.token = new_token();
  if (trust.token.empty()) return failure("making the local token");
  return {};
}

bool is_dns_name(const std::string& name) {
  constexpr std::size_t longest = 253;
  return !name.empty() && name.size() <= longest &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_' || c == '*';
         });
}

// Subject alternative names; what is neither an IP literal nor a DNS name is left out.
bool add_names(X509* certificate, const std::vector<std::string>& names) {
  const std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> all(GENERAL_NAMES_new());
  if (!all) return false;
  for (const std::string& name : names) {
    GENERAL_NAME* entry = a2i_GENERAL_NAME(nullptr, nullptr, nullptr, GEN_IPADD, name.c_str(), 0);
    if (entry == nullptr) {
      drain_errors();
      if (!is_dns_name(name)) continue;
      entry = a2i_GENERAL_NAME(nullptr, nullptr, nullptr, GEN_DNS, name.c_str(), 0);
      if (entry == nullptr) return false;
    }
    if (sk_GENERAL_NAME_push(all.get(), entry) == 0) {
      GENERAL_NAME_free(entry);
      return false;
    }
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), 0, X509V3_ADD_DEFAULT) ==
         1;
}

Outcome<LeafPem> issue(const LocalTrust& trust, const std::string& common_name,
                       const std::string& usage, const std::vector<std::string>& names,
                       system_clock::time_point end) {
  const CertificatePtr authority = parse_certificate(trust.ca_certificate);
  const Outcome<KeyPtr> authority_key = parse_key(trust.ca_key);
  const KeyPtr key = make_key();
  const CertificatePtr certificate(X509_new());
  if (!authority || !authority_key || !key || !certificate)
    return failure("issuing a local certificate");
  X509* made = certificate.get();
  LeafPem leaf;
  leaf.not_after = std::min(std::chrono::floor<std::chrono::seconds>(end),
                            std::chrono::floor<std::chrono::seconds>(trust.not_after));
  X509_set_version(made, X509_VERSION_3);
  set_validity(made, leaf.not_after);
  if (!set_serial(made) || X509_set_pubkey(made, key.get()) != 1 ||
      !set_name(X509_get_subject_name(made), "O", "kubelane") ||
      !set_name(X509_get_subject_name(made), "CN", common_name) ||
      X509_set_issuer_name(made, X509_get_subject_name(authority.get())) != 1 ||
      !add_extension(made, authority.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(made, authority.get(), NID_key_usage, "critical,digitalSignature") ||
      !add_extension(made, authority.get(), NID_ext_key_usage, usage) ||
      !add_extension(made, authority.get(), NID_subject_key_identifier, "hash") ||
      !add_extension(made, authority.get(), NID_authority_key_identifier, "keyid") ||
      (!names.empty() && !add_names(made, names)) ||
      X509_sign(made, authority_key->get(), EVP_sha256()) == 0)
    return failure("issuing a local certificate");
  leaf.certificate = certificate_pem(made);
  leaf.key = key_pem(key.get());
  if (leaf.certificate.empty() || leaf.key.empty()) return failure("issuing a local certificate");
  return leaf;
}

// The storage directory, open. Paths in it are relative to `fd`; messages name `path`.
struct Storage {
  const std::string& path;
  UniqueFd fd;

  Failure failed(const std::string& what) const { return storage_failure(path, what); }
};

constexpr const char* not_writable_remedy =
    "; make the directory writable for this user or set storage: {type: memory}";

// The directory and its missing parents, for this user alone.
Outcome<Storage> open_storage(const std::string& path) {
  int error = 0;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    error = ::mkdir(path.substr(0, end).c_str(), 0700) == 0 ? 0 : errno;
    if (end == std::string::npos) break;
  }
  Storage storage{path, UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  if (storage.fd) return storage;
  if (error == 0 || error == EEXIST) error = errno;
  return storage.failed("cannot make or open the directory: " + sys_text(error) +
                        not_writable_remedy);
}

enum class Readers { owner, anyone };

// Reads a file that must be ours. Missing: empty text and `found` false.
Outcome<std::string> read_file(const Storage& storage, const std::string& file, Readers readers,
                               bool& found) {
  found = false;
  // O_NONBLOCK: a FIFO in the file's place must not hang us.
  const UniqueFd fd(
      ::openat(storage.fd.get(), file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return std::string();
    if (errno == ELOOP) return storage.failed(file + " is a symbolic link; remove it");
    return storage.failed("cannot open " + file + ": " + sys_text(errno));
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return storage.failed(file + " is not a regular file; remove it");
  if (status.st_uid != ::geteuid())
    return storage.failed(file +
                          " belongs to another user; run kubelane as that user or remove the file");
  if (readers == Readers::owner && (status.st_mode & 077) != 0)
    return storage.failed(file +
                          " can be read by others; after chmod 600 consider its content known: "
                          "remove the kubelane-* files to make new ones");
  if ((status.st_mode & 022) != 0)
    return storage.failed(file +
                          " can be written by others; chmod go-w it, or remove the "
                          "kubelane-* files to make new ones");
  constexpr off_t most_bytes = 1 << 16;
  std::string text(static_cast<std::size_t>(std::min(status.st_size, most_bytes)), '\0');
  if (const int error = read_into(fd.get(), text); error != 0)
    return storage.failed("cannot read " + file + ": " + sys_text(error));
  found = true;
  return text;
}

// The caller holds the lock.
Outcome<void> write_file(const Storage& storage, const std::string& file, const std::string& text) {
  const int error = replace_file(storage.fd.get(), file, text);
  if (error == 0) return {};
  const bool full = error == ENOSPC || error == EDQUOT;
  return storage.failed("cannot write " + file + ": " + sys_text(error) +
                        (full ? "; free some space" : not_writable_remedy));
}

// What is there, checked; absent parts are empty. A key without a certificate is what a crash
// between the two writings leaves.
Outcome<LocalTrust> load(const Storage& storage) {
  LocalTrust trust;
  bool have_certificate = false;
  bool have_key = false;
  bool have_token = false;
  Outcome<std::string> certificate =
      read_file(storage, ca_certificate_file, Readers::anyone, have_certificate);
  if (!certificate) return certificate.error();
  Outcome<std::string> key = read_file(storage, ca_key_file, Readers::owner, have_key);
  if (!key) return key.error();
  Outcome<std::string> token = read_file(storage, token_file, Readers::owner, have_token);
  if (!token) return token.error();
  trust.ca_certificate = std::move(*certificate);
  trust.ca_key = std::move(*key);
  trust.token = std::move(*token);
  if (trust.token.ends_with('\n')) trust.token.pop_back();
  if (have_token && !is_local_token(trust.token))
    return storage.failed(std::string(token_file) +
                          " is damaged or too short; remove it to make a new one (then restart "
                          "the clients)");
  if (have_certificate && !have_key)
    return storage.failed(std::string(ca_certificate_file) + " is there without " + ca_key_file +
                          "; remove it to make a new CA (clients then need the new kubeconfig)");
  const Failure damaged = storage.failed(std::string(ca_certificate_file) + " or " + ca_key_file +
                                         " is damaged; remove both to make a new CA (clients then "
                                         "need the new kubeconfig)");
  if (!have_key) return trust;
  const Outcome<KeyPtr> authority_key = parse_key(trust.ca_key);
  if (!authority_key) return damaged;
  if (!have_certificate) return trust;
  const auto end = authority_end(trust.ca_certificate, authority_key->get());
  if (!end) return damaged;
  trust.not_after = *end;
  return trust;
}

bool is_complete(const LocalTrust& trust) {
  return !trust.ca_certificate.empty() && !trust.ca_key.empty() && !trust.token.empty();
}

bool expires_within(const LocalTrust& trust, hours span) {
  return trust.not_after < system_clock::now() + span;
}

// Completes what is stored and writes what is new. The key before its certificate: see load().
Outcome<LocalTrust> complete_storage(const Storage& storage, const LocalTrust& stored) {
  LocalTrust trust = stored;
  // Only the certificate is new, its key and name stay: clients that hold the old one are served
  // until it ends.
  if (expires_within(trust, ca_renew_before)) trust.ca_certificate.clear();
  if (const Outcome<void> completed = complete(trust); !completed) return completed.error();
  struct File {
    const char* name;
    const std::string& before;
    const std::string& now;
    const char* end;
  };
  for (const File& file :
       {File{ca_key_file, stored.ca_key, trust.ca_key, ""},
        File{ca_certificate_file, stored.ca_certificate, trust.ca_certificate, ""},
        File{token_file, stored.token, trust.token, "\n"}}) {
    if (file.before == file.now) continue;
    if (const Outcome<void> written = write_file(storage, file.name, file.now + file.end); !written)
      return written.error();
  }
  return trust;
}

// Two processes must not make two CAs: the second waits, then reads what the first wrote. Invalid,
// with `error` set, when there can be no lock here.
UniqueFd take_lock(const Storage& storage, int& error) {
  UniqueFd lock(
      ::openat(storage.fd.get(), lock_file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  int locked = -1;
  if (lock) {
    do {
      locked = ::flock(lock.get(), LOCK_EX);
    } while (locked != 0 && errno == EINTR);
  }
  error = locked == 0 ? 0 : errno;
  return locked == 0 ? std::move(lock) : UniqueFd();
}

}  // namespace

bool is_local_token(const std::string& text) {
  constexpr std::size_t least_bytes = 32;
  return text.size() >= least_bytes && std::all_of(text.begin(), text.end(), [](char c) {
           return token_alphabet.find(c) != std::string_view::npos ||
                  std::string_view(".~+/=").find(c) != std::string_view::npos;
         });
}

std::optional<system_clock::time_point> authority_end(const std::string& certificate_pem,
                                                      EVP_PKEY* key) {
  const CertificatePtr authority = parse_certificate(certificate_pem);
  std::tm parts{};
  const bool usable = authority && X509_check_ca(authority.get()) == 1 &&
                      X509_check_private_key(authority.get(), key) == 1 &&
                      ASN1_TIME_to_tm(X509_get0_notAfter(authority.get()), &parts) == 1;
  if (usable) return system_clock::from_time_t(::timegm(&parts));
  drain_errors();
  return std::nullopt;
}

Outcome<LocalTrust> open_local_trust(const std::string& storage_path) {
  if (storage_path.empty()) {
    LocalTrust trust;
    if (const Outcome<void> made = complete(trust); !made) return made.error();
    return trust;
  }
  const Outcome<Storage> storage = open_storage(storage_path);
  if (!storage) return storage.error();
  int lock_error = 0;
  const UniqueFd lock = take_lock(*storage, lock_error);
  Outcome<LocalTrust> stored = load(*storage);
  if (!stored) return stored;
  if (is_complete(*stored) && !expires_within(*stored, ca_renew_before)) return stored;
  if (lock) return complete_storage(*storage, *stored);
  // A directory that cannot be written serves as long as its content does.
  if (is_complete(*stored) && !expires_within(*stored, hours{0})) return stored;
  return storage->failed("cannot create " + std::string(lock_file) + ": " + sys_text(lock_error) +
                         not_writable_remedy);
}

Outcome<LeafPem> issue_server_leaf(const LocalTrust& trust,
                                   const std::vector<std::string>& extra_names) {
  std::vector<std::string> names{"localhost", "127.0.0.1", "::1"};
  for (const std::string& extra : extra_names)
    if (std::find(names.begin(), names.end(), extra) == names.end()) names.push_back(extra);
  return issue(trust, "localhost", "serverAuth", names, system_clock::now() + leaf_lifetime);
}

Outcome<LeafPem> issue_client_leaf(const LocalTrust& trust) {
  return issue(trust, "kubelane client", "clientAuth", {}, trust.not_after);
}

}  // namespace kubelane::tls
