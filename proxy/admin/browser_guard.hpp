// Keeps web pages out of the admin listener. A page in a browser on this machine can send requests
// to any loopback port, but it cannot help that the browser says so, and where it comes from.
#pragma once

#include <string>

#include "proxy/admin/http_server.hpp"

namespace kubelane::admin {

// Why the request is refused; empty: it is not a page's. Refused are: a Host that is not a loopback
// address or localhost (DNS rebinding), and any of Origin, Referer and Sec-Fetch-*, which browsers
// add and pages cannot take away.
std::string refuse_browser(const Request& request);

}  // namespace kubelane::admin
