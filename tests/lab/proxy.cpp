#include "tests/lab/proxy.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <boost/json.hpp>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lab/auth.hpp"
#include "tests/lab/body_reader.hpp"
#include "tests/lab/client_hello.hpp"
#include "tests/lab/connection_upgrade.hpp"
#include "tests/lab/listening_socket.hpp"
#include "tests/lab/server_context.hpp"
#include "tests/lab/teleport_rules.hpp"

namespace lab {
namespace {

constexpr std::string_view kKubePrefix = "kube-teleport-proxy-alpn.";
constexpr std::size_t kRemembered = 20'000;  // requests in the observation
constexpr int kLingerMs = 1000;

// Fills the accept queue of a listener, so that the kernel drops further SYNs.
std::vector<Socket> fill_backlog(std::uint16_t port) {
  std::vector<Socket> held;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 16; ++i) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    connect(socket.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    pollfd ready{socket.fd(), POLLOUT, 0};
    const bool connected = poll(&ready, 1, 200) > 0;
    held.push_back(std::move(socket));
    if (!connected) break;
  }
  return held;
}

// The web service also knows the protocol by which clients test for load balancers in between.
const std::vector<const char*> kKubeAlpn{"http/1.1"};
const std::vector<const char*> kKubeH2Alpn{"h2", "http/1.1"};
const std::vector<const char*> kWebAlpn{"http/1.1", "teleport-reversetunnel"};
// Of joins by gRPC (control-plane spec 1.5), and of the way to Auth (3.1).
const std::vector<const char*> kJoinAlpn{"h2", "teleport-proxy-grpc"};
constexpr std::string_view kAuthAlpn = "teleport-auth@";

ContextPtr make_kube_context(const Issued& certificate, const Authorities& authorities,
                             bool http2) {
  ContextPtr context = server_context(certificate, http2 ? kKubeH2Alpn : kKubeAlpn);
  authorities.verify_clients(context.get());
  return context;
}

// With an Auth, the cluster is its cluster.
ProxyOptions with_auth(ProxyOptions options) {
  if (options.auth == nullptr) return options;
  AuthService& service = options.auth->service();
  options.cluster_name = service.cluster_name();
  options.server_version = service.version().text();
  for (const auto& each : options.clusters) {
    service.put_cluster({.name = each.name, .labels = each.labels, .handler = each.handler});
  }
  return options;
}

}  // namespace

struct Proxy::Listener {
  bool kube_only = false;
  std::uint16_t port = 0;
  Socket socket;                // guarded by listeners_mutex_
  std::vector<Socket> fillers;  // of a blackhole
  Socket wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::thread thread;
};

struct Proxy::Connection {
  Connection(int number, Socket taken, bool kube_port, std::string ip)
      : id(number),
        fd(taken.fd()),
        socket(std::move(taken)),
        kube_only(kube_port),
        peer_ip(std::move(ip)) {}

  const int id;
  const int fd;
  Socket socket;  // until the stream takes it
  const bool kube_only;
  const std::string peer_ip;
  Socket wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;  // open: other threads may use fd only while it holds
  bool open = true;
  std::atomic<bool> idle{false};
  std::atomic<bool> reset_idle{false};
  std::atomic<bool> finished{false};
  std::size_t requests = 0;  // its own thread's
  std::thread thread;
};

// Who speaks on a connection of the kube service.
struct Proxy::Caller {
  std::string peer_ip;
  std::optional<ClientIdentity> identity;
  int certificates = 0;

  Caller(std::string ip, SSL* ssl) : peer_ip(std::move(ip)) {
    const std::unique_ptr<X509, decltype(&X509_free)> client(SSL_get1_peer_certificate(ssl),
                                                             X509_free);
    if (!client) return;
    identity = read_identity(client.get());
    // On the server's side the chain lacks the leaf.
    certificates = 1 + std::max(0, sk_X509_num(SSL_get_peer_cert_chain(ssl)));
  }
};

// Which request it is.
struct Proxy::Turn {
  int connection = 0;
  int id = 0;
  std::size_t on_connection = 0;
  H2Stream* h2 = nullptr;
};

Proxy::Proxy(ProxyOptions options)
    : options_(with_auth(std::move(options))),
      web_port_(options_.port),
      kube_port_(options_.kube_port),
      authorities_(options_.auth != nullptr
                       ? options_.auth->service().authorities()
                       : std::make_shared<Authorities>(options_.cluster_name, options_.key_kind)),
      web_certificate_(authorities_->with([&](const Pki& pki) {
        return issue_server(pki.web_authority(), "lab web",
                            {"localhost", "127.0.0.1", "::1", options_.host});
      })),
      watch_epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  rebuild_contexts();
  web_context_ = server_context(web_certificate_, kWebAlpn);
  join_context_ = server_context(web_certificate_, kJoinAlpn);
  watcher_ = std::thread([this] { watch_peers(); });
  start();
}

Proxy::~Proxy() {
  stop();
  // An eventfd that is always readable, under id 0, ends the watcher.
  const Socket end(eventfd(1, EFD_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  epoll_ctl(watch_epoll_, EPOLL_CTL_ADD, end.fd(), &event);
  watcher_.join();
  close(watch_epoll_);
}

std::string Proxy::address() const { return options_.host + ":" + std::to_string(web_port_); }

std::string Proxy::web_ca_pem() const {
  return authorities_->with([](const Pki& pki) { return pki.web_authority().pem(); });
}

std::vector<std::string> Proxy::public_hosts() const { return {options_.host}; }

void Proxy::rebuild_contexts() {
  const std::scoped_lock lock(mutex_);
  built_for_ = authorities_->revision();
  const Issued certificate = served_ ? *served_ : authorities_->with([this](const Pki& pki) {
    return pki.issue_proxy(public_hosts());
  });
  kube_context_ = make_kube_context(certificate, *authorities_, options_.http2);
}

void Proxy::offer_http2(bool on) {
  {
    const std::scoped_lock lock(mutex_);
    options_.http2 = on;
  }
  rebuild_contexts();
}

Issued Proxy::issue(const ClientSpec& spec) const {
  return authorities_->with([&](const Pki& pki) { return issue_client(pki.user_signer(), spec); });
}

Issued Proxy::issue_foreign(const ClientSpec& spec) {
  return issue_client(make_authority(spec.teleport_cluster, KeyKind::ecdsa), spec);
}

TbotMaterial Proxy::renew(TbotKind kind, ClientSpec spec,
                          std::vector<std::string> kube_clusters) const {
  const std::scoped_lock lock(mutex_);
  if (kube_clusters.empty()) {
    for (const auto& cluster : options_.clusters) kube_clusters.push_back(cluster.name);
  }
  if (kind == TbotKind::kubernetes) {
    kube_clusters.resize(1);
    spec.kubernetes_cluster = kube_clusters.front();
  }
  if (spec.route_to_cluster == ClientSpec{}.route_to_cluster) {
    spec.route_to_cluster = options_.cluster_name;
  }
  if (spec.teleport_cluster == ClientSpec{}.teleport_cluster) {
    spec.teleport_cluster = options_.cluster_name;
  }
  TbotMaterial material;
  material.kind = kind;
  material.teleport_cluster = options_.cluster_name;
  material.kube_clusters = std::move(kube_clusters);
  material.server_address = "https://" + options_.host + ":" + std::to_string(kube_port());
  if (options_.tls_routing) material.tls_server_name = kube_server_name(options_.host);
  authorities_->with([&](const Pki& pki) {
    material.client = issue_client(pki.user_signer(), spec);
    material.root_hosts = pki.trusted_hosts();
    material.leaf_hosts = pki.leaf_hosts();
    material.users = pki.trusted_users();
  });
  return material;
}

void Proxy::rotate(RotationPhase phase) {
  authorities_->rotate(phase);
  rebuild_contexts();
}

void Proxy::add_leaf_cluster(const std::string& name) { authorities_->add_leaf_cluster(name); }

void Proxy::serve_certificate(std::optional<Issued> certificate) {
  {
    const std::scoped_lock lock(mutex_);
    served_ = std::move(certificate);
  }
  rebuild_contexts();
}

void Proxy::on_request(Script script) {
  const std::scoped_lock lock(mutex_);
  script_ = std::move(script);
}

void Proxy::set_server_version(const std::string& version) {
  const std::scoped_lock lock(mutex_);
  options_.server_version = version;
}

void Proxy::set_accept(AcceptMode mode) {
  const auto deaf = [](AcceptMode each) {
    return each == AcceptMode::refuse || each == AcceptMode::blackhole;
  };
  const std::scoped_lock lock(listeners_mutex_);
  const AcceptMode old = accept_.exchange(mode);
  if (!deaf(old) && !deaf(mode)) return;
  for (const auto& listener : listeners_) {
    listener->fillers.clear();
    shutdown(listener->socket.fd(), SHUT_RDWR);  // not listening, still bound
    if (mode == AcceptMode::blackhole) {
      listen(listener->socket.fd(), 0);
      listener->fillers = fill_backlog(listener->port);
    } else if (mode != AcceptMode::refuse) {
      listen(listener->socket.fd(), kBacklog);
    }
    eventfd_write(listener->wake.fd(), 1);
  }
}

void Proxy::start() {
  stopping_ = false;
  accept_ = AcceptMode::normal;
  const std::scoped_lock lock(listeners_mutex_);
  const auto open = [this](bool kube_only, std::uint16_t& port) {
    auto listener = std::make_unique<Listener>();
    listener->kube_only = kube_only;
    listener->socket = listening_socket(port);
    listener->port = port;
    listener->thread = std::thread([this, raw = listener.get()] { accept_loop(*raw); });
    listeners_.push_back(std::move(listener));
  };
  open(false, web_port_);
  if (!options_.tls_routing) open(true, kube_port_);
}

void Proxy::stop() {
  stopping_ = true;
  std::vector<std::unique_ptr<Listener>> ended;
  {
    const std::scoped_lock lock(listeners_mutex_);
    ended.swap(listeners_);
    for (const auto& listener : ended) eventfd_write(listener->wake.fd(), 1);
  }
  for (const auto& listener : ended) listener->thread.join();
  ended.clear();
  close_all();
  reap(true);
}

void Proxy::close_all() {
  const std::scoped_lock lock(connections_mutex_);
  for (const auto& connection : connections_) {
    const std::scoped_lock connection_lock(connection->mutex);
    if (connection->open) shutdown(connection->fd, SHUT_RDWR);
  }
}

std::size_t Proxy::close_idle(bool by_reset) {
  std::size_t count = 0;
  const std::scoped_lock lock(connections_mutex_);
  for (const auto& connection : connections_) {
    if (!connection->idle) continue;
    connection->reset_idle = by_reset;
    eventfd_write(connection->wake.fd(), 1);
    ++count;
  }
  return count;
}

void Proxy::reap(bool all) {
  std::list<std::unique_ptr<Connection>> ended;
  {
    const std::scoped_lock lock(connections_mutex_);
    for (auto at = connections_.begin(); at != connections_.end();) {
      const auto next = std::next(at);
      if (all || (*at)->finished) ended.splice(ended.end(), connections_, at);
      at = next;
    }
  }
  for (const auto& connection : ended) connection->thread.join();
}

void Proxy::accept_loop(Listener& listener) {
  while (!stopping_) {
    int fd = -1;
    {
      const std::scoped_lock lock(listeners_mutex_);
      const AcceptMode mode = accept_;
      if (mode != AcceptMode::refuse && mode != AcceptMode::blackhole) fd = listener.socket.fd();
    }
    pollfd ready[2] = {{listener.wake.fd(), POLLIN, 0}, {fd, POLLIN, 0}};
    if (poll(ready, 2, -1) < 0) continue;
    eventfd_t count = 0;
    eventfd_read(listener.wake.fd(), &count);
    if (stopping_) return;
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    Socket socket;
    {
      // Under the lock: the mode may have changed meanwhile.
      const std::scoped_lock lock(listeners_mutex_);
      const AcceptMode mode = accept_;
      if (mode == AcceptMode::refuse || mode == AcceptMode::blackhole) continue;
      socket = Socket(
          accept4(listener.socket.fd(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC));
    }
    if (!socket) continue;
    char ip[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof ip);
    admit(listener, std::move(socket), ip);
    reap(false);
  }
}

void Proxy::admit(Listener& listener, Socket socket, const std::string& peer_ip) {
  const int on = 1;
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int id = ++next_connection_;
  auto connection =
      std::make_unique<Connection>(id, std::move(socket), listener.kube_only, peer_ip);
  observer_.change([&](Observations& seen) {
    ConnectionRecord& record = seen.connections[id];
    record.id = id;
    record.accepted_at = std::chrono::steady_clock::now();
  });
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLET;
  event.data.u64 = static_cast<std::uint64_t>(id);
  epoll_ctl(watch_epoll_, EPOLL_CTL_ADD, connection->fd, &event);
  Connection& raw = *connection;
  const std::scoped_lock lock(connections_mutex_);
  connections_.push_back(std::move(connection));
  raw.thread = std::thread([this, &raw] { run(raw); });
}

void Proxy::watch_peers() {
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(watch_epoll_, events, 64, -1);
    const auto now = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      const int id = static_cast<int>(events[i].data.u64);
      if (id == 0) return;
      if ((events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) continue;
      observer_.change([&](Observations& seen) {
        ConnectionRecord& record = seen.connections[id];
        if (!record.peer_ended_at) record.peer_ended_at = now;
      });
    }
  }
}

void Proxy::run(Connection& connection) {
  std::string error;
  try {
    serve(connection);
  } catch (const ConnectionLost& lost) {
    error = lost.what;
  } catch (const std::exception& thrown) {
    error = std::string("handler: ") + thrown.what();
  }
  observer_.connection_ended(connection.id, error);
  connection.finished = true;
}

void Proxy::serve(Connection& connection) {
  // Whoever leaves this function closes the socket: nobody else may touch it then.
  struct Closing {
    Connection& of;
    Observer& observer;
    ~Closing() {
      pollfd state{of.fd, POLLRDHUP, 0};
      if (poll(&state, 1, 0) > 0) {
        observer.change([&](Observations& seen) {
          ConnectionRecord& record = seen.connections[of.id];
          if (!record.peer_ended_at) record.peer_ended_at = std::chrono::steady_clock::now();
        });
      }
      const std::scoped_lock lock(of.mutex);
      of.open = false;
    }
  };
  const AcceptMode mode = accept_;
  if (mode == AcceptMode::close || mode == AcceptMode::reset || mode == AcceptMode::silent) {
    const Closing closing{connection, observer_};
    if (mode == AcceptMode::reset) {
      const struct linger at_once { 1, 0 };
      setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    } else if (mode == AcceptMode::silent) {
      char byte[512];
      while (recv(connection.fd, byte, sizeof byte, 0) > 0) continue;  // until somebody gives up
    }
    const std::scoped_lock lock(connection.mutex);
    connection.open = false;
    connection.socket = Socket();
    return;
  }

  const ClientHello hello =
      read_client_hello(connection.fd, static_cast<int>(options_.detect_timeout.count()));
  const bool kube = connection.kube_only || hello.sni.starts_with(kKubePrefix);
  observer_.change([&](Observations& seen) {
    ConnectionRecord& record = seen.connections[connection.id];
    record.kube = kube && hello.is_tls;
    record.sni = hello.sni;
    record.alpn_offered = hello.alpn;
  });
  const std::string first_alpn = hello.alpn.empty() ? "" : hello.alpn.front();
  if (!kube && first_alpn.starts_with(kAuthAlpn) && options_.auth != nullptr &&
      mode == AcceptMode::normal) {
    const Socket client = std::move(connection.socket);
    const Closing closing{connection, observer_};
    observer_.change([&](Observations& seen) { seen.connections[connection.id].tunnel = true; });
    if (first_alpn.substr(kAuthAlpn.size()) != auth_server_name(options_.cluster_name)) {
      throw ConnectionLost{"a tunnel to an unknown cluster: " + first_alpn};
    }
    tunnel_to_auth(client, hello.bytes);
    return;
  }
  const bool join = !kube && first_alpn == "teleport-proxy-grpc" && options_.auth != nullptr;
  if (kube && built_for_ != authorities_->revision()) rebuild_contexts();
  ContextPtr context;
  {
    const std::scoped_lock lock(mutex_);
    context = kube ? kube_context_ : join ? join_context_ : web_context_;
  }
  TlsStream stream(std::move(connection.socket), context, hello.bytes, connection.wake.fd());
  const Closing closing{connection, observer_};
  if (!hello.is_tls) throw ConnectionLost{"no ClientHello came"};
  if (kube && !kube_enabled_) throw ConnectionLost{"the kube service is off"};
  if (mode == AcceptMode::alert) {
    const char record[7] = {21, 3, 3, 0, 2, 2, static_cast<char>(alert_.load())};
    stream.write_plain(std::string_view(record, sizeof record));
    stream.linger(kLingerMs);
    throw ConnectionLost{"alert on command"};
  }
  try {
    stream.accept();
  } catch (const ConnectionLost&) {
    stream.linger(kLingerMs);  // the alert must arrive
    throw;
  }
  const std::unique_ptr<X509, decltype(&X509_free)> client(SSL_get1_peer_certificate(stream.ssl()),
                                                           X509_free);
  observer_.change([&](Observations& seen) {
    ConnectionRecord& record = seen.connections[connection.id];
    record.handshaken = true;
    record.resumed = SSL_session_reused(stream.ssl()) == 1;
    record.tls_version = SSL_get_version(stream.ssl());
    record.cipher = SSL_get_cipher_name(stream.ssl());
    record.alpn = chosen_alpn(stream);
    if (client) {
      record.client_serial = serial_of(client.get());
      // On the server's side the chain lacks the leaf.
      record.peer_certificates =
          1 + std::max(0, sk_X509_num(SSL_get_peer_cert_chain(stream.ssl())));
    }
    if (kube) ++(record.resumed ? seen.kube_handshakes_resumed : seen.kube_handshakes_full);
    if (kube && client) {
      CertificateRecord& of = seen.certificates[record.client_serial];
      of.not_after = not_after_of(client.get());
      ++of.connections;
    }
  });
  if (join) {
    serve_join_h2(connection, stream);
  } else if (!kube) {
    serve_web(connection, stream);
  } else if (chosen_alpn(stream) == "h2") {
    serve_kube_h2(connection, stream);
  } else {
    serve_kube(connection, stream);
  }
}

bool Proxy::wait_for_request(Connection& connection, TlsStream& stream) {
  const auto set_idle = [&](bool idle) {
    connection.idle = idle;
    observer_.change([&](Observations& seen) { seen.connections[connection.id].idle = idle; });
  };
  set_idle(true);
  const bool readable = stream.wait_readable(static_cast<int>(options_.idle_limit.count()));
  set_idle(false);
  return readable;
}

void Proxy::note_kube_request(int connection, int id, const Request& request,
                              std::int32_t h2_stream) {
  const bool authorization = request.has("Authorization");
  const auto now = std::chrono::system_clock::now();
  observer_.change([&](Observations& seen) {
    ConnectionRecord& of = seen.connections[connection];
    ++of.requests;
    if (const auto found = seen.certificates.find(of.client_serial);
        found != seen.certificates.end()) {
      ++found->second.requests;
      if (now >= found->second.not_after + std::chrono::seconds(1)) ++found->second.requests_late;
    }
    ++seen.request_count;
    if (authorization) ++seen.authorization_seen;
    RequestRecord record;
    record.id = id;
    record.connection = connection;
    record.kube = true;
    record.raw_head = request.raw_head;
    record.method = request.method;
    record.target = request.target;
    record.client_serial = of.client_serial;
    record.at = std::chrono::steady_clock::now();
    record.h2.stream = h2_stream;
    seen.requests.push_back(std::move(record));
    if (seen.requests.size() > kRemembered) seen.requests.pop_front();
  });
}

void Proxy::note_done(int id) {
  observer_.change([&](Observations& seen) {
    if (RequestRecord* record = seen.request(id)) record->done = true;
  });
}

void Proxy::serve_kube(Connection& connection, TlsStream& stream) {
  const Caller caller(connection.peer_ip, stream.ssl());
  for (;;) {
    const bool readable = wait_for_request(connection, stream);
    if (!readable) {
      if (stream.woken() && connection.reset_idle) {
        stream.reset();
      } else {
        stream.close_write();
      }
      return;
    }
    Request request;
    bool complete = false;
    std::string malformed;
    try {
      complete = read_request(stream, request);
      if (!complete) break;
    } catch (const ConnectionLost& lost) {
      malformed = lost.what;
    }
    const int id = ++next_request_;
    ++connection.requests;
    if (!request.raw_head.empty()) note_kube_request(connection.id, id, request, 0);
    if (!malformed.empty()) {
      answer(stream, 400, "text/plain; charset=utf-8", "400 Bad Request",
             {{"Connection", "close"}});
      stream.linger(kLingerMs);
      throw ConnectionLost{malformed};
    }
    bool drop = false;
    const bool asked_to_close = same_text(request.header("Connection"), "close");
    const bool keep =
        serve_kube_request(caller, stream, request, {connection.id, id, connection.requests}, drop);
    note_done(id);
    if (drop) return;
    if (!keep || asked_to_close) break;
  }
  stream.linger(kLingerMs);
}

void Proxy::serve_kube_h2(Connection& connection, TlsStream& stream) {
  const Caller caller(connection.peer_ip, stream.ssl());
  H2Hooks hooks;
  hooks.note = [&](const Request& request, std::int32_t h2_stream) {
    const int id = ++next_request_;
    note_kube_request(connection.id, id, request, h2_stream);
    return id;
  };
  hooks.serve = [&](H2Stream& h2_stream, Request& request, int id) {
    const auto number = static_cast<std::size_t>(h2_stream.id() + 1) / 2;
    bool drop = false;
    struct Done {
      Proxy& of;
      int id;
      ~Done() { of.note_done(id); }
    } const done{*this, id};
    serve_kube_request(caller, h2_stream, request, {connection.id, id, number, &h2_stream}, drop);
    return !drop;
  };
  hooks.set_idle = [&](bool idle) {
    connection.idle = idle;
    observer_.change([&](Observations& seen) { seen.connections[connection.id].idle = idle; });
  };
  const auto end = h2_.serve({stream, connection.wake.fd(), connection.id, options_.idle_limit,
                              observer_, std::move(hooks)});
  using End = H2Connection::End;
  if (end == End::reset || (end == End::woken && connection.reset_idle)) {
    stream.reset();
  } else if (end != End::dropped) {
    stream.linger(kLingerMs);
  }
}

bool Proxy::serve_kube_request(const Caller& caller, Stream& stream, Request& request,
                               const Turn& turn, bool& drop) {
  Script script;
  bool by_path = false;
  {
    const std::scoped_lock lock(mutex_);
    script = script_;
    by_path = routes_by_path(options_.server_version);
  }
  if (script) {
    Exchange exchange{stream, request, turn.connection, turn.id, turn.on_connection, turn.h2};
    switch (script(exchange)) {
      case Verdict::pass:
        break;
      case Verdict::keep:
        return true;
      case Verdict::close:
        return false;
      case Verdict::drop:
        drop = true;
        return false;
    }
  }

  std::string kube_cluster;
  Handler handler;
  auto refusal = check_caller(caller.identity, caller.certificates, request, caller.peer_ip);
  if (!refusal) {
    refusal = route(request, *caller.identity, by_path, options_.cluster_name, kube_cluster);
  }
  if (!refusal) refusal = find_handler(*caller.identity, kube_cluster, handler);
  append_forwarded(request, caller.peer_ip);
  if (!refusal) refusal = impersonate(request, *caller.identity);
  if (refusal) {
    if (request.method == "GET" && request.path == "/version" &&
        refusal->form == Refusal::Form::status) {
      refusal->form = Refusal::Form::plain;
      refusal->code = 500;
    }
    return answer_refusal(stream, request, *refusal);
  }
  observer_.change([&](Observations& seen) {
    RequestRecord* record = seen.request(turn.id);
    if (record == nullptr) return;
    record->kube_cluster = kube_cluster;
    record->user = request.user;
    record->groups = request.groups;
  });
  return handler(stream, request);
}

std::optional<Refusal> Proxy::find_handler(const ClientIdentity& identity, const std::string& name,
                                           Handler& handler) const {
  if (options_.auth != nullptr) {
    try {
      options_.auth->service().check_locks(identity);
    } catch (const CallError& locked) {
      return Refusal{Refusal::Form::status, 403, "Forbidden", locked.message};
    }
    if (const auto found = options_.auth->service().kube_handler(identity, name)) {
      handler = *found;
      if (handler) return std::nullopt;
      return Refusal{Refusal::Form::status, 504, "Timeout", "no agent of the cluster answers"};
    }
  } else {
    for (const auto& cluster : options_.clusters) {
      if (cluster.name != name) continue;
      handler = cluster.handler;
      return std::nullopt;
    }
  }
  return Refusal{Refusal::Form::status, 404, "NotFound",
                 "Kubernetes cluster \"" + name + "\" not found"};
}

std::string Proxy::ping_body(bool find, bool wrong_cluster) const {
  namespace json = boost::json;
  const std::scoped_lock lock(mutex_);
  const std::string web_listen = "0.0.0.0:" + std::to_string(web_port_);
  json::object kube{{"enabled", kube_enabled_.load()},
                    {"listen_addr", "0.0.0.0:" + std::to_string(kube_port())}};
  if (!options_.tls_routing && options_.announce_kube_addr) {
    kube["public_addr"] = options_.host + ":" + std::to_string(kube_port_);
  }
  json::object ssh{{"listen_addr", "0.0.0.0:3023"},
                   {"tunnel_listen_addr", "0.0.0.0:3024"},
                   {"web_listen_addr", web_listen},
                   {"dial_timeout", 30'000'000'000}};
  if (options_.announce_public_addr) ssh["public_addr"] = address();
  json::object auth{{"type", find ? "" : "local"}};
  if (!find) auth["second_factor"] = "optional";
  const Suite suite =
      options_.auth != nullptr ? options_.auth->service().suite() : Suite::balanced_v1;
  if (options_.auth == nullptr || ServerVersion(options_.server_version).has_suites()) {
    auth["signature_algorithm_suite"] =
        find ? json::value(suite_name(suite)) : json::value(static_cast<int>(suite));
  }
  json::object body{{"auth", std::move(auth)},
                    {"proxy", json::object{{"kube", std::move(kube)},
                                           {"ssh", std::move(ssh)},
                                           {"db", json::object{}},
                                           {"tls_routing_enabled", options_.tls_routing}}},
                    {"server_version", options_.server_version},
                    {"min_client_version", "16.0.0-aa"},
                    {"cluster_name", wrong_cluster ? "other.example.com" : options_.cluster_name},
                    {"edition", "community"},
                    {"fips", false}};
  if (!find) body["automatic_upgrades"] = false;
  return json::serialize(body);
}

void Proxy::serve_web(Connection& connection, TlsStream& stream) {
  for (;;) {
    const bool readable = wait_for_request(connection, stream);
    Request request;
    if (!readable || !read_request(stream, request)) break;
    observer_.change([&](Observations& seen) {
      ++seen.web_request_count;
      ++seen.connections[connection.id].requests;
      RequestRecord record;
      record.id = ++next_request_;
      record.connection = connection.id;
      record.raw_head = request.raw_head;
      record.method = request.method;
      record.target = request.target;
      record.at = std::chrono::steady_clock::now();
      seen.requests.push_back(std::move(record));
      if (seen.requests.size() > kRemembered) seen.requests.pop_front();
    });
    const Body body = read_body(stream, request);
    std::string path = request.path;
    if (path.starts_with("/v1/")) path.erase(0, 3);
    const bool ping = path == "/webapi/ping" || path.starts_with("/webapi/ping/");
    const bool find = path == "/webapi/find";
    const PingMode mode = ping_;
    if (path == "/webapi/connectionupgrade") {
      serve_connection_upgrade(stream, request, web_port_);
      break;
    }
    if (path == "/webapi/host/credentials" && request.method == "POST") {
      if (!serve_join(stream, request, body.bytes)) return;
    } else if ((!ping && !find) || mode == PingMode::not_found) {
      answer(stream, 404, "application/json", trace_error("path not found"));
    } else if (mode == PingMode::error_500) {
      answer(stream, 500, "application/json", trace_error("internal error on command"));
    } else if (mode == PingMode::garbage) {
      answer(stream, 200, "application/json", "{\"cluster_name\": \"root.exa\x01 <html>");
    } else if (mode == PingMode::hang) {
      while (ping_ == PingMode::hang && !stream.peer_ended() && !stopping_) {
        stream.wait_readable(20);
      }
      break;
    } else {
      answer(stream, 200, "application/json", ping_body(find, mode == PingMode::wrong_cluster));
    }
    if (same_text(request.header("Connection"), "close")) break;
  }
  stream.linger(kLingerMs);
}

bool Proxy::serve_join(TlsStream& stream, const Request& request, const std::string& body) {
  if (options_.auth == nullptr || !options_.auth->legacy_joins()) {
    answer(stream, 404, "application/json", trace_error("path not found"));
    return true;
  }
  std::map<std::string, std::string> headers;
  for (const auto& [name, value] : request.headers) headers[name] = value;
  const auto made = options_.auth->web_join(stream, request.target, body, headers);
  if (!made) return false;
  answer(stream, made->status, "application/json", made->body);
  return true;
}

void Proxy::serve_join_h2(Connection& connection, TlsStream& stream) {
  H2Hooks hooks;
  hooks.note = [&](const Request& request, std::int32_t) {
    const int id = ++next_request_;
    observer_.change([&](Observations& seen) {
      ++seen.web_request_count;
      ++seen.connections[connection.id].requests;
      RequestRecord record;
      record.id = id;
      record.connection = connection.id;
      record.raw_head = request.raw_head;
      record.method = request.method;
      record.target = request.target;
      record.at = std::chrono::steady_clock::now();
      seen.requests.push_back(std::move(record));
      if (seen.requests.size() > kRemembered) seen.requests.pop_front();
    });
    return id;
  };
  hooks.serve = [&](H2Stream& h2_stream, Request& request, int) {
    return options_.auth->serve_forwarded(h2_stream, request, connection.peer_ip);
  };
  hooks.set_idle = [](bool) {};
  const auto end = h2_.serve({stream, connection.wake.fd(), connection.id, options_.idle_limit,
                              observer_, std::move(hooks)});
  if (end != H2Connection::End::dropped) stream.linger(kLingerMs);
}

// Bytes as they are, both ways, until either side ends.
void Proxy::tunnel_to_auth(const Socket& client, const std::string& first_bytes) {
  const Socket auth = connect_to(options_.auth->port());
  if (!auth) throw ConnectionLost{"Auth does not answer"};
  const auto send_all = [](int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) throw ConnectionLost{"tunnel: a write failed"};
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  };
  send_all(auth.fd(), first_bytes);
  bool open[2] = {true, true};
  const int ends[2] = {client.fd(), auth.fd()};
  while (open[0] || open[1]) {
    pollfd ready[2] = {{open[0] ? ends[0] : -1, POLLIN, 0}, {open[1] ? ends[1] : -1, POLLIN, 0}};
    // Once one side has ended the other has a moment to say its last.
    const int count = poll(ready, 2, open[0] && open[1] ? -1 : kLingerMs);
    if (count == 0) return;
    for (int i = 0; i < 2; ++i) {
      if (count < 0 || ready[i].revents == 0) continue;
      char block[16 * 1024];
      const ssize_t got = recv(ends[i], block, sizeof block, 0);
      if (got < 0) throw ConnectionLost{"tunnel: a read failed"};
      if (got == 0) {
        open[i] = false;
        shutdown(ends[1 - i], SHUT_WR);
      } else {
        send_all(ends[1 - i], {block, static_cast<std::size_t>(got)});
      }
    }
  }
}

}  // namespace lab
