// The configuration as plain values with their defaults. No parsing here: see load.hpp.
// Field names and units are tbot's where tbot has the field (version: v2).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kubelane {

// An address to listen on. Port 0 takes a free one.
struct ListenAddress {
  std::string host = "127.0.0.1";  // literal IP or "localhost"; IPv6 without brackets
  std::uint16_t port = 0;
  std::string passed{};  // in place of both: the name of a socket that systemd passes
  bool operator==(const ListenAddress&) const = default;
};

// Where the diagnostics or the admin listener stands: on a port, or on a unix socket.
struct ControlAddress {
  ListenAddress tcp;
  std::string unix_path;  // absolute; empty: tcp
  bool operator==(const ControlAddress&) const = default;
};

enum class LocalAuth : std::uint8_t { token, mtls, none };
// What to speak with the Proxy, and so with local clients: `automatic` finds out.
enum class ProxyProtocol : std::uint8_t { automatic, http1, http2 };
enum class LogFormat : std::uint8_t { text, json };
enum class LogLevel : std::uint8_t { debug, info, warn, error };

// A Secret of the Kubernetes cluster that kubelane itself runs in.
struct SecretName {
  std::string name;                           // empty: none
  std::string name_space;                     // empty: that of kubelane's pod
  std::map<std::string, std::string> labels;  // that kubelane gives it
  bool operator==(const SecretName&) const = default;
};

// tbot's destination: where a kubeconfig, or the bot's own identity, is written to.
struct Destination {
  enum class Type : std::uint8_t { none, directory, memory, kubernetes_secret };
  enum class Acls : std::uint8_t { off, try_acls, required };
  enum class Symlinks : std::uint8_t { insecure, try_secure, secure };
  struct Reader {  // exactly one of the two is set
    std::string user;
    std::string group;
    bool operator==(const Reader&) const = default;
  };
  Type type = Type::none;
  std::string path;  // absolute after loading
  Symlinks symlinks = Symlinks::try_secure;
  Acls acls = Acls::try_acls;
  std::vector<Reader> readers;
  SecretName secret;  // of kubernetes_secret
  bool operator==(const Destination&) const = default;
};

// How the bot proves to Teleport who it is (control-plane spec 1.8). Others are refused on loading.
enum class JoinMethod : std::uint8_t {
  token,
  kubernetes,
  github,
  gitlab,
  gcp,
  circleci,
  bitbucket,
  azure_devops,
  terraform_cloud,
  spacelift,
  bound_keypair
};
// Teleport's name of it, e.g. "terraform_cloud".
std::string_view name(JoinMethod method) noexcept;

// Which way a join takes: the older one first (the web API; of bound_keypair a gRPC stream), or at
// once the newer gRPC service.
enum class JoinPath : std::uint8_t { automatic, web, grpc };

// Of method bound_keypair. The first three exclude each other.
struct BoundKeypairOptions {
  std::string registration_secret;       // good for the first join, which binds a key to the token
  std::string registration_secret_path;  // a file that holds it; absolute
  std::string static_key_path;           // a private key of the operator's (PEM); absolute
  std::string static_key;                // the same itself: base64 of PEM, from the environment
  bool has_static_key() const noexcept { return !static_key_path.empty() || !static_key.empty(); }
};

// tbot's `onboarding`. Given: kubelane joins as a bot itself.
struct Onboarding {
  bool given = false;
  // The secret, or the name of the join token; an absolute path names a file that holds it.
  std::string token;
  JoinMethod join_method = JoinMethod::token;
  JoinPath join_path = JoinPath::automatic;
  std::vector<std::string> ca_pins;  // sha256:<hex>, for auth_server
  std::string ca_path;               // PEM file with the cluster's host CA, for auth_server
  std::string kubernetes_token_path;
  std::string gitlab_token_variable = "TBOT_GITLAB_JWT";
  std::string terraform_audience_tag;
  BoundKeypairOptions bound_keypair;
};

// A Kubernetes cluster that a service reaches, by its name, or all that carry some labels.
struct ClusterSelector {
  std::string name;               // Teleport's name of the Kubernetes cluster; empty: by labels
  std::string default_namespace;  // put into the kubeconfig context when not empty
  std::map<std::string, std::string> labels;  // all must match; a value may be "*"
  bool operator==(const ClusterSelector&) const = default;
};

struct Service {
  enum class Type : std::uint8_t { kubernetes, kubernetes_v2 };
  Type type = Type::kubernetes;
  std::string name;                       // tbot's optional service name; for logs and readiness
  std::vector<ClusterSelector> clusters;  // kubernetes: exactly one; kubernetes/v2: one or more
  std::string context_name_template = "{{.ClusterName}}-{{.KubeName}}";
  Destination destination;
  std::string credentials_path;    // directory written by tbot; absolute; empty: the bot's
  std::vector<std::string> roles;  // of the bot's certificate; empty: all it may have
  std::chrono::milliseconds credential_ttl{0};    // 0: the top level's
  std::chrono::milliseconds renewal_interval{0};  // 0: the top level's
  std::optional<ListenAddress> listen;            // a listener of its own, without a path prefix
  // For a service with its own listener; otherwise equal to the top level's.
  LocalAuth local_auth = LocalAuth::token;
  bool local_tls = true;
  std::string impersonate_user;                 // default Impersonate-User, empty: none
  std::vector<std::string> impersonate_groups;  // default Impersonate-Group values
  int line = 0;                                 // where it stands in the file; 0: from flags

  // What logs call this service: its name, else the first selector's cluster name.
  const std::string& label() const;
  // kubelane makes its credentials itself.
  bool by_bot() const noexcept { return credentials_path.empty(); }
  bool operator==(const Service&) const = default;
};

// Limits of the local side; what exceeds them is refused with a Status.
struct Limits {
  std::size_t max_connections = 4096;           // local connections at once, all listeners
  std::size_t max_header_bytes = 64u << 10;     // request line and header block
  std::size_t max_header_fields = 96;           // at most 256
  std::size_t max_upstream_connections = 1024;  // per service and worker, busy and idle
  // Per service and worker. Fewer than there are clients at once means TLS handshakes per request.
  std::size_t max_idle_upstream_connections = 128;
  std::size_t buffer_memory_bytes = 256u << 20;  // read buffers over all workers
};

struct Timeouts {
  std::chrono::milliseconds local_handshake{10'000};
  std::chrono::milliseconds request_head{15'000};  // first to last byte of a request head
  std::chrono::milliseconds local_idle{120'000};   // keep-alive between requests
  std::chrono::milliseconds connect{5'000};        // upstream TCP connect
  std::chrono::milliseconds upstream_handshake{5'000};
  std::chrono::milliseconds response_head{75'000};     // not for upgrades
  std::chrono::milliseconds progress{60'000};          // data pending and the peer takes none
  std::chrono::milliseconds upstream_idle{20'000};     // pooled; Teleport closes at 30 s (DP 2.5)
  std::chrono::milliseconds half_closed{30'000};       // tunnel with one direction ended
  std::chrono::milliseconds drain{20'000};             // then what still runs is ended
  std::chrono::milliseconds credentials_poll{30'000};  // beside inotify, for mounts without events
};

// When and how the process ends.
struct ExitRules {
  // Exit code 0 after a SIGTERM or SIGINT, whatever the drain had to cut; nothing: in a container.
  std::optional<bool> zero_on_sigterm;
  std::chrono::milliseconds min_sigterm_delay{0};  // SIGTERM: serve on for that long, then drain
  std::string when_file;                           // exists: drain; absolute
  std::chrono::milliseconds when_idle{0};          // no request for that long: drain; 0: never
  int with_pid = 0;                                // that process ends: drain; 0: none
};

struct Config {
  std::string proxy_server;  // host:port of the Teleport Proxy's web address
  std::string auth_server;   // host:port of Teleport's Auth Service, instead of proxy_server
  Onboarding onboarding;
  std::string join_uri;  // what it says stands in the fields above, too
  std::chrono::milliseconds credential_ttl{3'600'000};
  std::chrono::milliseconds renewal_interval{1'200'000};
  std::chrono::milliseconds leeway{60'000};  // a certificate this close to its end is not renewed
  bool oneshot = false;
  std::string proxy_ca;  // PEM file to trust for the Proxy's web certificate; empty: system's
  ProxyProtocol proxy_protocol = ProxyProtocol::automatic;
  bool insecure = false;  // skip verification of the Proxy's web certificate (ping only)
  ListenAddress listen{"127.0.0.1", 7443};
  bool allow_remote = false;
  std::vector<std::string> allowed_hosts;  // Host values accepted beside the listener's own
  LocalAuth local_auth = LocalAuth::token;
  bool local_tls = true;
  std::string local_trust;  // directory with a CA and a token to share; empty: own ones
  // Directory for local CA and token, and for the bot's own identity; empty: none.
  std::string storage_path;
  SecretName storage_secret;  // for the bot's own identity, instead of a directory
  std::vector<Service> services;
  unsigned workers = 0;  // data threads; 0: one per CPU, at most 2
  LogFormat log_format = LogFormat::text;
  LogLevel log_level = LogLevel::info;
  bool sandbox = true;  // after the start, open only the files that are needed (Landlock)
  bool debug = false;   // tbot's; log_level is debug then
  std::optional<ControlAddress> diag_addr;   // probes and metrics; nothing secret, changes nothing
  std::optional<ControlAddress> admin_addr;  // loopback or a unix socket, nothing else
  Limits limits;
  Timeouts timeouts;
  ExitRules exit;
};

// Of each service, in their order: what /readyz and metrics call it. tbot's way: the name that it
// was given, else its type and a number ("kubernetes-v2-1"). No two are the same.
std::vector<std::string> service_names(const Config& config);

}  // namespace kubelane
