// What Teleport's kube service decides about one request: identity, path route, impersonation and
// the errors of each (data-path spec 3, 5.1, 5.2, 5.3). No I/O but the answer of a refusal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <openssl/x509.h>

#include "tests/lab/http.hpp"

namespace lab {

// What Teleport's services read from a client certificate.
struct ClientIdentity {
  std::string username;
  std::vector<std::string> roles;
  std::vector<std::string> usage;
  std::string route_to_cluster;
  std::string kubernetes_cluster;
  std::vector<std::string> kubernetes_users;
  std::vector<std::string> kubernetes_groups;
  std::string pinned_ip;
  std::string teleport_cluster;
  bool renewable = false;
  std::optional<std::uint64_t> generation;
  std::string impersonator;
  bool disallow_reissue = false;
  std::string bot_name;
  std::string bot_instance_id;
  std::string serial;  // decimal
  long not_after = 0;  // seconds since 1970
};
ClientIdentity read_identity(X509* certificate);

// A refusal, in one of the forms that Teleport uses.
struct Refusal {
  enum class Form { status, trace, plain };
  Form form = Form::status;
  int code = 403;
  std::string reason;  // of a Status
  std::string message;
};
// The body of the request, if short, is read first so that the connection stays usable. Returns
// whether it does.
bool answer_refusal(Stream& stream, const Request& request, const Refusal& refusal);

// {"error": {"message": …}}, indented by four spaces.
std::string trace_error(const std::string& message);

// "17.4.2" or "18.0.0-rc.1": whether it is 17.2.7 or later and so knows path routing.
bool routes_by_path(const std::string& server_version);

// Checks the caller (`identity` is empty when no certificate came) as the middleware and the
// authorizer do.
std::optional<Refusal> check_caller(const std::optional<ClientIdentity>& identity,
                                    int peer_certificates, const Request& request,
                                    const std::string& peer_ip);

// Applies the path route, if the request has one: rewrites target, path and query of the request
// and the identity's cluster. Gives the Kubernetes cluster's name in `kube_cluster`.
std::optional<Refusal> route(Request& request, ClientIdentity identity, bool by_path,
                             const std::string& teleport_cluster, std::string& kube_cluster);

// Sets request.user and request.groups, and removes Impersonate-* and Teleport-* from its headers.
std::optional<Refusal> impersonate(Request& request, const ClientIdentity& identity);

// X-Forwarded-* as Teleport passes them on: the client's first Proto, Host and Port stay.
void append_forwarded(Request& request, const std::string& peer_ip);

}  // namespace lab
