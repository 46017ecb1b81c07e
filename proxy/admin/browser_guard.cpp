#include "proxy/admin/browser_guard.hpp"

#include <arpa/inet.h>

namespace kubelane::admin {
namespace {

bool is_loopback_name(std::string_view authority) {
  std::string_view host = authority.substr(0, authority.find(':'));
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return false;
    host = authority.substr(1, end - 1);
  }
  const std::string text(host.substr(0, INET6_ADDRSTRLEN));
  if (text == "localhost" || text == "::1") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace

std::string refuse_browser(const Request& request) {
  const std::string* const host = request.field("host");
  if (!request.by_unix_socket && (host == nullptr || !is_loopback_name(*host)))
    return "Host is not a loopback address (a guard against DNS rebinding)\n";
  for (const char* name : {"origin", "referer", "sec-fetch-site", "sec-fetch-mode"})
    if (request.has(name))
      return "this listener is not for web pages: " + std::string(name) + " is set\n";
  return {};
}

}  // namespace kubelane::admin
