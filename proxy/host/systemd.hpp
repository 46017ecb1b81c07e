// systemd's side of the process, by its documented protocols and without its library: notification
// (sd_notify(3)), the watchdog (sd_watchdog_enabled(3)), passed sockets (sd_listen_fds(3)).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.hpp"
#include "tls/socket.hpp"

namespace kubelane::host {

// Tells the service manager, when there is one that wants to be told. Thread: control.
class Notifier {
 public:
  // By NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which are taken out of the environment.
  static Notifier from_environment();

  void ready() { send("READY=1"); }
  // Before a reload; ready() comes after it.
  void reloading();
  void stopping() { send("STOPPING=1"); }
  void watchdog() { send("WATCHDOG=1"); }
  // One line for `systemctl status`.
  void status(std::string_view text) { send("STATUS=" + std::string(text)); }

  // How often watchdog() is due: half of what the manager allows; nothing: it does not watch.
  std::optional<std::chrono::microseconds> watchdog_interval() const { return interval_; }

 private:
  // Best effort: nobody waits for it, and nothing depends on it.
  void send(const std::string& message);

  tls::UniqueFd socket_;
  std::optional<std::chrono::microseconds> interval_;
};

// A listening socket that the service manager opened.
struct PassedSocket {
  std::string name;  // FileDescriptorName=, by default the socket unit's name
  tls::UniqueFd fd;
};

// By LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, which are taken out of the environment; empty when
// they are for another process. Once per process: who takes them owns them.
std::vector<PassedSocket> take_passed_sockets();

}  // namespace kubelane::host
