#include "proxy/http/status.hpp"

#include <cstdint>

#include "config/utf8.hpp"

namespace kubelane::http {
namespace {

using std::chrono::seconds;

constexpr std::string_view protobuf_type = "application/vnd.kubernetes.protobuf";

StatusAnswer make(int code, std::string_view reason, std::string_view phrase, bool close = false) {
  StatusAnswer answer;
  answer.code = code;
  answer.reason = reason;
  answer.phrase = phrase;
  answer.close = close;
  return answer;
}

StatusAnswer unavailable(seconds retry) {
  StatusAnswer answer = make(503, "ServiceUnavailable", "Service Unavailable");
  answer.retry_after = retry;
  return answer;
}

// Replaces what is not UTF-8.
std::string to_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

std::string json_string(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : to_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15u];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_status(const StatusAnswer& answer, std::string_view message) {
  std::string body =
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":)" +
      json_string(message) + R"(,"reason":)" + json_string(answer.reason);
  if (answer.retry_after) {
    body +=
        R"(,"details":{"retryAfterSeconds":)" + std::to_string(answer.retry_after->count()) + "}";
  }
  return body + R"(,"code":)" + std::to_string(answer.code) + "}\n";
}

// Protocol Buffers wire format: just the two kinds of field that a Status needs.
void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>((value & 0x7f) | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}
void put_bytes(std::string& out, unsigned number, std::string_view bytes) {
  put_varint(out, number << 3 | 2u);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_number(std::string& out, unsigned number, std::uint64_t value) {
  put_varint(out, number << 3);
  put_varint(out, value);
}

// Field numbers: k8s.io/apimachinery generated.proto of runtime.Unknown and metav1.Status.
std::string protobuf_status(const StatusAnswer& answer, std::string_view message) {
  std::string status;
  put_bytes(status, 1, "");
  put_bytes(status, 2, "Failure");
  put_bytes(status, 3, to_utf8(message));
  put_bytes(status, 4, answer.reason);
  if (answer.retry_after) {
    std::string details;
    put_number(details, 5, static_cast<std::uint64_t>(answer.retry_after->count()));
    put_bytes(status, 5, details);
  }
  put_number(status, 6, static_cast<std::uint64_t>(answer.code));
  std::string type;
  put_bytes(type, 1, "v1");
  put_bytes(type, 2, "Status");
  std::string body("k8s\0", 4);
  put_bytes(body, 1, type);
  put_bytes(body, 2, status);
  put_bytes(body, 3, "");
  put_bytes(body, 4, "");
  return body;
}

bool wants_protobuf(std::string_view accept) {
  return accept.find(protobuf_type) != std::string_view::npos &&
         accept.find("json") == std::string_view::npos &&
         accept.find("*/*") == std::string_view::npos;
}

}  // namespace

StatusAnswer answer_for(const Error& error) noexcept {
  const bool upstream = error.side == Side::upstream;
  switch (error.code) {
    case Code::bad_head:
    case Code::bad_body:
      return upstream ? make(502, "InternalError", "Bad Gateway")
                      : make(400, "BadRequest", "Bad Request", true);
    case Code::head_too_large:
      return upstream ? make(502, "InternalError", "Bad Gateway")
                      : make(431, "RequestEntityTooLarge", "Request Header Fields Too Large", true);
    case Code::http_version:
      return make(505, "BadRequest", "HTTP Version Not Supported", true);
    case Code::unauthorized:
      return make(401, "Unauthorized", "Unauthorized");
    case Code::denied:
      return make(403, "Forbidden", "Forbidden");
    case Code::unknown_route:
      return make(404, "NotFound", "Not Found");
    case Code::overloaded: {
      StatusAnswer answer = make(429, "TooManyRequests", "Too Many Requests");
      answer.retry_after = seconds(1);
      return answer;
    }
    case Code::no_identity:
      return unavailable(seconds(5));
    case Code::draining:
      return unavailable(seconds(1));
    case Code::timeout:
      if (!upstream) return make(408, "Timeout", "Request Timeout", true);
      if (error.retry == Retry::yes) return unavailable(seconds(1));  // never left us
      return make(504, "Timeout", "Gateway Timeout");
    case Code::tls_handshake:
    case Code::tls_untrusted:
    case Code::tls_peer:
      return make(502, "ServiceUnavailable", "Bad Gateway");
    case Code::dns:
    case Code::refused:
    case Code::reset:
    case Code::eof: {
      StatusAnswer answer = make(503, "ServiceUnavailable", "Service Unavailable");
      if (error.retry == Retry::yes) answer.retry_after = seconds(1);
      return answer;
    }
    case Code::config:
    case Code::io:
    case Code::internal:
      break;
  }
  return make(500, "InternalError", "Internal Server Error");
}

StatusBody render_status_body(const StatusAnswer& answer, std::string_view message,
                              std::string_view accept) {
  if (wants_protobuf(accept)) return {protobuf_type, protobuf_status(answer, message)};
  return {"application/json", json_status(answer, message)};
}

std::string render_status(const StatusAnswer& answer, std::string_view message,
                          std::string_view accept, bool head_only, bool close) {
  const StatusBody body = render_status_body(answer, message, accept);
  std::string out = "HTTP/1.1 " + std::to_string(answer.code) + " ";
  out += answer.phrase;
  out += "\r\nContent-Type: ";
  out += body.content_type;
  out += "\r\nContent-Length: " + std::to_string(body.bytes.size());
  out += "\r\nCache-Control: no-store\r\n";
  if (answer.code == 401) {
    out += "WWW-Authenticate: ";
    out += status_challenge;
    out += "\r\n";
  }
  if (answer.retry_after)
    out += "Retry-After: " + std::to_string(answer.retry_after->count()) + "\r\n";
  if (close || answer.close) out += "Connection: close\r\n";
  out += "\r\n";
  if (!head_only) out += body.bytes;
  return out;
}

}  // namespace kubelane::http
