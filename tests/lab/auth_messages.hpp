// Auth's certificates, roles, authorities and clusters in the encodings of its transports
// (control-plane spec 1.2, 1.4, 2, 5, 6).
#pragma once

#include <string>

#include "tests/lab/auth_service.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/proto/join_v1.pb.h"

namespace lab {

// Certificates.
proto::Certs to_certs(const Certificates& made);
std::string to_certs_json(const Certificates& made);
teleport::join::v1::Certificates to_join_v1(const Certificates& made);

// What a client asks. Malformed keys become empty ones; a body that is no JSON throws CallError.
JoinAsk from_message(const types::RegisterUsingTokenRequest& request);
JoinAsk from_join_json(const std::string& body);
void take_params(const teleport::join::v1::ClientParams& params, JoinAsk& ask);
// Throws CallError as that version does when a key is missing or malformed.
CertsAsk from_message(const proto::UserCertsRequest& request, const ServerVersion& version);
// Unset, or Go's zero time: nothing.
std::optional<long> from_message(bool set, const types::Timestamp& time);

types::RoleV6 to_message(const Role& role);
// `type`: host, user, db or openssh.
types::CertAuthorityV2 to_message(const std::string& type, const AuthService::RotationEvent& now,
                                  const std::string& cluster, const std::string& ssh_line);
std::string phase_name(RotationPhase phase);
types::KubernetesServerV3 to_message(const KubeResource& cluster, const std::string& host_id);
types::SignatureAlgorithmSuite to_message(Suite suite);

}  // namespace lab
