// The API server of the Kubernetes cluster that kubelane itself runs in, as its pod's service
// account sees it; not one behind Teleport. Single objects of two kinds. Control thread.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <boost/system/result.hpp>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/teleport/https_client.hpp"
#include "proxy/teleport/id_token.hpp"

namespace kubelane::teleport {

// A Secret (v1) or a Lease (coordination.k8s.io/v1).
struct ApiObject {
  enum class Kind : std::uint8_t { secret, lease };
  Kind kind = Kind::secret;
  std::string name_space;
  std::string name;

  std::string text() const;  // Secret "namespace/name", for messages
};

struct ApiError {
  enum class Kind : std::uint8_t {
    unreachable,  // nobody answers, or not in time, or it is overloaded: it may have been done
    not_found,
    conflict,  // it has changed since it was read, or was made by somebody else meanwhile
    refused,   // forbidden, not valid: it will be so until somebody changes something
  };
  Kind kind = Kind::refused;
  std::string message;  // one sentence, with the RBAC rule that is missing; nothing of the content
};
template <class T>
using ApiResult = boost::system::result<T, ApiError>;
[[noreturn]] inline void throw_exception_from_error(const ApiError& error,
                                                    const boost::source_location&) {
  throw std::runtime_error(error.message);
}

// The manager of fields that are kubelane's (server-side apply).
inline constexpr const char* field_manager = "kubelane";

class ApiServer {
 public:
  // From KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and the service account's directory
  // (KUBELANE_SERVICE_ACCOUNT_DIR, else where Kubernetes mounts it). Failure: this is no pod.
  static Outcome<ApiServer> of_this_pod(const EnvironmentLookup& environment);

  // The object of a configuration: its namespace, else POD_NAMESPACE, else the service account's.
  Outcome<ApiObject> secret(const SecretName& name) const;
  // POD_NAME, else the host's name, which in a pod is the pod's: who kubelane is for others.
  const std::string& pod() const noexcept { return pod_; }

  // Each answers with the object as it is then. Arguments must live until it has ended. The token
  // is read anew each time: it lives for an hour.
  boost::asio::awaitable<ApiResult<boost::json::object>> get(const ApiObject& object) const;
  // Conflict: it is there already. `dry_run`: only whether it would work, here and below.
  boost::asio::awaitable<ApiResult<boost::json::object>> create(const ApiObject& object,
                                                                const boost::json::object& content,
                                                                bool dry_run = false) const;
  // Both with metadata.resourceVersion in `content`: a conflict when it is another by now.
  boost::asio::awaitable<ApiResult<boost::json::object>> replace(
      const ApiObject& object, const boost::json::object& content,
      std::chrono::milliseconds deadline = std::chrono::seconds(10)) const;
  // Server-side apply; what other managers had of the same fields becomes kubelane's.
  boost::asio::awaitable<ApiResult<boost::json::object>> apply(const ApiObject& object,
                                                               const boost::json::object& content,
                                                               bool dry_run = false) const;

 private:
  boost::asio::awaitable<ApiResult<boost::json::object>> call(const ApiObject& object,
                                                              HttpsRequest& request,
                                                              const std::string& verb) const;
  ApiError refusal(const ApiObject& object, const std::string& verb,
                   const HttpsAnswer& answer) const;

  HttpsOrigin origin_;
  std::string directory_;
  std::string name_space_;
  std::string pod_;
};

// An object with its names; `version`: the resourceVersion that it must still have, or empty.
boost::json::object new_object(const ApiObject& object, const std::string& version);
// Empty when it has none.
std::string resource_version(const boost::json::object& object);
// Value of a field of `data`, decoded. Empty when there is none.
std::string secret_value(const boost::json::object& secret, const std::string& key);
// Overwrites the values of `data`, keys among them.
void wipe_secret(boost::json::object& secret) noexcept;

}  // namespace kubelane::teleport
