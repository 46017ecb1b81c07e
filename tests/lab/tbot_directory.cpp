#include "tests/lab/tbot_directory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lab/base64.hpp"

namespace lab {
namespace {

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw std::runtime_error("lab tbot: " + what + " " + path.string() + ": " + std::strerror(errno));
}

// A descriptor that closes itself.
class File {
 public:
  explicit File(const std::filesystem::path& path)
      : fd_(open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail("open", path);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void put(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t wrote = ::write(fd_, bytes.data(), bytes.size());
      if (wrote < 0) throw std::runtime_error("lab tbot: write failed");
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }

 private:
  int fd_;
};

// Text that looks like an SSH blob; nobody on our side may look into it.
std::string ssh_blob(std::size_t bytes) {
  std::string random(bytes, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), static_cast<int>(bytes));
  return base64(random);
}

std::string ssh_key_type(const Issued& client) {
  return EVP_PKEY_get_base_id(client.key.get()) == EVP_PKEY_RSA ? "ssh-rsa" : "ecdsa-sha2-nistp256";
}

std::string ssh_certificate(const Issued& client) {
  return ssh_key_type(client) + "-cert-v01@openssh.com " + ssh_blob(480) + "\n";
}

std::string identity_file(const TbotMaterial& material, const std::string& ssh_certificate_line) {
  std::string text = material.client.private_pem();
  text += ssh_certificate_line;
  text += material.client.pem();
  text += "@cert-authority " + material.teleport_cluster + ",*." + material.teleport_cluster +
          " ssh-rsa " + ssh_blob(279) + " type=host\n";
  text += pem_bundle(material.root_hosts);
  text += pem_bundle(material.leaf_hosts);
  return text;
}

std::string user_block(const TbotMaterial& material, const std::string& directory) {
  if (material.exec_plugin) {
    return "    exec:\n"
           "      apiVersion: client.authentication.k8s.io/v1beta1\n"
           "      args:\n"
           "      - kube\n"
           "      - credentials\n"
           "      - --destination-dir=" +
           directory +
           "\n"
           "      command: /usr/local/bin/tbot\n"
           "      env: null\n"
           "      interactiveMode: IfAvailable\n"
           "      provideClusterInfo: false\n";
  }
  return "    client-certificate-data: " + base64(material.client.pem()) +
         "\n    client-key-data: " + base64(material.client.private_pem()) + "\n";
}

std::string kubeconfig(const TbotMaterial& material, const std::string& directory) {
  const bool v2 = material.kind == TbotKind::kubernetes_v2;
  std::string authorities;
  for (const auto& each : material.root_hosts) {
    if (!authorities.empty()) authorities += "\n";
    authorities += each.pem();
  }
  std::string clusters;
  std::string contexts;
  std::string current;
  const std::string single = material.teleport_cluster + "-" + material.kube_clusters.at(0);
  const std::string user = v2 ? material.teleport_cluster : single;
  for (std::size_t i = 0; i < material.kube_clusters.size(); ++i) {
    const std::string& kube = material.kube_clusters[i];
    const std::string name = material.teleport_cluster + "-" + kube;
    if (current.empty()) current = name;
    std::string server = material.server_address;
    if (v2) {
      server += "/v1/teleport/" + base64url(material.teleport_cluster) + "/" + base64url(kube);
    }
    clusters += "- cluster:\n    certificate-authority-data: " + base64(authorities) +
                "\n    server: " + server + "\n";
    if (!material.tls_server_name.empty()) {
      clusters += "    tls-server-name: " + material.tls_server_name + "\n";
    }
    clusters += "  name: " + name + "\n";
    contexts += "- context:\n    cluster: " + name + "\n";
    if (i < material.default_namespaces.size() && !material.default_namespaces[i].empty()) {
      contexts += "    namespace: " + material.default_namespaces[i] + "\n";
    }
    contexts += "    user: " + user + "\n  name: " + name + "\n";
  }
  return "apiVersion: v1\nclusters:\n" + clusters + "contexts:\n" + contexts +
         "current-context: " + current +
         "\nkind: Config\npreferences: {}\nusers:\n- name: " + user + "\n  user:\n" +
         user_block(material, directory);
}

}  // namespace

TbotKind parse_tbot_kind(const std::string& text) {
  if (text == "kubernetes") return TbotKind::kubernetes;
  if (text == "kubernetes/v2") return TbotKind::kubernetes_v2;
  if (text == "identity") return TbotKind::identity;
  throw std::runtime_error("lab tbot: unknown kind of output: " + text);
}

std::string kube_server_name(const std::string& host) {
  in6_addr address;
  const bool literal = host.empty() || host == "localhost" ||
                       inet_pton(AF_INET, host.c_str(), &address) == 1 ||
                       inet_pton(AF_INET6, host.c_str(), &address) == 1;
  return "kube-teleport-proxy-alpn." + (literal ? std::string("teleport.cluster.local") : host);
}

std::vector<TbotFile> tbot_files(const TbotMaterial& material, const std::string& directory) {
  const std::string certificate_line = ssh_certificate(material.client);
  const std::string host_cas = pem_bundle(material.root_hosts) + pem_bundle(material.leaf_hosts);
  const std::string user_cas = pem_bundle(material.users);
  const TbotFile host_file{"teleport-host-ca.crt", host_cas};
  const TbotFile user_file{"teleport-user-ca.crt", user_cas};
  // Nobody reads the database CAs; any certificates of the right form will do.
  const TbotFile database_file{"teleport-database-ca.crt", user_cas};

  std::vector<TbotFile> files{{".write-test", ""}};
  if (material.kind == TbotKind::identity) {
    files.insert(files.end(), {host_file, user_file, database_file});
  }
  files.push_back({"identity", identity_file(material, certificate_line)});
  files.push_back({"key-cert.pub", certificate_line});
  files.push_back({"tlscert", material.client.pem() + material.chain_pem});
  files.push_back({"key", material.client.private_pem()});
  files.push_back({"key.pub", ssh_key_type(material.client) + " " + ssh_blob(104) + "\n"});
  files.push_back({".write-test", ""});
  if (material.kind != TbotKind::identity) {
    files.push_back({"kubeconfig.yaml", kubeconfig(material, directory)});
    files.push_back(host_file);
  }
  if (material.kind == TbotKind::kubernetes) {
    files.insert(files.end(), {user_file, database_file});
  }
  return files;
}

TbotDirectory::TbotDirectory(std::filesystem::path path) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) return;
  std::filesystem::create_directories(path_);
  if (chmod(path_.c_str(), 0700) != 0) fail("chmod", path_);
}

void TbotDirectory::write(const TbotMaterial& material, const TbotWriteOptions& options) {
  write_files(tbot_files(material, path_.string()), options);
}

void TbotDirectory::write_files(const std::vector<TbotFile>& files,
                                const TbotWriteOptions& options) {
  for (std::size_t index = 0; index < files.size(); ++index) {
    const auto& [name, content] = files[index];
    TbotStep step{name, index, 0, content.size(), false};
    const auto pause = [&] {
      if (options.at_step) options.at_step(step);
    };
    {
      const File file(path_ / name);
      pause();
      const std::size_t piece = options.piece == 0 ? content.size() : options.piece;
      while (step.written < content.size()) {
        const std::size_t now = std::min(piece, content.size() - step.written);
        file.put(std::string_view(content).substr(step.written, now));
        step.written += now;
        pause();
      }
    }
    step.closed = true;
    pause();
  }
}

void TbotDirectory::swap_secret_volume(const std::vector<TbotFile>& files) {
  const std::filesystem::path data = path_ / "..data";
  std::filesystem::path old;
  if (std::filesystem::is_symlink(data)) old = path_ / std::filesystem::read_symlink(data);

  const std::string revision = "..2024_05_01_10_00_00." + std::to_string(++revision_);
  std::filesystem::create_directory(path_ / revision);
  if (chmod((path_ / revision).c_str(), 0700) != 0) fail("chmod", path_ / revision);
  for (const auto& [name, content] : files) {
    File(path_ / revision / name).put(content);
  }
  const std::filesystem::path fresh = path_ / "..data_tmp";
  std::filesystem::remove(fresh);
  std::filesystem::create_directory_symlink(revision, fresh);
  std::filesystem::rename(fresh, data);
  for (const auto& file : files) {
    const std::filesystem::path link = path_ / file.name;
    if (!std::filesystem::is_symlink(link)) {
      std::filesystem::create_symlink(std::filesystem::path("..data") / file.name, link);
    }
  }
  if (!old.empty()) std::filesystem::remove_all(old);
}

}  // namespace lab
