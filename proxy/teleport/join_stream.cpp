#include "proxy/teleport/join_stream.hpp"

#include "proxy/teleport/proto/join.pb.h"
#include "tls/base64.hpp"
#include "tls/context.hpp"
#include "tls/pem.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::chrono::milliseconds dial_limit{10'000};
constexpr std::chrono::milliseconds step_limit{40'000};
constexpr const char* what = "joining as a bot (teleport.join.v1)";

AuthError unreadable(bool outcome_unknown) {
  return {AuthError::Kind::other, std::string(what) + ": the answer cannot be read",
          outcome_unknown};
}

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
  bot.mutable_expires()->set_seconds(
      std::chrono::duration_cast<std::chrono::seconds>(request.expires.time_since_epoch()).count());
}

// The Proxy's join service has its own name in ALPN, and the Proxy's web certificate.
Outcome<GrpcTarget> join_target(const HttpsOrigin& origin) {
  Outcome<tls::ContextPtr> context = tls::make_web_context(origin.ca_file, origin.insecure);
  if (!context) return context.error();
  GrpcTarget target;
  target.address = origin.address;
  target.server_name = origin.address.host;
  target.protocols = {"teleport-proxy-grpc", "h2"};
  target.context = std::shared_ptr<SSL_CTX>(std::move(*context));
  target.what = "the Teleport Proxy's join service";
  return target;
}

boost::asio::awaitable<AuthResult<IssuedCerts>> talk(const GrpcChannel::Ptr& channel,
                                                     const JoinRequest& request, bool by_id_token) {
  const std::string path = "/teleport.join.v1.JoinService/Join";
  const std::shared_ptr<GrpcStream> stream = channel->open(path);
  wire::JoinClientMessage hello;
  hello.mutable_client_init()->set_token_name(request.token);
  hello.mutable_client_init()->set_system_role("Bot");
  stream->send(hello.SerializeAsString());
  std::optional<std::string> answer = co_await stream->receive(step_limit);
  if (!answer) {
    AuthError error = to_auth_error(stream->status(), what);
    error.outcome_unknown = false;  // nothing is decided before the next message
    co_return error;
  }
  wire::JoinServerMessage message;
  if (!message.ParseFromString(*answer) || !message.has_init()) co_return unreadable(false);
  wire::JoinClientMessage proof;
  if (by_id_token) {
    set_params(*proof.mutable_id_token_init()->mutable_client_params(), request);
    proof.mutable_id_token_init()->set_id_token(request.id_token);
  } else {
    set_params(*proof.mutable_token_init()->mutable_client_params(), request);
  }
  stream->send(proof.SerializeAsString());
  answer = co_await stream->receive(step_limit);
  if (!answer) co_return to_auth_error(stream->status(), what);
  if (!message.ParseFromString(*answer)) co_return unreadable(true);
  if (message.has_challenge()) {
    wire::JoinClientMessage sorry;
    sorry.mutable_giving_up()->set_reason(1);
    stream->send(sorry.SerializeAsString());
    stream->half_close();
    co_return AuthError{AuthError::Kind::denied,
                        std::string(what) +
                            ": the token is of a method with challenges, which is "
                            "not what onboarding.join_method says",
                        false};
  }
  stream->half_close();
  if (!message.has_result()) co_return unreadable(true);
  co_return issued(message.result().bot_result().certificates());
}

}  // namespace

boost::asio::awaitable<AuthResult<IssuedCerts>> join_by_stream(const HttpsOrigin& origin,
                                                               const JoinRequest& request,
                                                               bool by_id_token) {
  const Outcome<GrpcTarget> target = join_target(origin);
  if (!target) co_return to_auth_error(target.error());
  Outcome<GrpcChannel::Ptr> channel = co_await GrpcChannel::connect(*target, dial_limit);
  if (!channel) co_return to_auth_error(channel.error());
  AuthResult<IssuedCerts> certs = co_await talk(*channel, request, by_id_token);
  (*channel)->close();
  co_return certs;
}

}  // namespace kubelane::teleport
