#include "tls/local_ca.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

#include "tls/openssl.hpp"
#include "tls/socket.hpp"

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

KeyPtr new_key() { return KeyPtr(EVP_EC_gen("P-256")); }

template <class Write>
std::string to_pem(Write write) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio || write(bio.get()) != 1) return {};
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

std::string certificate_pem(X509* certificate) {
  return to_pem([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

std::string key_pem(EVP_PKEY* key) {
  return to_pem([key](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

CertificatePtr read_certificate(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return CertificatePtr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

KeyPtr read_key(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return KeyPtr(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
}

std::string random_text(std::size_t bytes, std::string_view alphabet) {
  std::string text;
  std::vector<unsigned char> random(bytes);
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return {};
  for (const unsigned char byte : random) text += alphabet[byte % alphabet.size()];
  OPENSSL_cleanse(random.data(), random.size());
  return text;
}

// 256 bits: 43 characters of a 64-character alphabet.
std::string new_token() {
  return random_text(43, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
}

bool set_serial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, full length
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool done =
      number != nullptr &&
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

system_clock::time_point not_after(const X509* certificate) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return {};
  return system_clock::from_time_t(::timegm(&parts));
}

Outcome<LocalTrust> new_trust(std::string token) {
  const KeyPtr key = new_key();
  const CertificatePtr certificate(X509_new());
  if (!key || !certificate) return failure("making the local CA");
  X509* made = certificate.get();
  LocalTrust trust;
  trust.not_after = system_clock::now() + ca_lifetime;
  X509_set_version(made, X509_VERSION_3);
  set_validity(made, trust.not_after);
  const std::string suffix = random_text(8, "0123456789abcdef");
  if (!set_serial(made) || X509_set_pubkey(made, key.get()) != 1 ||
      !set_name(X509_get_subject_name(made), "O", "kubelane") ||
      !set_name(X509_get_subject_name(made), "CN", "kubelane local CA " + suffix) ||
      X509_set_issuer_name(made, X509_get_subject_name(made)) != 1 ||
      !add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(made, made, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(made, made, NID_subject_key_identifier, "hash") ||
      X509_sign(made, key.get(), EVP_sha256()) == 0)
    return failure("making the local CA");
  trust.ca_certificate = certificate_pem(made);
  trust.ca_key = key_pem(key.get());
  trust.token = token.empty() ? new_token() : std::move(token);
  if (trust.ca_certificate.empty() || trust.ca_key.empty() || trust.token.empty())
    return failure("making the local CA");
  return trust;
}

Outcome<LeafPem> issue(const LocalTrust& trust, const std::string& common_name,
                       const std::string& usage, const std::string& names,
                       system_clock::time_point end) {
  const CertificatePtr authority = read_certificate(trust.ca_certificate);
  const KeyPtr authority_key = read_key(trust.ca_key);
  const KeyPtr key = new_key();
  const CertificatePtr certificate(X509_new());
  if (!authority || !authority_key || !key || !certificate)
    return failure("issuing a local certificate");
  X509* made = certificate.get();
  LeafPem leaf;
  leaf.not_after = std::min(end, trust.not_after);
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
      (!names.empty() && !add_extension(made, authority.get(), NID_subject_alt_name, names)) ||
      X509_sign(made, authority_key.get(), EVP_sha256()) == 0)
    return failure("issuing a local certificate");
  leaf.certificate = certificate_pem(made);
  leaf.key = key_pem(key.get());
  return leaf;
}

// Reads a file that must be ours alone. Missing: empty text and `found` false.
Outcome<std::string> read_private(int directory, const std::string& path, const char* file,
                                  bool secret, bool& found) {
  found = false;
  const UniqueFd fd(::openat(directory, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return std::string();
    if (errno == ELOOP)
      return storage_failure(path, std::string(file) + " is a symbolic link; remove it");
    return storage_failure(path, "cannot open " + std::string(file) + ": " + sys_text(errno));
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return storage_failure(path, std::string(file) + " is not a regular file; remove it");
  if (status.st_uid != ::geteuid())
    return storage_failure(path, std::string(file) + " belongs to another user; run kubelane as "
                                                     "that user or remove the file");
  if (secret && (status.st_mode & 077) != 0)
    return storage_failure(path, std::string(file) +
                                     " can be read by others; after chmod 600 consider its content "
                                     "known: remove the kubelane-* files to make new ones");
  std::string text(static_cast<std::size_t>(std::min<off_t>(status.st_size, 1 << 16)), '\0');
  const ssize_t got = ::read(fd.get(), text.data(), text.size());
  if (got < 0) return storage_failure(path, "cannot read " + std::string(file));
  text.resize(static_cast<std::size_t>(got));
  found = true;
  return text;
}

Outcome<void> write_private(int directory, const std::string& path, const std::string& file,
                            const std::string& text) {
  const std::string temporary = "." + file + "." + random_text(8, "0123456789abcdef");
  UniqueFd fd(::openat(directory, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd)
    return storage_failure(path, "cannot write " + file + ": " + sys_text(errno) +
                                     "; make the directory writable for this user or set storage: "
                                     "{type: memory}");
  const ssize_t written = ::write(fd.get(), text.data(), text.size());
  int error = written == static_cast<ssize_t>(text.size()) ? 0 : written < 0 ? errno : ENOSPC;
  if (error == 0 && ::fsync(fd.get()) != 0) error = errno;
  fd.reset();
  if (error == 0 && ::renameat(directory, temporary.c_str(), directory, file.c_str()) != 0)
    error = errno;
  if (error != 0) {
    ::unlinkat(directory, temporary.c_str(), 0);
    return storage_failure(path, "cannot write " + file + ": " + sys_text(error));
  }
  ::fsync(directory);
  return {};
}

Outcome<LocalTrust> load(int directory, const std::string& path, bool& complete) {
  LocalTrust trust;
  bool have_certificate = false;
  bool have_key = false;
  bool have_token = false;
  Outcome<std::string> certificate =
      read_private(directory, path, ca_certificate_file, false, have_certificate);
  if (!certificate) return certificate.error();
  Outcome<std::string> key = read_private(directory, path, ca_key_file, true, have_key);
  if (!key) return key.error();
  Outcome<std::string> token = read_private(directory, path, token_file, true, have_token);
  if (!token) return token.error();
  complete = have_certificate && have_key && have_token;
  trust.ca_certificate = std::move(*certificate);
  trust.ca_key = std::move(*key);
  trust.token = std::move(*token);
  while (!trust.token.empty() && (trust.token.back() == '\n' || trust.token.back() == ' '))
    trust.token.pop_back();
  constexpr std::size_t least_token_bytes = 32;
  if (have_token && (trust.token.size() < least_token_bytes ||
                     trust.token.find_first_of(" \t\r\n") != std::string::npos))
    return storage_failure(path, std::string(token_file) +
                                     " is damaged or too short; remove it to make a new one (then "
                                     "restart the clients)");
  if (have_certificate != have_key) {
    return storage_failure(path, std::string("only one of ") + ca_certificate_file + " and " +
                                     ca_key_file + " is there; remove it to make a new CA");
  }
  if (have_certificate) {
    const CertificatePtr authority = read_certificate(trust.ca_certificate);
    const KeyPtr authority_key = read_key(trust.ca_key);
    drain_errors();
    if (!authority || !authority_key ||
        X509_check_private_key(authority.get(), authority_key.get()) != 1) {
      drain_errors();
      return storage_failure(path, std::string(ca_certificate_file) + " or " + ca_key_file +
                                       " is damaged; remove both to make a new CA (clients then "
                                       "need the new kubeconfig)");
    }
    trust.not_after = not_after(authority.get());
    if (trust.not_after < system_clock::now() + ca_renew_before) {
      trust.ca_certificate.clear();
      complete = false;
    }
  }
  return trust;
}

}  // namespace

Outcome<LocalTrust> open_local_trust(const std::string& storage_path) {
  if (storage_path.empty()) return new_trust({});
  if (::mkdir(storage_path.c_str(), 0700) != 0 && errno != EEXIST)
    return storage_failure(storage_path, "cannot create the directory: " + sys_text(errno));
  const UniqueFd directory(::open(storage_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory)
    return storage_failure(storage_path, "cannot open the directory: " + sys_text(errno));
  bool complete = false;
  Outcome<LocalTrust> stored = load(directory.get(), storage_path, complete);
  if (!stored || complete) return stored;
  // Two processes must not make two CAs: the second waits and reads what the first wrote.
  const UniqueFd lock(::openat(directory.get(), lock_file,
                               O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0)
    return storage_failure(storage_path, "cannot create " + std::string(lock_file) + ": " +
                                             sys_text(errno) +
                                             "; make the directory writable for this user or set "
                                             "storage: {type: memory}");
  stored = load(directory.get(), storage_path, complete);
  if (!stored || complete) return stored;
  LocalTrust trust;
  if (stored->ca_certificate.empty()) {
    Outcome<LocalTrust> made = new_trust(stored->token);
    if (!made) return made;
    trust = std::move(*made);
    // The key first: a certificate without its key is refused at the next start.
    if (auto written = write_private(directory.get(), storage_path, ca_key_file, trust.ca_key);
        !written)
      return written.error();
    if (auto written =
            write_private(directory.get(), storage_path, ca_certificate_file, trust.ca_certificate);
        !written)
      return written.error();
  } else {
    trust = std::move(*stored);
    if (trust.token.empty()) trust.token = new_token();
  }
  if (auto written = write_private(directory.get(), storage_path, token_file, trust.token + "\n");
      !written)
    return written.error();
  return trust;
}

Outcome<LeafPem> issue_server_leaf(const LocalTrust& trust,
                                   const std::vector<std::string>& extra_names) {
  std::string names = "DNS:localhost,IP:127.0.0.1,IP:::1";
  for (const std::string& extra : extra_names) {
    in6_addr address{};
    const bool ip = ::inet_pton(AF_INET, extra.c_str(), &address) == 1 ||
                    ::inet_pton(AF_INET6, extra.c_str(), &address) == 1;
    if (extra.find_first_of(",: ") != std::string::npos && !ip) continue;  // no such DNS name
    names += (ip ? ",IP:" : ",DNS:") + extra;
  }
  return issue(trust, "localhost", "serverAuth", names, system_clock::now() + leaf_lifetime);
}

Outcome<LeafPem> issue_client_leaf(const LocalTrust& trust) {
  return issue(trust, "kubelane client", "clientAuth", {}, trust.not_after);
}

}  // namespace kubelane::tls
