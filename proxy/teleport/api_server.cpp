#include "proxy/teleport/api_server.hpp"

#include <boost/json.hpp>
#include <openssl/crypto.h>
#include <unistd.h>

#include "tls/base64.hpp"
#include "tls/key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr const char* mounted_directory = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr std::size_t most_answer_bytes = 4UL << 20;  // a Secret holds 1 MiB, and base64 is larger

std::string collection(const ApiObject& object) {
  const bool secret = object.kind == ApiObject::Kind::secret;
  return std::string(secret ? "/api/v1" : "/apis/coordination.k8s.io/v1") + "/namespaces/" +
         object.name_space + (secret ? "/secrets" : "/leases");
}

// The rules of a Role that let kubelane do all that it does with this object.
std::string wanted_rules(const ApiObject& object) {
  const bool secret = object.kind == ApiObject::Kind::secret;
  const std::string what = std::string("{apiGroups: [\"") + (secret ? "" : "coordination.k8s.io") +
                           "\"], resources: [" + (secret ? "secrets" : "leases");
  return what + "], resourceNames: [" + object.name + "], verbs: [get, " +
         (secret ? "patch" : "update") + "]} and " + what + "], verbs: [create]}";
}

std::string environment_or(const EnvironmentLookup& environment, const char* variable,
                           const std::string& otherwise) {
  const auto value = environment(variable);
  return value && !value->empty() ? *value : otherwise;
}

}  // namespace

std::string ApiObject::text() const {
  return (kind == Kind::secret ? "Secret \"" : "Lease \"") + name_space + "/" + name + "\"";
}

Outcome<ApiServer> ApiServer::of_this_pod(const EnvironmentLookup& environment) {
  const std::string host = environment_or(environment, "KUBERNETES_SERVICE_HOST", "");
  if (host.empty())
    return Failure{Code::config,
                   "a kubernetes_secret needs kubelane to run in a pod: KUBERNETES_SERVICE_HOST is "
                   "not set; use a directory elsewhere"};
  const std::string port = environment_or(environment, "KUBERNETES_SERVICE_PORT", "443");
  const bool v6 = host.find(':') != std::string::npos && !host.starts_with('[');
  ApiServer server;
  if (!parse_host_port((v6 ? "[" + host + "]" : host) + ":" + port, 443, server.origin_.address))
    return Failure{Code::config,
                   "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address"};
  server.directory_ =
      environment_or(environment, "KUBELANE_SERVICE_ACCOUNT_DIR", mounted_directory);
  server.origin_.ca_file = server.directory_ + "/ca.crt";
  server.origin_.what = "the API server";
  server.origin_.ca_field = "ca.crt of the service account";
  server.name_space_ = environment_or(environment, "POD_NAMESPACE", "");
  if (server.name_space_.empty())
    if (const Outcome<std::string> own =
            read_secret_file(server.directory_ + "/namespace", "the pod's namespace");
        own)
      server.name_space_ = *own;
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  server.pod_ = environment_or(environment, "POD_NAME", name);
  return server;
}

Outcome<ApiObject> ApiServer::secret(const SecretName& name) const {
  ApiObject object;
  object.name_space = name.name_space.empty() ? name_space_ : name.name_space;
  object.name = name.name;
  if (object.name_space.empty())
    return Failure{Code::config, "the namespace of Secret \"" + name.name +
                                     "\" is not known: give `namespace`, or set POD_NAMESPACE"};
  return object;
}

ApiError ApiServer::refusal(const ApiObject& object, const std::string& verb,
                            const HttpsAnswer& answer) const {
  const std::string said = trace_message(answer.body);
  const std::string because = said.empty() ? "" : " (" + said + ")";
  switch (answer.status) {
    case 401:
      return {ApiError::Kind::refused,
              "the API server does not accept the service account's token in " + directory_ +
                  "; is it mounted, and is the service account still there?"};
    case 403:
      return {ApiError::Kind::refused,
              "the API server does not let kubelane " + verb + " " + object.text() + because +
                  "; give its service account in namespace " + object.name_space +
                  " a Role with the rules " + wanted_rules(object)};
    case 404:
      return {ApiError::Kind::not_found, "there is no " + object.text() + because};
    case 409:
      return {ApiError::Kind::conflict, object.text() + " was changed by somebody else" + because};
    case 429:
      break;
    default:
      if (answer.status < 500)
        return {ApiError::Kind::refused, "the API server refused to " + verb + " " + object.text() +
                                             " with status " + std::to_string(answer.status) +
                                             because};
  }
  return {ApiError::Kind::unreachable, "the API server answered " + std::to_string(answer.status) +
                                           " when asked to " + verb + " " + object.text() +
                                           because};
}

asio::awaitable<ApiResult<json::object>> ApiServer::call(const ApiObject& object,
                                                         HttpsRequest& request,
                                                         const std::string& verb) const {
  Outcome<std::string> token =
      read_secret_file(directory_ + "/token", "the service account's token");
  if (!token) {
    tls::wipe(request.body);
    co_return ApiError{ApiError::Kind::unreachable,
                       token.error().message + "; is automountServiceAccountToken off?"};
  }
  request.fields.emplace_back("Authorization", "Bearer " + *token);
  request.most_answer_bytes = most_answer_bytes;
  HttpsAnswer answer = co_await https_exchange(origin_, request);
  tls::wipe(request.body);
  tls::wipe(request.fields.back().second);
  tls::wipe(*token);
  if (answer.status == 0)
    co_return ApiError{ApiError::Kind::unreachable, std::move(answer.failure.message)};
  if (answer.status != 200 && answer.status != 201) co_return refusal(object, verb, answer);
  boost::system::error_code error;
  json::value value = json::parse(answer.body, error);
  tls::wipe(answer.body);
  if (error || !value.is_object())
    co_return ApiError{ApiError::Kind::unreachable,
                       "the API server answered something else than " + object.text()};
  co_return std::move(value.get_object());
}

asio::awaitable<ApiResult<json::object>> ApiServer::get(const ApiObject& object) const {
  HttpsRequest request;
  request.path = collection(object) + "/" + object.name;
  const std::string verb = "get";
  co_return co_await call(object, request, verb);
}

asio::awaitable<ApiResult<json::object>> ApiServer::create(const ApiObject& object,
                                                           const json::object& content,
                                                           bool dry_run) const {
  HttpsRequest request;
  request.method = "POST";
  request.path = collection(object) + "?fieldManager=" + field_manager;
  if (dry_run) request.path += "&dryRun=All";
  request.fields = {{"Content-Type", "application/json"}};
  request.body = json::serialize(content);
  const std::string verb = "create";
  co_return co_await call(object, request, verb);
}

asio::awaitable<ApiResult<json::object>> ApiServer::replace(
    const ApiObject& object, const json::object& content,
    std::chrono::milliseconds deadline) const {
  HttpsRequest request;
  request.method = "PUT";
  request.path = collection(object) + "/" + object.name + "?fieldManager=" + field_manager;
  request.fields = {{"Content-Type", "application/json"}};
  request.body = json::serialize(content);
  request.deadline = deadline;
  const std::string verb = "update";
  co_return co_await call(object, request, verb);
}

asio::awaitable<ApiResult<json::object>> ApiServer::apply(const ApiObject& object,
                                                          const json::object& content,
                                                          bool dry_run) const {
  HttpsRequest request;
  request.method = "PATCH";
  request.path =
      collection(object) + "/" + object.name + "?fieldManager=" + field_manager + "&force=true";
  if (dry_run) request.path += "&dryRun=All";
  // JSON is YAML.
  request.fields = {{"Content-Type", "application/apply-patch+yaml"}};
  request.body = json::serialize(content);
  const std::string verb = "patch";
  co_return co_await call(object, request, verb);
}

json::object new_object(const ApiObject& object, const std::string& version) {
  const bool secret = object.kind == ApiObject::Kind::secret;
  json::object metadata = {{"name", object.name}, {"namespace", object.name_space}};
  if (!version.empty()) metadata["resourceVersion"] = version;
  return {{"apiVersion", secret ? "v1" : "coordination.k8s.io/v1"},
          {"kind", secret ? "Secret" : "Lease"},
          {"metadata", std::move(metadata)}};
}

std::string resource_version(const json::object& object) {
  const json::value* metadata = object.if_contains("metadata");
  const json::value* version = metadata != nullptr && metadata->is_object()
                                   ? metadata->get_object().if_contains("resourceVersion")
                                   : nullptr;
  return version != nullptr && version->is_string() ? std::string(version->get_string())
                                                    : std::string();
}

std::string secret_value(const json::object& secret, const std::string& key) {
  const json::value* data = secret.if_contains("data");
  const json::value* value =
      data != nullptr && data->is_object() ? data->get_object().if_contains(key) : nullptr;
  if (value == nullptr || !value->is_string()) return {};
  return tls::from_base64(std::string_view(value->get_string())).value_or("");
}

void wipe_secret(json::object& secret) noexcept {
  json::value* data = secret.if_contains("data");
  if (data == nullptr || !data->is_object()) return;
  for (auto& field : data->get_object())
    if (json::string* text = field.value().if_string()) OPENSSL_cleanse(text->data(), text->size());
}

}  // namespace kubelane::teleport
