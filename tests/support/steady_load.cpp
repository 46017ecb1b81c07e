#include "tests/support/steady_load.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <random>
#include <stdexcept>

#include "tests/lab/standard_paths.hpp"

namespace support {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kFailureTexts = 30;
constexpr std::size_t kWatchesPerConnection = 25;
constexpr std::size_t kUploadsPerConnection = 5;
constexpr std::size_t kPiece = std::size_t{64} * 1024;
// Small answers, as most of Kubernetes'; every tenth request is a POST, which nobody repeats.
constexpr std::array<std::size_t, 5> kSizes{100, 1, 2000, 700, 9000};
constexpr std::size_t kPostEvery = 10;

std::string get_target(std::size_t number) {
  return "/bytes/" + std::to_string(kSizes[number % kSizes.size()]);
}
std::string get_body(std::size_t number) {
  return lab::pattern_bytes(kSizes[number % kSizes.size()]);
}
std::string post_body(std::size_t number) { return "created by request " + std::to_string(number); }

// No restart excuses it.
struct WrongEvent : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace

// The events of one watch over all its resumptions: each exactly once, in order.
class SteadyLoad::EventCheck {
 public:
  std::uint64_t next() const { return next_; }
  // How many events were completed. Throws when they are not the next ones.
  std::size_t take(std::string_view bytes) {
    open_ += bytes;
    std::size_t events = 0;
    for (std::size_t end = open_.find('\n'); end != open_.npos; end = open_.find('\n')) {
      const std::string line = open_.substr(0, end + 1);
      if (line != lab::event_line(next_))
        throw WrongEvent("event " + std::to_string(next_) + " expected: " + line);
      open_.erase(0, end + 1);
      ++next_;
      ++events;
    }
    return events;
  }
  // What had come of an event before the connection was lost.
  void forget_open() { open_.clear(); }
  // At the end of a response. Throws when it is in the middle of an event.
  void end() const {
    if (!open_.empty()) throw std::runtime_error("ended within an event: " + open_);
  }

 private:
  std::uint64_t next_ = 1;
  std::string open_;
};

// Due times, evenly spaced; who is late does not catch up more than a second's worth.
class SteadyLoad::Pace {
 public:
  explicit Pace(double per_second)
      : step_(per_second > 0 ? std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(1 / per_second))
                             : Clock::duration::zero()) {}
  void wait() {
    if (step_ == Clock::duration::zero()) return;
    due_ = std::max(due_ + step_, Clock::now() - std::chrono::seconds(1));
    std::this_thread::sleep_until(due_);
  }

 private:
  Clock::duration step_;
  Clock::time_point due_ = Clock::now();
};

// An upload's bytes, made and summed up piece by piece.
struct SteadyLoad::Body {
  explicit Body(std::size_t seed) : random(static_cast<unsigned>(seed)) {}
  std::string piece() {
    std::string made(1 + random() % kPiece, '\0');
    for (char& byte : made) byte = static_cast<char>(random() >> 8);
    digest.add(made);
    bytes += made.size();
    return made;
  }
  std::minstd_rand random;
  lab::Digest digest;
  std::size_t bytes = 0;
};

SteadyLoad::SteadyLoad(LoadTarget target, const LoadShape& shape, lab::Beat& beat)
    : target_(std::move(target)), shape_(shape), beat_(beat) {
  beats_ = std::thread([this] {
    for (auto due = Clock::now(); !beats_end_;) {
      due = std::max(due + shape_.beat, Clock::now());
      std::this_thread::sleep_until(due);
      beat_.strike();
    }
  });
  start(shape_.request_clients, [this](std::size_t i) { send_requests_http1(i); });
  start(shape_.request_clients, [this](std::size_t i) { send_requests_http2(i); });
  start(shape_.watches, [this](std::size_t i) { watch_http1(i); });
  start(shape_.uploads, [this](std::size_t i) { upload_http1(i); });
  const auto groups = [this](std::size_t all, std::size_t most, auto run) {
    start((all + most - 1) / most, [=](std::size_t i) { run(std::min(most, all - i * most)); });
  };
  groups(shape_.watches, kWatchesPerConnection, [this](std::size_t n) { watch_http2(n); });
  groups(shape_.uploads, kUploadsPerConnection, [this](std::size_t n) { upload_http2(n); });
}

SteadyLoad::~SteadyLoad() { stop(); }

void SteadyLoad::stop() {
  stopping_ = true;
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  beats_end_ = true;
  if (beats_.joinable()) beats_.join();
}

void SteadyLoad::start(std::size_t threads, const std::function<void(std::size_t)>& run) {
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([run, i] { run(i); });
}

LoadFigures SteadyLoad::figures(Protocol of) const {
  const Counters& from = counters_[of];
  return {from.requests,    from.events,  from.watches_running, from.watches_resumed,
          from.watches_cut, from.uploads, from.upload_bytes,    from.connections};
}

std::size_t SteadyLoad::failures() const {
  const std::scoped_lock lock(mutex_);
  return failures_;
}

std::vector<std::string> SteadyLoad::failure_texts() const {
  const std::scoped_lock lock(mutex_);
  return failure_texts_;
}

bool SteadyLoad::posts(std::size_t number) const {
  return !shape_.restarts && number % kPostEvery == kPostEvery - 1;
}

void SteadyLoad::watch_failed(Protocol over, const std::string& why) {
  if (shape_.restarts)
    ++counters_[over].watches_cut;
  else
    fail(over == http1 ? "watch over HTTP/1.1" : "watch over HTTP/2", why);
}

void SteadyLoad::fail(const std::string& what, const std::string& why) {
  const std::scoped_lock lock(mutex_);
  ++failures_;
  if (failure_texts_.size() < kFailureTexts) failure_texts_.push_back(what + ": " + why);
}

std::unique_ptr<TlsClient> SteadyLoad::connect_http1() {
  ++counters_[http1].connections;
  return std::make_unique<TlsClient>(target_.connect());
}

std::unique_ptr<H2Client> SteadyLoad::connect_http2() {
  ++counters_[http2].connections;
  return target_.connect_h2();
}

void SteadyLoad::wait_beat(std::uint64_t& known) const {
  if (!stopping_) known = beat_.wait_after(known, std::chrono::seconds(5));
}

// ---------------------------------------------------------------- requests

void SteadyLoad::send_requests_http1(std::size_t client) {
  std::unique_ptr<TlsClient> connection;
  Pace pace(shape_.requests_per_second / static_cast<double>(shape_.request_clients));
  for (std::size_t number = client; !stopping_; ++number) {
    pace.wait();
    const std::string body = posts(number) ? post_body(number) : get_body(number);
    const std::string target = posts(number) ? "/echo" : get_target(number);
    try {
      if (!connection) connection = connect_http1();
      connection->write(
          posts(number)
              ? target_.request("POST", target,
                                "Content-Length: " + std::to_string(body.size()) + "\r\n") +
                    body
              : target_.request("GET", target, ""));
      const Response response = connection->read_response();
      if (response.status != 200 || !response.complete || response.body != body)
        throw std::runtime_error(std::to_string(response.status) + " " + response.body);
      ++counters_[http1].requests;
      if (response.header("Connection") == "close") connection.reset();
    } catch (const std::exception& error) {
      fail("HTTP/1.1 " + target, error.what());
      connection.reset();
    }
  }
}

void SteadyLoad::send_requests_http2(std::size_t client) {
  std::unique_ptr<H2Client> connection;
  Pace pace(shape_.requests_per_second / static_cast<double>(shape_.request_clients) /
            static_cast<double>(shape_.streams));
  for (std::size_t first = client; !stopping_; first += shape_.streams) {
    pace.wait();
    try {
      if (!connection || connection->goaway()) connection = connect_http2();
      std::vector<H2Client::StreamId> streams;
      for (std::size_t number = first; number < first + shape_.streams; ++number) {
        H2Request request = posts(number) ? target_.h2_request("POST", "/echo")
                                          : target_.h2_request("GET", get_target(number));
        if (posts(number)) request.body = post_body(number);
        streams.push_back(connection->send(request));
      }
      for (std::size_t i = 0; i < streams.size(); ++i) {
        const std::size_t number = first + i;
        const H2Response response = connection->finish_and_forget(streams[i]);
        const std::string body = posts(number) ? post_body(number) : get_body(number);
        if (response.status == 200 && response.ended && response.body == body) {
          ++counters_[http2].requests;
          continue;
        }
        fail("HTTP/2 " + (posts(number) ? "/echo" : get_target(number)),
             std::to_string(response.status) + " code " + std::to_string(response.close_code) +
                 " " + response.body);
      }
    } catch (const std::exception& error) {
      fail("HTTP/2 request", error.what());
      connection.reset();
    }
  }
}

// ---------------------------------------------------------------- watches

std::string SteadyLoad::events_target(std::uint64_t from, std::size_t salt) const {
  const std::uint64_t range = shape_.most_events - shape_.least_events + 1;
  const std::uint64_t count = shape_.least_events + (from * 7 + salt * 13) % range;
  return "/events?watch=1&from=" + std::to_string(from) + "&count=" + std::to_string(count);
}

void SteadyLoad::watch_http1(std::size_t number) {
  Counters& counters = counters_[http1];
  EventCheck check;
  std::unique_ptr<TlsClient> connection;
  for (bool resumed = false; !stopping_; resumed = true) {
    bool running = false;
    try {
      if (!connection) connection = connect_http1();
      connection->write(target_.request("GET", events_target(check.next(), number), ""));
      const Response head = connection->read_response_head();
      if (head.status != 200) throw std::runtime_error("status " + std::to_string(head.status));
      ++counters.watches_running;
      running = true;
      if (resumed) ++counters.watches_resumed;
      for (;;) {
        const std::string size_line = connection->read_until("\r\n");
        const std::size_t size = std::stoul(size_line, nullptr, 16);
        const std::string chunk = connection->read_exactly(size + 2);
        if (chunk.size() < size + 2) throw std::runtime_error("cut within a chunk");
        if (size == 0) break;
        counters.events += check.take(std::string_view(chunk).substr(0, size));
        if (stopping_) {
          connection->reset();
          --counters.watches_running;
          return;
        }
      }
      check.end();
      if (head.header("Connection") == "close") connection.reset();
    } catch (const WrongEvent& error) {
      fail("watch over HTTP/1.1", error.what());
      connection.reset();
    } catch (const std::exception& error) {
      watch_failed(http1, error.what());
      check.forget_open();
      connection.reset();
    }
    if (running) --counters.watches_running;
  }
}

// The watches of one connection, between its thread, which takes in the events, and ours.
struct SteadyLoad::Http2Watches {
  struct Watch {
    EventCheck check;
    std::string broken;  // by the connection's thread
    H2Client::StreamId stream = 0;
    bool opened_before = false;
  };
  std::vector<Watch> all;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::size_t> closed;
};

void SteadyLoad::watch_http2(std::size_t watches) {
  Counters& counters = counters_[http2];
  Http2Watches of;
  of.all.resize(watches);
  std::unique_ptr<H2Client> connection;
  std::size_t running = 0;
  const auto open = [&](std::size_t i) {
    Http2Watches::Watch& watch = of.all[i];
    H2Request request = target_.h2_request("GET", events_target(watch.check.next(), i));
    request.sink = [&counters, &watch](std::string_view bytes) {
      try {
        counters.events += watch.check.take(bytes);
      } catch (const std::exception& error) {
        watch.broken = error.what();
      }
    };
    request.on_closed = [&of, i] {
      const std::scoped_lock lock(of.mutex);
      of.closed.push_back(i);
      of.changed.notify_all();
    };
    watch.stream = connection->send(request);
    ++running;
    ++counters.watches_running;
    if (std::exchange(watch.opened_before, true)) ++counters.watches_resumed;
  };
  const auto leave = [&] {
    connection.reset();  // its last callbacks still use `of`
    of.closed.clear();
    counters.watches_running -= std::exchange(running, 0);
  };
  const auto reconnect = [&] {
    connection = connect_http2();
    for (std::size_t i = 0; i < watches; ++i) {
      of.all[i].check.forget_open();
      open(i);
    }
  };
  while (!stopping_) {
    try {
      if (!connection) reconnect();
      std::size_t i = 0;
      {
        std::unique_lock lock(of.mutex);
        of.changed.wait_for(lock, std::chrono::milliseconds(200),
                            [&] { return !of.closed.empty(); });
        if (of.closed.empty()) continue;
        i = of.closed.front();
        of.closed.pop_front();
      }
      --running;
      --counters.watches_running;
      Http2Watches::Watch& watch = of.all[i];
      const H2Response response = connection->finish_and_forget(watch.stream);
      if (response.status != 200 || !response.ended)
        throw std::runtime_error("status " + std::to_string(response.status) + " code " +
                                 std::to_string(response.close_code) + " " + connection->error());
      if (!watch.broken.empty()) throw WrongEvent(std::exchange(watch.broken, ""));
      watch.check.end();
      open(i);
    } catch (const WrongEvent& error) {
      fail("watch over HTTP/2", error.what());
      leave();
    } catch (const std::exception& error) {
      watch_failed(http2, error.what());
      leave();
    }
  }
  leave();
}

// ---------------------------------------------------------------- uploads

void SteadyLoad::upload_http1(std::size_t number) {
  std::unique_ptr<TlsClient> connection;
  std::uint64_t beats = beat_.count();
  for (std::size_t round = 0; !stopping_; ++round) {
    // By turns of known length, which must be made in advance, and in chunks.
    const bool chunked = (round + number) % 2 == 0;
    try {
      if (!connection) connection = connect_http1();
      Body body(number * 1000 + round + 1);
      std::vector<std::string> pieces;
      for (std::size_t i = 0; i < shape_.upload_pieces; ++i) pieces.push_back(body.piece());
      connection->write(
          target_.request("POST", "/digest",
                          chunked ? std::string("Transfer-Encoding: chunked\r\n")
                                  : "Content-Length: " + std::to_string(body.bytes) + "\r\n"));
      for (const std::string& piece : pieces) {
        char size[24];
        std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
        connection->write(chunked ? size + piece + "\r\n" : piece);
        wait_beat(beats);
      }
      if (chunked) connection->write("0\r\n\r\n");
      const Response response = connection->read_response();
      if (response.status != 200 || response.body != body.digest.hex())
        throw std::runtime_error(std::to_string(response.status) + " " + response.body);
      ++counters_[http1].uploads;
      counters_[http1].upload_bytes += body.bytes;
      if (response.header("Connection") == "close") connection.reset();
    } catch (const std::exception& error) {
      fail("upload over HTTP/1.1", error.what());
      connection.reset();
    }
  }
}

void SteadyLoad::upload_http2(std::size_t uploads) {
  std::unique_ptr<H2Client> connection;
  std::uint64_t beats = beat_.count();
  for (std::size_t round = 0; !stopping_; ++round) {
    try {
      if (!connection || connection->goaway()) connection = connect_http2();
      std::vector<std::unique_ptr<Body>> bodies;
      std::vector<H2Client::StreamId> streams;
      for (std::size_t i = 0; i < uploads; ++i) {
        bodies.push_back(std::make_unique<Body>(round * uploads + i + 1));
        H2Request request = target_.h2_request("POST", "/digest");
        request.keep_open = true;
        streams.push_back(connection->send(request));
      }
      for (std::size_t piece = 1; piece <= shape_.upload_pieces; ++piece) {
        for (std::size_t i = 0; i < uploads; ++i)
          connection->write(streams[i], bodies[i]->piece(), piece == shape_.upload_pieces);
        wait_beat(beats);
      }
      for (std::size_t i = 0; i < uploads; ++i) {
        const H2Response response = connection->finish_and_forget(streams[i]);
        if (response.status == 200 && response.ended && response.body == bodies[i]->digest.hex()) {
          ++counters_[http2].uploads;
          counters_[http2].upload_bytes += bodies[i]->bytes;
        } else {
          fail("upload over HTTP/2", std::to_string(response.status) + " code " +
                                         std::to_string(response.close_code) + " " + response.body);
        }
      }
    } catch (const std::exception& error) {
      fail("upload over HTTP/2", error.what());
      connection.reset();
    }
  }
}

}  // namespace support
