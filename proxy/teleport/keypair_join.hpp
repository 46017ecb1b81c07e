// Joining by method bound_keypair: a conversation in which Teleport asks for signatures by the
// bot's joining key, and sometimes for a new key (control-plane spec 1.3, 1.4, 1.8). Control
// thread.
#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/grpc_channel.hpp"
#include "proxy/teleport/join_messages.hpp"

namespace kubelane::teleport {

// Who has the keys. A Failure ends the join; Code::denied: somebody must change something first.
class KeypairHolder {
 public:
  virtual ~KeypairHolder() = default;
  virtual const BoundKeypairIntro& intro() const = 0;
  // The compact JWS over exactly the challenge.
  virtual Outcome<std::string> solve(const KeyChallenge& challenge) = 0;
  // A new key, stored durably before its public line is returned.
  virtual Outcome<std::string> rotate(const std::string& suite) = 0;
};

enum class KeypairStream : std::uint8_t { older, join_v1 };

// One try on one stream. AuthError::outcome_unknown: a signature was sent and then nothing was
// heard, so that the join may be done. Kind::unimplemented: there is no such stream, and nothing
// was told that counts.
boost::asio::awaitable<AuthResult<JoinGrant>> join_by_keypair(const GrpcChannel::Ptr& channel,
                                                              KeypairStream which,
                                                              const JoinRequest& request,
                                                              KeypairHolder& holder);

}  // namespace kubelane::teleport
