// The diagnostics and the admin listener, and what they need to know: composed here, of App's
// parts.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/admin/admin_routes.hpp"
#include "proxy/admin/control_socket.hpp"
#include "proxy/admin/diagnostics_routes.hpp"
#include "proxy/admin/http_server.hpp"
#include "proxy/control_view.hpp"
#include "proxy/readiness_check.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/report_round.hpp"
#include "proxy/runtime/loop_watch.hpp"

namespace kubelane {

// Thread: control. Everything given must outlive it.
class Observability {
 public:
  struct Parts {
    std::function<ControlView()> view;
    std::function<void()> quit;  // drain and end with exit code 0
  };

  Observability(boost::asio::io_context& io, const Config& config,
                const std::vector<std::unique_ptr<relay::Worker>>& workers, Parts parts);
  ~Observability();
  Observability(const Observability&) = delete;
  Observability& operator=(const Observability&) = delete;

  // Takes the addresses, so that a wrong one is told before anything else is begun.
  Outcome<void> bind();
  // Begins to answer; the workers must have started. Nothing without bind().
  void start();

 private:
  void start_diagnostics();
  void start_admin();
  std::string not_started();
  std::string stuck() const;
  void metrics(std::function<void(std::string)> then);
  std::string certificates() const;
  void connections(std::function<void(std::string)> then);

  boost::asio::io_context& io_;
  const Config& config_;
  const std::vector<std::unique_ptr<relay::Worker>>& workers_;
  Parts parts_;
  std::optional<admin::ControlSocket> diagnostics_socket_;  // until start()
  std::optional<admin::ControlSocket> admin_socket_;        // the same
  std::unique_ptr<ReportRound> reports_;
  std::unique_ptr<ReadinessCheck> readiness_;
  std::unique_ptr<runtime::LoopWatch> loop_watch_;
  std::unique_ptr<admin::DiagnosticsRoutes> diagnostics_routes_;
  std::unique_ptr<admin::AdminRoutes> admin_routes_;
  std::unique_ptr<admin::HttpServer> diagnostics_server_;
  std::unique_ptr<admin::HttpServer> admin_server_;
  bool started_ = false;  // once: all that had to be there was
};

}  // namespace kubelane
