#include "proxy/host/systemd.hpp"

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace kubelane::host {
namespace {

constexpr int first_passed = 3;  // SD_LISTEN_FDS_START
constexpr int most_passed = 256;

std::string take_variable(const char* name) {
  const char* const value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);
  return text;
}

template <class Number>
std::optional<Number> number_of(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Not meant for us: the variables were inherited from a service that started us.
bool for_another(const std::string& pid) {
  return !pid.empty() && number_of<pid_t>(pid) != ::getpid();
}

}  // namespace

Notifier Notifier::from_environment() {
  Notifier notifier;
  const std::string path = take_variable("NOTIFY_SOCKET");
  const std::string usec = take_variable("WATCHDOG_USEC");
  const std::string watched = take_variable("WATCHDOG_PID");
  sockaddr_un address{};
  if (path.size() < 2 || path.size() >= sizeof address.sun_path ||
      (path[0] != '/' && path[0] != '@'))
    return notifier;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  tls::UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0)
    return notifier;
  notifier.socket_ = std::move(socket);
  const auto microseconds = number_of<std::uint64_t>(usec);
  if (microseconds && *microseconds > 1 && !for_another(watched))
    notifier.interval_ = std::chrono::microseconds(*microseconds / 2);
  return notifier;
}

void Notifier::reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t usec = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(usec));
}

void Notifier::send(const std::string& message) {
  if (!socket_) return;
  [[maybe_unused]] const ssize_t sent =
      ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL);
}

std::vector<PassedSocket> take_passed_sockets() {
  const std::string count = take_variable("LISTEN_FDS");
  const std::string pid = take_variable("LISTEN_PID");
  std::string names = take_variable("LISTEN_FDNAMES");
  std::vector<PassedSocket> passed;
  const auto number = number_of<int>(count);
  if (!number || *number <= 0 || *number > most_passed || pid.empty() || for_another(pid))
    return passed;
  for (int fd = first_passed; fd < first_passed + *number; ++fd) {
    const std::size_t colon = std::min(names.find(':'), names.size());
    PassedSocket socket;
    socket.name = names.substr(0, colon);
    names.erase(0, colon + 1);
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;  // it is none
    socket.fd = tls::UniqueFd(fd);
    passed.push_back(std::move(socket));
  }
  return passed;
}

}  // namespace kubelane::host
