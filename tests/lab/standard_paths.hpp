// Paths with predictable answers that every cluster of a test can serve beside its Kubernetes API.
//   /bytes/<n>              n bytes with Content-Length; HEAD too
//   /chunked/<n>?chunk=<m>  n bytes in chunks of m (default 4096)
//   /trailers/<n>           n bytes chunked, then trailers X-Checksum and X-Done
//   /echo                   the body back while it comes, by the same framing and chunks, trailers
//   too /watch?events=<n>       n JSON lines as chunks, each when the gate lets one through;
//   &open=1: at once /status/<code>          that status with a small body where one is allowed
//   /early/<code>           that status before the body is read, then the connection ends
//   /hints                  103 Early Hints, then 200
//   /until-close/<n>        n bytes ended by the end of the connection
//   /headers                the request's fields as a JSON array of [name, value]
//   /whoami                 the Kubernetes user and groups as JSON; /version: a Kubernetes version
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>

#include "tests/lab/http.hpp"

namespace lab {

// Lets events of watches through, one permit each.
class EventGate {
 public:
  void release(std::size_t events);
  // Waits at most that long for a permit and takes it.
  bool take(int milliseconds);
  // Ends the waits of now without a permit.
  void wake();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t permits_ = 0;
  std::size_t wakes_ = 0;
};

// `gate` must outlive the connections. Other paths go to `otherwise`, or get a 404 Status.
Handler standard_paths(EventGate& gate, Handler otherwise = {});

// The bytes of /bytes, /chunked and /until-close: the alphabet over and over.
std::string pattern_bytes(std::size_t count, std::size_t from = 0);

}  // namespace lab
