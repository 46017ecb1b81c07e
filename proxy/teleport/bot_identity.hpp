// The bot's own identity: key, certificates and CAs as a join or a renewal gave them, checked.
// It does nothing but ask Teleport for others (control-plane spec 2, 14).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "tls/openssl.hpp"
#include "tls/teleport_subject.hpp"

namespace kubelane::teleport {

// What a join or GenerateUserCerts answers, without any encoding around it.
struct IssuedCerts {
  std::string certificate;           // PEM
  std::string ssh_certificate;       // authorized_keys line
  std::vector<std::string> cas;      // PEM
  std::vector<std::string> ssh_cas;  // lines
};

// Immutable after make_bot_identity(). Thread: control.
struct BotIdentity {
  std::shared_ptr<EVP_PKEY> key;
  std::shared_ptr<X509> certificate;
  IssuedCerts issued;
  tls::TeleportSubject subject;
};
using BotIdentityPtr = std::shared_ptr<const BotIdentity>;

// Checks: the certificate is for this key, of a bot, of this Teleport cluster (unless that is
// empty), of this user (unless that is empty), not over by more than a minute; there is a CA.
Outcome<BotIdentityPtr> make_bot_identity(std::shared_ptr<EVP_PKEY> key, IssuedCerts issued,
                                          const std::string& teleport_cluster,
                                          const std::string& user);

}  // namespace kubelane::teleport
