// Objects as rows of a meta.k8s.io/v1 Table, the form in which kubectl prints them.
#pragma once

#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "tests/lab/kube_api_resources.hpp"
#include "tests/lab/kube_api_store.hpp"

namespace lab {

// How the rows carry their objects (includeObject of a request).
enum class TableObjects { metadata, whole, none };

// A Table without metadata; without columns when `header` is false (later events of a watch).
boost::json::object make_table(const ResourceKind& kind, const std::vector<ObjectPtr>& objects,
                               TableObjects include, bool header = true);

}  // namespace lab
