#include "proxy/teleport/join_stream.hpp"

#include "proxy/teleport/join_messages.hpp"
#include "tls/context.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::chrono::milliseconds dial_limit{10'000};
constexpr std::chrono::milliseconds step_limit{40'000};
constexpr std::chrono::milliseconds farewell_limit{2'000};
constexpr const char* what = "joining as a bot (teleport.join.v1)";

AuthError unreadable(bool outcome_unknown) {
  return {AuthError::Kind::other, std::string(what) + ": the answer cannot be read",
          outcome_unknown};
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
  const std::string path = join_v1_path;
  const std::shared_ptr<GrpcStream> stream = channel->open(path);
  stream->send(join_v1_hello(request.token));
  std::optional<std::string> bytes = co_await stream->receive(step_limit);
  if (!bytes) {
    AuthError error = to_auth_error(stream->status(), what);
    error.outcome_unknown = false;  // nothing is decided before the next message
    co_return error;
  }
  std::optional<JoinAnswer> answer = parse_join_v1(*bytes);
  if (!answer || !std::holds_alternative<JoinGreeting>(*answer)) co_return unreadable(false);
  stream->send(by_id_token ? join_v1_by_id_token(request) : join_v1_by_token(request));
  bytes = co_await stream->receive(step_limit);
  if (!bytes) co_return to_auth_error(stream->status(), what);
  answer = parse_join_v1(*bytes);
  if (!answer || std::holds_alternative<JoinGreeting>(*answer)) co_return unreadable(true);
  if (auto* grant = std::get_if<JoinGrant>(&*answer)) {
    stream->half_close();
    co_return std::move(grant->certs);
  }
  stream->send(join_v1_giving_up(GivingUp::join_method));
  stream->half_close();
  co_await stream->receive(farewell_limit);
  co_return AuthError{AuthError::Kind::denied,
                      std::string(what) +
                          ": the token is of a method with challenges, which is "
                          "not what onboarding.join_method says",
                      false};
}

}  // namespace

boost::asio::awaitable<AuthResult<GrpcChannel::Ptr>> connect_to_join(const HttpsOrigin& origin) {
  const Outcome<GrpcTarget> target = join_target(origin);
  if (!target) co_return to_auth_error(target.error());
  Outcome<GrpcChannel::Ptr> channel = co_await GrpcChannel::connect(*target, dial_limit);
  if (!channel) co_return to_auth_error(channel.error());
  co_return std::move(*channel);
}

boost::asio::awaitable<AuthResult<IssuedCerts>> join_by_stream(const HttpsOrigin& origin,
                                                               const JoinRequest& request,
                                                               bool by_id_token) {
  const AuthResult<GrpcChannel::Ptr> channel = co_await connect_to_join(origin);
  if (!channel) co_return channel.error();
  AuthResult<IssuedCerts> certs = co_await talk(*channel, request, by_id_token);
  (*channel)->close();
  co_return certs;
}

}  // namespace kubelane::teleport
