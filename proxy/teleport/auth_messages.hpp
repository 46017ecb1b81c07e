// Values that several of Auth's calls carry, to and from its messages (control-plane spec 1.2, 2).
#pragma once

#include "proxy/teleport/auth_client.hpp"
#include "proxy/teleport/proto/auth.pb.h"

namespace kubelane::teleport {

IssuedCerts issued_certs(wire::Certs&& certs);
wire::JoinRequest join_request_message(const JoinRequest& join);

void set_time(wire::Timestamp& to, std::chrono::system_clock::time_point at);

}  // namespace kubelane::teleport
