#include "tests/lab/auth_messages.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>

#include <boost/json.hpp>
#include <openssl/x509.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/public_key.hpp"

namespace lab {
namespace {

namespace json = boost::json;

std::string der(const CertificatePtr& certificate) {
  unsigned char* out = nullptr;
  const int length = i2d_X509(certificate.get(), &out);
  std::string bytes(reinterpret_cast<char*>(out), static_cast<std::size_t>(length));
  OPENSSL_free(out);
  return bytes;
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : "";
}

// Go's names for what RFC 3339 writes, in UTC.
std::optional<long> from_rfc3339(const std::string& text) {
  tm broken{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &broken);
  if (rest == nullptr) return std::nullopt;
  if (*rest == '.') rest += 1 + strspn(rest + 1, "0123456789");
  if (std::string_view(rest) != "Z") return std::nullopt;
  return timegm(&broken);
}

}  // namespace

proto::Certs to_certs(const Certificates& made) {
  proto::Certs certs;
  if (!made.ssh.empty()) certs.set_ssh(ssh::line_from_wire(made.ssh) + "\n");
  if (made.tls) certs.set_tls(certificate_pem(made.tls));
  for (const auto& each : made.tls_authorities) certs.add_tlscacerts(certificate_pem(each));
  for (const auto& each : made.ssh_authorities) {
    certs.add_sshcacerts(ssh::line_from_wire(each) + "\n");
  }
  return certs;
}

std::string to_certs_json(const Certificates& made) {
  const proto::Certs certs = to_certs(made);
  json::array tls;
  json::array ssh;
  for (const auto& each : certs.tlscacerts()) tls.emplace_back(base64(each));
  for (const auto& each : certs.sshcacerts()) ssh.emplace_back(base64(each));
  return json::serialize(json::object{{"ssh", base64(certs.ssh())},
                                      {"tls", base64(certs.tls())},
                                      {"tls_ca_certs", std::move(tls)},
                                      {"ssh_ca_certs", std::move(ssh)}});
}

teleport::join::v1::Certificates to_join_v1(const Certificates& made) {
  teleport::join::v1::Certificates certs;
  certs.set_tls_cert(der(made.tls));
  certs.set_ssh_cert(made.ssh);
  for (const auto& each : made.tls_authorities) certs.add_tls_ca_certs(der(each));
  for (const auto& each : made.ssh_authorities) certs.add_ssh_ca_keys(each);
  return certs;
}

std::optional<long> from_message(bool set, const types::Timestamp& time) {
  constexpr std::int64_t kGoZero = -62'135'596'800;
  if (!set || time.seconds() == kGoZero) return std::nullopt;
  return static_cast<long>(time.seconds());
}

JoinAsk from_message(const types::RegisterUsingTokenRequest& request) {
  JoinAsk ask;
  ask.role = request.role();
  ask.token = request.token();
  ask.tls_key = public_key_from_pem(request.publictlskey());
  const auto wire = ssh::wire_from_line(request.publicsshkey());
  if (wire && ssh::key_from_wire(*wire)) ask.ssh_key = *wire;
  ask.id_token = request.idtoken();
  ask.expires = from_message(request.has_expires(), request.expires());
  return ask;
}

JoinAsk from_join_json(const std::string& body) {
  boost::system::error_code error;
  const json::value value = json::parse(body, error);
  if (error || !value.is_object()) {
    throw CallError{grpc_code::invalid_argument, "request: invalid JSON"};
  }
  const json::object& object = value.get_object();
  const auto bytes = [&](std::string_view name) {
    const auto decoded = from_base64(text_of(object, name));
    if (!decoded) throw CallError{grpc_code::invalid_argument, "request: illegal base64 data"};
    return *decoded;
  };
  types::RegisterUsingTokenRequest request;
  request.set_role(text_of(object, "role"));
  request.set_token(text_of(object, "token"));
  request.set_publictlskey(bytes("public_tls_key"));
  request.set_publicsshkey(bytes("public_ssh_key"));
  request.set_idtoken(text_of(object, "id_token"));
  const std::string expires = text_of(object, "expires");
  if (!expires.empty()) {
    const auto time = from_rfc3339(expires);
    if (!time) throw CallError{grpc_code::invalid_argument, "request: cannot parse expires"};
    request.mutable_expires()->set_seconds(*time);
  }
  return from_message(request);
}

void take_params(const teleport::join::v1::ClientParams& params, JoinAsk& ask) {
  const auto& bot = params.bot_params();
  ask.tls_key = public_key_from_der(bot.public_keys().public_tls_key());
  const std::string& wire = bot.public_keys().public_ssh_key();
  if (ssh::key_from_wire(wire)) ask.ssh_key = wire;
  ask.expires = from_message(bot.has_expires(), bot.expires());
}

CertsAsk from_message(const proto::UserCertsRequest& request, const ServerVersion& version) {
  const bool split = version.has_split_keys() &&
                     (!request.sshpublickey().empty() || !request.tlspublickey().empty());
  const bool single = version.has_single_key() && !request.publickey().empty();
  if (split && single) {
    throw CallError{grpc_code::invalid_argument,
                    "PublicKey cannot be set together with SSHPublicKey or TLSPublicKey"};
  }
  CertsAsk ask;
  const auto parse_ssh = [&](const std::string& line) {
    const auto wire = ssh::wire_from_line(line);
    ask.ssh_key = wire && ssh::key_from_wire(*wire) ? *wire : "";
    if (ask.ssh_key.empty()) throw CallError{grpc_code::unknown, "ssh: no key found"};
  };
  if (split) {
    if (!request.sshpublickey().empty()) parse_ssh(request.sshpublickey());
    if (!request.tlspublickey().empty()) {
      ask.tls_key = public_key_from_pem(request.tlspublickey());
      if (!ask.tls_key) {
        throw CallError{grpc_code::invalid_argument, "expected PEM encoded public key"};
      }
    }
  } else if (version.has_single_key()) {
    parse_ssh(request.publickey());
    ask.tls_key = ssh::key_from_wire(ask.ssh_key);
  }
  ask.username = request.username();
  ask.expires = from_message(request.has_expires(), request.expires());
  ask.route_to_cluster = request.routetocluster();
  ask.kubernetes_cluster = request.kubernetescluster();
  ask.use_role_requests = request.userolerequests();
  ask.role_requests = {request.rolerequests().begin(), request.rolerequests().end()};
  return ask;
}

types::RoleV6 to_message(const Role& role) {
  types::RoleV6 message;
  message.set_kind("role");
  message.set_version("v7");
  message.mutable_metadata()->set_name(role.name);
  message.mutable_metadata()->set_namespace_("default");
  auto& allow = *message.mutable_spec()->mutable_allow();
  for (const auto& each : role.kubernetes_users) allow.add_kubeusers(each);
  for (const auto& each : role.kubernetes_groups) allow.add_kubegroups(each);
  for (const auto& each : role.impersonate) allow.mutable_impersonate()->add_roles(each);
  return message;
}

std::string phase_name(RotationPhase phase) {
  switch (phase) {
    case RotationPhase::init:
      return "init";
    case RotationPhase::update_clients:
      return "update_clients";
    case RotationPhase::update_servers:
      return "update_servers";
    case RotationPhase::rollback:
      return "rollback";
    default:
      return "standby";
  }
}

types::CertAuthorityV2 to_message(const std::string& type, const AuthService::RotationEvent& now,
                                  const std::string& cluster, const std::string& ssh_line) {
  types::CertAuthorityV2 message;
  message.set_kind("cert_authority");
  message.set_subkind(type);
  message.set_version("v2");
  message.mutable_metadata()->set_name(cluster);
  message.mutable_metadata()->set_namespace_("default");
  auto& spec = *message.mutable_spec();
  spec.set_type(type);
  spec.set_clustername(cluster);
  auto& rotation = *spec.mutable_rotation();
  rotation.set_state(now.phase == RotationPhase::standby ? "standby" : "in_progress");
  rotation.set_phase(phase_name(now.phase));
  rotation.set_mode("manual");
  rotation.set_currentid("b6c1a0de-1ab0-4000-8000-000000000001");
  // The first is the one that signs, but for the phases in which the new one does.
  const std::vector<Issued>& all = type == "user" ? now.users : now.hosts;
  const bool fresh =
      now.phase == RotationPhase::update_clients || now.phase == RotationPhase::update_servers;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool active = i == (fresh ? all.size() - 1 : 0);
    auto& keys = active ? *spec.mutable_activekeys() : *spec.mutable_additionaltrustedkeys();
    keys.add_tls()->set_cert(all[i].pem());
  }
  spec.mutable_activekeys()->add_ssh()->set_publickey(ssh_line + "\n");
  return message;
}

types::KubernetesServerV3 to_message(const KubeResource& cluster, const std::string& host_id) {
  types::KubernetesServerV3 server;
  server.set_kind("kube_server");
  server.set_version("v3");
  server.mutable_metadata()->set_name(cluster.name);
  server.mutable_metadata()->set_namespace_("default");
  auto& spec = *server.mutable_spec();
  spec.set_version("18.0.0");
  spec.set_hostname("agent");
  spec.set_hostid(host_id);
  auto& kube = *spec.mutable_cluster();
  kube.set_kind("kube_cluster");
  kube.set_version("v3");
  kube.mutable_metadata()->set_name(cluster.name);
  kube.mutable_metadata()->set_namespace_("default");
  for (const auto& [name, value] : cluster.labels) {
    (*kube.mutable_metadata()->mutable_labels())[name] = value;
  }
  for (const auto& [name, result] : cluster.dynamic_labels) {
    auto& label = (*kube.mutable_spec()->mutable_dynamiclabels())[name];
    label.set_period(60'000'000'000);
    label.add_command("/bin/true");
    label.set_result(result);
  }
  return server;
}

types::SignatureAlgorithmSuite to_message(Suite suite) {
  return static_cast<types::SignatureAlgorithmSuite>(static_cast<int>(suite));
}

}  // namespace lab
