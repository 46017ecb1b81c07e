#include "tests/lab/join_tokens.hpp"

#include <algorithm>
#include <string_view>

#include <boost/json.hpp>

#include "tests/lab/call_error.hpp"
#include "tests/lab/jwt.hpp"

namespace lab {
namespace {

namespace json = boost::json;

constexpr long kLeeway = 10;
constexpr long kLongestServiceAccount = 1800;
constexpr std::string_view kAccountPrefix = "system:serviceaccount:";
constexpr std::string_view kTeleportAudience = "teleport.cluster.local";

using Path = std::vector<std::string_view>;  // claims in claims
struct Method {
  std::string_view name;
  std::string_view issuer;    // "": the token must say
  std::string_view audience;  // "": the Teleport cluster's name
  std::map<std::string_view, Path> rules;
};

const std::vector<Method>& methods() {
  static const std::vector<Method> all{
      {"github",
       "https://token.actions.githubusercontent.com",
       kTeleportAudience,
       {{"sub", {"sub"}},
        {"repository", {"repository"}},
        {"repository_owner", {"repository_owner"}},
        {"workflow", {"workflow"}},
        {"environment", {"environment"}},
        {"actor", {"actor"}},
        {"ref", {"ref"}},
        {"ref_type", {"ref_type"}}}},
      {"gitlab",
       "https://gitlab.com",
       "",
       {{"sub", {"sub"}},
        {"ref", {"ref"}},
        {"ref_type", {"ref_type"}},
        {"namespace_path", {"namespace_path"}},
        {"project_path", {"project_path"}},
        {"pipeline_source", {"pipeline_source"}},
        {"environment", {"environment"}}}},
      {"gcp",
       "https://accounts.google.com",
       kTeleportAudience,
       {{"project_id", {"google", "compute_engine", "project_id"}},
        {"location", {"google", "compute_engine", "zone"}},
        {"service_account", {"email"}}}},
      {"circleci",
       "",
       "",
       {{"project_id", {"oidc.circleci.com/project-id"}},
        {"context_id", {"oidc.circleci.com/context-ids"}}}},
      {"bitbucket",
       "",
       "",
       {{"workspace_uuid", {"workspaceUuid"}},
        {"repository_uuid", {"repositoryUuid"}},
        {"deployment_environment_uuid", {"deploymentEnvironmentUuid"}},
        {"branch_name", {"branchName"}}}},
      {"azure_devops",
       "",
       "api://AzureADTokenExchange",
       {{"sub", {"sub"}},
        {"project_id", {"prj_id"}},
        {"definition_id", {"def_id"}},
        {"repository_uri", {"rpo_uri"}},
        {"repository_ref", {"rpo_ref"}}}},
      {"terraform_cloud",
       "https://app.terraform.io",
       "",
       {{"organization_id", {"terraform_organization_id"}},
        {"organization_name", {"terraform_organization_name"}},
        {"project_id", {"terraform_project_id"}},
        {"project_name", {"terraform_project_name"}},
        {"workspace_name", {"terraform_workspace_name"}},
        {"workspace_id", {"terraform_workspace_id"}},
        {"run_phase", {"terraform_run_phase"}}}},
      {"spacelift",
       "",
       "",
       {{"space_id", {"spaceId"}},
        {"caller_id", {"callerId"}},
        {"caller_type", {"callerType"}},
        {"scope", {"scope"}}}},
  };
  return all;
}

const Method* method_of(std::string_view name) {
  const auto found = std::find_if(methods().begin(), methods().end(),
                                  [&](const Method& each) { return each.name == name; });
  return found == methods().end() ? nullptr : &*found;
}

const json::value* claim(const json::object& claims, const Path& path) {
  const json::object* in = &claims;
  const json::value* found = nullptr;
  for (const auto name : path) {
    if (in == nullptr) return nullptr;
    found = in->if_contains(name);
    if (found == nullptr) return nullptr;
    in = found->is_object() ? &found->get_object() : nullptr;
  }
  return found;
}

std::string text_of(const json::value* value) {
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::optional<long> seconds_of(const json::object& claims, std::string_view name) {
  const json::value* value = claims.if_contains(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return static_cast<long>(value->to_number<double>());
}

// A string, or a list of them.
bool has_value(const json::value* value, std::string_view wanted) {
  if (value == nullptr) return false;
  if (value->is_string()) return value->get_string() == wanted;
  if (!value->is_array()) return false;
  const auto& all = value->get_array();
  return std::any_of(all.begin(), all.end(), [&](const json::value& each) {
    return each.is_string() && each.get_string() == wanted;
  });
}

json::object verified(const std::string& keys, const std::string& jwt) {
  if (jwt.empty()) throw CallError{grpc_code::invalid_argument, "IDToken not provided"};
  const auto jws = verify_jws(keys, jwt);
  if (!jws) deny("validating JWT signature: go-jose/go-jose: error in cryptographic primitive");
  boost::system::error_code error;
  json::value claims = json::parse(jws->payload, error);
  if (error || !claims.is_object()) deny("the JWT's payload is no object");
  return std::move(claims.get_object());
}

void check_times(const json::object& claims, long now) {
  const auto expires = seconds_of(claims, "exp");
  const auto not_before = seconds_of(claims, "nbf");
  const auto issued = seconds_of(claims, "iat");
  if (!expires) deny("the JWT has no exp");
  if (now > *expires + kLeeway) deny("validation failed, token is expired (exp)");
  if (not_before && now + kLeeway < *not_before) {
    deny("validation failed, token not valid yet (nbf)");
  }
  if (issued && now + kLeeway < *issued) {
    deny("validation failed, token issued in the future (iat)");
  }
}

void check_audience(const json::object& claims, std::string_view wanted) {
  if (!has_value(claims.if_contains("aud"), wanted)) {
    deny("validation failed, invalid audience claim (aud)");
  }
}

}  // namespace

bool is_id_token_method(const std::string& method) { return method_of(method) != nullptr; }

void check_service_account(const KubernetesRules& rules, const std::string& jwt,
                           const JwtContext& context) {
  std::string keys = rules.jwks;
  if (rules.kind == KubernetesKind::oidc) {
    if (!context.version.has_kubernetes_oidc()) {
      throw CallError{grpc_code::invalid_argument, "unsupported kubernetes join type \"oidc\""};
    }
    const auto published = context.published_jwks.find(rules.issuer);
    if (published == context.published_jwks.end()) {
      throw CallError{grpc_code::unknown, "fetching the issuer's keys: connection refused"};
    }
    keys = published->second;
  }
  const json::object claims = verified(keys, jwt);
  check_times(claims, context.now);
  if (rules.kind == KubernetesKind::in_cluster) {
    // What the API server's TokenReview would say: its own audience, or the one asked about.
    const json::value* audience = claims.if_contains("aud");
    if (!has_value(audience, "https://kubernetes.default.svc") &&
        !has_value(audience, context.cluster)) {
      deny("validating JWT with Kubernetes TokenReview: token audiences are invalid");
    }
  } else {
    check_audience(claims, context.cluster);
    if (rules.kind == KubernetesKind::oidc && text_of(claims.if_contains("iss")) != rules.issuer) {
      deny("validation failed, invalid issuer claim (iss)");
    }
    const auto issued = seconds_of(claims, "iat");
    if (!issued) deny("static_jwks joining requires the use of a service account token with iat");
    if (*seconds_of(claims, "exp") - *issued > kLongestServiceAccount) {
      deny("the service account token must be valid for at most 30m0s");
    }
  }
  if (text_of(claim(claims, {"kubernetes.io", "pod", "name"})).empty()) {
    deny("the service account token must be bound to a pod");
  }
  const std::string subject = text_of(claims.if_contains("sub"));
  if (!subject.starts_with(kAccountPrefix)) deny("the token is no service account's");
  const std::string account = subject.substr(kAccountPrefix.size());
  if (std::find(rules.allow.begin(), rules.allow.end(), account) == rules.allow.end()) {
    deny("kubernetes token's claims did not match any configured allow rules");
  }
}

void check_id_token(const std::string& method, const IdTokenRules& rules, const std::string& jwt,
                    const JwtContext& context) {
  const Method& table = *method_of(method);
  const json::object claims = verified(rules.jwks, jwt);
  const std::string issuer = rules.issuer.empty() ? std::string(table.issuer) : rules.issuer;
  if (text_of(claims.if_contains("iss")) != issuer) {
    deny("validation failed, invalid issuer claim (iss)");
  }
  std::string audience = rules.audience.empty() ? std::string(table.audience) : rules.audience;
  if (audience.empty()) audience = context.cluster;
  check_audience(claims, audience);
  check_times(claims, context.now);
  const auto satisfies = [&](const std::map<std::string, std::string>& rule) {
    return std::all_of(rule.begin(), rule.end(), [&](const auto& wanted) {
      const auto path = table.rules.find(wanted.first);
      return path != table.rules.end() && has_value(claim(claims, path->second), wanted.second);
    });
  };
  if (std::none_of(rules.allow.begin(), rules.allow.end(), satisfies)) {
    deny("id token claims did not match any allow rules");
  }
}

}  // namespace lab
