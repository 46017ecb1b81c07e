// One connection of HTTP/2, served through nghttp2: its thread does all I/O, each stream has a
// thread that runs the handler.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "tests/lab/h2_faults.hpp"
#include "tests/lab/h2_stream.hpp"
#include "tests/lab/observations.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

// What the service behind the connection does.
struct H2Hooks {
  // A request's head has come: notes it down and gives its id. On the connection's thread.
  std::function<int(const Request&, std::int32_t stream)> note;
  // Serves it, on the stream's thread. False: the whole connection is dropped.
  std::function<bool(H2Stream&, Request&, int id)> serve;
  std::function<void(bool)> set_idle;
};

class H2Connection final : private H2Output {
 public:
  enum class End {
    finished,  // by GOAWAY, the peer's end or its fault: linger, close
    woken,     // wake_fd fired while nothing ran
    dropped,   // on command: close at once
    reset,     // on command: RST
  };
  struct Parts {
    TlsStream& stream;
    int wake_fd = -1;  // of the proxy; looked at while no stream runs
    int id = 0;        // of the observation
    std::chrono::milliseconds idle_limit{};
    const H2Settings& settings;
    H2Faults& faults;
    Observer& observer;
    H2Hooks hooks;
  };
  explicit H2Connection(Parts parts);
  ~H2Connection();
  H2Connection(const H2Connection&) = delete;
  H2Connection& operator=(const H2Connection&) = delete;

  // Until the connection ends. Throws ConnectionLost. All streams have ended afterwards.
  End run();

  // --- Commands, from any thread; they take effect soon.
  // ------------------------------------------
  int id() const { return parts_.id; }
  void goaway(const H2GoAway& goaway);
  void set_max_concurrent_streams(std::uint32_t streams);
  void reset_all_streams(std::uint32_t code);
  void write_raw(std::string bytes) override;
  void drop(bool by_reset);
  void faults_changed();

 private:
  struct Entry {
    std::shared_ptr<H2Stream> stream;  // null until its head is complete, or when refused
    int request = 0;
    h2::Fields fields;  // of the head, then of the trailers
    bool handler_done = false;
    bool end_sent = false;
    bool request_ended = false;
  };
  struct Worker {
    std::thread thread;
    std::atomic<bool> done{false};
  };
  // Bytes on a link with a delay.
  struct Travelling {
    std::chrono::steady_clock::time_point due;
    std::string bytes;
  };
  struct Callbacks;

  void submit_interim(std::int32_t stream, h2::Fields fields) override;
  void submit_head(std::int32_t stream, h2::Fields fields, bool end) override;
  void resume(std::int32_t stream) override;
  void consumed(std::int32_t stream, std::size_t bytes) override;
  void reset_stream(std::int32_t stream, std::uint32_t code) override;
  void handler_done(std::int32_t stream) override;

  void post(std::function<void()> task);
  void run_tasks();
  void submit_preface();
  void collect_output(std::size_t limit);
  void put_out(std::string_view bytes);
  void flush();
  void take_in(std::string_view bytes);
  void arrive();  // what has travelled long enough
  bool nothing_to_write() const { return out_.empty() && travelling_out_.empty(); }
  bool read_available();  // false: the peer has ended
  void wait();
  void reap(bool all);
  void give_credit(std::int32_t stream, std::size_t bytes);
  void start_stream(std::int32_t id, Entry& entry, bool end_stream);
  void end_request(Entry& entry, h2::Fields trailers);
  void ping_received(nghttp2_session* session, const nghttp2_ping& ping);
  void send_goaway(const H2GoAway& goaway);
  void reset_unread(std::int32_t id, const Entry& entry);
  Entry* entry(std::int32_t stream);
  void note_connection(const std::function<void(H2ConnectionRecord&)>& edit);
  void note_request(const Entry& entry, const std::function<void(H2RequestRecord&)>& edit);
  void count_streams();

  Parts parts_;
  std::unique_ptr<nghttp2_session, decltype(&nghttp2_session_del)> session_{nullptr,
                                                                            nghttp2_session_del};
  Socket wake_;
  std::mutex mutex_;  // tasks_
  std::vector<std::function<void()>> tasks_;

  // The connection's thread only.
  std::map<std::int32_t, Entry> entries_;
  std::list<std::unique_ptr<Worker>> workers_;
  std::string out_;
  std::deque<Travelling> travelling_out_;
  std::deque<Travelling> travelling_in_;
  bool begun_ = false;      // the preface may leave
  bool finishing_ = false;  // close when out_ has left
  std::optional<End> end_;
  std::map<std::int32_t, std::size_t> held_credit_;
  std::size_t held_connection_credit_ = 0;
  std::optional<H2GoAway> after_notice_;
  std::chrono::steady_clock::time_point idle_since_;
  bool idle_ = false;
};

}  // namespace lab
