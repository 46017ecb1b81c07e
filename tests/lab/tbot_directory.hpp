// Writes a directory of credentials as tbot does: names, formats, order, and above all its way of
// writing in place without a lock, so that readers can meet every torn state (data-path spec 1).
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/lab/pki.hpp"

namespace lab {

enum class TbotKind { kubernetes, kubernetes_v2, identity };

// "kubernetes", "kubernetes/v2", "identity". Throws std::runtime_error for anything else.
TbotKind parse_tbot_kind(const std::string& text);

// What a renewal produced.
struct TbotMaterial {
  TbotKind kind = TbotKind::kubernetes;
  std::string teleport_cluster = "root.example.com";
  std::vector<std::string> kube_clusters;  // v1: exactly one; v2: one or more; identity: unused
  std::vector<std::string> default_namespaces;  // v2: as kube_clusters, or empty
  std::string server_address;   // https://host:port, the base of `server:` (spec 1.5)
  std::string tls_server_name;  // empty in separate mode
  bool exec_plugin = true;      // false: client-certificate-data and client-key-data
  Issued client;
  std::string chain_pem;  // put behind the leaf in tlscert, which tbot never does; for tests
  std::vector<Issued> root_hosts;  // host CAs of the root cluster
  std::vector<Issued> leaf_hosts;
  std::vector<Issued> users;  // user CAs
};

struct TbotFile {
  std::string name;
  std::string content;
};

// Every write of one renewal, in tbot's order (`.write-test` comes twice).
std::vector<TbotFile> tbot_files(const TbotMaterial& material, const std::string& directory);

// kube-teleport-proxy-alpn.<host>, with the fallback for localhost and IPs (spec 1.5).
std::string kube_server_name(const std::string& host);

// A moment in the writing of one file.
struct TbotStep {
  std::string file;
  std::size_t file_index = 0;  // in the order of writing
  std::size_t written = 0;     // bytes so far; 0: just opened and truncated
  std::size_t size = 0;
  bool closed = false;
};

struct TbotWriteOptions {
  std::size_t piece = 0;  // bytes per write(); 0: one write per file, as tbot
  // Called at each step: may block (torn for as long as the test likes) or throw (torn for good).
  std::function<void(const TbotStep&)> at_step;
};

class TbotDirectory {
 public:
  // Creates the directory 0700 if needed.
  explicit TbotDirectory(std::filesystem::path path);
  const std::filesystem::path& path() const { return path_; }

  // In place: O_TRUNC, separate writes, no rename, no lock; files 0600.
  void write(const TbotMaterial& material, const TbotWriteOptions& options = {});
  void write_files(const std::vector<TbotFile>& files, const TbotWriteOptions& options = {});

  // As the kubelet mounts a Secret: files are symlinks through `..data`, which is swapped by a
  // rename. One call is one revision of the Secret; not to be mixed with write().
  void swap_secret_volume(const std::vector<TbotFile>& files);

 private:
  std::filesystem::path path_;
  unsigned revision_ = 0;
};

}  // namespace lab
