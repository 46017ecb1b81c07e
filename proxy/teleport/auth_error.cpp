#include "proxy/teleport/auth_error.hpp"

namespace kubelane::teleport {
namespace {

using Kind = AuthError::Kind;

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// What a refusal means beyond its code.
Kind refusal(const std::string& message) {
  if (holds(message, "generation mismatch")) return Kind::generation_mismatch;
  if (holds(message, "join state")) return Kind::state_mismatch;
  if (holds(message, "lock targeting") || holds(message, "is locked") ||
      holds(message, "lock is in force"))
    return Kind::locked;
  return Kind::denied;
}

Kind kind_of(const GrpcStatus& status) {
  switch (status.code) {
    case GrpcCode::permission_denied:
    case GrpcCode::unauthenticated:
      return refusal(status.message);
    case GrpcCode::not_found:
      return Kind::not_found;
    case GrpcCode::resource_exhausted:
      return Kind::busy;
    case GrpcCode::failed_precondition:
    case GrpcCode::aborted:
      return Kind::conflict;
    case GrpcCode::unimplemented:
      return Kind::unimplemented;
    case GrpcCode::invalid_argument:
      return Kind::invalid;
    case GrpcCode::unavailable:
    case GrpcCode::deadline_exceeded:
    case GrpcCode::cancelled:
      return Kind::unreachable;
    case GrpcCode::unknown:
      // Teleport 16 about key fields that it does not know (control-plane spec 4.1).
      if (holds(status.message, "ssh: no key found")) return Kind::invalid;
      if (refusal(status.message) != Kind::denied) return refusal(status.message);
      return Kind::other;
    default:
      return Kind::other;
  }
}

std::string mismatch_remedy(JoinMethod method) {
  const std::string found =
      "; somebody else renewed the same identity (another kubelane or tbot, a restored backup), or "
      "an answer was lost, and Teleport has locked the bot. kubelane has stopped renewing: find "
      "the "
      "other one, remove the lock (`tctl get lock`, `tctl rm lock/…`), ";
  if (method == JoinMethod::bound_keypair)
    return found +
           "let one join pass without its join state (`tctl edit token/…`: "
           "spec.bound_keypair.recovery.mode: insecure, and back afterwards), and send SIGHUP or "
           "restart";
  return found +
         "make a new token (`tctl bots instances add <bot>`), put it into onboarding.token, and "
         "send SIGHUP or restart";
}

}  // namespace

AuthError to_auth_error(const GrpcStatus& status, const std::string& what) {
  AuthError error;
  error.kind = status.refused_by_tls ? Kind::certificate_refused : kind_of(status);
  error.outcome_unknown = status.outcome_unknown;
  error.message =
      what + ": " +
      (status.message.empty() ? "gRPC code " + std::to_string(static_cast<int>(status.code))
                              : status.message);
  return error;
}

AuthError to_auth_error(const HttpsAnswer& answer, const std::string& what) {
  AuthError error;
  if (answer.status == 0) {
    error = to_auth_error(answer.failure);
    error.message = what + ": " + error.message;
    error.outcome_unknown = answer.request_sent;
    return error;
  }
  const std::string message = trace_message(answer.body);
  error.message = what + ": HTTP status " + std::to_string(answer.status) +
                  (message.empty() ? std::string() : ": " + message);
  switch (answer.status) {
    case 400:
      error.kind = refusal(message) == Kind::denied ? Kind::invalid : refusal(message);
      break;
    case 401:
    case 403:
      error.kind = refusal(message);
      break;
    case 404:
      // Of a token that is not there Teleport speaks; else it is the path that is not there.
      error.kind = holds(message, "token") ? Kind::not_found : Kind::unimplemented;
      break;
    case 405:
    case 501:
      error.kind = Kind::unimplemented;
      break;
    case 412:
      error.kind = Kind::conflict;
      break;
    case 429:
      error.kind = Kind::busy;
      break;
    default:
      error.kind = answer.status >= 500 ? Kind::unreachable : Kind::other;
      error.outcome_unknown = answer.status >= 500;
      break;
  }
  return error;
}

AuthError other_error(std::string message) { return {Kind::other, std::move(message), false}; }

AuthError to_auth_error(const Failure& failure) {
  AuthError error;
  error.message = failure.message;
  switch (failure.code) {
    case Code::tls_untrusted:
      error.kind = Kind::untrusted;
      break;
    case Code::tls_peer:
      error.kind = Kind::certificate_refused;
      break;
    case Code::config:
    case Code::internal:
      error.kind = Kind::other;
      break;
    default:
      error.kind = Kind::unreachable;
      break;
  }
  return error;
}

std::string remedy(AuthError::Kind kind, JoinMethod method, bool joining) {
  switch (kind) {
    case Kind::generation_mismatch:
    case Kind::state_mismatch:
      return mismatch_remedy(method);
    case Kind::in_doubt:
      return "; to join again could make Teleport lock the token. Look whether `tctl bots "
             "instances "
             "ls` shows a new instance of this bot: if it does, let one join pass without its join "
             "state (`tctl edit token/…`: spec.bound_keypair.recovery.mode: insecure, and back "
             "afterwards); then send SIGHUP";
    case Kind::locked:
      return "; Teleport has locked this bot, its token or one of its roles: see `tctl get lock`, "
             "and "
             "remove the lock if it is not meant to be. kubelane looks again every 5 minutes, or "
             "at "
             "SIGHUP";
    case Kind::denied:
    case Kind::not_found:
      if (method == JoinMethod::token && joining)
        return "; a token of method `token` is good for one join and lives for a short time: make "
               "a "
               "new one (`tctl bots instances add <bot>`), put it into onboarding.token, and send "
               "SIGHUP or restart";
      if (method == JoinMethod::bound_keypair)
        return "; check the join token (`tctl get token/…`): under spec.bound_keypair its "
               "registration secret or initial public key, and its recovery mode and limit (joins "
               "without a valid certificate count)";
      return "; check the join token's rules (`tctl get tokens`) and the bot's roles";
    case Kind::untrusted:
      return "; its CA was rotated while kubelane could not reach it, or something between here "
             "and there terminates TLS";
    case Kind::certificate_refused:
      return "; the bot's certificate is expired, or the cluster's user CA was rotated";
    case Kind::busy:
      return "; Teleport limits the rate of requests from here";
    default:
      return {};
  }
}

}  // namespace kubelane::teleport
