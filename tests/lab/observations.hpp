// What the lab's proxy saw, for tests to assert. Filled by its threads, read under one lock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lab {

using TimePoint = std::chrono::steady_clock::time_point;

// What a connection of HTTP/2 said beyond its requests.
struct H2ConnectionRecord {
  std::size_t streams_open = 0;
  std::size_t streams_most = 0;                     // at one time
  std::size_t streams_refused = 0;                  // by us, on command
  std::map<std::uint16_t, std::uint32_t> settings;  // the peer's, by identifier
  std::size_t settings_acked = 0;                   // of ours
  std::size_t pings = 0;                            // the peer's own
  std::size_t ping_acks = 0;
  std::size_t window_updates = 0;
  std::int32_t stream_window_most = 0;  // that the peer opened for a stream that was being answered
  std::optional<std::uint32_t> goaway_code;  // the peer's
  // What nghttp2 found wrong with the peer's frames and fields.
  std::vector<std::string> violations;
};

struct ConnectionRecord {
  int id = 0;
  bool kube = false;    // false: the web service, or nothing decided yet
  bool tunnel = false;  // to Auth: the Proxy sees the ClientHello only
  std::string sni;
  std::vector<std::string> alpn_offered;
  std::string alpn;         // negotiated, empty: none
  std::string tls_version;  // "TLSv1.3"
  std::string cipher;       // "TLS_AES_128_GCM_SHA256"
  bool handshaken = false;
  bool resumed = false;
  std::string client_serial;  // decimal; empty: no certificate
  int peer_certificates = 0;
  std::string error;  // of the handshake or the framing; empty: none
  std::size_t requests = 0;
  bool open = true;
  bool idle = false;  // waits for a request, the first included
  TimePoint accepted_at;
  std::optional<TimePoint> peer_ended_at;  // FIN or RST of the peer, even with bytes unread
  std::optional<TimePoint> closed_at;
  H2ConnectionRecord h2;
};

// What a request in HTTP/2 has beyond its fields.
struct H2RequestRecord {
  std::int32_t stream = 0;  // 0: HTTP/1.1
  std::size_t body_bytes = 0;
  bool end_stream = false;  // the request was sent to its end
  std::vector<std::pair<std::string, std::string>> trailers;
  std::optional<std::uint32_t> reset_code;  // of the peer's RST_STREAM
  std::optional<TimePoint> reset_at;
  std::optional<TimePoint> closed_at;  // the stream, in whatever way
};

struct RequestRecord {
  int id = 0;  // counts from 1 over all connections of both services
  int connection = 0;
  bool kube = false;
  // As it came; in HTTP/2 one line "name: value\n" for each field, pseudo-header fields included.
  std::string raw_head;
  std::string method;
  std::string target;  // as received, route prefix included
  std::string client_serial;
  std::string kube_cluster;  // set once routed
  std::string user;          // set once impersonated
  std::vector<std::string> groups;
  bool done = false;  // the handler has returned
  TimePoint at;
  H2RequestRecord h2;
};

// A client certificate that finished a handshake with the kube service.
struct CertificateRecord {
  std::chrono::system_clock::time_point not_after;
  std::size_t connections = 0;
  std::size_t requests = 0;
  std::size_t requests_late = 0;  // of those, whose head came after its end
};

struct Observations {
  std::map<int, ConnectionRecord> connections;
  std::map<std::string, CertificateRecord> certificates;  // by serial
  std::deque<RequestRecord> requests;                     // the newest 20,000
  std::size_t request_count = 0;                          // kube service only
  std::size_t web_request_count = 0;
  std::size_t kube_handshakes_full = 0;
  std::size_t kube_handshakes_resumed = 0;
  std::size_t handshakes_failed = 0;
  // Requests with an Authorization header on the kube service: must stay 0 for ever.
  std::size_t authorization_seen = 0;

  std::size_t open_connections() const;       // both services
  std::size_t open_kube_connections() const;  // with a finished handshake
  std::size_t idle_kube_connections() const;
  // Newest request on the kube service whose target ends so; null when there is none.
  const RequestRecord* last_request(const std::string& target_end) const;
  // By its id; null when it is forgotten.
  RequestRecord* request(int id);
};

class Observer {
 public:
  // Runs under the lock and wakes those who wait.
  void change(const std::function<void(Observations&)>& edit);
  // A connection's last word. `error`: empty when it ended properly.
  void connection_ended(int id, const std::string& error);
  Observations snapshot() const;
  // False when the patience ran out first. The predicate runs under the lock: no calls back here.
  bool wait_for(const std::function<bool(const Observations&)>& predicate,
                std::chrono::milliseconds patience) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Observations seen_;
};

}  // namespace lab
