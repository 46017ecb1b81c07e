// A header field as slices of the read buffer, and the names that the proxy gives meaning to.
// Sans I/O: no Asio, no OpenSSL in this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kubelane::http {

// Names that some rule mentions; everything else is `other`. The four families match by prefix.
enum class FieldId : std::uint8_t {
  other,
  accept,
  alt_svc,
  authorization,
  connection,
  content_length,
  content_type,
  cookie,
  expect,
  host,
  http2_settings,
  impersonate,  // Impersonate-*, other than the two below
  impersonate_group,
  impersonate_user,
  keep_alive,
  origin,
  proxy_authenticate,
  proxy_authorization,
  proxy_connection,
  proxy_other,  // Proxy-*, other than the three above
  strict_transport_security,
  te,
  teleport,  // Teleport-* and X-Teleport-*
  trailer,
  transfer_encoding,
  upgrade,
  user_agent,
  x_forwarded,  // X-Forwarded-*, X-Real-IP, Forwarded
};

struct Field {
  std::string_view name;   // as received, case kept
  std::string_view value;  // without surrounding spaces and tabs
  FieldId id = FieldId::other;
};

using Fields = std::span<const Field>;

// Case-insensitive look-up of a field name.
FieldId identify(std::string_view name) noexcept;

// Fields that mean one connection only (RFC 9110 section 7.6.1), proxy authentication with them.
bool is_hop_by_hop(FieldId id) noexcept;

// Whether a field may pass in a trailer section. In requests, fields that must not travel in a
// trailer or must not leave us may not: Authorization, Teleport-*, Impersonate-*, X-Forwarded-*,
// framing, routing and hop-by-hop fields. Responses: framing and hop-by-hop fields.
enum class Direction : bool { request, response };
bool may_be_trailer(FieldId id, Direction direction) noexcept;

// ASCII case-insensitive equality.
bool iequals(std::string_view left, std::string_view right) noexcept;

// First field with this id, or nullptr.
const Field* find(Fields fields, FieldId id) noexcept;

// True when a comma-separated list value (RFC 9110 section 5.6.1) holds the token, any case.
bool list_contains(std::string_view list, std::string_view token) noexcept;

}  // namespace kubelane::http
