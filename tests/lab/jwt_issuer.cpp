#include "tests/lab/jwt_issuer.hpp"

#include <ctime>
#include <utility>

namespace lab {

JwtIssuer::JwtIssuer(std::string issuer, KeyKind kind)
    : issuer_(std::move(issuer)), key_(make_key(kind)) {}

std::string JwtIssuer::issue(boost::json::object claims, const std::string& audience,
                             const Times& times) const {
  const std::int64_t now = std::time(nullptr);
  const auto add = [&claims](const char* name, boost::json::value value) {
    if (!claims.contains(name)) claims[name] = std::move(value);
  };
  add("iss", boost::json::string(issuer_));
  add("aud", boost::json::array{audience});
  add("iat", now - times.issued_ago);
  add("nbf", now - times.issued_ago);
  add("exp", now + times.expires_in);
  return sign_jws(key_, boost::json::serialize(claims), "lab-1");
}

std::string JwtIssuer::service_account(const std::string& name_space, const std::string& account,
                                       const std::string& audience, const Times& times,
                                       const std::string& pod) const {
  boost::json::object kubernetes{
      {"namespace", name_space},
      {"serviceaccount", boost::json::object{{"name", account}, {"uid", "5a9d1b52-lab-account"}}}};
  if (!pod.empty()) {
    kubernetes["pod"] = boost::json::object{{"name", pod}, {"uid", "f1b1d1e0-lab-pod"}};
  }
  return issue({{"sub", "system:serviceaccount:" + name_space + ":" + account},
                {"kubernetes.io", std::move(kubernetes)}},
               audience, times);
}

}  // namespace lab
