#include "proxy/teleport/bot_identity.hpp"

#include <openssl/x509v3.h>

#include "tls/pem.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::size_t most_cas = 64;
constexpr std::size_t most_bytes = 1UL << 20;
constexpr std::chrono::minutes clock_skew{2};

Failure unusable(const std::string& why) {
  return {Code::io, "Teleport's answer cannot be used: " + why};
}

}  // namespace

Outcome<BotIdentityPtr> make_bot_identity(std::shared_ptr<EVP_PKEY> key, IssuedCerts issued,
                                          const std::string& teleport_cluster,
                                          const std::string& user) {
  std::size_t bytes = issued.certificate.size() + issued.ssh_certificate.size();
  for (const std::string& ca : issued.cas) bytes += ca.size();
  for (const std::string& ca : issued.ssh_cas) bytes += ca.size();
  if (bytes > most_bytes || issued.cas.size() > most_cas || issued.ssh_cas.size() > most_cas)
    return unusable("it is too large");
  const tls::PemBlocks blocks = tls::split_pem(issued.certificate);
  if (blocks.certificates.size() != 1) return unusable("it holds no certificate, or several");
  auto identity = std::make_shared<BotIdentity>();
  identity->certificate = tls::parse_certificate(blocks.certificates.front());
  X509* const leaf = identity->certificate.get();
  if (leaf == nullptr) return unusable("its certificate cannot be read");
  if (X509_check_private_key(leaf, key.get()) != 1) {
    tls::drain_errors();
    return unusable("its certificate is for another key than ours");
  }
  if ((X509_get_extension_flags(leaf) & EXFLAG_CA) != 0)
    return unusable("its certificate is a CA's");
  Outcome<tls::TeleportSubject> subject = tls::read_subject(leaf);
  if (!subject) return unusable(subject.error().message);
  identity->subject = std::move(*subject);
  if (!identity->subject.user.starts_with("bot-") && identity->subject.bot_name.empty())
    return unusable("its certificate is not a bot's");
  if (!user.empty() && identity->subject.user != user)
    return unusable("its certificate is for \"" + identity->subject.user + "\", not for \"" + user +
                    "\" as before");
  if (!teleport_cluster.empty() && identity->subject.teleport_cluster != teleport_cluster)
    return unusable("its certificate is of Teleport cluster \"" +
                    identity->subject.teleport_cluster + "\", not of \"" + teleport_cluster + "\"");
  if (identity->subject.not_after + clock_skew <= std::chrono::system_clock::now())
    return unusable("its certificate has expired already; check this machine's clock");
  bool any_ca = false;
  for (const std::string& ca : issued.cas)
    any_ca = any_ca || !tls::split_pem(ca).certificates.empty();
  if (!any_ca) return unusable("it holds no CA certificate");
  identity->key = std::move(key);
  identity->issued = std::move(issued);
  return BotIdentityPtr(std::move(identity));
}

}  // namespace kubelane::teleport
