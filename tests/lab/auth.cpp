#include "tests/lab/auth.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/lab/auth_messages.hpp"
#include "tests/lab/listening_socket.hpp"
#include "tests/lab/rpc.hpp"
#include "tests/lab/server_context.hpp"

namespace lab {
namespace {

constexpr std::size_t kRemembered = 20'000;
constexpr int kLingerMs = 1000;
constexpr std::chrono::milliseconds kIdleLimit = std::chrono::hours(24);
const std::vector<const char*> kAlpn{"h2"};

// The connection ends without an answer, on command.
struct AnswerLost {};

std::string last_segment(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::map<std::string, std::string> headers_of(const Request& request) {
  std::map<std::string, std::string> all;
  for (const auto& [name, value] : request.headers) all[name] = value;
  return all;
}

// What tests like to ask for without parsing.
void read_request(AuthCall& call, long now) {
  if (call.method != "GenerateUserCerts") return;
  proto::UserCertsRequest request;
  if (!request.ParseFromString(call.message)) return;
  call.use_role_requests = request.userolerequests();
  call.role_requests = {request.rolerequests().begin(), request.rolerequests().end()};
  call.kubernetes_cluster = request.kubernetescluster();
  if (const auto expires = from_message(request.has_expires(), request.expires())) {
    call.ttl_asked = std::chrono::seconds(*expires - now);
  }
}

}  // namespace

struct Auth::Connection {
  Connection(int number, Socket taken, std::string ip)
      : id(number), fd(taken.fd()), socket(std::move(taken)), peer_ip(std::move(ip)) {}

  const int id;
  const int fd;
  Socket socket;  // until the stream takes it
  const std::string peer_ip;
  Socket wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;  // open: other threads may use fd only while it holds
  bool open = true;
  std::atomic<bool> finished{false};
  std::thread thread;
};

struct Auth::Peer {
  std::optional<ClientIdentity> identity;
  int certificates = 0;
  std::string ip;
  bool through_proxy = false;
  int connection = 0;
};

struct Auth::Fate {
  std::optional<CallFault> fault;
  bool is(CallFault::Kind kind) const { return fault && fault->kind == kind; }
};

std::string auth_server_name(const std::string& cluster) {
  std::string name;
  for (const char c : cluster) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(c));
    name += hex;
  }
  return name + ".teleport.cluster.local";
}

Auth::Auth(AuthOptions options)
    : service_(options),
      port_(options.port),
      hosts_(std::move(options.hosts)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  h2_.settings.max_concurrent_streams = 1000;  // spec 3.2
  service_.on_rotation([this] { wake(); });
  start();
}

Auth::~Auth() { stop(); }

std::string Auth::address() const { return "127.0.0.1:" + std::to_string(port_); }

std::string Auth::host_ca_pem() const { return pem_bundle(service_.authorities_now().hosts); }

std::string Auth::ca_pin() const {
  const CertificatePtr newest = service_.authorities_now().hosts.back().certificate;
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(newest.get()), &der);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(der, static_cast<std::size_t>(length), digest.data());
  OPENSSL_free(der);
  std::string pin = "sha256:";
  for (const unsigned char byte : digest) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    pin += hex;
  }
  return pin;
}

// ---------------------------------------------------------------- faults

void Auth::inject(const std::string& method, CallFault fault, int times) {
  const std::scoped_lock lock(faults_mutex_);
  injected_.push_back({method, std::move(fault), times});
}

void Auth::clear_faults() {
  const std::scoped_lock lock(faults_mutex_);
  injected_.clear();
  script_ = nullptr;
}

void Auth::on_call(std::function<std::optional<CallFault>(const AuthCall&)> script) {
  const std::scoped_lock lock(faults_mutex_);
  script_ = std::move(script);
}

void Auth::serve_certificate(std::optional<Issued> certificate) {
  const std::scoped_lock lock(context_mutex_);
  served_ = std::move(certificate);
  context_.reset();
}

Auth::Fate Auth::decide(const AuthCall& call) {
  std::function<std::optional<CallFault>(const AuthCall&)> script;
  {
    const std::scoped_lock lock(faults_mutex_);
    const auto found = std::find_if(injected_.begin(), injected_.end(), [&](const auto& each) {
      return each.method.empty() || each.method == call.method;
    });
    if (found != injected_.end()) {
      const CallFault fault = found->fault;
      if (found->times > 0 && --found->times == 0) injected_.erase(found);
      return {fault};
    }
    script = script_;
  }
  if (!script) return {};
  return {script(call)};
}

// ---------------------------------------------------------------- listening

void Auth::start() {
  stopping_ = false;
  listener_ = listening_socket(port_);
  acceptor_ = std::thread([this] { accept_loop(); });
}

void Auth::stop() {
  if (stopping_.exchange(true)) return;
  wake();
  eventfd_write(wake_.fd(), 1);
  acceptor_.join();
  eventfd_t count = 0;
  eventfd_read(wake_.fd(), &count);
  listener_ = Socket();
  close_all();
  reap(true);
}

void Auth::wake() {
  { const std::scoped_lock lock(changed_mutex_); }
  changed_.notify_all();
}

void Auth::close_all() {
  const std::scoped_lock lock(connections_mutex_);
  for (const auto& connection : connections_) {
    const std::scoped_lock connection_lock(connection->mutex);
    if (connection->open) shutdown(connection->fd, SHUT_RDWR);
  }
}

void Auth::reap(bool all) {
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

void Auth::accept_loop() {
  while (!stopping_) {
    std::array<pollfd, 2> ready{pollfd{wake_.fd(), POLLIN, 0}, pollfd{listener_.fd(), POLLIN, 0}};
    if (poll(ready.data(), ready.size(), -1) < 0 || stopping_) continue;
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    Socket socket(
        accept4(listener_.fd(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC));
    if (!socket) continue;
    const int on = 1;
    setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::array<char, INET_ADDRSTRLEN> ip{};
    inet_ntop(AF_INET, &peer.sin_addr, ip.data(), ip.size());
    const int id = ++next_connection_;
    observer_.change([&](Observations& seen) {
      ConnectionRecord& record = seen.connections[id];
      record.id = id;
      record.accepted_at = std::chrono::steady_clock::now();
    });
    auto connection = std::make_unique<Connection>(id, std::move(socket), ip.data());
    Connection& raw = *connection;
    {
      const std::scoped_lock lock(connections_mutex_);
      connections_.push_back(std::move(connection));
      raw.thread = std::thread([this, &raw] { run(raw); });
    }
    reap(false);
  }
}

void Auth::run(Connection& connection) {
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

ContextPtr Auth::context() {
  const std::scoped_lock lock(context_mutex_);
  const auto& authorities = *service_.authorities();
  if (context_ && built_for_ == authorities.revision()) return context_;
  built_for_ = authorities.revision();
  std::vector<std::string> names{"*.teleport.cluster.local", "teleport.cluster.local"};
  names.insert(names.end(), hosts_.begin(), hosts_.end());
  const Issued certificate = served_ ? *served_ : authorities.with([&](const Pki& pki) {
    return issue_server(pki.host_signer(), "a0b1c2d3-auth." + pki.cluster(), names);
  });
  context_ = server_context(certificate, kAlpn);
  authorities.verify_clients(context_.get());
  return context_;
}

void Auth::serve(Connection& connection) {
  if (silent_) {
    std::array<char, 512> block{};
    while (recv(connection.fd, block.data(), block.size(), 0) > 0) continue;
    const std::scoped_lock lock(connection.mutex);
    connection.open = false;
    connection.socket = Socket();
    return;
  }
  TlsStream stream(std::move(connection.socket), context(), {}, connection.wake.fd());
  struct Closing {
    Connection& of;
    ~Closing() {
      const std::scoped_lock lock(of.mutex);
      of.open = false;
    }
  } const closing{connection};
  try {
    stream.accept();
  } catch (const ConnectionLost&) {
    stream.linger(kLingerMs);  // the alert must arrive
    throw;
  }
  Peer peer;
  peer.ip = connection.peer_ip;
  peer.connection = connection.id;
  const std::unique_ptr<X509, decltype(&X509_free)> client(SSL_get1_peer_certificate(stream.ssl()),
                                                           X509_free);
  if (client) {
    peer.identity = read_identity(client.get());
    // On the server's side the chain lacks the leaf.
    peer.certificates = 1 + std::max(0, sk_X509_num(SSL_get_peer_cert_chain(stream.ssl())));
  }
  observer_.change([&](Observations& seen) {
    ConnectionRecord& record = seen.connections[connection.id];
    record.handshaken = true;
    record.resumed = SSL_session_reused(stream.ssl()) == 1;
    record.tls_version = SSL_get_version(stream.ssl());
    record.cipher = SSL_get_cipher_name(stream.ssl());
    record.alpn = chosen_alpn(stream);
    const char* sni = SSL_get_servername(stream.ssl(), TLSEXT_NAMETYPE_host_name);
    record.sni = sni != nullptr ? sni : "";
    record.client_serial = peer.identity ? peer.identity->serial : "";
    record.peer_certificates = peer.certificates;
  });
  H2Hooks hooks;
  hooks.note = [&](const Request&, std::int32_t) {
    observer_.change([&](Observations& seen) {
      ++seen.request_count;
      ++seen.connections[connection.id].requests;
    });
    return 0;
  };
  hooks.serve = [&](H2Stream& h2, Request& request, int) { return serve_call(h2, request, peer); };
  hooks.set_idle = [&](bool idle) {
    observer_.change([&](Observations& seen) { seen.connections[connection.id].idle = idle; });
  };
  const auto end = h2_.serve(
      {stream, connection.wake.fd(), connection.id, kIdleLimit, observer_, std::move(hooks)});
  if (end == H2Connection::End::reset) {
    stream.reset();
  } else if (end != H2Connection::End::dropped) {
    stream.linger(kLingerMs);
  }
}

// ---------------------------------------------------------------- calls

int Auth::begin_call(AuthCall call) {
  call.id = ++next_call_;
  call.at = std::chrono::steady_clock::now();
  const int id = call.id;
  log_.change([&](AuthCalls& seen) {
    ++seen.total;
    if (call.self_renewal()) {
      ++seen.self_renewals_running;
      seen.most_self_renewals_at_once =
          std::max(seen.most_self_renewals_at_once, seen.self_renewals_running);
    }
    seen.calls.push_back(std::move(call));
    if (seen.calls.size() > kRemembered) seen.calls.pop_front();
  });
  return id;
}

void Auth::end_call(int id, int code, const std::string& error, bool answered) {
  log_.change([&](AuthCalls& seen) {
    AuthCall* call = seen.find(id);
    if (call == nullptr) return;
    if (call->self_renewal()) --seen.self_renewals_running;
    call->code = code;
    call->error = error;
    call->answered = answered;
    call->done_at = std::chrono::steady_clock::now();
  });
}

bool Auth::wait(Stream& stream, std::optional<std::chrono::milliseconds> time) {
  using Clock = std::chrono::steady_clock;
  // Not every stream tells when its client goes: look now and then.
  constexpr std::chrono::milliseconds kLook{20};
  const auto until = time ? Clock::now() + *time : Clock::time_point::max();
  const auto gone = [&] { return stopping_ || stream.peer_ended(); };
  std::unique_lock lock(changed_mutex_);
  while (Clock::now() < until) {
    if (changed_.wait_until(lock, std::min(until, Clock::now() + kLook), gone)) return false;
  }
  return true;
}

bool Auth::serve_call(H2Stream& h2, const Request& request, const Peer& peer) {
  GrpcStream stream(h2, request);
  h2.on_peer_end([this] { wake(); });
  AuthCall call;
  call.method = last_segment(request.path);
  call.path = request.path;
  call.through_proxy = peer.through_proxy;
  call.connection = peer.connection;
  call.identity = peer.identity;
  call.headers = headers_of(request);
  call.message = stream.read_message().value_or("");
  call.fields = field_numbers(call.message);
  read_request(call, service_.authorities()->now());
  const int id = begin_call(call);

  int code = grpc_code::ok;
  std::string error;
  bool answered = true;
  bool keep = true;
  bool decided = false;  // done, whether or not the answer arrives
  try {
    using Kind = CallFault::Kind;
    const Fate fate = decide(call);
    const auto pause = [&] {
      if (!wait(h2, fate.fault->delay)) throw ConnectionLost{"the client has gone"};
    };
    if (fate.is(Kind::late)) pause();
    if (fate.is(Kind::hang)) {
      wait(h2, std::nullopt);
      throw ConnectionLost{"the client has gone"};
    }
    if (fate.is(Kind::drop)) throw AnswerLost{};
    if (fate.is(Kind::refuse)) throw CallError{fate.fault->code, fate.fault->message};
    Rpc rpc{
        service_, stream, call.message, peer.identity, peer.through_proxy, peer.ip, page_limit_, {},
        {},       {}};
    rpc.note = [&](const std::function<void(AuthCall&)>& edit) {
      log_.change([&](AuthCalls& seen) {
        if (AuthCall* record = seen.find(id)) edit(*record);
      });
    };
    rpc.answer_bytes = [&](const std::string& bytes) {
      decided = true;
      if (fate.is(Kind::lose_answer)) throw AnswerLost{};
      if (fate.is(Kind::late_answer)) pause();
      stream.write_message(bytes);
      stream.finish(grpc_code::ok);
    };
    rpc.wait_for_rotation = [&](std::size_t seen) {
      const auto gone = [&] { return stopping_ || h2.peer_ended(); };
      std::unique_lock lock(changed_mutex_);
      changed_.wait(lock, [&] { return gone() || service_.event_count() > seen; });
      return !gone();
    };
    dispatch(rpc, request.path, peer, request.header("version"));
  } catch (const CallError& refused) {
    code = refused.code;
    error = refused.message;
    stream.finish(code, error);
  } catch (const AnswerLost&) {
    if (!decided) code = grpc_code::unavailable;
    error = "no answer, on command";
    answered = false;
    keep = false;
  } catch (const ConnectionLost& lost) {
    if (!decided) code = grpc_code::cancelled;
    error = lost.what;
    answered = false;
  }
  end_call(id, code, error, answered);
  return keep;
}

void Auth::dispatch(const Rpc& rpc, const std::string& path, const Peer& peer,
                    const std::string& client_version) {
  if (peer.certificates > 1) deny("access denied: intermediaries are not supported");
  if (peer.identity && !peer.identity->usage.empty()) {
    deny("access denied: certificates with a usage restriction are not accepted");
  }
  if (peer.identity) service_.check_locks(*peer.identity);
  // Absent: no check (spec 3.2).
  if (!client_version.empty() && !allow_old_clients_ &&
      service_.version().refuses_client(client_version)) {
    deny("client version is unsupported");
  }
  if (!legacy_joins_ && path.starts_with("/proto.JoinService/")) {
    throw CallError{grpc_code::unimplemented, "legacy join endpoints are disabled"};
  }
  if (serve_unary(rpc, path) || serve_join_stream(rpc, path)) return;
  const std::size_t slash = path.rfind('/');
  throw CallError{grpc_code::unimplemented, "unknown method " + path.substr(slash + 1) +
                                                " for service " +
                                                path.substr(1, slash == 0 ? 0 : slash - 1)};
}

bool Auth::serve_forwarded(H2Stream& stream, const Request& request, const std::string& peer_ip) {
  Peer peer;
  peer.ip = peer_ip;
  peer.through_proxy = true;
  if (stopping_) {
    GrpcStream grpc(stream, request);
    grpc.finish(grpc_code::unavailable, "connection error: desc = \"connection refused\"");
    return true;
  }
  return serve_call(stream, request, peer);
}

std::optional<Auth::WebAnswer> Auth::web_join(Stream& stream, const std::string& path,
                                              const std::string& body,
                                              const std::map<std::string, std::string>& headers) {
  const auto refusal = [](int code, const std::string& message) {
    return WebAnswer{http_status_of(code), trace_error(message)};
  };
  if (stopping_) return refusal(grpc_code::unavailable, "dial tcp: connection refused");
  AuthCall call;
  call.method = "HostCredentials";
  call.path = path;
  call.through_proxy = true;
  call.headers = headers;
  call.message = body;
  const int id = begin_call(call);
  bool decided = false;
  try {
    using Kind = CallFault::Kind;
    const Fate fate = decide(call);
    if (fate.is(Kind::late) && !wait(stream, fate.fault->delay)) throw AnswerLost{};
    if (fate.is(Kind::hang)) wait(stream, std::nullopt);
    if (fate.is(Kind::hang) || fate.is(Kind::drop)) throw AnswerLost{};
    if (fate.is(Kind::refuse)) throw CallError{fate.fault->code, fate.fault->message};
    const JoinAsk ask = from_join_json(body);
    const long now = service_.authorities()->now();
    const auto note = [&](const std::function<void(AuthCall&)>& edit) {
      log_.change([&](AuthCalls& seen) {
        if (AuthCall* record = seen.find(id)) edit(*record);
      });
    };
    note([&](AuthCall& record) {
      record.token = ask.token;
      if (ask.expires) record.ttl_asked = std::chrono::seconds(*ask.expires - now);
    });
    const Certificates made = service_.join(ask, std::nullopt);
    decided = true;
    const ClientIdentity identity = read_identity(made.tls.get());
    note([&](AuthCall& record) {
      record.issued_serial = identity.serial;
      record.ttl_given = std::chrono::seconds(identity.not_after - now);
    });
    if (fate.is(Kind::lose_answer)) throw AnswerLost{};
    if (fate.is(Kind::late_answer) && !wait(stream, fate.fault->delay)) throw AnswerLost{};
    end_call(id, grpc_code::ok, "", true);
    return WebAnswer{200, to_certs_json(made)};
  } catch (const CallError& refused) {
    end_call(id, refused.code, refused.message, true);
    return refusal(refused.code, refused.message);
  } catch (const AnswerLost&) {
    end_call(id, decided ? grpc_code::ok : grpc_code::unavailable, "no answer, on command", false);
    return std::nullopt;
  }
}

}  // namespace lab
