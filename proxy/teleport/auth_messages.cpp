#include "proxy/teleport/auth_messages.hpp"

#include "tls/public_key.hpp"

namespace kubelane::teleport {

IssuedCerts issued_certs(wire::Certs&& certs) {
  IssuedCerts out;
  out.certificate = std::move(*certs.mutable_tls());
  out.ssh_certificate = std::move(*certs.mutable_ssh());
  for (std::string& ca : *certs.mutable_tls_ca_certs()) out.cas.push_back(std::move(ca));
  for (std::string& ca : *certs.mutable_ssh_ca_certs()) out.ssh_cas.push_back(std::move(ca));
  return out;
}

wire::JoinRequest join_request_message(const JoinRequest& join) {
  wire::JoinRequest request;
  request.set_role("Bot");
  request.set_token(join.token);
  request.set_tls_key(tls::public_key_pem(join.key.get()));
  request.set_ssh_key(tls::ssh_public_line(join.key.get()));
  request.set_id_token(join.id_token);
  set_time(*request.mutable_expires(), join.expires);
  return request;
}

void set_time(wire::Timestamp& to, std::chrono::system_clock::time_point at) {
  to.set_seconds(std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count());
}

}  // namespace kubelane::teleport
