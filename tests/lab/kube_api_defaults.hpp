// What a real cluster's admission, scheduler, kubelet and controllers would add to an object.
#pragma once

#include <boost/json.hpp>

#include "tests/lab/kube_api_resources.hpp"

namespace lab {

inline constexpr const char* kNodeName = "lab-node";

// Checks the names, and fills in the specification and the status of a new object: a pod runs, a
// namespace is active, a service has an address. Throws ApiError (422).
void complete_new(const ResourceKind& kind, boost::json::object& object);
// After an update: a deployment is rolled out at once.
void complete_changed(const ResourceKind& kind, boost::json::object& object);

}  // namespace lab
