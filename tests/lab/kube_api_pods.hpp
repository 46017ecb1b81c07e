// The subresources of a running pod: log, exec, attach and portforward.
#pragma once

#include <filesystem>

#include "tests/lab/http.hpp"
#include "tests/lab/kube_api_activity.hpp"
#include "tests/lab/kube_api_logs.hpp"
#include "tests/lab/kube_api_objects.hpp"

namespace lab {

// Thread-safe.
class PodStreams {
 public:
  // Commands run in a directory of each pod's own below `scratch`.
  PodStreams(Activities& activities, PodLogs& logs, std::filesystem::path scratch)
      : activities_(activities), logs_(logs), scratch_(std::move(scratch)) {}

  static bool serves(const std::string& subresource);
  // `pod` as stored. Returns whether the connection can serve another request. Throws ApiError
  // before an answer has begun, ConnectionLost any time.
  bool serve(Stream& stream, const Request& request, const ResourcePath& path,
             const QueryParameters& query, const boost::json::object& pod);

 private:
  void run(Stream& stream, const Request& request, const ResourcePath& path,
           const QueryParameters& query, bool classic);
  void forward_ports(Stream& stream, const Request& request, const ResourcePath& path,
                     bool classic);

  Activities& activities_;
  PodLogs& logs_;
  std::filesystem::path scratch_;
};

}  // namespace lab
