// What the diagnostics listener answers. It may stand where others can reach it: it changes nothing
// and tells nothing that is secret.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/admin/health.hpp"
#include "proxy/admin/http_server.hpp"

namespace kubelane::admin {

// Thread: control.
class DiagnosticsRoutes {
 public:
  struct Sources {
    std::function<std::string()> not_started;  // what is still missing; empty: started
    std::function<std::string()> stuck;        // empty: all event loops come round
    std::function<void(std::function<void(const Health&)>)> health;
    std::function<void(std::function<void(std::string)>)> metrics;
  };

  DiagnosticsRoutes(boost::asio::io_context& io, Sources sources);
  DiagnosticsRoutes(const DiagnosticsRoutes&) = delete;
  DiagnosticsRoutes& operator=(const DiagnosticsRoutes&) = delete;

  void handle(const Request& request, const Reply& reply);

 private:
  struct Waiter {
    std::string service;  // empty: all
    Reply reply;
  };
  void wait(const std::string& service, const Reply& reply);
  void look_for_waiters();

  boost::asio::steady_timer timer_;
  Sources sources_;
  std::shared_ptr<std::list<Waiter>> waiters_;  // shared with connections that may end first
  bool looking_ = false;
};

}  // namespace kubelane::admin
