#include "tls/shared_trust.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "tls/key.hpp"
#include "tls/openssl.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::tls {
namespace {

Failure failure(const std::string& path, const std::string& what) {
  return {Code::io, "local_trust: " + path + ": " + what};
}

enum class Readers { anyone, named };

Outcome<std::string> read(const std::string& path, Readers readers) {
  // O_NONBLOCK: a FIFO in the file's place must not hang us.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0)
    return failure(path, "cannot open it: " + std::generic_category().message(errno) +
                             "; tls.crt, tls.key and token must be there, readable for this user");
  constexpr off_t most_bytes = 1 << 16;
  if (!S_ISREG(status.st_mode) || status.st_size > most_bytes)
    return failure(path, "is not a file of at most 64 KiB");
  if (readers == Readers::named && (status.st_mode & 007) != 0)
    return failure(path,
                   "everybody on this machine may read or change it; take that away "
                   "(chmod o-rwx; for a Secret's volume defaultMode: 0440)");
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  if (const int error = read_into(fd.get(), text); error != 0)
    return failure(path, "cannot read it: " + std::generic_category().message(error));
  return text;
}

}  // namespace

Outcome<LocalTrust> read_shared_trust(const std::string& directory) {
  LocalTrust trust;
  struct Part {
    const char* name;
    Readers readers;
    std::string& text;
  };
  for (const Part& part : {Part{"tls.crt", Readers::anyone, trust.ca_certificate},
                           Part{"tls.key", Readers::named, trust.ca_key},
                           Part{"token", Readers::named, trust.token}}) {
    Outcome<std::string> content = read(directory + "/" + part.name, part.readers);
    if (!content) return content.error();
    part.text = std::move(*content);
  }
  if (trust.token.ends_with('\n')) trust.token.pop_back();
  if (!is_local_token(trust.token))
    return failure(directory + "/token",
                   "is no token: at least 32 letters, digits, or -._~+/=, in one line");
  const Outcome<KeyPtr> key = parse_key(trust.ca_key);
  if (!key) return failure(directory + "/tls.key", "the key " + key.error().message);
  const auto end = authority_end(trust.ca_certificate, key->get());
  if (!end) return failure(directory + "/tls.crt", "is no CA certificate of the key in tls.key");
  if (*end <= std::chrono::system_clock::now())
    return failure(directory + "/tls.crt", "the CA has ended; make a new one");
  trust.not_after = *end;
  return trust;
}

}  // namespace kubelane::tls
