#include "tls/whole_file.hpp"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

#include "tls/socket.hpp"

namespace kubelane::tls {

int read_into(int fd, std::string& text) noexcept {
  std::size_t total = 0;
  while (total < text.size()) {
    const ssize_t got = ::read(fd, text.data() + total, text.size() - total);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    total += static_cast<std::size_t>(got);
  }
  text.resize(total);
  return 0;
}

int write_durably(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

int replace_file(int directory, const std::string& name, std::string_view text) {
  const std::string temporary = "." + name + ".new";
  ::unlinkat(directory, temporary.c_str(), 0);
  UniqueFd fd(::openat(directory, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return errno;
  int error = write_durably(fd.get(), text);
  fd.reset();
  if (error == 0 && ::renameat(directory, temporary.c_str(), directory, name.c_str()) != 0)
    error = errno;
  if (error != 0) {
    ::unlinkat(directory, temporary.c_str(), 0);
    return error;
  }
  // Some file systems cannot sync a directory; they order renames themselves.
  return ::fsync(directory) == 0 || errno == EINVAL ? 0 : errno;
}

}  // namespace kubelane::tls
