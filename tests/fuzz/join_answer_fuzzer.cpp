// The answer to a join, from whoever answers: the web API's JSON, teleport.join.v1's messages, the
// older stream's. Whatever it holds, it becomes an identity for our key, of a bot and of the
// cluster, or a reason why not; never more than was sent. Input: which of the three; with 0xff
// next, the rest edits a good answer step by step, otherwise it is the answer.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "proxy/teleport/find.hpp"
#include "proxy/teleport/join.hpp"
#include "proxy/teleport/join_messages.hpp"
#include "proxy/teleport/proto/join.pb.h"
#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/pki.hpp"
#include "tls/base64.hpp"
#include "tls/key.hpp"

namespace {

using namespace kubelane;
using namespace kubelane::teleport;
using fuzz::require;

const std::string cluster = "root.example.com";
enum Form : unsigned { web, newer, older, forms };

std::string der_of(const kubelane_test::Certificate& certificate) {
  unsigned char* bytes = nullptr;
  const int length = i2d_X509(certificate.get(), &bytes);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(length));
  OPENSSL_free(bytes);
  return der;
}

// One bot's certificate in all three. Made once.
struct Material {
  kubelane_test::Issued ca = kubelane_test::make_authority(cluster);
  kubelane_test::Issued client = kubelane_test::issue_client(ca, cluster);
  std::array<std::string, forms> answers{as_web(), as_newer(), as_older()};

  std::string as_web() const {
    return boost::json::serialize(boost::json::object{
        {"tls", tls::base64(client.pem())},
        {"ssh", tls::base64("ssh-ed25519 AAAA")},
        {"tls_ca_certs", boost::json::array{tls::base64(ca.pem()), tls::base64(ca.pem())}},
        {"ssh_ca_certs", nullptr}});
  }
  std::string as_newer() const {
    wire::JoinServerMessage message;
    wire::JoinBotResult& result = *message.mutable_result()->mutable_bot_result();
    result.mutable_certificates()->set_tls(der_of(client.certificate));
    result.mutable_certificates()->add_tls_ca_certs(der_of(ca.certificate));
    result.mutable_certificates()->set_ssh(std::string("\0\0\0\4type\0\0\0\1x", 13));
    result.mutable_bound_keypair()->set_join_state("state");
    result.mutable_bound_keypair()->set_public_key("ssh-ed25519 AAAA");
    return message.SerializeAsString();
  }
  std::string as_older() const {
    wire::BoundKeypairResponse message;
    wire::BoundKeypairCerts& result = *message.mutable_certs();
    result.mutable_certs()->set_tls(client.pem());
    result.mutable_certs()->add_tls_ca_certs(ca.pem());
    result.set_join_state("state");
    result.set_public_key("ssh-ed25519 AAAA");
    return message.SerializeAsString();
  }
};

const Material& material() {
  static const Material made;
  return made;
}

// Steps of four bytes: what to do, where (two bytes), with which value.
std::string edited(std::string text, std::string_view script) {
  for (; script.size() >= 4; script.remove_prefix(4)) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(script[i]); };
    const std::size_t at = (byte(1) * 256u + byte(2)) % (text.size() + 1);
    switch (byte(0) % 4) {
      case 0:
        text.resize(at);
        break;
      case 1:
        if (at < text.size()) text[at] = script[3];
        break;
      case 2:
        text.erase(at, byte(3));
        break;
      default:
        if (text.size() < 100'000) text.insert(at, 1, script[3]);
        break;
    }
  }
  return text;
}

void check_certs(IssuedCerts certs, std::size_t sent) {
  std::size_t bytes = certs.certificate.size() + certs.ssh_certificate.size();
  for (const std::string& ca : certs.cas) bytes += ca.size();
  for (const std::string& ca : certs.ssh_cas) bytes += ca.size();
  // PEM and base64 of what came in DER: a third more, lines and labels.
  require(bytes <= 3 * sent + 64 * (certs.cas.size() + certs.ssh_cas.size() + 2),
          "no more than sent");
  static const std::shared_ptr<EVP_PKEY> key = [] {
    auto parsed = tls::parse_key(material().client.key_pem());
    return std::shared_ptr<EVP_PKEY>(std::move(*parsed));
  }();
  const auto made = make_bot_identity(key, std::move(certs), cluster, "");
  if (!made) {
    require(!made.error().message.empty(), "a refusal has a reason");
    return;
  }
  const BotIdentity& identity = **made;
  require(X509_check_private_key(identity.certificate.get(), key.get()) == 1, "it is for our key");
  require(identity.subject.teleport_cluster == cluster, "it is of the cluster");
  require(identity.subject.user.starts_with("bot-") || !identity.subject.bot_name.empty(),
          "it is a bot's");
  require(!identity.issued.cas.empty(), "there is a CA");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const unsigned form = fuzz::take_choice(input) % forms;
  const bool script = input.starts_with('\xff');
  const std::string answer =
      script ? edited(material().answers.at(form), input.substr(1)) : std::string(input);
  const fuzz::ExactCopy bytes(answer);
  if (form == web) {
    Outcome<IssuedCerts> certs = parse_web_join(bytes.view());
    if (certs) {
      require(certs->cas.size() <= 64 && certs->ssh_cas.size() <= 64, "so many CAs nobody has");
      check_certs(std::move(*certs), answer.size());
    } else {
      require(!certs.error().message.empty(), "a refusal has a reason");
    }
    return 0;
  }
  std::optional<JoinAnswer> said =
      form == newer ? parse_join_v1(bytes.view()) : parse_bound_keypair(bytes.view());
  if (!said) return 0;
  if (auto* grant = std::get_if<JoinGrant>(&*said)) {
    require(grant->join_state.size() + grant->public_key.size() <= answer.size(),
            "no more than sent");
    check_certs(std::move(grant->certs), answer.size());
  } else if (const auto* challenge = std::get_if<KeyChallenge>(&*said)) {
    require(challenge->challenge.size() + challenge->public_key.size() <= answer.size(),
            "no more than sent");
  } else if (const auto* rotation = std::get_if<KeyRotation>(&*said)) {
    const KeyKind kind = joining_key_kind_of_suite(rotation->suite);
    require(kind == KeyKind::ecdsa || kind == KeyKind::ed25519, "a kind of key that signs");
  }
  return 0;
}
