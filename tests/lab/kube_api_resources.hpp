// The kinds of objects that the API knows, and the documents by which clients discover them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "tests/lab/kube_api_error.hpp"

namespace lab {

struct ResourceKind {
  std::string_view group;  // "" for the core
  std::string_view version;
  std::string_view kind;
  std::string_view plural;
  std::string_view singular;
  std::vector<std::string_view> short_names;
  std::vector<std::string_view> subresources;
  bool namespaced = true;
  bool stored = true;  // false: only created, for its answer (access reviews)

  std::string api_version() const;
  std::string list_kind() const { return std::string(kind) + "List"; }
  // "pods" or "deployments.apps", as error messages name it.
  std::string qualified() const;
};

const std::vector<ResourceKind>& resource_kinds();
// Null when there is none.
const ResourceKind* find_resource(std::string_view group, std::string_view version,
                                  std::string_view plural);
const ResourceKind* find_kind(std::string_view api_version, std::string_view kind);

// The documents at /api, /apis, /apis/GROUP and at /api/v1 or /apis/GROUP/VERSION. The last two
// give an empty object for what does not exist.
boost::json::object core_versions();
boost::json::object group_list();
boost::json::object group_document(std::string_view group);
boost::json::object resource_list(std::string_view group, std::string_view version);

ApiError not_found(const ResourceKind& kind, const std::string& name);
ApiError already_exists(const ResourceKind& kind, const std::string& name);
ApiError conflict(const ResourceKind& kind, const std::string& name, const std::string& why);
ApiError invalid(const ResourceKind& kind, const std::string& name, const std::string& field,
                 const std::string& why);
ApiError bad_request(const std::string& message);
ApiError gone(const std::string& message);

}  // namespace lab
