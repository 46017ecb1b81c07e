#include "proxy/teleport/credential_directory.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::teleport {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds settle{50};            // after the last event of a burst
constexpr milliseconds longest_settle{1000};  // a writer that never pauses
constexpr milliseconds first_retry{50};
constexpr milliseconds last_retry{2000};
constexpr off_t max_file_bytes = 1 << 20;

constexpr std::uint32_t interesting = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE |
                                      IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;

// Reads a file if it is there. Symbolic links are followed: Secret volumes are made of them.
bool read_file(int directory, const char* name, std::string& text, std::string& problem) {
  const tls::UniqueFd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return true;
    problem = std::string(name) + ": " + std::generic_category().message(errno) +
              "; make it readable for this user (tbot: destination.readers)";
    return false;
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    problem = std::string(name) + " is not a regular file";
    return false;
  }
  if (status.st_size > max_file_bytes) {
    problem = std::string(name) + " is larger than 1 MiB";
    return false;
  }
  // One byte more than its size tells whether it is growing; torn content is found later anyway.
  text.resize(static_cast<std::size_t>(status.st_size) + 1);
  if (const int error = tls::read_into(fd.get(), text); error != 0) {
    problem = std::string(name) + ": " + std::generic_category().message(error);
    return false;
  }
  return true;
}

}  // namespace

CredentialDirectory::CredentialDirectory(boost::asio::io_context& io, std::string path,
                                         milliseconds poll_interval)
    : path_(std::move(path)),
      poll_interval_(poll_interval),
      events_(io),
      read_timer_(io),
      poll_timer_(io),
      retry_delay_(first_retry) {
  // Without inotify (limit reached, sandbox) the poll still finds every change.
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd >= 0) events_.assign(fd);
}

void CredentialDirectory::start(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  read();
  poll();
}

void CredentialDirectory::reload() { schedule(milliseconds(0)); }

// Watches the directory, or the nearest parent that exists until it is there.
void CredentialDirectory::watch() {
  if (!events_.is_open()) return;
  watched_directory_ =
      ::inotify_add_watch(events_.native_handle(), path_.c_str(), interesting | IN_ONLYDIR);
  for (std::string parent = path_; watched_directory_ < 0 && parent.size() > 1;) {
    const std::size_t slash = parent.rfind('/');
    if (slash == std::string::npos) break;
    parent.resize(std::max<std::size_t>(slash, 1));
    if (::inotify_add_watch(events_.native_handle(), parent.c_str(),
                            IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) >= 0)
      break;
  }
  await_events();
}

void CredentialDirectory::await_events() {
  if (awaiting_ || !events_.is_open()) return;
  awaiting_ = true;
  events_.async_read_some(
      boost::asio::buffer(event_bytes_),
      [this, alive = lifetime_.watch()](boost::system::error_code error, std::size_t) {
        if (alive.over()) return;
        awaiting_ = false;
        if (error) return;
        schedule(settle);
        await_events();
      });
}

void CredentialDirectory::schedule(milliseconds delay) {
  const steady_clock::time_point now = steady_clock::now();
  if (!scheduled_) first_event_ = now;
  scheduled_ = true;
  // Each event moves the reading away, up to a bound from the first.
  const steady_clock::time_point at = std::min(now + delay, first_event_ + longest_settle);
  read_timer_.expires_at(at);
  read_timer_.async_wait([this, alive = lifetime_.watch()](boost::system::error_code error) {
    if (error || alive.over()) return;  // moved
    scheduled_ = false;
    read();
  });
}

void CredentialDirectory::poll() {
  poll_timer_.expires_after(poll_interval_);
  poll_timer_.async_wait([this, alive = lifetime_.watch()](boost::system::error_code error) {
    if (error || alive.over()) return;
    if (!scheduled_) read();
    poll();
  });
}

bool CredentialDirectory::read_files(tls::IdentityFiles& files, std::string& problem) const {
  const tls::UniqueFd directory(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    problem = errno == ENOENT ? "the directory does not exist yet"
                              : std::generic_category().message(errno);
    return false;
  }
  const int fd = directory.get();
  return read_file(fd, "identity", files.identity, problem) &&
         read_file(fd, "tlscert", files.certificate, problem) &&
         read_file(fd, "key", files.key, problem) &&
         read_file(fd, "teleport-host-ca.crt", files.host_ca, problem) &&
         read_file(fd, "kubeconfig.yaml", files.kubeconfig, problem);
}

void CredentialDirectory::read() {
  watch();  // first, so that no change after the reading is missed
  tls::IdentityFiles files;
  std::string problem;
  if (read_files(files, problem)) {
    std::string kubeconfig = files.kubeconfig;
    Outcome<tls::IdentityPtr> made = tls::make_identity(std::move(files));
    if (made) {
      retry_delay_ = first_retry;
      const bool healed = !problem_.empty();
      problem_.clear();
      if (!healed && (*made)->fingerprint == fingerprint_ && kubeconfig == kubeconfig_) return;
      fingerprint_ = (*made)->fingerprint;
      kubeconfig_ = kubeconfig;
      callbacks_.on_identity(std::move(*made), std::move(kubeconfig));
      return;
    }
    problem = made.error().message;
  } else {
    OPENSSL_cleanse(files.key.data(), files.key.size());
    OPENSSL_cleanse(files.identity.data(), files.identity.size());
  }
  if (problem != problem_) {
    problem_ = problem;
    callbacks_.on_problem("no usable credentials in " + path_ + ": " + problem);
  }
  // Torn files are whole again in a moment; a missing directory is the watch's and the poll's
  // matter.
  schedule(retry_delay_);
  retry_delay_ = std::min(retry_delay_ * 2, last_retry);
}

}  // namespace kubelane::teleport
