// One real request to a cluster by the way that clients' requests take, to see whether it serves
// us: GET /version, which every authenticated user may ask. For readiness, when no traffic tells.
#pragma once

#include <chrono>
#include <coroutine>
#include <functional>
#include <optional>
#include <string>

#include "proxy/link/connect.hpp"
#include "proxy/relay/listener.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::relay {

class Worker;

struct ProbeResult {
  int status = 0;     // 0: no answer, see error
  std::string body;   // its first bytes
  Error error{};      // status 0: why
  bool sent = false;  // a request has left: the cluster may have seen it
  // By the Date of the answer: how far the other clock is ahead of ours, to a second.
  std::optional<std::chrono::seconds> clock_ahead;
};

// Owns: its connection. Thread: its worker. The coroutine frame of run() owns the object; it is
// listed in its worker from beginning to end.
class Probe {
 public:
  // `then` runs on the worker's thread; not when the worker stops before the answer.
  static runtime::Detached run(Worker& worker, Route route, std::function<void(ProbeResult)> then);

  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  ~Probe();

 private:
  friend class Worker;
  Probe(Worker& worker, Route route);

  runtime::Task<ProbeResult> ask();
  runtime::Task<Result<bool>> connect();
  runtime::Task<Result<bool>> exchange(ProbeResult& result);
  std::string request() const;
  void discard();

  Worker& worker_;
  const Route route_;
  std::coroutine_handle<> frame_;  // of run(): its worker destroys it when it stops
  runtime::Readiness readiness_;
  link::UpstreamConnectionPtr upstream_;
};

}  // namespace kubelane::relay
