#include "proxy/relay/upstream_error.hpp"

#include <system_error>

namespace kubelane::relay {
namespace {

constexpr int no_application_protocol = 120;  // TLS alert, RFC 7301 section 3.2

std::string cause_and_remedy(const Error& error, const link::UpstreamSnapshot& to) {
  const link::UpstreamTarget& target = to.target;
  const std::string remedy = to.remedy.empty() ? "" : " (" + to.remedy + ")";
  const std::string proxy =
      "the Teleport Proxy at " + target.host + ":" + std::to_string(target.port);
  switch (error.code) {
    case Code::dns:
      return "no address is known for " + proxy + "; check the name and this machine's DNS";
    case Code::refused:
      return "cannot connect to " + proxy + ": " + std::generic_category().message(error.sys) +
             "; check that it is up and reachable from here";
    case Code::timeout:
      if (std::string_view(error.where) == "response head")
        return proxy + " accepted the request but sent no answer in time";
      if (std::string_view(error.where) == "request body")
        return proxy + " stopped taking the request body";
      return proxy + " did not answer in time (" + error.where +
             "); check that it is up and that no firewall drops packets";
    case Code::tls_untrusted:
      return proxy +
             " presented a certificate that the host CA in the credentials does not vouch "
             "for: either the CA was rotated and the credentials have not been renewed since" +
             remedy + ", or something between here and the Proxy terminates TLS";
    case Code::tls_peer:
      if (error.sys == no_application_protocol)
        return proxy +
               " speaks none of the protocols that it was offered; proxy_protocol: auto "
               "finds out what it speaks";
      return proxy + " refused our client certificate (TLS alert " + std::to_string(error.sys) +
             "); it may be expired, revoked or locked: check that it is being renewed" + remedy;
    case Code::tls_handshake:
      return proxy + " does not speak the expected TLS (" + error.where +
             "); check the address, and that no load balancer terminates TLS in between";
    case Code::eof:
    case Code::reset:
      if (std::string_view(error.where) == "TLS handshake")
        return proxy +
               " closed the connection in the TLS handshake; is Kubernetes access enabled "
               "on it?";
      return proxy +
             " closed the connection before it answered; the request may or may not have "
             "been carried out";
    case Code::bad_head:
    case Code::bad_body:
    case Code::head_too_large:
      return proxy + " sent an answer that is not proper HTTP (" + error.where + ")";
    case Code::overloaded:
      return "kubelane is at its limit of upstream connections or open files";
    default:
      return "request failed (" + std::string(name(error.code)) + ", " + error.where + ")";
  }
}

}  // namespace

std::string describe(const Error& error, const std::string& cluster,
                     const link::UpstreamSnapshot& to) {
  return "Kubernetes cluster \"" + cluster + "\": " + cause_and_remedy(error, to);
}

}  // namespace kubelane::relay
