// Joining through the Proxy's web API: one JSON request, one answer (control-plane spec 1.2).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/auth_error.hpp"
#include "proxy/teleport/bot_identity.hpp"
#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

struct JoinRequest {
  std::string token;     // the secret, or the name of the join token
  std::string id_token;  // empty for method token
  std::shared_ptr<EVP_PKEY> key;
  std::chrono::system_clock::time_point expires;
};

// The JSON body. Holds secrets: wipe() it.
std::string web_join_body(const JoinRequest& request);
// The JSON answer to it.
Outcome<IssuedCerts> parse_web_join(std::string_view body);

boost::asio::awaitable<AuthResult<IssuedCerts>> join_over_web(HttpsOrigin origin,
                                                              JoinRequest request);

}  // namespace kubelane::teleport
