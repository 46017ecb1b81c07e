// A steady load on kubelane over both protocols, of which every answer is checked: requests,
// watches whose events are counted, uploads whose bytes are compared by digest. Needs
// lab::load_paths upstream. What a client of Kubernetes would not notice is no failure: a watch
// that ends properly is resumed, a connection that is closed between requests is opened again.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/load_paths.hpp"
#include "tests/support/h2_client.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

// How to reach the cluster. Called from many threads.
struct LoadTarget {
  std::function<TlsClient()> connect;
  std::function<std::unique_ptr<H2Client>()> connect_h2;
  // Method, target, fields (each with CRLF).
  std::function<std::string(const std::string&, const std::string&, const std::string&)> request;
  std::function<H2Request(const std::string&, const std::string&)> h2_request;
};

// Of each protocol.
struct LoadShape {
  double requests_per_second = 0;   // 0: as many as go
  std::size_t request_clients = 2;  // connections
  std::size_t streams = 4;          // requests at once on each connection of HTTP/2
  std::size_t watches = 10;         // HTTP/2: at most 25 on a connection
  std::uint64_t least_events = 5;   // then a watch ends and is resumed
  std::uint64_t most_events = 15;
  std::size_t uploads = 3;        // HTTP/2: at most 5 on a connection
  std::size_t upload_pieces = 4;  // of up to 64 KiB, one at each beat
  std::chrono::milliseconds beat{20};
  // The Proxy will end connections as it restarts: a POST on its way then has an outcome that
  // nobody knows, so there is none; a watch that was cut within an event is resumed, as client-go
  // does.
  bool restarts = false;
};

// Of one protocol.
struct LoadFigures {
  std::size_t requests = 0;
  std::size_t events = 0;
  std::size_t watches_running = 0;
  std::size_t watches_resumed = 0;
  std::size_t watches_cut = 0;  // within an event
  std::size_t uploads = 0;      // verified
  std::size_t upload_bytes = 0;
  std::size_t connections = 0;
};

class SteadyLoad {
 public:
  // Begins at once. `beat` is struck by this, and must outlive it.
  SteadyLoad(LoadTarget target, const LoadShape& shape, lab::Beat& beat);
  ~SteadyLoad();
  SteadyLoad(const SteadyLoad&) = delete;
  SteadyLoad& operator=(const SteadyLoad&) = delete;

  // Requests and uploads come to their end, watches are left.
  void stop();

  enum Protocol : std::size_t { http1, http2 };
  LoadFigures figures(Protocol of) const;
  std::size_t failures() const;
  std::vector<std::string> failure_texts() const;  // of the first

 private:
  struct Counters {
    std::atomic<std::size_t> requests{0};
    std::atomic<std::size_t> events{0};
    std::atomic<std::size_t> watches_running{0};
    std::atomic<std::size_t> watches_resumed{0};
    std::atomic<std::size_t> watches_cut{0};
    std::atomic<std::size_t> uploads{0};
    std::atomic<std::size_t> upload_bytes{0};
    std::atomic<std::size_t> connections{0};
  };
  class EventCheck;
  class Pace;
  struct Body;
  struct Http2Watches;

  void start(std::size_t threads, const std::function<void(std::size_t)>& run);
  bool posts(std::size_t number) const;
  void watch_failed(Protocol over, const std::string& why);
  void fail(const std::string& what, const std::string& why);
  std::unique_ptr<TlsClient> connect_http1();
  std::unique_ptr<H2Client> connect_http2();
  std::string events_target(std::uint64_t from, std::size_t salt) const;

  void send_requests_http1(std::size_t client);
  void send_requests_http2(std::size_t client);
  void watch_http1(std::size_t number);
  void watch_http2(std::size_t watches);
  void upload_http1(std::size_t number);
  void upload_http2(std::size_t uploads);
  void wait_beat(std::uint64_t& known) const;

  const LoadTarget target_;
  const LoadShape shape_;
  lab::Beat& beat_;
  std::array<Counters, 2> counters_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> beats_end_{false};
  mutable std::mutex mutex_;
  std::size_t failures_ = 0;
  std::vector<std::string> failure_texts_;
  std::vector<std::thread> threads_;
  std::thread beats_;
};

}  // namespace support
