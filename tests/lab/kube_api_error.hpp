// An error of the API, thrown by its inner parts and answered as a Status.
#pragma once

#include <string>

#include <boost/json.hpp>

namespace lab {

struct ApiError {
  int code = 500;
  std::string reason;
  std::string message;
  boost::json::object details;
};

inline boost::json::object to_status(const ApiError& error) {
  boost::json::object status{
      {"kind", "Status"},    {"apiVersion", "v1"},       {"metadata", boost::json::object{}},
      {"status", "Failure"}, {"message", error.message}, {"reason", error.reason},
      {"code", error.code}};
  if (!error.details.empty()) status["details"] = error.details;
  return status;
}

}  // namespace lab
