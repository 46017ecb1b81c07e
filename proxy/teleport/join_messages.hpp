// What is said in a join by gRPC, as values and as messages: teleport.join.v1 and, for
// bound_keypair, the older stream (control-plane spec 1.3, 1.4). Pure functions; what a server
// sends is hostile.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "proxy/teleport/auth_client.hpp"

namespace kubelane::teleport {

constexpr const char* join_v1_path = "/teleport.join.v1.JoinService/Join";
constexpr const char* bound_keypair_path = "/proto.JoinService/RegisterUsingBoundKeypairMethod";

// The server is there and knows the token; it wants what the method needs.
struct JoinGreeting {};
// Sign these bytes by the key with this public half (authorized_keys).
struct KeyChallenge {
  std::string public_key;
  std::string challenge;
};
// Make a new key by this suite (a name or a number), and tell its public half.
struct KeyRotation {
  std::string suite;
};
// The join is done.
struct JoinGrant {
  IssuedCerts certs;
  std::string join_state;  // bound_keypair
  std::string public_key;  // the same; authorized_keys
};
// A challenge of another method.
struct ForeignChallenge {};
using JoinAnswer =
    std::variant<JoinGreeting, KeyChallenge, KeyRotation, JoinGrant, ForeignChallenge>;

// Nothing: it cannot be read, or says nothing, or is too large.
std::optional<JoinAnswer> parse_join_v1(std::string_view bytes);
std::optional<JoinAnswer> parse_bound_keypair(std::string_view bytes);  // no greeting, none foreign

// What a bound_keypair join begins with.
struct BoundKeypairIntro {
  std::string registration_secret;  // until a key is bound
  std::string join_state;
};

// teleport.join.v1.
std::string join_v1_hello(const std::string& token);
std::string join_v1_by_token(const JoinRequest& request);
std::string join_v1_by_id_token(const JoinRequest& request);
std::string join_v1_by_keypair(const JoinRequest& request, const BoundKeypairIntro& intro);
std::string join_v1_signature(const std::string& jws);
std::string join_v1_new_key(const std::string& public_line);
enum class GivingUp : std::uint8_t { join_method = 1, message = 2, solution = 3 };
std::string join_v1_giving_up(GivingUp reason);

// The older stream.
std::string bound_keypair_init(const JoinRequest& request, const BoundKeypairIntro& intro);
std::string bound_keypair_signature(const std::string& jws);
std::string bound_keypair_new_key(const std::string& public_line);

}  // namespace kubelane::teleport
