#include "proxy/teleport/find.hpp"

#include <boost/json.hpp>

#include "config/text.hpp"

namespace kubelane::teleport {
namespace {

namespace json = boost::json;

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr) return {};
  if (found->is_int64()) return std::to_string(found->get_int64());
  if (!found->is_string()) return {};
  return std::string(found->get_string());
}

bool plain(const std::string& text) { return text.size() <= 255 && !has_control_character(text); }

// Lower case, hyphens, without the prefix that some versions write.
std::string plain_suite(std::string suite) {
  for (char& c : suite) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    if (c == '_') c = '-';
  }
  constexpr std::string_view prefix = "signature-algorithm-suite-";
  if (suite.starts_with(prefix)) suite.erase(0, prefix.size());
  return suite;
}

}  // namespace

KeyKind key_kind_of_suite(std::string suite) {
  suite = plain_suite(std::move(suite));
  const bool old =
      suite.empty() || suite == "0" || suite == "1" || suite == "unspecified" || suite == "legacy";
  return old ? KeyKind::rsa : KeyKind::ecdsa;
}

KeyKind joining_key_kind_of_suite(std::string suite) {
  suite = plain_suite(std::move(suite));
  return suite == "3" || suite == "fips-v1" ? KeyKind::ecdsa : KeyKind::ed25519;
}

Outcome<FindReply> parse_find(std::string_view body) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 32;
  const json::value value = json::parse(body, error, {}, options);
  const json::object* root = error ? nullptr : value.if_object();
  if (root == nullptr)
    return Failure{Code::bad_body,
                   "the reply to /webapi/find is not JSON; is proxy_server a Teleport Proxy?"};
  FindReply reply;
  reply.cluster_name = text_at(*root, "cluster_name");
  reply.server_version = text_at(*root, "server_version");
  if (reply.cluster_name.empty() || !plain(reply.cluster_name) || !plain(reply.server_version))
    return Failure{Code::bad_body,
                   "the reply to /webapi/find names no cluster; is proxy_server a Teleport Proxy?"};
  if (const json::value* auth = root->if_contains("auth"); auth != nullptr && auth->is_object())
    reply.key_kind = key_kind_of_suite(text_at(auth->get_object(), "signature_algorithm_suite"));
  return reply;
}

boost::asio::awaitable<AuthResult<FindReply>> find(const HttpsOrigin& origin) {
  HttpsRequest request;
  request.path = "/webapi/find";
  const HttpsAnswer answer = co_await https_exchange(origin, request);
  if (!answer.ok()) {
    AuthError error = to_auth_error(answer, "asking the Teleport Proxy about its cluster");
    error.outcome_unknown = false;  // nothing was changed
    co_return error;
  }
  Outcome<FindReply> reply = parse_find(answer.body);
  if (!reply) co_return AuthError{AuthError::Kind::other, reply.error().message, false};
  co_return std::move(*reply);
}

}  // namespace kubelane::teleport
