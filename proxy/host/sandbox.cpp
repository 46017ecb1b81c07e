#include "proxy/host/sandbox.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tls/socket.hpp"

namespace kubelane::host {
namespace {

constexpr std::uint64_t read_rights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t write_rights = read_rights | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                       LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                       LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                       LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM;
// Those of the first version, which all kernels with Landlock know.
constexpr std::uint64_t all_rights = write_rights | LANDLOCK_ACCESS_FS_EXECUTE |
                                     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
// Rights that a rule for a file may name.
constexpr std::uint64_t file_rights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;

// What the name service, OpenSSL and the C library open.
constexpr const char* of_libraries[] = {"/etc",
                                        "/usr/lib",
                                        "/usr/lib64",
                                        "/lib",
                                        "/lib64",
                                        "/usr/share",
                                        "/usr/local/share",
                                        "/run/systemd",
                                        "/run/resolvconf",
                                        "/run/NetworkManager",
                                        "/var/run/nscd",
                                        "/run/nscd",
                                        "/proc",
                                        "/sys/devices/system/cpu",
                                        "/dev/urandom",
                                        "/dev/null"};

std::string parent_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

// Others have things there, too: /run, /home/somebody, /var/lib.
bool is_shared(const std::string& directory) {
  const std::string parent = parent_of(directory);
  for (const char* each : {"/", "/home", "/var", "/usr", "/run/user"})
    if (parent == each || directory == each) return true;
  return false;
}

// With those beside it, which a later configuration may name.
std::string with_neighbours(const std::string& directory) {
  const std::string parent = parent_of(directory);
  return is_shared(parent) ? directory : parent;
}

tls::UniqueFd open_nearest(std::string path) {
  for (;;) {
    tls::UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (fd || errno != ENOENT || path.size() <= 1) return fd;
    path = parent_of(path);
  }
}

void allow(int ruleset, const std::string& path, std::uint64_t rights) {
  const tls::UniqueFd fd = open_nearest(path);
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = S_ISDIR(status.st_mode) ? rights : rights & file_rights;
  rule.parent_fd = fd.get();
  ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

// Symbolic links on the way count as what they name.
std::string canonical(const std::string& path) {
  std::error_code failed;
  const auto resolved = std::filesystem::weakly_canonical(path, failed);
  return failed ? path : resolved.string();
}

bool within(const std::string& path, const std::vector<std::string>& roots) {
  const std::string wanted = canonical(path);
  return std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
    const std::string place = canonical(root);
    return place == "/" || wanted == place || wanted.starts_with(place + "/");
  });
}

}  // namespace

FileAccess files_of(const Config& config, const std::string& config_path) {
  FileAccess access;
  access.read.assign(std::begin(of_libraries), std::end(of_libraries));
  const auto read = [&](const std::string& path) {
    if (path.starts_with('/')) access.read.push_back(path);
  };
  // With their directories, since files are replaced by renaming others, and directories, too.
  const auto read_around = [&](const std::string& path) {
    if (!path.empty()) read(parent_of(std::filesystem::absolute(path).string()));
  };
  read_around(config_path);
  read_around(config.proxy_ca);
  read_around(config.onboarding.ca_path);
  read_around(config.onboarding.kubernetes_token_path);
  read_around(config.onboarding.bound_keypair.registration_secret_path);
  read_around(config.onboarding.bound_keypair.static_key_path);
  if (config.onboarding.token.starts_with('/')) read_around(config.onboarding.token);
  for (const char* variable :
       {"KUBERNETES_TOKEN_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "CREDENTIALS_DIRECTORY"})
    if (const char* const path = std::getenv(variable); path != nullptr && *path != '\0')
      read_around(path);
  if (const char* const path = std::getenv("CREDENTIALS_DIRECTORY"); path != nullptr) read(path);
  read_around("/var/run/secrets/kubernetes.io/serviceaccount/token");
  if (!config.storage_path.empty()) access.write.push_back(config.storage_path);
  for (const Service& service : config.services) {
    read_around(service.credentials_path);
    if (!service.destination.path.empty())
      access.write.push_back(with_neighbours(service.destination.path));
  }
  return access;
}

Sandbox enter_sandbox(const FileAccess& access) {
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = all_rights;
  const tls::UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset) return Sandbox::none;
  for (const std::string& path : access.read) allow(ruleset.get(), path, read_rights);
  for (const std::string& path : access.write) allow(ruleset.get(), path, write_rights);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return Sandbox::none;
  return Sandbox::on;
}

std::vector<std::string> beyond(const FileAccess& granted, const FileAccess& wanted) {
  std::vector<std::string> out;
  for (const std::string& path : wanted.write)
    if (!within(path, granted.write)) out.push_back(path);
  for (const std::string& path : wanted.read)
    if (!within(path, granted.read) && !within(path, granted.write)) out.push_back(path);
  return out;
}

}  // namespace kubelane::host
