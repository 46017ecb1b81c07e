#include "proxy/teleport/join_messages.hpp"

#include "proxy/teleport/auth_messages.hpp"
#include "proxy/teleport/proto/join.pb.h"
#include "tls/base64.hpp"
#include "tls/pem.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::size_t most_answer_bytes = 1UL << 20;

// The type's name stands in front of the blob itself: its length in four bytes, then it.
std::string ssh_line(const std::string& blob) {
  if (blob.size() < 4) return {};
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = (length << 8) | static_cast<unsigned char>(blob[i]);
  if (length > blob.size() - 4) return {};
  return blob.substr(4, length) + " " + tls::base64(blob) + "\n";
}

std::string to_pem(const std::string& der) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const tls::CertificatePtr certificate(d2i_X509(nullptr, &bytes, static_cast<long>(der.size())));
  if (!certificate) {
    tls::drain_errors();
    return {};
  }
  return tls::certificate_pem(certificate.get());
}

IssuedCerts issued(const wire::JoinCertificates& certificates) {
  IssuedCerts out;
  out.certificate = to_pem(certificates.tls());
  out.ssh_certificate = ssh_line(certificates.ssh());
  for (const std::string& ca : certificates.tls_ca_certs()) out.cas.push_back(to_pem(ca));
  for (const std::string& ca : certificates.ssh_ca_keys()) out.ssh_cas.push_back(ssh_line(ca));
  return out;
}

void set_params(wire::JoinClientParams& params, const JoinRequest& request) {
  wire::JoinBotParams& bot = *params.mutable_bot_params();
  bot.mutable_public_keys()->set_tls_key(tls::public_key_der(request.key.get()));
  bot.mutable_public_keys()->set_ssh_key(tls::ssh_public_blob(request.key.get()));
  set_time(*bot.mutable_expires(), request.expires);
}

template <class Message>
bool read(std::string_view bytes, Message& message) {
  return bytes.size() <= most_answer_bytes &&
         message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

JoinAnswer answer_of(const wire::JoinChallenge& challenge) {
  if (challenge.has_key())
    return KeyChallenge{challenge.key().public_key(), challenge.key().challenge()};
  if (challenge.has_rotation())
    return KeyRotation{challenge.rotation().signature_algorithm_suite()};
  return ForeignChallenge{};
}

}  // namespace

std::optional<JoinAnswer> parse_join_v1(std::string_view bytes) {
  wire::JoinServerMessage message;
  if (!read(bytes, message)) return std::nullopt;
  if (message.has_init()) return JoinGreeting{};
  if (message.has_challenge()) return answer_of(message.challenge());
  if (!message.has_result()) return std::nullopt;
  const wire::JoinBotResult& result = message.result().bot_result();
  return JoinGrant{issued(result.certificates()), result.bound_keypair().join_state(),
                   result.bound_keypair().public_key()};
}

std::optional<JoinAnswer> parse_bound_keypair(std::string_view bytes) {
  wire::BoundKeypairResponse message;
  if (!read(bytes, message)) return std::nullopt;
  if (message.has_challenge())
    return KeyChallenge{message.challenge().public_key(), message.challenge().challenge()};
  if (message.has_rotation())
    return KeyRotation{std::to_string(message.rotation().signature_algorithm_suite())};
  if (!message.has_certs()) return std::nullopt;
  return JoinGrant{issued_certs(std::move(*message.mutable_certs()->mutable_certs())),
                   message.certs().join_state(), message.certs().public_key()};
}

std::string join_v1_hello(const std::string& token) {
  wire::JoinClientMessage message;
  message.mutable_client_init()->set_token_name(token);
  message.mutable_client_init()->set_system_role("Bot");
  return message.SerializeAsString();
}

std::string join_v1_by_token(const JoinRequest& request) {
  wire::JoinClientMessage message;
  set_params(*message.mutable_token_init()->mutable_client_params(), request);
  return message.SerializeAsString();
}

std::string join_v1_by_id_token(const JoinRequest& request) {
  wire::JoinClientMessage message;
  set_params(*message.mutable_id_token_init()->mutable_client_params(), request);
  message.mutable_id_token_init()->set_id_token(request.id_token);
  return message.SerializeAsString();
}

std::string join_v1_by_keypair(const JoinRequest& request, const BoundKeypairIntro& intro) {
  wire::JoinClientMessage message;
  wire::JoinBoundKeypairInit& init = *message.mutable_bound_keypair_init();
  set_params(*init.mutable_client_params(), request);
  init.set_registration_secret(intro.registration_secret);
  init.set_join_state(intro.join_state);
  return message.SerializeAsString();
}

std::string join_v1_signature(const std::string& jws) {
  wire::JoinClientMessage message;
  message.mutable_solution()->mutable_signature()->set_jws(jws);
  return message.SerializeAsString();
}

std::string join_v1_new_key(const std::string& public_line) {
  wire::JoinClientMessage message;
  message.mutable_solution()->mutable_new_key()->set_public_key(public_line);
  return message.SerializeAsString();
}

std::string join_v1_giving_up(GivingUp reason) {
  wire::JoinClientMessage message;
  message.mutable_giving_up()->set_reason(static_cast<int>(reason));
  return message.SerializeAsString();
}

std::string bound_keypair_init(const JoinRequest& request, const BoundKeypairIntro& intro) {
  wire::BoundKeypairRequest message;
  wire::BoundKeypairInit& init = *message.mutable_init();
  *init.mutable_join_request() = join_request_message(request);
  init.set_registration_secret(intro.registration_secret);
  init.set_join_state(intro.join_state);
  return message.SerializeAsString();
}

std::string bound_keypair_signature(const std::string& jws) {
  wire::BoundKeypairRequest message;
  message.mutable_signature()->set_jws(jws);
  return message.SerializeAsString();
}

std::string bound_keypair_new_key(const std::string& public_line) {
  wire::BoundKeypairRequest message;
  message.mutable_new_key()->set_public_key(public_line);
  return message.SerializeAsString();
}

}  // namespace kubelane::teleport
