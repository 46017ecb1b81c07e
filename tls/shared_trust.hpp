// The local CA and token that several kubelanes share, from a directory as a Kubernetes Secret is
// mounted. kubelane only reads it.
#pragma once

#include <string>

#include "config/result.hpp"
#include "tls/local_ca.hpp"

namespace kubelane::tls {

// Reads tls.crt and tls.key, a CA certificate and its key as PEM, and token (at least 32 bytes of
// what may follow "Bearer ") from `directory`. Unlike a storage directory, its files may be
// symbolic links and another user's: the kubelet makes them so. A Failure names the file and says
// what to do.
Outcome<LocalTrust> read_shared_trust(const std::string& directory);

}  // namespace kubelane::tls
