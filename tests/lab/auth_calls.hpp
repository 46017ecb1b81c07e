// What the lab's Auth has been asked, for tests to look at and to wait for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/teleport_rules.hpp"

namespace lab {

struct AuthCall {
  using TimePoint = std::chrono::steady_clock::time_point;

  int id = 0;
  std::string method;          // "GenerateUserCerts"; "HostCredentials" for the web API
  std::string path;            // "/proto.AuthService/GenerateUserCerts"
  bool through_proxy = false;  // terminated at the Proxy: the web API, or gRPC without certificate
  int connection = 0;          // of Auth's own observations; 0 through the Proxy
  std::optional<ClientIdentity> identity;      // of the client certificate
  std::map<std::string, std::string> headers;  // of the request
  std::string message;                         // the first, as it came; JSON in the web API
  std::vector<int> fields;                     // numbers of its fields; empty in the web API

  // Read from the message, where the method has such a thing.
  std::optional<std::chrono::seconds> ttl_asked;  // by the cluster's clock
  std::vector<std::string> role_requests;
  bool use_role_requests = false;
  std::string kubernetes_cluster;
  std::string token;  // of joins

  TimePoint at;
  std::optional<TimePoint> done_at;
  int code = -1;              // gRPC's, once decided
  std::string error;          // its text
  bool answered = false;      // false when done: the answer was lost on command, or the client went
  std::string issued_serial;  // decimal, of the certificate made
  std::optional<std::chrono::seconds> ttl_given;

  // A renewable identity that renews itself.
  bool self_renewal() const {
    return method == "GenerateUserCerts" && !use_role_requests && identity && identity->renewable;
  }
  bool join() const {
    return method == "HostCredentials" || method == "RegisterUsingToken" ||
           method == "RegisterUsingBoundKeypairMethod" || method == "Join";
  }
};

struct AuthCalls {
  std::deque<AuthCall> calls;  // the newest 20,000
  std::size_t total = 0;
  int self_renewals_running = 0;
  int most_self_renewals_at_once = 0;

  std::size_t count(const std::string& method) const;           // whether done or not
  std::size_t count_answered(const std::string& method) const;  // with success
  std::size_t joins() const;                                    // with success
  const AuthCall* last(const std::string& method) const;        // null when there is none
  AuthCall* find(int id);
};

class AuthCallLog {
 public:
  // Runs under the lock and wakes those who wait.
  void change(const std::function<void(AuthCalls&)>& edit);
  AuthCalls snapshot() const;
  // False when the patience ran out first. The predicate runs under the lock: no calls back here.
  bool wait_for(const std::function<bool(const AuthCalls&)>& predicate,
                std::chrono::milliseconds patience) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  AuthCalls seen_;
};

}  // namespace lab
