// The authorities of one Teleport cluster, shared by its Auth and its Proxy, and the cluster's
// clock, which a test may set wrong. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include <openssl/ssl.h>

#include "tests/lab/pki.hpp"

namespace lab {

class Authorities {
 public:
  Authorities(std::string cluster, KeyKind kind) : pki_(std::move(cluster), kind) {}

  // Runs under the lock.
  template <class Read>
  auto with(Read read) const {
    const std::scoped_lock lock(mutex_);
    return read(std::as_const(pki_));
  }
  void rotate(RotationPhase phase);
  void add_leaf_cluster(const std::string& name);
  // Grows with each rotate(): who holds a TLS context compares.
  std::uint64_t revision() const { return revision_; }

  // Seconds that the cluster's clock is ahead of this machine's.
  void set_clock_skew(long seconds) { skew_ = seconds; }
  long clock_skew() const { return skew_; }
  // Seconds since 1970, by the cluster's clock.
  long now() const;

  // Makes a server's context ask for a client certificate and verify it, if one comes, against all
  // trusted host and user authorities and the cluster's clock, as Teleport's servers do. This
  // object must outlive the context's connections.
  void verify_clients(SSL_CTX* context) const;

 private:
  mutable std::mutex mutex_;
  Pki pki_;
  std::atomic<std::uint64_t> revision_{1};
  std::atomic<long> skew_{0};
};

}  // namespace lab
