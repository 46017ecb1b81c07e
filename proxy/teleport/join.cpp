#include "proxy/teleport/join.hpp"

#include <boost/json.hpp>

#include "proxy/observe/utc.hpp"
#include "tls/base64.hpp"
#include "tls/key.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

namespace json = boost::json;

constexpr std::size_t most_cas = 64;
// Auth may be slow, and a single-use token cannot be tried again.
constexpr std::chrono::milliseconds join_limit{40'000};

bool take_text(const json::object& object, std::string_view key, std::string& out) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr || found->is_null()) return true;
  if (!found->is_string()) return false;
  auto decoded = tls::from_base64(found->get_string());
  if (decoded) out = std::move(*decoded);
  return decoded.has_value();
}

bool take_texts(const json::object& object, std::string_view key, std::vector<std::string>& out) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr || found->is_null()) return true;
  if (!found->is_array() || found->get_array().size() > most_cas) return false;
  for (const json::value& entry : found->get_array()) {
    if (!entry.is_string()) return false;
    auto decoded = tls::from_base64(entry.get_string());
    if (!decoded) return false;
    out.push_back(std::move(*decoded));
  }
  return true;
}

}  // namespace

std::string web_join_body(const JoinRequest& request) {
  json::object body;
  body["hostID"] = "";
  body["node_name"] = "";
  body["role"] = "Bot";
  body["token"] = request.token;
  body["public_tls_key"] = tls::base64(tls::public_key_pem(request.key.get()));
  body["public_ssh_key"] = tls::base64(tls::ssh_public_line(request.key.get()));
  body["id_token"] = request.id_token;
  body["expires"] = utc(request.expires);
  return json::serialize(body);
}

Outcome<IssuedCerts> parse_web_join(std::string_view body) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 8;
  const json::value value = json::parse(body, error, {}, options);
  const json::object* root = error ? nullptr : value.if_object();
  IssuedCerts certs;
  if (root == nullptr || !take_text(*root, "tls", certs.certificate) ||
      !take_text(*root, "ssh", certs.ssh_certificate) ||
      !take_texts(*root, "tls_ca_certs", certs.cas) ||
      !take_texts(*root, "ssh_ca_certs", certs.ssh_cas))
    return Failure{Code::bad_body, "the answer to the join is not what a Teleport Proxy sends"};
  return certs;
}

boost::asio::awaitable<AuthResult<IssuedCerts>> join_over_web(const HttpsOrigin& origin,
                                                              const JoinRequest& join) {
  const std::string what = "joining as a bot";
  HttpsRequest request;
  request.method = "POST";
  request.path = "/v1/webapi/host/credentials";
  request.fields = {{"Content-Type", "application/json"}};
  request.body = web_join_body(join);
  request.most_answer_bytes = 1UL << 20;
  request.deadline = join_limit;
  const HttpsAnswer answer = co_await https_exchange(origin, request);
  tls::wipe(request.body);
  if (!answer.ok()) co_return to_auth_error(answer, what);
  Outcome<IssuedCerts> certs = parse_web_join(answer.body);
  if (!certs)
    co_return AuthError{AuthError::Kind::other, what + ": " + certs.error().message, true};
  co_return std::move(*certs);
}

}  // namespace kubelane::teleport
