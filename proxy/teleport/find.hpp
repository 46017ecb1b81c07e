// GET /webapi/find: what a bot must know of a cluster before it joins (control-plane spec 3.6).
#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/auth_error.hpp"

namespace kubelane::teleport {

// What keys the cluster wants (spec 1.7): RSA-2048, ECDSA P-256 or, for joining alone, Ed25519.
enum class KeyKind : std::uint8_t { rsa, ecdsa, ed25519 };

struct FindReply {
  std::string cluster_name;
  std::string server_version;
  KeyKind key_kind = KeyKind::rsa;
};

// A suite's name in any of its spellings, or its number. Unknown ones: ECDSA, as every suite after
// the first.
KeyKind key_kind_of_suite(std::string suite);

// The same of the key by which a bot joins (bound_keypair).
KeyKind joining_key_kind_of_suite(std::string suite);

Outcome<FindReply> parse_find(std::string_view body);

boost::asio::awaitable<AuthResult<FindReply>> find(const HttpsOrigin& origin);

}  // namespace kubelane::teleport
