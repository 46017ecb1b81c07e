// The API server of the cluster that a pod runs in, as far as a program needs it that keeps Secrets
// and Leases there: get, create, replace, server-side apply with field managers and resource
// versions; with faults on command. Written from Kubernetes' API conventions; all public calls are
// thread-safe. One thread per connection, one request on each.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "tests/lab/http.hpp"
#include "tests/lab/pki.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

class SecretApi {
 public:
  struct Call {
    std::string method;
    std::string path;
    std::string query;
    std::string content_type;
    std::string token;
    int status = 0;  // 0: not answered
  };
  enum class Fault {
    conflict,     // somebody else changes the object just before
    unavailable,  // 503, nothing done
    lose_answer,  // done, and the connection is cut
    hang,         // neither done nor answered
  };

  // Writes token, ca.crt and namespace ("apps") into the directory, as a pod has them.
  explicit SecretApi(std::filesystem::path service_account);
  ~SecretApi();
  SecretApi(const SecretApi&) = delete;
  SecretApi& operator=(const SecretApi&) = delete;

  // Of a pod of that name.
  std::map<std::string, std::string> environment(const std::string& pod) const;

  // --- Faults. `kind`: "secrets" or "leases"; an empty method or kind means all; `times` -1: until
  // clear_faults().
  // `after`: that many pass before.
  void inject(const std::string& method, const std::string& kind, Fault fault, int times = 1,
              int after = 0);
  void clear_faults();  // and lets go what hangs
  // RBAC. `verb`: get, create, update or patch.
  void forbid(const std::string& verb, const std::string& kind);
  void allow_all();
  // Connections are refused, or taken again.
  void go_down();
  void come_up();
  // Only the new token, which is in the file then, is good.
  void rotate_token();

  // --- Objects of namespace "apps"
  std::optional<boost::json::object> object(const std::string& kind, const std::string& name) const;
  // One decoded value of a Secret.
  std::string value(const std::string& secret, const std::string& key) const;
  std::string label(const std::string& secret, const std::string& key) const;
  // As that manager would apply it, by force.
  void put_secret(const std::string& name, const std::map<std::string, std::string>& data,
                  const std::string& manager);
  void put_lease(const std::string& name, const std::string& holder, int seconds);
  void remove(const std::string& kind, const std::string& name);

  std::vector<Call> calls() const;
  // Of this method and kind, answered with 2xx.
  std::size_t done(const std::string& method, const std::string& kind) const;

 private:
  struct Injected {
    std::string method;
    std::string kind;
    Fault fault;
    int times;
    int after;
  };
  struct Answer {
    int status = 200;
    boost::json::object body;
  };
  struct Connection {
    std::thread thread;
    std::atomic<int> fd{-1};
    std::atomic<bool> ended{false};
  };

  void accept_loop();
  void serve(Connection& connection, Socket socket);
  void exchange(TlsStream& stream);
  std::optional<Fault> fault_for(const std::string& method, const std::string& kind);
  Answer act(const Request& request, const std::string& body);
  Answer apply(const std::string& key, const boost::json::object& wanted,
               const std::string& manager, bool force);
  boost::json::object stamped(boost::json::object object);
  void listen();

  std::filesystem::path directory_;
  Issued authority_;
  ContextPtr context_;
  std::uint16_t port_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string token_;
  int tokens_ = 0;
  std::uint64_t version_ = 100;
  std::map<std::string, boost::json::object> objects_;  // "secrets/name"
  // Object -> field ("data.x", "labels.x") -> manager that applied it.
  std::map<std::string, std::map<std::string, std::string>> owners_;
  std::vector<Injected> faults_;
  std::vector<std::pair<std::string, std::string>> forbidden_;
  std::vector<Call> calls_;
  std::uint64_t released_ = 0;  // hanging requests of before may end
  bool stopping_ = false;

  Socket listener_;
  std::atomic<bool> up_{false};
  std::thread acceptor_;
  std::list<Connection> connections_;
};

}  // namespace lab
