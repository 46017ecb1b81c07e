// The lab's Teleport Proxy: web service and kube service, on one port (TLS routing) or on two, with
// observation and misbehaviour on command. One thread per connection, blocking OpenSSL; written
// from the data-path specification, sections 2, 3 and 5. All public calls are thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/authorities.hpp"
#include "tests/lab/h2_service.hpp"
#include "tests/lab/http.hpp"
#include "tests/lab/observations.hpp"
#include "tests/lab/pki.hpp"
#include "tests/lab/tbot_directory.hpp"
#include "tests/lab/teleport_rules.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

class Auth;

struct KubeCluster {
  std::string name;
  Handler handler;
  std::map<std::string, std::string> labels = {};
};

struct ProxyOptions {
  bool tls_routing = true;  // false: the kube service has a port of its own
  std::string cluster_name = "root.example.com";
  std::string server_version = "17.4.2";
  std::vector<KubeCluster> clusters;
  KeyKind key_kind = KeyKind::ecdsa;
  std::string host = "127.0.0.1";    // of the public addresses in the ping reply
  bool announce_public_addr = true;  // false: ping has no ssh.public_addr
  bool http2 = false;                // the kube service offers h2 before http/1.1
  bool announce_kube_addr = true;    // false: separate mode gives kube.listen_addr only
  std::uint16_t port = 0;            // web; kept over restarts once known
  std::uint16_t kube_port = 0;       // separate mode
  std::chrono::milliseconds idle_limit{30'000};
  std::chrono::milliseconds detect_timeout{10'000};  // first bytes of a connection
  // The Auth behind it, which must outlive it: gives the cluster's name, its version, authorities
  // and clock; takes joins and tunnels; knows `clusters` and more that are added to it. Null: none.
  Auth* auth = nullptr;
};

// How connections are taken in.
enum class AcceptMode {
  normal,
  refuse,     // connection refused; the port stays ours
  blackhole,  // SYNs are dropped: a connect gets no answer
  silent,     // TCP connects, then nothing
  close,      // accepted and closed at once
  reset,      // accepted and reset at once
  alert,      // ClientHello read, answered by the alert of set_alert()
};

enum class PingMode { normal, error_500, garbage, hang, wrong_cluster, not_found };

// One request in the hands of a script. In HTTP/2 a script may write HTTP/1.1 text as well, or
// speak by the frames of `h2`.
struct Exchange {
  Stream& stream;
  Request& request;    // as received: path still with its route prefix
  int connection = 0;  // ids of the observation
  int id = 0;
  std::size_t on_connection = 0;  // 1 for the first request of its connection
  H2Stream* h2 = nullptr;         // null in HTTP/1.1
};
// In HTTP/2 an answer that is not complete is ended by RST_STREAM(INTERNAL_ERROR).
enum class Verdict {
  pass,   // serve it as usual
  keep,   // answered by the script, body read: the connection goes on
  close,  // answered or not: close_notify, linger, close; in HTTP/2 the same as keep
  drop,   // close the socket at once, whatever is unread, with all streams
};
using Script = std::function<Verdict(Exchange&)>;

class Proxy {
 public:
  explicit Proxy(ProxyOptions options);  // starts listening
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  std::uint16_t port() const { return web_port_; }
  std::uint16_t kube_port() const { return options_.tls_routing ? web_port_ : kube_port_; }
  std::string address() const;  // host:port of the web service
  std::string web_ca_pem() const;

  // --- Certificates -----------------------------------------------------------------------------
  // A client certificate by the user CA that signs now.
  Issued issue(const ClientSpec& spec) const;
  // A client certificate that no CA here trusts.
  static Issued issue_foreign(const ClientSpec& spec);
  // What tbot would get now: a certificate for `spec` with the routes that the kind wants (v1:
  // first of `kube_clusters`), and the current CAs. Empty `kube_clusters`: all of this proxy's.
  TbotMaterial renew(TbotKind kind, ClientSpec spec = {},
                     std::vector<std::string> kube_clusters = {}) const;
  // Goes to a phase of the rotation: new connections meet the certificate and the trust of it.
  void rotate(RotationPhase phase);
  void add_leaf_cluster(const std::string& name);
  // Serves this instead of the proper certificate; nothing: the proper one again.
  void serve_certificate(std::optional<Issued> certificate);

  // --- Observation ------------------------------------------------------------------------------
  Observations seen() const { return observer_.snapshot(); }
  bool wait_for(const std::function<bool(const Observations&)>& predicate,
                std::chrono::milliseconds patience = std::chrono::seconds(20)) const {
    return observer_.wait_for(predicate, patience);
  }

  // --- Faults -----------------------------------------------------------------------------------
  // Sees every request of the kube service after it was recorded and before anything is checked.
  void on_request(Script script);
  void set_accept(AcceptMode mode);
  void set_alert(int description) { alert_ = description; }
  void set_ping(PingMode mode) { ping_ = mode; }
  void set_server_version(const std::string& version);
  void set_kube_enabled(bool enabled) { kube_enabled_ = enabled; }
  // Whether new connections to the kube service are offered h2. Open ones stay.
  void offer_http2(bool on);
  H2Service& h2() { return h2_; }
  // Closes the connections that wait for a request, by close_notify and FIN, or by RST. Returns how
  // many; a connection is idle a moment after its answer: wait for ConnectionRecord::idle first.
  std::size_t close_idle(bool by_reset = false);
  // Everything at once, as a proxy that ends: no drain.
  void close_all();
  void stop();   // closes the port and every connection
  void start();  // on the same ports again
  void restart() {
    stop();
    start();
  }

 private:
  struct Listener;
  struct Connection;
  struct Caller;
  struct Turn;

  std::vector<std::string> public_hosts() const;
  void rebuild_contexts();
  void accept_loop(Listener& listener);
  void admit(Listener& listener, Socket socket, const std::string& peer_ip);
  void run(Connection& connection);
  bool wait_for_request(Connection& connection, TlsStream& stream);
  void serve(Connection& connection);
  void serve_kube(Connection& connection, TlsStream& stream);
  void serve_kube_h2(Connection& connection, TlsStream& stream);
  void note_kube_request(int connection, int id, const Request& request, std::int32_t h2_stream);
  void note_done(int id);
  // Whether the connection goes on; false with `drop`: closed at once.
  bool serve_kube_request(const Caller& caller, Stream& stream, Request& request, const Turn& turn,
                          bool& drop);
  void serve_web(Connection& connection, TlsStream& stream);
  // False: the connection is to be closed without an answer.
  bool serve_join(TlsStream& stream, const Request& request, const std::string& body);
  void serve_join_h2(Connection& connection, TlsStream& stream);
  void tunnel_to_auth(const Socket& client, const std::string& first_bytes);
  std::optional<Refusal> find_handler(const ClientIdentity& identity, const std::string& name,
                                      Handler& handler) const;
  std::string ping_body(bool find, bool wrong_cluster) const;
  void reap(bool all);
  void watch_peers();

  ProxyOptions options_;
  std::uint16_t web_port_ = 0;
  std::uint16_t kube_port_ = 0;
  Observer observer_;
  H2Service h2_;

  mutable std::mutex mutex_;  // options_.server_version, contexts, script_
  std::shared_ptr<Authorities> authorities_;
  Issued web_certificate_;
  std::optional<Issued> served_;
  ContextPtr web_context_;
  ContextPtr join_context_;
  ContextPtr kube_context_;
  std::atomic<std::uint64_t> built_for_{0};  // revision of the authorities in kube_context_
  Script script_;

  std::atomic<AcceptMode> accept_{AcceptMode::normal};
  std::atomic<PingMode> ping_{PingMode::normal};
  std::atomic<int> alert_{40};
  std::atomic<bool> kube_enabled_{true};
  std::atomic<bool> stopping_{false};
  std::atomic<int> next_connection_{0};
  std::atomic<int> next_request_{0};

  std::mutex listeners_mutex_;  // listeners_ and their sockets
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::mutex connections_mutex_;
  std::list<std::unique_ptr<Connection>> connections_;
  int watch_epoll_ = -1;  // sees peers that go, whatever their threads do
  std::thread watcher_;
};

}  // namespace lab
