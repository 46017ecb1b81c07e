#include "proxy/relay/admit.hpp"

#include <algorithm>

#include <arpa/inet.h>
#include <openssl/crypto.h>

namespace kubelane::relay {
namespace {

// Host without its port and without brackets.
std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    return end == std::string_view::npos ? std::string_view{} : authority.substr(1, end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

bool is_ip_literal(std::string_view host) {
  char text[INET6_ADDRSTRLEN];
  if (host.empty() || host.size() >= sizeof text) return false;
  host.copy(text, host.size());
  text[host.size()] = '\0';
  in6_addr address{};
  return ::inet_pton(AF_INET, text, &address) == 1 || ::inet_pton(AF_INET6, text, &address) == 1;
}

bool host_allowed(const Listener& listener, std::string_view authority) {
  const std::string_view host = host_of(authority);
  if (http::iequals(host, "localhost") || host == "127.0.0.1" || host == "::1") return true;
  if (listener.any_ip_host && is_ip_literal(host)) return true;
  return std::any_of(listener.allowed_hosts.begin(), listener.allowed_hosts.end(),
                     [host](const std::string& allowed) { return http::iequals(host, allowed); });
}

// Any page in a browser can make it send requests to localhost; it tells whose page it was. Without
// a secret in the request only our own pages may do that. Origin: scheme://authority, or null.
bool origin_allowed(const Listener& listener, http::Fields fields) {
  for (const http::Field& field : fields) {
    if (field.id != http::FieldId::origin) continue;
    const std::size_t scheme = field.value.find("://");
    if (scheme == std::string_view::npos) return false;
    const std::string_view authority = field.value.substr(scheme + 3);
    if (authority.find_first_of("@/?#") != std::string_view::npos) return false;
    if (!host_allowed(listener, authority)) return false;
  }
  return true;
}

// Exactly one Authorization field that holds our token.
bool token_matches(const std::string& token, http::Fields fields) {
  const http::Field* found = nullptr;
  for (const http::Field& field : fields) {
    if (field.id != http::FieldId::authorization) continue;
    if (found != nullptr) return false;
    found = &field;
  }
  if (found == nullptr) return false;
  constexpr std::string_view scheme = "Bearer ";
  std::string_view value = found->value;
  if (value.size() <= scheme.size() || !http::iequals(value.substr(0, scheme.size()), scheme))
    return false;
  value.remove_prefix(scheme.size());
  return value.size() == token.size() &&
         CRYPTO_memcmp(value.data(), token.data(), token.size()) == 0;
}

Admission refuse(Code code, std::string message) {
  return {nullptr, 0, {code, Side::local, Retry::no, 0, "admit"}, std::move(message)};
}

}  // namespace

Admission admit(const Listener& listener, std::string_view authority, std::string_view path,
                http::Fields fields) {
  if (!host_allowed(listener, authority)) {
    return refuse(Code::denied, "Host \"" + std::string(authority.substr(0, 200)) +
                                    "\" is not one of kubelane's names (a guard against DNS "
                                    "rebinding); add it to allowed_hosts if it is meant to be");
  }
  if (listener.auth == LocalAuth::none && !origin_allowed(listener, fields)) {
    return refuse(Code::denied,
                  "the request comes from a web page of another site (Origin), and with "
                  "local_auth: none nothing else tells that it is wanted; add the page's host to "
                  "allowed_hosts if it is");
  }
  if (listener.auth == LocalAuth::token && !token_matches(listener.token, fields)) {
    return refuse(Code::unauthorized,
                  "kubelane wants the bearer token from the kubeconfig that it wrote; this request "
                  "has none or another one. Point KUBECONFIG at kubelane's kubeconfig.yaml.");
  }
  Admission admission;
  admission.route = listener.find(path, admission.strip_bytes);
  if (admission.route == nullptr) {
    NoRoute why = listener.explain(path);
    return refuse(why.code, std::move(why.message));
  }
  return admission;
}

}  // namespace kubelane::relay
