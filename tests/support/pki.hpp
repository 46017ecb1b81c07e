// Certificates as Teleport makes them, for unit tests: authorities with Teleport's names, a bot's
// client certificates, the Proxy's server certificate, and tbot's files made of them (data-path
// spec 1.3, 1.4, 2.3, 2.4). Header-only: unit tests link no support code.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

namespace kubelane_test {

using Key = std::shared_ptr<EVP_PKEY>;
using Certificate = std::shared_ptr<X509>;

inline void require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string("test PKI: ") + what);
}

inline Key own(EVP_PKEY* key) {
  require(key != nullptr, "key");
  return {key, EVP_PKEY_free};
}
inline Key make_ec_key() { return own(EVP_EC_gen("P-256")); }
inline Key make_rsa_key() { return own(EVP_RSA_gen(2048)); }
inline Key make_ed25519_key() { return own(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

template <class Write>
std::string to_pem(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), BIO_free_all);
  require(write(bio.get()) == 1, "PEM");
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(length)};
}

inline std::string pem(const Certificate& certificate) {
  return to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); });
}

enum class KeyFormat { pkcs8, traditional, encrypted_pkcs8, encrypted_traditional };

inline std::string pem(const Key& key, KeyFormat format = KeyFormat::pkcs8) {
  // Empty, so that a reader that answers a password prompt with nothing would get in.
  static unsigned char password[] = "";
  return to_pem([&](BIO* bio) {
    switch (format) {
      case KeyFormat::traditional:
        return PEM_write_bio_PrivateKey_traditional(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                    nullptr);
      case KeyFormat::encrypted_pkcs8:
        return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), EVP_aes_128_cbc(),
                                             reinterpret_cast<char*>(password), 0, nullptr,
                                             nullptr);
      case KeyFormat::encrypted_traditional: {
        static unsigned char word[] = "word";
        return PEM_write_bio_PrivateKey_traditional(bio, key.get(), EVP_aes_128_cbc(), word, 4,
                                                    nullptr, nullptr);
      }
      default:
        return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    }
  });
}

// A certificate with its key.
struct Issued {
  Certificate certificate;
  Key key;

  std::string pem() const { return kubelane_test::pem(certificate); }
  std::string key_pem() const { return kubelane_test::pem(key); }
};

// An attribute of a subject, by dotted OID.
struct Attribute {
  std::string oid;
  std::string value;
  int type = MBSTRING_UTF8;
};

struct Shape {
  std::vector<Attribute> subject;
  long valid_from = -60;  // seconds from now
  long valid_until = 3600;
  // basicConstraints, keyUsage, extendedKeyUsage, subjectAltName: OpenSSL's notation; empty: none.
  std::string constraints = "critical,CA:FALSE";
  std::string key_usage = "critical,digitalSignature,keyEncipherment";
  std::string extended_key_usage = "serverAuth,clientAuth";
  std::string names;
};

inline void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  if (value.empty()) return;
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, "extension");
  X509_EXTENSION_free(extension);
}

// Signs with `issuer`, or itself when that is null.
inline Issued issue(const Issued* issuer, const Shape& shape, Key key) {
  const Certificate certificate(X509_new(), X509_free);
  X509* made = certificate.get();
  X509* signer = issuer != nullptr ? issuer->certificate.get() : made;
  X509_set_version(made, X509_VERSION_3);
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> serial(BN_new(), BN_free);
  require(BN_rand(serial.get(), 120, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1, "serial");
  require(BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(made)) != nullptr, "serial");
  X509_gmtime_adj(X509_getm_notBefore(made), shape.valid_from);
  X509_gmtime_adj(X509_getm_notAfter(made), shape.valid_until);
  require(X509_set_pubkey(made, key.get()) == 1, "public key");
  X509_NAME* subject = X509_get_subject_name(made);
  for (const Attribute& each : shape.subject) {
    ASN1_OBJECT* object = OBJ_txt2obj(each.oid.c_str(), 1);
    require(object != nullptr && X509_NAME_add_entry_by_OBJ(
                                     subject, object, each.type,
                                     reinterpret_cast<const unsigned char*>(each.value.data()),
                                     static_cast<int>(each.value.size()), -1, 0) == 1,
            "subject");
    ASN1_OBJECT_free(object);
  }
  require(X509_set_issuer_name(made, X509_get_subject_name(signer)) == 1, "issuer");
  add_extension(made, signer, NID_basic_constraints, shape.constraints);
  add_extension(made, signer, NID_key_usage, shape.key_usage);
  add_extension(made, signer, NID_ext_key_usage, shape.extended_key_usage);
  add_extension(made, signer, NID_subject_alt_name, shape.names);
  EVP_PKEY* signing_key = issuer != nullptr ? issuer->key.get() : key.get();
  const bool hashless = EVP_PKEY_get_base_id(signing_key) == EVP_PKEY_ED25519;
  require(X509_sign(made, signing_key, hashless ? nullptr : EVP_sha256()) > 0, "signature");
  return {certificate, std::move(key)};
}

constexpr const char* oid_common_name = "2.5.4.3";
constexpr const char* oid_serial_number = "2.5.4.5";
constexpr const char* oid_street = "2.5.4.9";
constexpr const char* oid_organization = "2.5.4.10";
constexpr const char* oid_kubernetes_cluster = "1.3.9999.1.3";
constexpr const char* oid_teleport_cluster = "1.3.9999.1.7";
constexpr const char* oid_renewable = "1.3.9999.1.13";
constexpr const char* oid_pinned_ip = "1.3.9999.2.15";
constexpr const char* oid_bot_name = "1.3.9999.2.18";

// A Teleport CA: CN = O = cluster and a serialNumber, so that each key's CA has its own name.
inline Shape authority_shape(const std::string& cluster) {
  unsigned char random[8];
  require(RAND_bytes(random, sizeof random) == 1, "random");
  std::string decimal;
  for (const unsigned char byte : random) decimal += std::to_string(byte);
  Shape shape;
  shape.subject = {
      {oid_organization, cluster}, {oid_common_name, cluster}, {oid_serial_number, decimal}};
  shape.constraints = "critical,CA:TRUE";
  shape.key_usage = "critical,digitalSignature,keyCertSign,cRLSign";
  shape.extended_key_usage.clear();
  return shape;
}
inline Issued make_authority(const std::string& cluster, Key key = make_ec_key()) {
  return issue(nullptr, authority_shape(cluster), std::move(key));
}

// A bot's output certificate of the `kubernetes` service.
inline Shape client_shape(const std::string& cluster) {
  Shape shape;
  shape.subject = {{oid_organization, "kube-access"}, {oid_street, cluster},
                   {oid_common_name, "bot-ci"},       {oid_kubernetes_cluster, "prod"},
                   {oid_teleport_cluster, cluster},   {oid_bot_name, "ci"}};
  return shape;
}
inline Issued issue_client(const Issued& user_authority, const std::string& cluster,
                           Key key = make_ec_key()) {
  return issue(&user_authority, client_shape(cluster), std::move(key));
}

// The Proxy's host certificate. `names` in OpenSSL's notation.
inline Issued issue_proxy(const Issued& host_authority, const std::string& names,
                          Key key = make_ec_key()) {
  Shape shape;
  shape.subject = {{oid_organization, "Proxy"}, {oid_common_name, "host-uuid.cluster"}};
  shape.names = names;
  return issue(&host_authority, shape, std::move(key));
}

// tbot's `identity` file: key, SSH certificate, certificate, SSH CAs, TLS CAs.
inline std::string identity_file(const std::string& key, const std::string& certificate,
                                 const std::string& authorities) {
  return key + "ecdsa-sha2-nistp256-cert-v01@openssh.com AAAAKGVjZHNhLXNoYTItbmlz bot-ci\n" +
         certificate + "@cert-authority *.root.example.com ssh-rsa AAAAB3NzaC1yc2E type=host\n" +
         "@cert-authority *.leaf.example.com ssh-rsa AAAAB3NzaC1yc2F type=host\n" + authorities;
}

}  // namespace kubelane_test
