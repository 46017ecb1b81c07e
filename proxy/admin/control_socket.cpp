#include "proxy/admin/control_socket.hpp"

#include <cerrno>
#include <system_error>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/runtime/acceptor.hpp"

namespace kubelane::admin {
namespace {

constexpr int waiting_connections = 128;

tls::UniqueFd new_socket() {
  return tls::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

Outcome<ControlSocket> open_unix(const std::string& path, const std::string& purpose) {
  const auto failed = [&](int error, const std::string& remedy = {}) {
    return Failure{Code::config, purpose + ": cannot listen on unix://" + path + ": " +
                                     std::generic_category().message(error) + remedy};
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failed(ENAMETOOLONG);
  path.copy(address.sun_path, path.size());
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);

  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode))
      return failed(EEXIST, "; there is something else than a socket at this path");
    const tls::UniqueFd probe = new_socket();
    if (!probe) return failed(errno);
    if (::connect(probe.get(), generic, sizeof address) == 0 || errno != ECONNREFUSED)
      return failed(EADDRINUSE, "; another process listens there: stop it or choose another path");
    if (::unlink(path.c_str()) != 0) return failed(errno);
  }
  ControlSocket made;
  made.fd = new_socket();
  if (!made.fd) return failed(errno);
  // Linux gives the name the mode of the socket: there is no moment in which others could connect.
  if (::fchmod(made.fd.get(), S_IRUSR | S_IWUSR) != 0) return failed(errno);
  if (::bind(made.fd.get(), generic, sizeof address) != 0) return failed(errno);
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 ||
      ::listen(made.fd.get(), waiting_connections) != 0)
    return failed(errno);
  made.address = "unix://" + path;
  made.unix_path = path;
  return made;
}

}  // namespace

Outcome<ControlSocket> open_control_socket(const ControlAddress& address,
                                           const std::string& purpose) {
  if (!address.unix_path.empty()) return open_unix(address.unix_path, purpose);
  Outcome<runtime::ListeningSocket> listening = runtime::listen_on(address.tcp);
  if (!listening)
    return Failure{listening.error().code, purpose + ": " + listening.error().message};
  const std::string& host = address.tcp.host;
  ControlSocket made;
  made.fd = std::move(listening->fd);
  made.address = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
                 std::to_string(listening->port);
  return made;
}

}  // namespace kubelane::admin
