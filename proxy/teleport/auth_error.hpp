// Why Teleport refused or could not be asked, sorted by what is to be done about it
// (control-plane spec 11, 14). Pure functions.
#pragma once

#include <stdexcept>
#include <string>

#include <boost/system/result.hpp>

#include "config/config.hpp"
#include "proxy/teleport/grpc_channel.hpp"
#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

struct AuthError {
  enum class Kind : std::uint8_t {
    unreachable,          // nobody answers, or not in time: try again soon
    untrusted,            // the peer's certificate does not verify: join again, or tell
    certificate_refused,  // it does not take our certificate: join again, or tell
    busy,                 // rate limit: try again later
    conflict,             // concurrent update: try again at once
    unimplemented,        // another path is to be taken
    invalid,              // our request does not suit this version
    denied,               // it says no, and will go on saying so until somebody changes something
    not_found,            // the same
    locked,               // a lock is in force
    generation_mismatch,  // somebody else renews the same identity: stop
    state_mismatch,       // somebody else has joined by the same key: stop
    in_doubt,             // whether the last join was carried out nobody knows: stop
    other
  };
  Kind kind = Kind::other;
  std::string message;           // a sentence; no secret
  bool outcome_unknown = false;  // the request may have been carried out
};

template <class T>
using AuthResult = boost::system::result<T, AuthError>;
[[noreturn]] inline void throw_exception_from_error(const AuthError& error,
                                                    const boost::source_location&) {
  throw std::runtime_error(error.message);
}

// `what`: what was asked for, e.g. "renewing the bot's certificate".
AuthError to_auth_error(const GrpcStatus& status, const std::string& what);
AuthError to_auth_error(const HttpsAnswer& answer, const std::string& what);
AuthError to_auth_error(const Failure& failure);  // of connecting

// Of no other kind, and for sure not carried out.
AuthError other_error(std::string message);

// What an operator can do about it, to stand behind the message: "; …", or empty. `joining`: there
// is no identity yet.
std::string remedy(AuthError::Kind kind, JoinMethod method, bool joining);

}  // namespace kubelane::teleport
