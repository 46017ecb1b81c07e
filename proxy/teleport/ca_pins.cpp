#include "proxy/teleport/ca_pins.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <openssl/sha.h>

#include "tls/pem.hpp"
#include "tls/public_key.hpp"
#include "tls/teleport_subject.hpp"

namespace kubelane::teleport {

std::string check_ca_pins(const std::string& bundle_pem, const std::vector<std::string>& pins) {
  const tls::PemBlocks blocks = tls::split_pem(bundle_pem);
  if (blocks.certificates.empty() || blocks.torn) return "the Auth Service sent no host CA";
  for (const std::string_view block : blocks.certificates) {
    const tls::CertificatePtr certificate = tls::parse_certificate(block);
    if (!certificate) return "a host CA of the Auth Service cannot be read";
    if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0 ||
        X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0)
      return "a host CA of the Auth Service is not valid now; check this machine's clock";
    const std::string key = tls::public_key_der(X509_get0_pubkey(certificate.get()));
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
    const std::string pin = "sha256:" + tls::hex(digest, sizeof digest);
    if (std::find(pins.begin(), pins.end(), pin) == pins.end())
      return "the Auth Service at auth_server has another host CA (" + pin +
             ") than onboarding.ca_pins names: compare with `tctl status`; if it is not the right "
             "one, somebody stands in between";
  }
  return {};
}

Outcome<std::string> read_ca_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Failure{Code::io, "onboarding.ca_path: cannot read " + path};
  if (tls::split_pem(text.str()).certificates.empty())
    return Failure{Code::io, "onboarding.ca_path: " + path + " holds no certificate in PEM"};
  return text.str();
}

}  // namespace kubelane::teleport
