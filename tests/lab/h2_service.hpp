// HTTP/2 of the lab's proxy: the open connections, what they say about themselves and how they
// misbehave. All public calls are thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "tests/lab/h2_connection.hpp"
#include "tests/lab/h2_faults.hpp"

namespace lab {

class H2Service {
 public:
  // --- What new connections say. Fields may be set at any time.
  // -----------------------------------
  H2Settings settings;
  // Also tells the open connections; wait for H2ConnectionRecord::settings_acked.
  void set_max_concurrent_streams(std::uint32_t streams);

  // --- Faults: hold until changed, for open and new connections.
  // ---------------------------------- The next streams are reset before anybody sees them.
  void refuse_streams(std::size_t count, std::uint32_t code = h2::error_code::refused_stream);
  // Bodies of requests stop at the windows: no WINDOW_UPDATE is sent until it is true again.
  void set_giving_credit(bool on);
  // False, as in Go: a stream whose handler stops reading may stall all uploads of its connection.
  void set_connection_credit_on_receipt(bool on) { faults_.connection_credit_on_receipt = on; }
  void set_answering_pings(bool on) { faults_.answering_pings = on; }
  // Nothing is read off the socket: TCP pushes back.
  void set_reading(bool on);
  // A dead link: neither reads nor writes.
  void set_frozen(bool on);
  // A long link: bytes take that long each way, however many there are.
  void set_delay(std::chrono::milliseconds each_way) {
    faults_.delay_ms = static_cast<int>(each_way.count());
  }
  // False: new connections say nothing, not even SETTINGS, until it is true.
  void set_sending_preface(bool on);

  // --- Commands to one open connection, or to all (0). They return how many it went to.
  // -----------
  std::size_t goaway(const H2GoAway& goaway, int connection = 0);
  std::size_t reset_streams(std::uint32_t code, int connection = 0);
  // Any bytes, between frames.
  std::size_t write_raw(const std::string& bytes, int connection = 0);
  // Closes in the middle of whatever runs, by FIN without close_notify, or by RST.
  std::size_t drop(bool by_reset = false, int connection = 0);

  // --- For the proxy: serves one connection until it ends.
  // ----------------------------------------
  struct Peer {
    TlsStream& stream;
    int wake_fd = -1;
    int id = 0;
    std::chrono::milliseconds idle_limit{};
    Observer& observer;
    H2Hooks hooks;
  };
  H2Connection::End serve(Peer peer);

 private:
  std::size_t each(int connection, const std::function<void(H2Connection&)>& command);

  H2Faults faults_;
  std::mutex mutex_;
  std::set<H2Connection*> open_;
};

}  // namespace lab
