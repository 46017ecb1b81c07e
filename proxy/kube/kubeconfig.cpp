#include "proxy/kube/kubeconfig.hpp"

#include <acl/libacl.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

#include "tls/socket.hpp"

namespace kubelane::kube {
namespace {

using tls::UniqueFd;

constexpr const char* file_name = "kubeconfig.yaml";

std::string sys_text(int error) { return std::generic_category().message(error); }

Failure destination_failure(const std::string& path, const std::string& what) {
  return {Code::io, "destination " + path + ": " + what};
}

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

// A YAML scalar: plain where every YAML reader agrees that it is a string, else double-quoted.
std::string scalar(std::string_view text) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '.' || c == '_' || c == '/';
  };
  const bool letter_first = !text.empty() && ((text.front() >= 'a' && text.front() <= 'z') ||
                                              (text.front() >= 'A' && text.front() <= 'Z'));
  // Words that YAML 1.1 reads as booleans or null are short and hold no separator.
  const bool has_separator = text.find_first_of("-./_") != std::string_view::npos;
  if (letter_first && has_separator && std::all_of(text.begin(), text.end(), safe))
    return std::string(text);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15u];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// The directory, created when it is missing. `secure`: no component may be a symbolic link.
Outcome<UniqueFd> open_directory(const Destination& destination) {
  const std::string& path = destination.path;
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at);
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
      return destination_failure(path, "cannot create " + part + ": " + sys_text(errno));
    if (at != std::string::npos) ++at;
  }
  if (destination.symlinks != Destination::Symlinks::insecure) {
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS;
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
    if (fd) return fd;
    if (errno == ELOOP)
      return destination_failure(path,
                                 "a part of this path is a symbolic link, which could lead the "
                                 "kubeconfig elsewhere; use the real path, or set symlinks: "
                                 "insecure in the destination");
    const bool unsupported = errno == ENOSYS || errno == EPERM || errno == EINVAL;
    if (!unsupported)
      return destination_failure(path, "cannot open the directory: " + sys_text(errno));
    if (destination.symlinks == Destination::Symlinks::secure)
      return destination_failure(path, "symlinks: secure needs openat2, which this kernel or its "
                                       "sandbox refuses; set symlinks: try-secure");
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return destination_failure(path, "cannot open the directory: " + sys_text(errno));
  return fd;
}

struct AclFree {
  void operator()(acl_t acl) const noexcept { ::acl_free(acl); }
};
using AclPtr = std::unique_ptr<std::remove_pointer_t<acl_t>, AclFree>;

// Looks up a reader's numeric id. Numbers stand for themselves.
bool find_id(const Destination::Reader& reader, id_t& id) {
  const std::string& text = reader.user.empty() ? reader.group : reader.user;
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos) {
    id = static_cast<id_t>(std::stoul(text));
    return true;
  }
  if (!reader.user.empty()) {
    const passwd* entry = ::getpwnam(reader.user.c_str());
    if (entry != nullptr) id = entry->pw_uid;
    return entry != nullptr;
  }
  const group* entry = ::getgrnam(reader.group.c_str());
  if (entry != nullptr) id = entry->gr_gid;
  return entry != nullptr;
}

// Owner as given, readers r (and x on a directory), nobody else. Empty string: done.
std::string set_acl(int fd, const Destination& destination, bool directory) {
  const AclPtr base(::acl_from_text(directory ? "u::rwx,g::---,o::---" : "u::rw-,g::---,o::---"));
  if (!base) return "cannot make an ACL: " + sys_text(errno);
  acl_t acl = base.get();
  for (const Destination::Reader& reader : destination.readers) {
    id_t id = 0;
    const std::string who =
        reader.user.empty() ? "group " + reader.group : "user " + reader.user;
    if (!find_id(reader, id)) return "reader: there is no " + who;
    acl_entry_t entry = nullptr;
    acl_permset_t permissions = nullptr;
    if (::acl_create_entry(&acl, &entry) != 0 ||
        ::acl_set_tag_type(entry, reader.user.empty() ? ACL_GROUP : ACL_USER) != 0 ||
        ::acl_set_qualifier(entry, &id) != 0 || ::acl_get_permset(entry, &permissions) != 0 ||
        ::acl_clear_perms(permissions) != 0 || ::acl_add_perm(permissions, ACL_READ) != 0 ||
        (directory && ::acl_add_perm(permissions, ACL_EXECUTE) != 0))
      return "cannot make an ACL for " + who + ": " + sys_text(errno);
  }
  if (::acl_calc_mask(&acl) != 0) return "cannot make an ACL: " + sys_text(errno);
  if (::acl_set_fd(fd, acl) != 0)
    return "cannot set ACLs here: " + sys_text(errno);
  return {};
}

std::string random_suffix() {
  unsigned char bytes[8];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return "0";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += static_cast<char>('a' + (byte >> 4));
    text += static_cast<char>('a' + (byte & 15));
  }
  return text;
}

// The file's content when it is a regular file of ours with mode 0600 (ACLs widen the group bits).
bool already_there(int directory, const std::string& text, bool with_acl) {
  const UniqueFd fd(::openat(directory, file_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != ::geteuid() || status.st_nlink != 1 ||
      static_cast<std::size_t>(status.st_size) != text.size())
    return false;
  if (with_acl ? (status.st_mode & 0707) != 0600 || ::acl_extended_fd(fd.get()) != 1
               : (status.st_mode & 0777) != 0600)
    return false;
  std::string content(text.size(), '\0');
  return ::read(fd.get(), content.data(), content.size()) ==
             static_cast<ssize_t>(content.size()) &&
         content == text;
}

}  // namespace

std::string render(const Kubeconfig& kubeconfig) {
  std::string out = "# Written by kubelane; changes here are lost.\napiVersion: v1\nkind: Config\n";
  out += "clusters:\n";
  for (const KubeconfigCluster& cluster : kubeconfig.clusters) {
    out += "- name: " + scalar(cluster.context) + "\n  cluster:\n";
    if (!kubeconfig.ca_pem.empty())
      out += "    certificate-authority-data: " + base64(kubeconfig.ca_pem) + "\n";
    out += "    server: " + scalar(cluster.server) + "\n";
  }
  out += "contexts:\n";
  for (const KubeconfigCluster& cluster : kubeconfig.clusters) {
    out += "- name: " + scalar(cluster.context) + "\n  context:\n    cluster: " +
           scalar(cluster.context) + "\n    user: " + scalar(kubeconfig.user) + "\n";
    if (!cluster.name_space.empty())
      out += "    namespace: " + scalar(cluster.name_space) + "\n";
  }
  if (!kubeconfig.clusters.empty())
    out += "current-context: " + scalar(kubeconfig.clusters.front().context) + "\n";
  out += "users:\n- name: " + scalar(kubeconfig.user) + "\n";
  if (!kubeconfig.token.empty()) {
    out += "  user:\n    token: " + scalar(kubeconfig.token) + "\n";
  } else if (!kubeconfig.client_certificate_pem.empty()) {
    out += "  user:\n    client-certificate-data: " + base64(kubeconfig.client_certificate_pem) +
           "\n    client-key-data: " + base64(kubeconfig.client_key_pem) + "\n";
  } else {
    out += "  user: {}\n";
  }
  return out;
}

Outcome<std::string> expand_context_name(const std::string& name_template,
                                         const std::string& teleport_cluster,
                                         const std::string& kube_cluster) {
  std::string out;
  for (std::size_t at = 0; at < name_template.size();) {
    const std::size_t open = name_template.find("{{", at);
    out += name_template.substr(at, open == std::string::npos ? open : open - at);
    if (open == std::string::npos) break;
    const std::size_t close = name_template.find("}}", open);
    if (close == std::string::npos)
      return Failure{Code::config, "context_name_template: \"{{\" without \"}}\""};
    std::string field = name_template.substr(open + 2, close - open - 2);
    field.erase(0, field.find_first_not_of(' '));
    field.erase(field.find_last_not_of(' ') + 1);
    if (field == ".ClusterName") {
      out += teleport_cluster;
    } else if (field == ".KubeName") {
      out += kube_cluster;
    } else {
      return Failure{Code::config, "context_name_template: {{" + field +
                                       "}} is not known; use {{.ClusterName}} and {{.KubeName}}"};
    }
    at = close + 2;
  }
  return out;
}

Outcome<WriteReport> write_kubeconfig(const Destination& destination, const std::string& text) {
  const std::string& path = destination.path;
  WriteReport report;
  report.path = path + "/" + file_name;
  Outcome<UniqueFd> opened = open_directory(destination);
  if (!opened) return opened.error();
  const int directory = opened->get();
  struct stat status {};
  if (::fstat(directory, &status) == 0 && (status.st_mode & 002) != 0 &&
      (status.st_mode & S_ISVTX) == 0)
    return destination_failure(path, "everybody may write to this directory; chmod 0700 it");
  const bool with_acl =
      !destination.readers.empty() && destination.acls != Destination::Acls::off;
  if (!with_acl && status.st_uid == ::geteuid() && (status.st_mode & 0777) != 0700)
    ::fchmod(directory, 0700);
  if (already_there(directory, text, with_acl)) return report;
  if (with_acl) {
    if (const std::string problem = set_acl(directory, destination, true); !problem.empty()) {
      if (destination.acls == Destination::Acls::required)
        return destination_failure(path, problem + " (acls: required)");
      report.warnings.push_back(problem);
    }
  }
  const std::string temporary = std::string(".") + file_name + "." + random_suffix();
  UniqueFd fd(::openat(directory, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd)
    return destination_failure(path, "cannot write the kubeconfig: " + sys_text(errno) +
                                         "; make the directory writable for this user");
  int error = 0;
  for (std::size_t at = 0; at < text.size() && error == 0;) {
    const ssize_t written = ::write(fd.get(), text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) error = errno;
    if (written > 0) at += static_cast<std::size_t>(written);
  }
  if (error == 0 && with_acl) {
    if (const std::string problem = set_acl(fd.get(), destination, false); !problem.empty()) {
      if (destination.acls == Destination::Acls::required) {
        ::unlinkat(directory, temporary.c_str(), 0);
        return destination_failure(path, problem + " (acls: required)");
      }
      if (report.warnings.empty()) report.warnings.push_back(problem);
    }
  }
  if (error == 0 && ::fsync(fd.get()) != 0) error = errno;
  fd.reset();
  // Rename replaces a symbolic link in place of the file, never what it points to.
  if (error == 0 && ::renameat(directory, temporary.c_str(), directory, file_name) != 0)
    error = errno;
  if (error != 0) {
    ::unlinkat(directory, temporary.c_str(), 0);
    return destination_failure(path, "cannot write the kubeconfig: " + sys_text(error) +
                                         (error == ENOSPC ? "; free some space" : ""));
  }
  ::fsync(directory);
  report.changed = true;
  return report;
}

}  // namespace kubelane::kube
