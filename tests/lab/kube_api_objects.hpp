// The verbs on objects: get, list, create, update, patch and delete, with the rules of the API.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "tests/lab/kube_api_query.hpp"
#include "tests/lab/kube_api_store.hpp"

namespace lab {

// Where a request points to.
struct ResourcePath {
  const ResourceKind* kind = nullptr;
  std::string name_space;  // empty: all, or not namespaced
  std::string name;        // empty: the collection
  std::string subresource;
  std::string rest;  // after a subresource, with its slash
};

// An object, a list or a Status, and the status code of its answer.
struct ObjectAnswer {
  int code = 200;
  boost::json::object body;
};

// Thread-safe. What the functions throw is ApiError.
class ObjectApi {
 public:
  explicit ObjectApi(Store& store) : store_(store) {}

  ObjectPtr get(const ResourcePath& path) const;

  struct Page {
    std::vector<ObjectPtr> objects;
    boost::json::object metadata;  // of the list
  };
  // labelSelector, fieldSelector, limit and continue.
  Page list(const ResourcePath& path, const QueryParameters& query) const;

  ObjectAnswer create(const ResourcePath& path, const QueryParameters& query,
                      std::string_view body);
  ObjectAnswer update(const ResourcePath& path, const QueryParameters& query,
                      std::string_view body);
  ObjectAnswer patch(const ResourcePath& path, const QueryParameters& query,
                     const std::string& content_type, std::string_view body);
  ObjectAnswer erase(const ResourcePath& path, const QueryParameters& query, std::string_view body);
  ObjectAnswer erase_collection(const ResourcePath& path, const QueryParameters& query);

 private:
  ObjectAnswer create_object(const ResourcePath& path, bool dry_run, boost::json::object object);
  ObjectPtr change(const ResourcePath& path, bool dry_run, const Store::Edit& edit);

  Store& store_;
};

}  // namespace lab
