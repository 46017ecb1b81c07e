// Joining by teleport.join.v1 with a secret or an ID token, for clusters where the web API takes no
// joins any more; and the way to the Proxy's join services (control-plane spec 1.4, 1.5).
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/auth_client.hpp"
#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {

// A connection to the Proxy's join services, without a certificate.
boost::asio::awaitable<AuthResult<GrpcChannel::Ptr>> connect_to_join(const HttpsOrigin& origin);

// `by_id_token`: with request.id_token, else by the secret alone.
boost::asio::awaitable<AuthResult<IssuedCerts>> join_by_stream(const HttpsOrigin& origin,
                                                               const JoinRequest& request,
                                                               bool by_id_token);

}  // namespace kubelane::teleport
