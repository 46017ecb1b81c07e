// One process at a time over all pods: a Lease beside the Secret, as client-go's leader election
// has it (coordination.k8s.io/v1). Control thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/teleport/api_server.hpp"

namespace kubelane::teleport {

// `server` must outlive it. Owns what keeps the Lease, which ends with it.
class PodLease {
 public:
  PodLease(boost::asio::io_context& io, const ApiServer& server, ApiObject secret);
  ~PodLease();
  PodLease(const PodLease&) = delete;
  PodLease& operator=(const PodLease&) = delete;

  // Takes it, or proves that it is still ours; from then on it is kept. A Failure with Code::denied
  // names the pod that has it. A holder of our own pod's name is an earlier life of ours.
  boost::asio::awaitable<Outcome<void>> hold();
  // Gives it up, if it is ours.
  boost::asio::awaitable<void> release();

 private:
  struct State;
  static boost::asio::awaitable<Outcome<void>> acquire(std::shared_ptr<State> state);
  static boost::asio::awaitable<void> keep(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace kubelane::teleport
