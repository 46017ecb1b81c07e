// An upstream failure as a sentence for the client and the operator: cluster, cause, remedy.
#pragma once

#include <string>

#include "config/result.hpp"
#include "proxy/link/upstream_snapshot.hpp"

namespace kubelane::relay {

std::string describe(const Error& error, const std::string& cluster,
                     const link::UpstreamSnapshot& to);

}  // namespace kubelane::relay
