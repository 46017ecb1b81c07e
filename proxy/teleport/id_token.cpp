#include "proxy/teleport/id_token.hpp"

#include <cerrno>
#include <system_error>

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include "proxy/teleport/https_client.hpp"
#include "tls/key.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;

constexpr std::size_t most_token_bytes = 64UL * 1024;
// What GitHub and Google put into the token so that it is good for Teleport alone.
constexpr const char* audience = "teleport.cluster.local";
constexpr const char* pod_token_path = "/var/run/secrets/kubernetes.io/serviceaccount/token";

// The methods whose token a CI system leaves in a variable.
struct VariableSource {
  JoinMethod method;
  const char* variable;
  const char* remedy;
};
constexpr VariableSource variable_sources[] = {
    {JoinMethod::circleci, "CIRCLE_OIDC_TOKEN", "run this in a CircleCI job with a context"},
    {JoinMethod::bitbucket, "BITBUCKET_STEP_OIDC_TOKEN", "set `oidc: true` on the pipeline's step"},
    {JoinMethod::spacelift, "SPACELIFT_OIDC_TOKEN", "run this in a Spacelift run"},
};

Failure missing(const std::string& variable, const std::string& remedy) {
  return {Code::config, "the environment variable " + variable + " is not set: " + remedy};
}

std::string trimmed(const std::string& text) {
  const char* const blanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

Outcome<std::string> checked(std::string token, const std::string& where) {
  token = trimmed(token);
  if (token.empty()) return Failure{Code::io, where + " holds no token"};
  for (const char c : token)
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f)
      return Failure{Code::io, where + " holds something else than a token"};
  return token;
}

struct Url {
  bool plain = false;
  HostPort address;
  std::string path;
};

std::optional<Url> parse_url(const std::string& text) {
  Url url;
  url.plain = text.starts_with("http://");
  if (!url.plain && !text.starts_with("https://")) return std::nullopt;
  const std::size_t begin = url.plain ? 7 : 8;
  const std::size_t slash = text.find('/', begin);
  if (!parse_host_port(
          std::string_view(text).substr(begin, slash == std::string::npos ? slash : slash - begin),
          url.plain ? 80 : 443, url.address))
    return std::nullopt;
  url.path = slash == std::string::npos ? "/" : text.substr(slash);
  for (const char c : url.path)
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f)
      return std::nullopt;
  return url;
}

// A CI system's token service, which knows this job by its bearer token.
struct TokenService {
  std::string what;
  std::string method;
  std::string url;
  std::string bearer;
  std::string accept;
  std::string answer_field;
};

HttpsRequest token_request(const TokenService& service, const Url& url) {
  HttpsRequest request;
  request.method = service.method;
  request.path = url.path;
  request.most_answer_bytes = most_token_bytes;
  request.fields = {{"Authorization", "Bearer " + service.bearer},
                    {"Accept", service.accept},
                    {"Content-Type", "application/json"}};
  return request;
}

asio::awaitable<Outcome<std::string>> ask_service(const TokenService& service) {
  const std::optional<Url> url = parse_url(service.url);
  if (!url) co_return Failure{Code::config, service.what + " has an unusable address"};
  HttpsOrigin origin;
  origin.address = url->address;
  origin.plain = url->plain;
  origin.what = service.what;
  origin.ca_field = "SSL_CERT_FILE";
  const HttpsRequest request = token_request(service, *url);
  const HttpsAnswer answer = co_await https_exchange(origin, request);
  if (answer.status == 0) co_return answer.failure;
  if (!answer.ok())
    co_return Failure{Code::denied,
                      service.what + " answered with status " + std::to_string(answer.status)};
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(answer.body, error);
  const boost::json::value* token =
      error || !value.is_object() ? nullptr : value.get_object().if_contains(service.answer_field);
  if (token == nullptr || !token->is_string())
    co_return Failure{Code::bad_body, service.what + " answered without a token"};
  co_return checked(std::string(token->get_string()), "the answer of " + service.what);
}

asio::awaitable<Outcome<std::string>> from_github(const EnvironmentLookup& environment) {
  const auto url = environment("ACTIONS_ID_TOKEN_REQUEST_URL");
  const auto bearer = environment("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
  const char* const remedy = "give the GitHub workflow `permissions: {id-token: write}`";
  if (!url || url->empty()) co_return missing("ACTIONS_ID_TOKEN_REQUEST_URL", remedy);
  if (!bearer || bearer->empty()) co_return missing("ACTIONS_ID_TOKEN_REQUEST_TOKEN", remedy);
  const TokenService service{"GitHub's token service",
                             "GET",
                             *url + "&audience=" + audience,
                             *bearer,
                             "application/json; api-version=2.0",
                             "value"};
  co_return co_await ask_service(service);
}

asio::awaitable<Outcome<std::string>> from_azure_devops(const EnvironmentLookup& environment) {
  const auto url = environment("SYSTEM_OIDCREQUESTURI");
  const auto bearer = environment("SYSTEM_ACCESSTOKEN");
  if (!url || url->empty())
    co_return missing("SYSTEM_OIDCREQUESTURI", "run this in an Azure DevOps pipeline");
  if (!bearer || bearer->empty())
    co_return missing(
        "SYSTEM_ACCESSTOKEN",
        "give the pipeline's step `env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}`");
  const TokenService service{"Azure DevOps' token service",
                             "POST",
                             *url + "?api-version=7.1",
                             *bearer,
                             "application/json",
                             "oidcToken"};
  co_return co_await ask_service(service);
}

asio::awaitable<Outcome<std::string>> from_gcp(const EnvironmentLookup& environment) {
  HttpsOrigin origin;
  // The variable of Google's own libraries.
  const std::string host = environment("GCE_METADATA_HOST").value_or("metadata.google.internal");
  if (!parse_host_port(host, 80, origin.address))
    co_return Failure{Code::config, "GCE_METADATA_HOST is no host name"};
  origin.plain = true;
  origin.what = "Google's metadata service";
  HttpsRequest request;
  request.path = std::string("/computeMetadata/v1/instance/service-accounts/default/identity") +
                 "?audience=" + audience + "&format=full&licenses=FALSE";
  request.fields = {{"Metadata-Flavor", "Google"}};
  request.most_answer_bytes = most_token_bytes;
  const HttpsAnswer answer = co_await https_exchange(origin, request);
  if (answer.status == 0) co_return answer.failure;
  if (!answer.ok())
    co_return Failure{Code::denied, "Google's metadata service answered with status " +
                                        std::to_string(answer.status) +
                                        "; does this machine have a service account?"};
  co_return checked(answer.body, "the answer of Google's metadata service");
}

Outcome<std::string> from_variable(const EnvironmentLookup& environment,
                                   const std::string& variable, const std::string& remedy) {
  const auto token = environment(variable);
  if (!token || token->empty()) return missing(variable, remedy);
  return checked(*token, "the environment variable " + variable);
}

}  // namespace

Outcome<std::string> read_small_file(const std::string& path, const std::string& what) {
  const tls::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0)
    return Failure{
        Code::io, what + " " + path + " cannot be read: " + std::generic_category().message(errno)};
  if (!S_ISREG(status.st_mode))
    return Failure{Code::io, what + " " + path + " is not a regular file"};
  std::string text(most_token_bytes + 1, '\0');
  if (const int error = tls::read_into(fd.get(), text); error != 0)
    return Failure{
        Code::io, what + " " + path + " cannot be read: " + std::generic_category().message(error)};
  if (text.size() > most_token_bytes)
    return Failure{Code::io, what + " " + path + " is too large: more than 64 KiB"};
  return text;
}

Outcome<std::string> read_secret_file(const std::string& path, const std::string& what) {
  Outcome<std::string> text = read_small_file(path, what);
  if (!text) return text;
  Outcome<std::string> token = checked(*text, what + " " + path);
  tls::wipe(*text);
  return token;
}

Outcome<std::string> read_token(const Onboarding& onboarding) {
  if (!onboarding.token.starts_with('/')) return onboarding.token;
  return read_secret_file(onboarding.token, "onboarding.token: the file");
}

asio::awaitable<Outcome<std::string>> fetch_id_token(const Onboarding& onboarding,
                                                     const EnvironmentLookup& environment) {
  for (const VariableSource& source : variable_sources)
    if (source.method == onboarding.join_method)
      co_return from_variable(environment, source.variable, source.remedy);
  switch (onboarding.join_method) {
    case JoinMethod::kubernetes: {
      std::string path = onboarding.kubernetes_token_path;
      if (path.empty()) path = environment("KUBERNETES_TOKEN_PATH").value_or("");
      if (path.empty()) path = pod_token_path;
      Outcome<std::string> token = read_secret_file(path, "the service account's token");
      if (!token)
        co_return Failure{Code::io, token.error().message +
                                        "; in a Pod, mount a projected serviceAccountToken whose "
                                        "audience is the Teleport cluster's name, and name it in "
                                        "KUBERNETES_TOKEN_PATH"};
      co_return token;
    }
    case JoinMethod::gitlab:
      co_return from_variable(environment, onboarding.gitlab_token_variable,
                              "give the GitLab job `id_tokens:` with that name, whose `aud` is the "
                              "Teleport cluster's name");
    case JoinMethod::terraform_cloud: {
      std::string variable = "TFC_WORKLOAD_IDENTITY_TOKEN";
      if (!onboarding.terraform_audience_tag.empty())
        variable += "_" + onboarding.terraform_audience_tag;
      co_return from_variable(environment, variable,
                              "set TFC_WORKLOAD_IDENTITY_AUDIENCE for the workspace");
    }
    case JoinMethod::github:
      co_return co_await from_github(environment);
    case JoinMethod::azure_devops:
      co_return co_await from_azure_devops(environment);
    case JoinMethod::gcp:
      co_return co_await from_gcp(environment);
    default:
      co_return std::string();
  }
}

}  // namespace kubelane::teleport
