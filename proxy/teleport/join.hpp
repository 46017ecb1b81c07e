// Joining through the Proxy's web API: one JSON request, one answer (control-plane spec 1.2).
#pragma once

#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/auth_client.hpp"
#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

// The JSON body. Holds secrets: wipe() it.
std::string web_join_body(const JoinRequest& request);
// The JSON answer to it.
Outcome<IssuedCerts> parse_web_join(std::string_view body);

boost::asio::awaitable<AuthResult<IssuedCerts>> join_over_web(const HttpsOrigin& origin,
                                                              const JoinRequest& request);

}  // namespace kubelane::teleport
