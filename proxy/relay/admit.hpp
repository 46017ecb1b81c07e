// May this request pass, and to which cluster? The local guards in one function: Host allow-list,
// token, route. The same for HTTP/1.1 and, later, HTTP/2.
#pragma once

#include <string>
#include <string_view>

#include "config/result.hpp"
#include "proxy/http/field.hpp"
#include "proxy/relay/listener.hpp"

namespace kubelane::relay {

struct Admission {
  const Route* route = nullptr;  // null: refused
  std::size_t strip_bytes = 0;
  Error error{};        // refused: why
  std::string message;  // refused: the sentence for the client
};

// `authority` is the value of Host. Constant time in the token's content.
Admission admit(const Listener& listener, std::string_view authority, std::string_view path,
                http::Fields fields);

}  // namespace kubelane::relay
