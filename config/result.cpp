#include "config/result.hpp"

namespace kubelane {

std::string_view name(Code code) noexcept {
  switch (code) {
    case Code::eof:
      return "eof";
    case Code::reset:
      return "reset";
    case Code::refused:
      return "refused";
    case Code::dns:
      return "dns";
    case Code::timeout:
      return "timeout";
    case Code::tls_handshake:
      return "tls_handshake";
    case Code::tls_untrusted:
      return "tls_untrusted";
    case Code::tls_peer:
      return "tls_peer";
    case Code::bad_head:
      return "bad_head";
    case Code::bad_body:
      return "bad_body";
    case Code::head_too_large:
      return "head_too_large";
    case Code::http_version:
      return "http_version";
    case Code::unauthorized:
      return "unauthorized";
    case Code::denied:
      return "denied";
    case Code::unknown_route:
      return "unknown_route";
    case Code::overloaded:
      return "overloaded";
    case Code::no_identity:
      return "no_identity";
    case Code::draining:
      return "draining";
    case Code::config:
      return "config";
    case Code::io:
      return "io";
    case Code::internal:
      return "internal";
  }
  return "unknown";
}

std::string_view name(Side side) noexcept {
  switch (side) {
    case Side::local:
      return "local";
    case Side::upstream:
      return "upstream";
    case Side::self:
      return "self";
  }
  return "unknown";
}

}  // namespace kubelane
