#include "proxy/kube/kubeconfig.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <system_error>

#include <acl/libacl.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls/base64.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::kube {
namespace {

using tls::UniqueFd;

constexpr const char* file_name = "kubeconfig.yaml";

std::string sys_text(int error) { return std::generic_category().message(error); }

Failure destination_failure(const std::string& path, const std::string& what) {
  return {Code::io, "destination " + path + ": " + what};
}

// A YAML scalar: plain where every YAML reader agrees that it is a string, else double-quoted.
std::string scalar(std::string_view text) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '/';
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

// Opens one component for passing through it. The last argument: a symbolic link may stand there.
UniqueFd open_component(int parent, const std::string& name, bool follow) {
  return UniqueFd(
      ::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW)));
}

// The directory; missing components are made. Unless symlinks are `insecure`, none of them may be a
// symbolic link: walking by hand with O_NOFOLLOW says the same as openat2(RESOLVE_NO_SYMLINKS), on
// every kernel, and makes nothing behind a link either.
Outcome<UniqueFd> open_directory(const Destination& destination) {
  const std::string& path = destination.path;
  const bool follow = destination.symlinks == Destination::Symlinks::insecure;
  UniqueFd at = open_component(AT_FDCWD, "/", true);
  for (std::size_t begin = 0; at && begin < path.size();) {
    std::size_t end = path.find('/', begin);
    if (end == std::string::npos) end = path.size();
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    UniqueFd next = open_component(at.get(), name, follow);
    if (!next && errno == ENOENT) {
      if (::mkdirat(at.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
        return destination_failure(path, "cannot create " + path.substr(0, end) + ": " +
                                             sys_text(errno) +
                                             "; create it, writable for this user");
      next = open_component(at.get(), name, follow);
    }
    if (!next) {
      const int error = errno;
      struct stat status {};
      if (::fstatat(at.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISLNK(status.st_mode) && !follow)
        return destination_failure(path, path.substr(0, end) +
                                             " is a symbolic link, which could lead the kubeconfig "
                                             "elsewhere; give the real path, or set symlinks: "
                                             "insecure in the destination");
      return destination_failure(path,
                                 "cannot enter " + path.substr(0, end) + ": " + sys_text(error));
    }
    at = std::move(next);
  }
  UniqueFd fd(::openat(at.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return destination_failure(path, "cannot open the directory: " + sys_text(errno));
  return fd;
}

struct AclFree {
  void operator()(acl_t acl) const noexcept { ::acl_free(acl); }
};
using AclPtr = std::unique_ptr<std::remove_pointer_t<acl_t>, AclFree>;

// A reader's numeric id as text; numbers stand for themselves. Empty: there is no such account.
std::string find_id(const Destination::Reader& reader) {
  const std::string& text = reader.user.empty() ? reader.group : reader.user;
  id_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc{} && end == text.data() + text.size()) return text;
  if (!reader.user.empty()) {
    const passwd* entry = ::getpwnam(text.c_str());
    return entry == nullptr ? std::string() : std::to_string(entry->pw_uid);
  }
  const group* entry = ::getgrnam(text.c_str());
  return entry == nullptr ? std::string() : std::to_string(entry->gr_gid);
}

std::string permission_text(unsigned bits) {
  return {(bits & 4u) != 0 ? 'r' : '-', (bits & 2u) != 0 ? 'w' : '-', (bits & 1u) != 0 ? 'x' : '-'};
}

// What the owning group may do. Beside readers the group bits of the mode are the ACL's mask.
unsigned owning_group_bits(int fd, mode_t mode) {
  unsigned bits = (mode >> 3) & 7u;
  const AclPtr acl(::acl_get_fd(fd));
  acl_entry_t entry = nullptr;
  for (int which = ACL_FIRST_ENTRY; acl && ::acl_get_entry(acl.get(), which, &entry) == 1;
       which = ACL_NEXT_ENTRY) {
    acl_tag_t tag = ACL_UNDEFINED_TAG;
    acl_permset_t set = nullptr;
    if (::acl_get_tag_type(entry, &tag) != 0 || tag != ACL_GROUP_OBJ) continue;
    if (::acl_get_permset(entry, &set) != 0) continue;
    for (const unsigned bit : {4u, 2u, 1u})
      if (::acl_get_perm(set, bit) != 1) bits &= ~bit;
  }
  return bits;
}

// Gives the readers `r` on the file, or `r-x` on the directory. On the file nobody else has
// anything; on the directory owner, group and others keep what they have, because it may serve
// others too. Empty string: done, or nothing to do.
std::string grant_readers(int fd, const Destination& destination, bool directory) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return "cannot read permissions: " + sys_text(errno);
  std::string text = "u::rw-,g::---,o::---";
  if (directory)
    text = "u::" + permission_text((status.st_mode >> 6) & 7u) +
           ",g::" + permission_text(owning_group_bits(fd, status.st_mode)) +
           ",o::" + permission_text(status.st_mode & 7u);
  std::vector<std::string> seen;
  for (const Destination::Reader& reader : destination.readers) {
    const std::string id = find_id(reader);
    if (id.empty())
      return "there is no " +
             (reader.user.empty() ? "group " + reader.group : "user " + reader.user) + " (readers)";
    std::string entry = (reader.user.empty() ? ",g:" : ",u:") + id + (directory ? ":r-x" : ":r--");
    if (std::find(seen.begin(), seen.end(), entry) != seen.end()) continue;
    text += entry;
    seen.push_back(std::move(entry));
  }
  AclPtr wanted(::acl_from_text(text.c_str()));
  acl_t raw = wanted.get();
  if (!wanted || ::acl_calc_mask(&raw) != 0) return "cannot make an ACL: " + sys_text(errno);
  if (raw != wanted.get()) {
    (void)wanted.release();
    wanted.reset(raw);
  }
  const AclPtr present(::acl_get_fd(fd));
  if (present && ::acl_cmp(present.get(), wanted.get()) == 0) return {};
  if (::acl_set_fd(fd, wanted.get()) != 0)
    return std::string("cannot set ACLs on the ") + (directory ? "directory" : "file") + ": " +
           sys_text(errno);
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

// The file, when it is a regular one of ours that holds exactly this text and that nobody but its
// readers can read.
UniqueFd open_current(int directory, const std::string& text, bool with_readers) {
  UniqueFd fd(::openat(directory, file_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != ::geteuid() || status.st_nlink != 1 ||
      static_cast<std::size_t>(status.st_size) != text.size())
    return UniqueFd();
  // With readers the group bits are the ACL's mask.
  const mode_t checked = with_readers ? 0737 : 0777;
  if ((status.st_mode & checked) != 0600) return UniqueFd();
  std::string content(text.size(), '\0');
  if (tls::read_into(fd.get(), content) != 0 || content != text) return UniqueFd();
  return fd;
}

// Who else could put another file in this one's place. Said, not refused: a volume of a Pod is
// writable for all of its containers (mode 0777) by design.
std::string replaceable_by(int directory) {
  struct stat status {};
  if (::fstat(directory, &status) != 0) return {};
  if ((status.st_mode & 002u) != 0 && (status.st_mode & S_ISVTX) == 0)
    return "every user may write to the directory and so replace the kubeconfig; chmod go-w it";
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return "the directory belongs to uid " + std::to_string(status.st_uid) +
           ", who may replace the kubeconfig";
  return {};
}

}  // namespace

std::string render(const Kubeconfig& kubeconfig) {
  std::string out = "# Written by kubelane; changes here are lost.\napiVersion: v1\nkind: Config\n";
  out += "clusters:\n";
  for (const KubeconfigCluster& cluster : kubeconfig.clusters) {
    out += "- name: " + scalar(cluster.context) + "\n  cluster:\n";
    if (!kubeconfig.ca_pem.empty())
      out += "    certificate-authority-data: " + tls::base64(kubeconfig.ca_pem) + "\n";
    out += "    server: " + scalar(cluster.server) + "\n";
  }
  out += "contexts:\n";
  for (const KubeconfigCluster& cluster : kubeconfig.clusters) {
    out += "- name: " + scalar(cluster.context) +
           "\n  context:\n    cluster: " + scalar(cluster.context) +
           "\n    user: " + scalar(kubeconfig.user) + "\n";
    if (!cluster.name_space.empty()) out += "    namespace: " + scalar(cluster.name_space) + "\n";
  }
  if (!kubeconfig.clusters.empty())
    out += "current-context: " + scalar(kubeconfig.clusters.front().context) + "\n";
  out += "users:\n- name: " + scalar(kubeconfig.user) + "\n";
  if (!kubeconfig.token.empty()) {
    out += "  user:\n    token: " + scalar(kubeconfig.token) + "\n";
  } else if (!kubeconfig.client_certificate_pem.empty()) {
    out +=
        "  user:\n    client-certificate-data: " + tls::base64(kubeconfig.client_certificate_pem) +
        "\n    client-key-data: " + tls::base64(kubeconfig.client_key_pem) + "\n";
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
  const bool with_readers =
      !destination.readers.empty() && destination.acls != Destination::Acls::off;
  const bool required = destination.acls == Destination::Acls::required;
  if (std::string warning = replaceable_by(directory); !warning.empty())
    report.warnings.push_back(std::move(warning));
  // False: a failed `acls: required`.
  const auto grant = [&](int fd, bool of_directory) {
    std::string problem = with_readers ? grant_readers(fd, destination, of_directory) : "";
    if (problem.empty()) return true;
    if (report.warnings.empty() || report.warnings.back() != problem)
      report.warnings.push_back(std::move(problem));
    return !required;
  };
  const auto not_granted = [&] {
    return destination_failure(
        path, report.warnings.back() + "; acls: required wants it, acls: try would only warn");
  };
  if (!grant(directory, true)) return not_granted();
  if (const UniqueFd current = open_current(directory, text, with_readers)) {
    if (!grant(current.get(), false)) return not_granted();
    return report;
  }

  const std::string temporary = std::string(".") + file_name + "." + random_suffix();
  UniqueFd fd(::openat(directory, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd)
    return destination_failure(path, "cannot write the kubeconfig: " + sys_text(errno) +
                                         "; make the directory writable for this user");
  if (!grant(fd.get(), false)) {
    ::unlinkat(directory, temporary.c_str(), 0);
    return not_granted();
  }
  int error = tls::write_durably(fd.get(), text);
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
