#include "proxy/admin/cause.hpp"

#include <boost/json/parse.hpp>

#include "config/utf8.hpp"

namespace kubelane::admin {
namespace {

constexpr std::size_t longest_message = 300;
// X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED; the TLS alert certificate_expired.
constexpr int not_yet_valid = 9;
constexpr int has_expired = 10;
constexpr int certificate_expired = 45;

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Text for one line of JSON and of a terminal.
std::string one_line(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size() && out.size() < longest_message;) {
    const std::size_t length = utf8_length(text.substr(at));
    const auto byte = static_cast<unsigned char>(text[at]);
    if (length == 0) {
      out += '?';
    } else if (byte < 0x20 || byte == 0x7f) {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string_view name(Cause cause) noexcept {
  switch (cause) {
    case Cause::none:
      return "";
    case Cause::starting:
      return "starting";
    case Cause::no_credentials:
      return "no_credentials";
    case Cause::expired:
      return "expired";
    case Cause::denied:
      return "denied";
    case Cause::offline:
      return "offline";
    case Cause::no_route:
      return "no_route";
    case Cause::clock_skew:
      return "clock_skew";
    case Cause::misconfigured:
      return "misconfigured";
    case Cause::not_listed:
      return "not_listed";
    case Cause::draining:
      return "draining";
  }
  return "";
}

Cause cause_of(link::Trouble trouble) noexcept {
  switch (trouble) {
    case link::Trouble::none:
      return Cause::none;
    case link::Trouble::starting:
      return Cause::starting;
    case link::Trouble::no_credentials:
      return Cause::no_credentials;
    case link::Trouble::expired:
      return Cause::expired;
    case link::Trouble::clock_skew:
      return Cause::clock_skew;
    case link::Trouble::unfit:
      return Cause::misconfigured;
    case link::Trouble::no_route:
      return Cause::no_route;
  }
  return Cause::none;
}

Cause cause_of(const Error& error, bool identity_valid) noexcept {
  switch (error.code) {
    case Code::tls_peer:
      if (error.sys == certificate_expired)
        return identity_valid ? Cause::clock_skew : Cause::expired;
      return Cause::denied;
    case Code::tls_untrusted:
      return error.sys == not_yet_valid || error.sys == has_expired ? Cause::clock_skew
                                                                    : Cause::no_route;
    case Code::timeout: {
      const std::string_view where = error.where;
      return where == "response head" || where == "request body" ? Cause::offline : Cause::no_route;
    }
    case Code::bad_head:
    case Code::bad_body:
    case Code::head_too_large:
      return Cause::offline;
    case Code::no_identity:
      return Cause::no_credentials;
    case Code::draining:
      return Cause::draining;
    default:
      return Cause::no_route;
  }
}

Cause cause_of_answer(int status, std::string_view message) noexcept {
  if (status < 400 || status == 429) return Cause::none;
  // A rule of the cluster itself about /version: it has looked at who we are.
  if (status == 403 && holds(message, "cannot get path")) return Cause::none;
  if (status == 401 || status == 403) return Cause::denied;
  for (const char* part : {"access denied", "does not allow Kubernetes access", "lock targeting",
                           "is locked", "not licensed"})
    if (holds(message, part)) return Cause::denied;
  return status == 404 || status >= 500 ? Cause::offline : Cause::none;
}

std::string message_of(std::string_view body) {
  const std::size_t begin = body.find('{');
  const std::size_t end = body.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin)
    return one_line(body);
  boost::system::error_code failed;
  const boost::json::value value =
      boost::json::parse({body.data() + begin, end - begin + 1}, failed);
  if (failed || !value.is_object()) return one_line(body);
  const boost::json::object* object = &value.as_object();
  if (const auto* inner = object->if_contains("error"); inner != nullptr && inner->is_object())
    object = &inner->as_object();
  const boost::json::value* const message = object->if_contains("message");
  if (message == nullptr || !message->is_string()) return one_line(body);
  const boost::json::string& text = message->as_string();
  return one_line({text.data(), text.size()});
}

}  // namespace kubelane::admin
