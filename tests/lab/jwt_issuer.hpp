// Issuers of ID tokens for tests: a Kubernetes API server, a CI system, a cloud. Each has a key of
// its own, which join tokens are told to trust.
#pragma once

#include <string>

#include <boost/json.hpp>

#include "tests/lab/jwt.hpp"
#include "tests/lab/pki.hpp"

namespace lab {

class JwtIssuer {
 public:
  // RSA, as most of the real ones have, takes a noticeable part of a second to make.
  explicit JwtIssuer(std::string issuer, KeyKind kind = KeyKind::ecdsa);

  const std::string& issuer() const { return issuer_; }
  std::string jwks() const { return lab::jwks(key_, "lab-1"); }

  // When a token is good, in seconds from now. Already expired: a negative `expires_in`.
  struct Times {
    long issued_ago = 5;
    long expires_in = 600;
  };
  // `claims` with iss, aud, iat, nbf and exp added where they are missing; aud as a list.
  std::string issue(boost::json::object claims, const std::string& audience,
                    const Times& times) const;
  std::string issue(boost::json::object claims, const std::string& audience) const {
    return issue(std::move(claims), audience, Times());
  }
  // A projected service-account token, bound to a pod.
  std::string service_account(const std::string& name_space, const std::string& account,
                              const std::string& audience, const Times& times,
                              const std::string& pod = "bot-0") const;
  std::string service_account(const std::string& name_space, const std::string& account,
                              const std::string& audience) const {
    return service_account(name_space, account, audience, Times());
  }

 private:
  std::string issuer_;
  KeyPtr key_;
};

}  // namespace lab
