// The kinds of patches that the API takes.
#pragma once

#include <boost/json.hpp>

namespace lab {

// RFC 7386.
void merge_patch(boost::json::value& target, const boost::json::value& patch);
// RFC 6902. Throws ApiError: 400 for a malformed patch, 422 for one that does not apply.
void json_patch(boost::json::value& target, const boost::json::value& patch);
// Kubernetes' strategic merge: as a merge patch, but lists of containers, ports, volumes and their
// like are merged by key, and the $patch directives are obeyed.
void strategic_merge_patch(boost::json::object& target, const boost::json::object& patch);

}  // namespace lab
