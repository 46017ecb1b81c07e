// Forwards to a real kube-apiserver as Teleport's Kubernetes agent does: its own client
// certificate, the user and groups as Impersonate-* headers, upgrades as a byte tunnel.
#pragma once

#include <cstdint>
#include <string>

#include "tests/lab/http.hpp"

namespace lab {

struct ApiserverOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 16443;
  std::string ca_file;           // PEM
  std::string certificate_file;  // PEM, may impersonate
  std::string key_file;
};

// One connection to the API server for each request. Throws std::runtime_error for unusable files.
Handler forward_to_apiserver(const ApiserverOptions& options);

}  // namespace lab
