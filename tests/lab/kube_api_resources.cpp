#include "tests/lab/kube_api_resources.hpp"

#include <algorithm>

namespace lab {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<std::string_view>& from) {
  json::array made;
  for (const auto text : from) made.push_back(json::string(text));
  return made;
}

json::object group_entry(const ResourceKind& kind) {
  const json::object version{{"groupVersion", kind.api_version()}, {"version", kind.version}};
  return {{"name", kind.group}, {"versions", json::array{version}}, {"preferredVersion", version}};
}

ApiError about(const ResourceKind& kind, const std::string& name, int code, std::string reason,
               std::string message) {
  json::object details{{"name", name}, {"kind", kind.plural}};
  if (!kind.group.empty()) details["group"] = kind.group;
  return {code, std::move(reason), std::move(message), std::move(details)};
}

}  // namespace

std::string ResourceKind::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

std::string ResourceKind::qualified() const {
  return group.empty() ? std::string(plural) : std::string(plural) + "." + std::string(group);
}

const std::vector<ResourceKind>& resource_kinds() {
  static const std::vector<ResourceKind> kinds{
      {"", "v1", "Namespace", "namespaces", "namespace", {"ns"}, {"status", "finalize"}, false},
      {"",
       "v1",
       "Pod",
       "pods",
       "pod",
       {"po"},
       {"status", "log", "exec", "attach", "portforward", "proxy"}},
      {"", "v1", "ConfigMap", "configmaps", "configmap", {"cm"}, {}},
      {"", "v1", "Secret", "secrets", "secret", {}, {}},
      {"", "v1", "Service", "services", "service", {"svc"}, {"status", "proxy"}},
      {"", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", {"sa"}, {}},
      {"", "v1", "Node", "nodes", "node", {"no"}, {"status", "proxy"}, false},
      {"", "v1", "Event", "events", "event", {"ev"}, {}},
      {"apps", "v1", "Deployment", "deployments", "deployment", {"deploy"}, {"status"}},
      {"coordination.k8s.io", "v1", "Lease", "leases", "lease", {}, {}},
      {"authorization.k8s.io",
       "v1",
       "SelfSubjectAccessReview",
       "selfsubjectaccessreviews",
       "selfsubjectaccessreview",
       {},
       {},
       false,
       false},
      {"authentication.k8s.io",
       "v1",
       "SelfSubjectReview",
       "selfsubjectreviews",
       "selfsubjectreview",
       {},
       {},
       false,
       false},
  };
  return kinds;
}

const ResourceKind* find_resource(std::string_view group, std::string_view version,
                                  std::string_view plural) {
  const auto& kinds = resource_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const ResourceKind& kind) {
    return kind.group == group && kind.version == version && kind.plural == plural;
  });
  return found == kinds.end() ? nullptr : &*found;
}

const ResourceKind* find_kind(std::string_view api_version, std::string_view kind) {
  const auto& kinds = resource_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const ResourceKind& each) {
    return each.kind == kind && each.api_version() == api_version;
  });
  return found == kinds.end() ? nullptr : &*found;
}

json::object core_versions() {
  const json::object address{{"clientCIDR", "0.0.0.0/0"}, {"serverAddress", "127.0.0.1:443"}};
  return {{"kind", "APIVersions"},
          {"versions", json::array{"v1"}},
          {"serverAddressByClientCIDRs", json::array{address}}};
}

json::object group_list() {
  json::array groups;
  for (const auto& kind : resource_kinds()) {
    json::object entry = group_entry(kind);
    if (!kind.group.empty() &&
        std::find(groups.begin(), groups.end(), json::value(entry)) == groups.end()) {
      groups.push_back(std::move(entry));
    }
  }
  return {{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(groups)}};
}

json::object group_document(std::string_view group) {
  for (const auto& kind : resource_kinds()) {
    if (kind.group != group || group.empty()) continue;
    json::object document{{"kind", "APIGroup"}, {"apiVersion", "v1"}};
    for (auto& [name, value] : group_entry(kind)) document[name] = value;
    return document;
  }
  return {};
}

json::object resource_list(std::string_view group, std::string_view version) {
  static const std::vector<std::string_view> kVerbs{
      "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
  json::array resources;
  for (const auto& kind : resource_kinds()) {
    if (kind.group != group || kind.version != version) continue;
    json::object entry{{"name", kind.plural},
                       {"singularName", kind.singular},
                       {"namespaced", kind.namespaced},
                       {"kind", kind.kind},
                       {"verbs", kind.stored ? texts(kVerbs) : json::array{"create"}}};
    if (!kind.short_names.empty()) entry["shortNames"] = texts(kind.short_names);
    if (kind.plural == "pods" || kind.plural == "services" || kind.plural == "deployments") {
      entry["categories"] = json::array{"all"};
    }
    resources.push_back(std::move(entry));
    for (const auto subresource : kind.subresources) {
      resources.push_back(
          json::object{{"name", std::string(kind.plural) + "/" + std::string(subresource)},
                       {"singularName", ""},
                       {"namespaced", kind.namespaced},
                       {"kind", kind.kind},
                       {"verbs", json::array{"create", "get"}}});
    }
  }
  if (resources.empty()) return {};
  const std::string name =
      group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
  return {{"kind", "APIResourceList"},
          {"apiVersion", "v1"},
          {"groupVersion", name},
          {"resources", std::move(resources)}};
}

ApiError not_found(const ResourceKind& kind, const std::string& name) {
  return about(kind, name, 404, "NotFound", kind.qualified() + " \"" + name + "\" not found");
}

ApiError already_exists(const ResourceKind& kind, const std::string& name) {
  return about(kind, name, 409, "AlreadyExists",
               kind.qualified() + " \"" + name + "\" already exists");
}

ApiError conflict(const ResourceKind& kind, const std::string& name, const std::string& why) {
  return about(
      kind, name, 409, "Conflict",
      "Operation cannot be fulfilled on " + kind.qualified() + " \"" + name + "\": " + why);
}

ApiError invalid(const ResourceKind& kind, const std::string& name, const std::string& field,
                 const std::string& why) {
  ApiError error =
      about(kind, name, 422, "Invalid",
            std::string(kind.kind) + " \"" + name + "\" is invalid: " + field + ": " + why);
  error.details["causes"] = json::array{
      json::object{{"reason", "FieldValueInvalid"}, {"message", why}, {"field", field}}};
  return error;
}

ApiError bad_request(const std::string& message) { return {400, "BadRequest", message, {}}; }

ApiError gone(const std::string& message) { return {410, "Expired", message, {}}; }

}  // namespace lab
