#include <algorithm>
#include <map>

#include "tests/lab/auth_messages.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/proto/machineid.pb.h"
#include "tests/lab/proto/trust.pb.h"
#include "tests/lab/rpc.hpp"

namespace lab {
namespace {

void ping(const Rpc& rpc) {
  proto::PingResponse response;
  const ServerVersion version = rpc.service.version();
  response.set_clustername(rpc.service.cluster_name());
  response.set_serverversion(version.text());
  response.set_remoteaddr(rpc.peer_ip);
  response.set_loadallcas(true);
  if (version.has_suites()) {
    response.set_signature_algorithm_suite(to_message(rpc.service.suite()));
  }
  rpc.answer(response);
}

void get_cluster_ca_cert(const Rpc& rpc) {
  proto::GetClusterCACertResponse response;
  response.set_tlsca(pem_bundle(rpc.service.authorities_now().hosts));
  rpc.answer(response);
}

void get_role(const Rpc& rpc) {
  const auto request = parsed<proto::GetRoleRequest>(rpc.first);
  rpc.answer(to_message(rpc.service.role(rpc.identity(), request.name())));
}

void get_current_user_roles(const Rpc& rpc) {
  for (const Role& role : rpc.service.roles_of(rpc.identity())) rpc.send(to_message(role));
  rpc.stream.finish(grpc_code::ok);
}

void generate_user_certs(const Rpc& rpc) {
  const auto request = parsed<proto::UserCertsRequest>(rpc.first);
  const CertsAsk ask = from_message(request, rpc.service.version());
  const Certificates made = rpc.service.generate_certs(rpc.identity(), ask);
  note_certificates(rpc, made);
  rpc.answer(to_certs(made));
}

void list_resources(const Rpc& rpc) {
  const auto request = parsed<proto::ListResourcesRequest>(rpc.first);
  const bool servers = request.resourcetype() == "kube_server";
  if (!servers && request.resourcetype() != "kube_cluster") {
    throw CallError{grpc_code::unimplemented,
                    "resource type " + request.resourcetype() + " is not supported here"};
  }
  if (rpc.page_limit > 0 && request.limit() > static_cast<int>(rpc.page_limit)) {
    throw CallError{grpc_code::resource_exhausted, "trying to send message larger than max"};
  }
  ListQuery query;
  query.limit = static_cast<std::size_t>(std::max(0, request.limit()));
  query.start_key = request.startkey();
  query.labels = {request.labels().begin(), request.labels().end()};
  query.predicate = request.predicateexpression();
  query.keywords = {request.searchkeywords().begin(), request.searchkeywords().end()};
  query.descending = request.sortby().isdesc();
  const auto listing = rpc.service.list_clusters(rpc.identity(), query);
  proto::ListResourcesResponse response;
  for (const auto& [cluster, host_id] : listing.servers) {
    auto server = to_message(cluster, host_id);
    if (servers) {
      *response.add_resources()->mutable_kubernetesserver() = std::move(server);
    } else {
      *response.add_resources()->mutable_kubecluster() =
          std::move(*server.mutable_spec()->mutable_cluster());
    }
  }
  response.set_nextkey(listing.next_key);
  if (request.needtotalcount()) response.set_totalcount(static_cast<int>(listing.total));
  rpc.answer(response);
}

void watch_events(const Rpc& rpc) {
  rpc.identity();
  const auto watch = parsed<proto::Watch>(rpc.first);
  std::vector<std::string> types;
  bool authorities = false;
  for (const auto& kind : watch.kinds()) {
    if (kind.kind() != "cert_authority") {
      if (watch.allowpartialsuccess()) continue;
      deny("access denied to perform action \"read\" on \"" + kind.kind() + "\"");
    }
    if (kind.loadsecrets()) deny("access denied to perform action \"read\" on secrets");
    authorities = true;
    for (const char* type : {"host", "user", "db", "openssh"}) {
      const auto wanted = kind.filter().find(type);
      const bool mine = wanted != kind.filter().end() &&
                        (wanted->second == rpc.service.cluster_name() || wanted->second == "*");
      if (kind.filter().empty() || mine) types.emplace_back(type);
    }
  }
  if (!authorities) {
    throw CallError{grpc_code::invalid_argument, "none of the requested kinds can be watched"};
  }
  std::size_t seen = rpc.service.event_count();
  proto::Event event;
  event.set_type(proto::INIT);
  rpc.send(event);
  while (rpc.wait_for_rotation(seen)) {
    for (const auto& now : rpc.service.events_since(seen)) {
      ++seen;
      for (const auto& type : types) {
        proto::Event put;
        put.set_type(proto::PUT);
        *put.mutable_certauthority() =
            to_message(type, now, rpc.service.cluster_name(), rpc.service.ssh_authority_line());
        rpc.send(put);
      }
    }
  }
  throw CallError{grpc_code::unavailable, "the watcher is closed"};
}

void get_cert_authority(const Rpc& rpc) {
  rpc.identity();
  const auto request = parsed<teleport::trust::v1::GetCertAuthorityRequest>(rpc.first);
  if (request.include_key()) deny("access denied to perform action \"read\" on secrets");
  rpc.answer(to_message(request.type(), rpc.service.authorities_now(), rpc.service.cluster_name(),
                        rpc.service.ssh_authority_line()));
}

void get_cert_authorities(const Rpc& rpc) {
  rpc.identity();
  const auto request = parsed<teleport::trust::v1::GetCertAuthoritiesRequest>(rpc.first);
  if (request.include_key()) deny("access denied to perform action \"read\" on secrets");
  teleport::trust::v1::GetCertAuthoritiesResponse response;
  *response.add_cert_authorities_v2() =
      to_message(request.type(), rpc.service.authorities_now(), rpc.service.cluster_name(),
                 rpc.service.ssh_authority_line());
  rpc.answer(response);
}

void submit_heartbeat(const Rpc& rpc) {
  const auto request = parsed<teleport::machineid::v1::SubmitHeartbeatRequest>(rpc.first);
  if (!request.has_heartbeat()) {
    throw CallError{grpc_code::invalid_argument, "heartbeat: must be non-nil"};
  }
  const auto& sent = request.heartbeat();
  Heartbeat beat;
  beat.is_startup = sent.is_startup();
  beat.one_shot = sent.one_shot();
  beat.version = sent.version();
  beat.hostname = sent.hostname();
  beat.join_method = sent.join_method();
  beat.architecture = sent.architecture();
  beat.os = sent.os();
  beat.kind = sent.kind();
  beat.uptime_seconds = static_cast<long>(sent.uptime().seconds());
  rpc.service.heartbeat(rpc.identity(), beat);
  rpc.answer(teleport::machineid::v1::SubmitHeartbeatResponse());
}

void register_using_token(const Rpc& rpc) {
  const JoinAsk ask = from_message(parsed<types::RegisterUsingTokenRequest>(rpc.first));
  note_ask(rpc, ask);
  const Certificates made = rpc.service.join(ask, rpc.through_proxy ? std::nullopt : rpc.caller);
  note_certificates(rpc, made);
  rpc.answer(to_certs(made));
}

}  // namespace

bool serve_unary(const Rpc& rpc, const std::string& path) {
  using Method = void (*)(const Rpc&);
  static const std::map<std::string, Method> handlers{
      {"/proto.AuthService/Ping", ping},
      {"/proto.AuthService/GetClusterCACert", get_cluster_ca_cert},
      {"/proto.AuthService/GetRole", get_role},
      {"/proto.AuthService/GetCurrentUserRoles", get_current_user_roles},
      {"/proto.AuthService/GenerateUserCerts", generate_user_certs},
      {"/proto.AuthService/ListResources", list_resources},
      {"/proto.AuthService/WatchEvents", watch_events},
      {"/teleport.trust.v1.TrustService/GetCertAuthority", get_cert_authority},
      {"/teleport.trust.v1.TrustService/GetCertAuthorities", get_cert_authorities},
      {"/teleport.machineid.v1.BotInstanceService/SubmitHeartbeat", submit_heartbeat}};
  if (path == "/proto.JoinService/RegisterUsingToken") {
    const ServerVersion version = rpc.service.version();
    const bool known = rpc.through_proxy ? version.forwards_register_using_token()
                                         : version.has_register_using_token();
    if (!known) return false;
    register_using_token(rpc);
    return true;
  }
  const auto found = handlers.find(path);
  if (found == handlers.end() || rpc.through_proxy) return false;
  found->second(rpc);
  return true;
}

}  // namespace lab
