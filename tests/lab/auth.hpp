// The lab's Teleport Auth: gRPC over mutual TLS on a port of its own, and what a lab::Proxy with
// `ProxyOptions::auth` passes on to it: the ALPN tunnel, the web API's join, the Proxy's gRPC join.
// With observation and misbehaviour on command. What it decides stands in auth_service.hpp. One
// thread per connection and per call. All public calls are thread-safe. Must outlive its Proxy.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
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

#include "tests/lab/auth_calls.hpp"
#include "tests/lab/auth_service.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/h2_service.hpp"
#include "tests/lab/observations.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

struct Rpc;

struct AuthOptions : AuthService::Options {
  std::uint16_t port = 0;                                       // kept over restarts once known
  std::vector<std::string> hosts = {"localhost", "127.0.0.1"};  // more names of its certificate
};

// What goes wrong with a call.
struct CallFault {
  enum class Kind {
    refuse,       // answered by `code` and `message`, nothing done
    drop,         // the connection is closed before anything is done
    lose_answer,  // done and committed, then the connection is closed
    late,         // done after `delay`
    late_answer,  // done and committed, answered after `delay`
    hang,         // never done, never answered
  };
  Kind kind = Kind::refuse;
  int code = grpc_code::unavailable;
  std::string message = "refused on command";
  std::chrono::milliseconds delay{0};
};

class Auth {
 public:
  explicit Auth(AuthOptions options = {});  // starts listening
  ~Auth();
  Auth(const Auth&) = delete;
  Auth& operator=(const Auth&) = delete;

  // Tokens, bots, roles, clusters, locks, versions, rotation.
  AuthService& service() { return service_; }
  const AuthService& service() const { return service_; }

  std::uint16_t port() const { return port_; }
  std::string address() const;  // host:port, for `auth_server`
  std::string host_ca_pem() const;
  // sha256:… of the newest host authority, for `ca_pins`.
  std::string ca_pin() const;

  // --- Observation ------------------------------------------------------------------------------
  AuthCalls calls() const { return log_.snapshot(); }
  bool wait_for(const std::function<bool(const AuthCalls&)>& predicate,
                std::chrono::milliseconds patience = std::chrono::seconds(20)) const {
    return log_.wait_for(predicate, patience);
  }
  // Connections, as Auth's own TLS sees them.
  Observations connections() const { return observer_.snapshot(); }
  bool wait_for_connections(const std::function<bool(const Observations&)>& predicate,
                            std::chrono::milliseconds patience = std::chrono::seconds(20)) const {
    return observer_.wait_for(predicate, patience);
  }

  // --- Faults -----------------------------------------------------------------------------------
  // The next `times` calls of this method ("HostCredentials": the web API's join; empty: of any
  // method) go wrong; -1: all until clear_faults().
  void inject(const std::string& method, CallFault fault, int times = 1);
  void clear_faults();
  // Sees each call before it is served, after inject()'s.
  void on_call(std::function<std::optional<CallFault>(const AuthCall&)> script);
  // ListResources refuses more than that many in a page with ResourceExhausted; 0: takes any.
  void set_page_limit(std::size_t limit) { page_limit_ = limit; }
  // False: the joins before teleport.join.v1 are switched off: 404 at the web API, Unimplemented.
  void set_legacy_joins(bool on) { legacy_joins_ = on; }
  // True: clients of any version are served, as by the administrator's switch (spec 10).
  void set_allow_old_clients(bool on) { allow_old_clients_ = on; }
  // Serves this instead of the proper certificate; nothing: the proper one again.
  void serve_certificate(std::optional<Issued> certificate);
  // TCP connects, then nothing.
  void set_silent(bool on) { silent_ = on; }
  H2Service& h2() { return h2_; }
  void close_all();  // connections, as an Auth that ends
  void stop();       // closes the port and every connection; the Proxy answers for it
  void start();      // on the same port again
  void restart() {
    stop();
    start();
  }

  // --- For the Proxy ----------------------------------------------------------------------------
  bool running() const { return !stopping_; }
  bool legacy_joins() const { return legacy_joins_; }
  // The answer to POST /webapi/host/credentials; nothing: the connection is closed without one.
  struct WebAnswer {
    int status = 200;
    std::string body;  // JSON, or an error's text
  };
  std::optional<WebAnswer> web_join(Stream& stream, const std::string& path,
                                    const std::string& body,
                                    const std::map<std::string, std::string>& headers);
  // A call of a JoinService that came to the Proxy. False: the connection is dropped.
  bool serve_forwarded(H2Stream& stream, const Request& request, const std::string& peer_ip);

 private:
  struct Connection;
  struct Peer;
  struct Fate;

  void accept_loop();
  void run(Connection& connection);
  void serve(Connection& connection);
  bool serve_call(H2Stream& stream, const Request& request, const Peer& peer);
  void dispatch(const Rpc& rpc, const std::string& path, const Peer& peer,
                const std::string& client_version);
  int begin_call(AuthCall call);
  void end_call(int id, int code, const std::string& error, bool answered);
  Fate decide(const AuthCall& call);
  // False: the client has gone or Auth ends.
  bool wait(Stream& stream, std::optional<std::chrono::milliseconds> time);
  void reap(bool all);
  ContextPtr context();
  void wake();

  AuthService service_;
  std::uint16_t port_ = 0;
  std::vector<std::string> hosts_;
  Observer observer_;
  AuthCallLog log_;
  H2Service h2_;

  std::mutex context_mutex_;
  ContextPtr context_;
  std::uint64_t built_for_ = 0;
  std::optional<Issued> served_;

  std::mutex faults_mutex_;
  struct Injected {
    std::string method;
    CallFault fault;
    int times;
  };
  std::list<Injected> injected_;
  std::function<std::optional<CallFault>(const AuthCall&)> script_;

  std::atomic<std::size_t> page_limit_{0};
  std::atomic<bool> legacy_joins_{true};
  std::atomic<bool> allow_old_clients_{false};
  std::atomic<bool> silent_{false};
  std::atomic<bool> stopping_{true};
  std::atomic<int> next_connection_{0};
  std::atomic<int> next_call_{0};

  std::mutex changed_mutex_;
  std::condition_variable changed_;  // rotation, a client's end, our own end

  Socket listener_;
  Socket wake_;
  std::thread acceptor_;
  std::mutex connections_mutex_;
  std::list<std::unique_ptr<Connection>> connections_;
};

// The name of a cluster's Auth in SNI and ALPN: hex and suffix (control-plane spec 3.1).
std::string auth_server_name(const std::string& cluster);

}  // namespace lab
