#include "proxy/teleport/stored_bot.hpp"

#include <algorithm>
#include <memory>

#include <openssl/sha.h>

#include "tls/key.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "$") + part;
  return out;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('$', at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

}  // namespace

Artifacts artifacts_of(const BotIdentity& identity, const std::string& hash) {
  Artifacts out;
  out.files.emplace_back("tlscert", identity.issued.certificate);
  out.files.emplace_back("key-cert.pub", identity.issued.ssh_certificate);
  out.files.emplace_back("key", tls::stored_key_pem(identity.key.get()));
  out.files.emplace_back("key.pub", tls::ssh_public_line(identity.key.get()));
  out.files.emplace_back("tlscacerts", joined(identity.issued.cas));
  out.files.emplace_back("sshcacerts", joined(identity.issued.ssh_cas));
  out.files.emplace_back("tokenhash", hash);
  return out;
}

BotIdentityPtr identity_of(const Artifacts& artifacts) {
  Outcome<tls::KeyPtr> key = tls::parse_key(artifacts.at("key"));
  if (!key) return nullptr;
  IssuedCerts issued;
  issued.certificate = artifacts.at("tlscert");
  issued.ssh_certificate = artifacts.at("key-cert.pub");
  issued.cas = split(artifacts.at("tlscacerts"));
  issued.ssh_cas = split(artifacts.at("sshcacerts"));
  // An expired one is of no use, and is none.
  Outcome<BotIdentityPtr> identity =
      make_bot_identity(std::shared_ptr<EVP_PKEY>(std::move(*key)), std::move(issued), "", "");
  return identity ? std::move(*identity) : nullptr;
}

std::string token_hash(const std::string& token) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest);
  return tls::hex(digest, sizeof digest);
}

}  // namespace kubelane::teleport
