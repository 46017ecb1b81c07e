// Objects in Kubernetes' protobuf encoding, in which newer kubectl sends what it creates itself.
#pragma once

#include <string_view>

#include <boost/json.hpp>

namespace lab {

// The object of an application/vnd.kubernetes.protobuf body, with apiVersion and kind. Knows the
// fields that `kubectl create` sets and skips others. Throws ApiError: 400 when it is damaged, 415
// for a kind that is not known here.
boost::json::object from_protobuf(std::string_view body);

}  // namespace lab
