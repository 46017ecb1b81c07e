// Heads out: the received head with edits. Hop-by-hop, forwarding and credential rules live here
// and nowhere else (data-path spec 5.1, RFC 9110 section 7.6.1).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "proxy/http/field.hpp"
#include "proxy/http/head.hpp"

namespace kubelane::http {

struct RequestEdits {
  std::size_t strip_path_bytes = 0;  // leading bytes of head.path that belong to the local route
  std::string_view upstream_prefix;  // put before the rest of the path, e.g. /v1/teleport/x/y
  std::string_view authority;        // value of Host toward the Proxy
  std::span<const Field> add;        // appended at the end, e.g. default Impersonate-*
};

// Writes the request head for the upstream into `out`; returns its length in bytes.
// Dropped: Authorization, Proxy-Authorization, Cookie is kept; Teleport-* and X-Teleport-*;
// X-Forwarded-*, X-Real-IP, Forwarded; hop-by-hop fields (Proxy-* and HTTP2-Settings too) and what
// Connection nominates; TE other than `trailers`, which is written without a `Connection: TE`
// because Go reads it without. Kept for an upgrade: Upgrade and `Connection: Upgrade`.
// `Expect: 100-continue`, Content-Length, Transfer-Encoding and Trailer pass as they are.
// Everything else keeps order, case and bytes. A path that becomes empty is written as "/"; the `*`
// of OPTIONS stays inside its route: it is written as the route's root when there is a prefix.
// Error: bad_head when Connection nominates a field that must not be dropped (Host,
// Content-Length, Transfer-Encoding, Content-Type, Impersonate-*), internal when `out` is too
// small.
Result<std::size_t> write_request_head(const RequestHead& head, const RequestEdits& edits,
                                       std::span<char> out) noexcept;

struct ResponseEdits {
  bool close = false;  // add `Connection: close`
};

// Writes the response head for the local client. Status line and fields keep their bytes;
// hop-by-hop fields go, except on 101, which keeps all. `Transfer-Encoding: chunked` stays, since
// bodies pass verbatim, but not on 1xx and 204, which have no body to frame: there Content-Length
// and Transfer-Encoding go (RFC 9110 section 8.6, RFC 9112 section 6.1). Alt-Svc and
// Strict-Transport-Security are meant for the Proxy's name, not for a loopback address: they go.
// The version is always HTTP/1.1.
Result<std::size_t> write_response_head(const ResponseHead& head, const ResponseEdits& edits,
                                        std::span<char> out) noexcept;

// Trailer section of a chunked body, from after the last-chunk line to the final empty line
// (included). Appends what may pass to `out`, final empty line included. In requests, fields that
// must not travel in a trailer or must not leave us are dropped: Authorization, Teleport-*,
// Impersonate-*, X-Forwarded-*, framing, routing and hop-by-hop fields. Responses: framing and
// hop-by-hop fields. Error: bad_body when the section is not strictly well-formed.
Result<void> write_trailers(std::string_view section, Direction direction, std::string& out);

}  // namespace kubelane::http
