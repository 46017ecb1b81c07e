// The kubeconfig that kubelane writes: boring on purpose, so that every client can use it. Only
// server, certificate-authority-data, token or client certificate data, and namespace.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/result.hpp"

namespace kubelane::kube {

struct KubeconfigCluster {
  std::string context;     // context and cluster name
  std::string server;      // https://127.0.0.1:7443/prod
  std::string name_space;  // empty: left out
};

struct Kubeconfig {
  std::vector<KubeconfigCluster> clusters;  // the first is current-context
  std::string user;                         // shared by all contexts
  std::string ca_pem;                       // empty: plain http
  std::string token;                        // empty: not in token mode
  std::string client_certificate_pem;       // mtls mode
  std::string client_key_pem;
};

// The file's text. Deterministic: equal input gives equal bytes. Names are quoted where YAML asks.
std::string render(const Kubeconfig& kubeconfig);

// Expands {{.ClusterName}} and {{.KubeName}} (spaces inside the braces allowed); config failure for
// anything else in braces.
Outcome<std::string> expand_context_name(const std::string& name_template,
                                         const std::string& teleport_cluster,
                                         const std::string& kube_cluster);

struct WriteReport {
  bool changed = false;  // false: the file already held exactly this, with the right mode
  std::string path;
  std::vector<std::string> warnings;  // ACLs wanted (acls: try) but not possible; others may write
};

// Writes kubeconfig.yaml into the destination: missing directories are created 0700, the file is
// 0600 through a temporary in the same directory, fsync and rename; not rewritten when nothing
// changed. tbot's fields: `symlinks` (unless insecure, no component of the path may be a symlink),
// `acls` and `readers` (r on the file, r-x on the directory; the directory's other permissions
// stay). A symlink, a hard link, a FIFO or a foreign file in place of the file is replaced, never
// followed. A directory in which others could replace the file is a warning only: volumes of a Pod
// are like that. Failure: what, where, remedy. Blocks for the disk; control thread only (looks up
// account names).
Outcome<WriteReport> write_kubeconfig(const Destination& destination, const std::string& text);

}  // namespace kubelane::kube
