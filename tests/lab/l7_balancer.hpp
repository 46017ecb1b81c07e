// A load balancer of layer 7 in front of the Proxy's web service: ends TLS with a certificate of
// its own, knows nothing of Teleport's names in ALPN, and passes HTTP/1.1 on, upgrades included.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/pki.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

class L7Balancer {
 public:
  // `alpn`: what it speaks, as AWS's is set up; empty: it ignores ALPN. In HTTP/2 it says nothing.
  L7Balancer(std::uint16_t proxy_port, std::vector<const char*> alpn);
  ~L7Balancer();
  L7Balancer(const L7Balancer&) = delete;
  L7Balancer& operator=(const L7Balancer&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string ca_pem() const { return certificate_pem(authority_.certificate); }
  std::size_t connections() const { return accepted_; }
  // Answers upgrades by this status itself; 0: passes them on.
  void refuse_upgrades(int status) { refused_status_ = status; }
  // Cuts every connection, as one that idles too long.
  void cut_all();

 private:
  struct Connection;
  void accept_loop();
  void serve(Connection& connection);
  bool refuse_upgrade(TlsStream& client, std::string_view head) const;

  const std::uint16_t proxy_port_;
  const std::vector<const char*> alpn_;
  const Issued authority_;
  const Issued certificate_;
  ContextPtr server_;
  ContextPtr client_;
  std::uint16_t port_ = 0;
  Socket listener_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> accepted_{0};
  std::atomic<int> refused_status_{0};
  std::mutex mutex_;
  std::list<std::unique_ptr<Connection>> connections_;
  std::thread acceptor_;
};

}  // namespace lab
