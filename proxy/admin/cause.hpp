// Why a cluster is not ready, in one word that alerts and scripts can rely on. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "proxy/link/upstream_snapshot.hpp"

namespace kubelane::admin {

enum class Cause : std::uint8_t {
  none,
  starting,        // nothing is known yet
  no_credentials,  // none usable, and not because somebody refuses them
  expired,         // the credentials are past their end
  denied,          // Teleport or the cluster refuses us
  offline,         // the Proxy answers, the cluster behind it does not
  no_route,        // the Proxy cannot be reached, or something else answers in its place
  clock_skew,      // this machine's clock and the other side's do not agree
  misconfigured,   // credentials and configuration do not fit each other
  not_listed,      // Teleport does not list the cluster for us
  draining,        // kubelane is shutting down
};
std::string_view name(Cause cause) noexcept;  // "no_route"

Cause cause_of(link::Trouble trouble) noexcept;
// Of a request that got no answer. `identity_valid`: by our clock, the certificate is.
Cause cause_of(const Error& error, bool identity_valid) noexcept;
// Of an answer to GET /version: none means that the cluster serves us. Teleport answers its own
// refusals of this path as plain text with status 500, so that the text counts, too (data-path spec
// 5.2).
Cause cause_of_answer(int status, std::string_view message) noexcept;
// What an error answer says, of a Kubernetes Status, Teleport's JSON or plain text: one line, at
// most 300 bytes.
std::string message_of(std::string_view body);

}  // namespace kubelane::admin
