// Local errors as Kubernetes Status objects: the one place where an Error becomes an HTTP answer.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "proxy/http/field.hpp"

namespace kubelane::http {

struct StatusAnswer {
  int code = 500;           // HTTP status and Status.code
  std::string_view reason;  // metav1.StatusReason, e.g. "ServiceUnavailable"
  std::string_view phrase;  // HTTP reason phrase
  std::optional<std::chrono::seconds> retry_after;
  bool close = false;  // the connection cannot be used again
};

// The table of architecture section 11: code, reason and Retry-After of an error.
StatusAnswer answer_for(const Error& error) noexcept;

// The metav1.Status alone, for HTTP/2. Content type and body as render_status() chooses them.
struct StatusBody {
  std::string_view content_type;
  std::string bytes;
};
StatusBody render_status_body(const StatusAnswer& answer, std::string_view message,
                              std::string_view accept);

// Value of WWW-Authenticate on 401.
inline constexpr std::string_view status_challenge = "Bearer realm=\"kubelane\"";

// A complete HTTP/1.1 response: head and metav1.Status body
// ({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":…,"reason":…,
// "details":{"retryAfterSeconds":n},"code":n}). `message` names cluster, cause and remedy; it is
// escaped here. Protobuf (k8s envelope, application/vnd.kubernetes.protobuf) when `accept` admits
// it and not JSON. `head_only`: the request was HEAD, the body is left out. 401 carries
// WWW-Authenticate: Bearer. `close` adds Connection: close (also when the answer asks for it).
std::string render_status(const StatusAnswer& answer, std::string_view message,
                          std::string_view accept, bool head_only, bool close);

}  // namespace kubelane::http
