#include "tests/lab/pki.hpp"

#include <algorithm>
#include <ctime>
#include <stdexcept>
#include <string_view>

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

namespace lab {
namespace {

constexpr long kTenYears = 10 * 365 * 86400L;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("lab PKI: ") + what);
}

std::string bio_text(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(length)};
}

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;
BioPtr memory_bio() { return {BIO_new(BIO_s_mem()), BIO_free}; }

// Go writes PrintableString where the text allows it, else UTF8String.
int string_type(std::string_view text) {
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(" '()+,-./:=?").find(c) != std::string_view::npos;
  });
  return printable ? V_ASN1_PRINTABLESTRING : V_ASN1_UTF8STRING;
}

void add_name(X509_NAME* name, const std::string& oid, const std::string& value,
              bool same_rdn = false) {
  const std::unique_ptr<ASN1_OBJECT, decltype(&ASN1_OBJECT_free)> object(
      OBJ_txt2obj(oid.c_str(), 1), ASN1_OBJECT_free);
  require(object != nullptr, "bad OID");
  require(X509_NAME_add_entry_by_OBJ(name, object.get(), string_type(value),
                                     reinterpret_cast<const unsigned char*>(value.data()),
                                     static_cast<int>(value.size()), -1, same_rdn ? -1 : 0) == 1,
          "subject attribute");
}

// Go puts repeated values of a standard attribute into one RDN.
void add_names(X509_NAME* name, const std::string& oid, const std::vector<std::string>& values) {
  bool first = true;
  for (const auto& value : values) {
    add_name(name, oid, value, !first);
    first = false;
  }
}

// Extra attributes stand each in an RDN of its own.
void add_extras(X509_NAME* name, const std::string& oid, const std::vector<std::string>& values) {
  for (const auto& value : values) add_name(name, oid, value);
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), X509_EXTENSION_free);
  require(extension != nullptr, "extension");
  require(X509_add_ext(certificate, extension.get(), -1) == 1, "extension");
}

CertificatePtr blank(EVP_PKEY* key, long from, long until, std::string& serial) {
  const CertificatePtr certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), X509_VERSION_3);
  // 127 random bits, as Go's generator of Teleport draws them.
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> number(BN_new(), BN_free);
  require(BN_rand(number.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1, "serial");
  require(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr,
          "serial");
  serial = serial_of(certificate.get());
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until);
  require(X509_set_pubkey(certificate.get(), key) == 1, "public key");
  return certificate;
}

void sign(X509* certificate, EVP_PKEY* key) {
  require(X509_sign(certificate, key, EVP_sha256()) > 0, "signature");
}

void add_leaf_extensions(X509* certificate, X509* issuer) {
  add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature,keyEncipherment");
  add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate, issuer, NID_authority_key_identifier, "keyid");
}

bool is_ip(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

constexpr const char* kCommonName = "2.5.4.3";
constexpr const char* kSerialNumber = "2.5.4.5";
constexpr const char* kLocality = "2.5.4.7";
constexpr const char* kStreet = "2.5.4.9";
constexpr const char* kOrganization = "2.5.4.10";
constexpr const char* kUnit = "2.5.4.11";
constexpr const char* kPostalCode = "2.5.4.17";

}  // namespace

KeyPtr make_key(KeyKind kind) {
  EVP_PKEY* key = kind == KeyKind::rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  require(key != nullptr, "key");
  return {key, EVP_PKEY_free};
}

std::string key_pem(const KeyPtr& key) {
  const BioPtr bio = memory_bio();
  const int written = EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA
                          ? PEM_write_bio_PrivateKey_traditional(bio.get(), key.get(), nullptr,
                                                                 nullptr, 0, nullptr, nullptr)
                          : PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0,
                                                          nullptr, nullptr);
  require(written == 1, "private key PEM");
  return bio_text(bio.get());
}

std::string certificate_pem(const CertificatePtr& certificate) {
  const BioPtr bio = memory_bio();
  require(PEM_write_bio_X509(bio.get(), certificate.get()) == 1, "certificate PEM");
  return bio_text(bio.get());
}

std::string pem_bundle(const std::vector<Issued>& certificates) {
  std::string text;
  for (const auto& each : certificates) text += each.pem();
  return text;
}

std::string serial_of(X509* certificate) {
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr), BN_free);
  char* text = BN_bn2dec(number.get());
  std::string serial(text);
  OPENSSL_free(text);
  return serial;
}

std::chrono::system_clock::time_point not_after_of(X509* certificate) {
  std::tm parts{};
  require(ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) == 1, "time");
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::vector<std::string> subject_values(X509* certificate, const std::string& oid) {
  const std::unique_ptr<ASN1_OBJECT, decltype(&ASN1_OBJECT_free)> object(
      OBJ_txt2obj(oid.c_str(), 1), ASN1_OBJECT_free);
  const X509_NAME* name = X509_get_subject_name(certificate);
  std::vector<std::string> values;
  for (int at = X509_NAME_get_index_by_OBJ(name, object.get(), -1); at >= 0;
       at = X509_NAME_get_index_by_OBJ(name, object.get(), at)) {
    const ASN1_STRING* data = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    values.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(data)),
                        static_cast<std::size_t>(ASN1_STRING_length(data)));
  }
  return values;
}

Issued make_authority(const std::string& cluster, KeyKind kind) {
  Issued made;
  made.key = make_key(kind);
  // From yesterday on, so that a cluster whose clock is slow has authorities in force.
  made.certificate = blank(made.key.get(), -86'400, kTenYears, made.serial);
  X509* certificate = made.certificate.get();
  X509_NAME* name = X509_get_subject_name(certificate);
  add_name(name, kOrganization, cluster);
  add_name(name, kCommonName, cluster);
  add_name(name, kSerialNumber, made.serial);
  require(X509_set_issuer_name(certificate, name) == 1, "issuer");
  add_extension(certificate, certificate, NID_key_usage,
                kind == KeyKind::rsa
                    ? "critical,digitalSignature,keyEncipherment,keyCertSign,cRLSign"
                    : "critical,digitalSignature,keyCertSign,cRLSign");
  add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
  sign(certificate, made.key.get());
  return made;
}

CertificatePtr issue_client_for(const Issued& authority, const KeyPtr& subject,
                                const ClientSpec& spec) {
  std::string serial;
  CertificatePtr made = blank(subject.get(), spec.valid_from, spec.valid_until, serial);
  X509* certificate = made.get();
  X509_NAME* name = X509_get_subject_name(certificate);
  add_names(name, kOrganization, spec.roles);
  add_names(name, kUnit, spec.usage);
  add_names(name, kLocality, spec.principals);
  add_name(name, kStreet, spec.route_to_cluster);
  add_name(name, kPostalCode, R"({"kubernetes_groups":null,"kubernetes_users":null})");
  add_name(name, kCommonName, spec.username);
  add_extras(name, "1.3.9999.1.1", spec.kubernetes_users);
  add_extras(name, "1.3.9999.1.2", spec.kubernetes_groups);
  if (!spec.kubernetes_cluster.empty()) add_name(name, "1.3.9999.1.3", spec.kubernetes_cluster);
  if (!spec.teleport_cluster.empty()) add_name(name, "1.3.9999.1.7", spec.teleport_cluster);
  add_name(name, "1.3.9999.1.15", "none");
  add_name(name, "1.3.9999.1.20", "local");
  if (spec.disallow_reissue) add_name(name, "1.3.9999.2.9", "true");
  if (!spec.pinned_ip.empty()) add_name(name, "1.3.9999.2.15", spec.pinned_ip);
  if (!spec.bot_name.empty()) add_name(name, "1.3.9999.2.18", spec.bot_name);
  for (const auto& [oid, value] : spec.more) add_name(name, oid, value);
  X509* issuer = authority.certificate.get();
  require(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1, "issuer");
  add_leaf_extensions(certificate, issuer);
  sign(certificate, authority.key.get());
  return made;
}

Issued issue_client(const Issued& authority, const ClientSpec& spec) {
  Issued made;
  made.key = make_key(spec.key_kind);
  made.certificate = issue_client_for(authority, made.key, spec);
  made.serial = serial_of(made.certificate.get());
  return made;
}

Issued issue_server(const Issued& authority, const std::string& common_name,
                    const std::vector<std::string>& names, long valid_from, long valid_until) {
  Issued made;
  const bool rsa = EVP_PKEY_get_base_id(authority.key.get()) == EVP_PKEY_RSA;
  made.key = make_key(rsa ? KeyKind::rsa : KeyKind::ecdsa);
  made.certificate = blank(made.key.get(), valid_from, valid_until, made.serial);
  X509* certificate = made.certificate.get();
  X509_NAME* name = X509_get_subject_name(certificate);
  add_name(name, kOrganization, "Proxy");
  add_name(name, kCommonName, common_name);
  X509* issuer = authority.certificate.get();
  require(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1, "issuer");
  add_leaf_extensions(certificate, issuer);
  std::string alternatives;
  for (const auto& each : names) {
    if (!alternatives.empty()) alternatives += ",";
    alternatives += (is_ip(each) ? "IP:" : "DNS:") + each;
  }
  add_extension(certificate, issuer, NID_subject_alt_name, alternatives);
  sign(certificate, authority.key.get());
  return made;
}

Pki::Pki(std::string cluster, KeyKind kind)
    : cluster_(std::move(cluster)),
      kind_(kind),
      hosts_{make_authority(cluster_, kind)},
      users_{make_authority(cluster_, kind)},
      web_(make_authority("lab web CA", KeyKind::ecdsa)) {}

void Pki::rotate(RotationPhase phase) {
  const auto keep = [this](std::size_t which) {
    if (hosts_.size() < 2) return;
    hosts_ = {hosts_[which]};
    users_ = {users_[which]};
  };
  if (phase != RotationPhase::standby && hosts_.size() < 2) {
    hosts_.push_back(make_authority(cluster_, kind_));
    users_.push_back(make_authority(cluster_, kind_));
  }
  if (phase == RotationPhase::standby) keep(phase_ == RotationPhase::update_servers ? 1 : 0);
  phase_ = phase;
}

const Issued& Pki::host_signer() const {
  return phase_ == RotationPhase::update_servers ? hosts_.back() : hosts_.front();
}

const Issued& Pki::user_signer() const {
  const bool fresh =
      phase_ == RotationPhase::update_clients || phase_ == RotationPhase::update_servers;
  return fresh ? users_.back() : users_.front();
}

std::vector<Issued> Pki::trusted_hosts() const { return hosts_; }
std::vector<Issued> Pki::trusted_users() const { return users_; }

void Pki::add_leaf_cluster(const std::string& name) {
  leaf_hosts_.push_back(make_authority(name, kind_));
}

Issued Pki::issue_proxy(const std::vector<std::string>& public_hosts) const {
  std::vector<std::string> names{"*.teleport.cluster.local",
                                 "teleport.cluster.local",
                                 "kube.teleport.cluster.local",
                                 "localhost",
                                 "127.0.0.1",
                                 "::1"};
  const auto add = [&names](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const auto& host : public_hosts) {
    add(host);
    if (!is_ip(host)) add("*." + host);
  }
  // The subject names the host by its id, never by a DNS name to match (spec 2.3).
  return issue_server(host_signer(), "6f3e9a52-lab." + cluster_, names);
}

}  // namespace lab
