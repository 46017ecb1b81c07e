// What the admin listener answers: it looks deeper than the diagnostics listener, and changes
// things. Reading is GET, changing is PUT or POST.
#pragma once

#include <functional>
#include <string>

#include "proxy/admin/http_server.hpp"

namespace kubelane::admin {

// Thread: control.
class AdminRoutes {
 public:
  struct Sources {
    std::function<std::string()> config;                                // JSON, without secrets
    std::function<std::string()> certificates;                          // JSON, without keys
    std::function<void(std::function<void(std::string)>)> connections;  // JSON
    std::function<void()> quit;                                         // drain and end
  };

  explicit AdminRoutes(Sources sources) : sources_(std::move(sources)) {}

  void handle(const Request& request, const Reply& reply);

 private:
  Sources sources_;
};

}  // namespace kubelane::admin
