#include "tests/lab/kube_api_portforward.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/lab/spdy.hpp"

namespace lab {
namespace {

constexpr std::size_t kQueueLimit = 1 << 20;
constexpr std::size_t kGenerated = 64 << 20;
constexpr std::uint32_t kCancel = 5;  // status of RST_STREAM

// What the client has sent on one forwarded connection and the pod has not taken yet.
class Inbox {
 public:
  // Blocks while the queue is full: the whole client waits then.
  void put(std::string_view bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || bytes_.size() < kQueueLimit; });
    if (!ended_) bytes_ += bytes;
    changed_.notify_all();
  }
  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  // The connection is of no use to the client any more.
  void abort() {
    const std::scoped_lock lock(mutex_);
    ended_ = aborted_ = true;
    bytes_.clear();
    changed_.notify_all();
  }
  std::string take() {  // "" at the end
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !bytes_.empty(); });
    changed_.notify_all();
    return std::exchange(bytes_, {});
  }
  bool aborted() {
    const std::scoped_lock lock(mutex_);
    return aborted_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string bytes_;
  bool ended_ = false;
  bool aborted_ = false;
};

struct Forwarded {
  std::uint32_t data = 0;
  std::uint32_t error = 0;
  int port = 0;
  Inbox inbox;
  std::thread service;
};

void echo(SpdyConnection& connection, Forwarded& forwarded) {
  for (std::string bytes = forwarded.inbox.take(); !bytes.empty(); bytes = forwarded.inbox.take()) {
    connection.send(forwarded.data, bytes);
  }
}

void generate(SpdyConnection& connection, Forwarded& forwarded) {
  std::string block(32 * 1024, '\0');
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(' ' + i % 95);
  for (std::size_t sent = 0; sent < kGenerated && !forwarded.inbox.aborted();
       sent += block.size()) {
    connection.send(forwarded.data, block);
  }
}

void hello(SpdyConnection& connection, Forwarded& forwarded, const std::string& pod) {
  std::string head;
  while (head.find("\r\n\r\n") == std::string::npos) {
    const std::string bytes = forwarded.inbox.take();
    if (bytes.empty()) return;
    head += bytes;
  }
  const std::string body = "hello from " + pod + ":" + std::to_string(forwarded.port) + "\n";
  connection.send(forwarded.data,
                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                  "Content-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body);
}

void serve_one(SpdyConnection& connection, Forwarded& forwarded, const std::string& pod) {
  try {
    std::string error;
    if (forwarded.port == 7) {
      echo(connection, forwarded);
    } else if (forwarded.port == 19) {
      generate(connection, forwarded);
    } else if (forwarded.port == 80 || forwarded.port == 8080) {
      hello(connection, forwarded, pod);
    } else {
      error = "error forwarding port " + std::to_string(forwarded.port) + " to pod " + pod +
              ": connection refused";
    }
    forwarded.inbox.end();
    connection.send(forwarded.data, {}, true);
    connection.send(forwarded.error, error, true);
  } catch (const ConnectionLost&) {
    // The reader of the connection notices it too.
  }
}

}  // namespace

void serve_port_forward(Stream& stream, const std::string& pod, const std::atomic<bool>& stop) {
  SpdyConnection connection(stream);
  std::map<std::string, std::shared_ptr<Forwarded>> pairs;        // by request id
  std::map<std::uint32_t, std::shared_ptr<Forwarded>> by_stream;  // both streams of each
  try {
    while (auto event = connection.next(stop)) {
      if (event->kind == SpdyConnection::Event::Kind::opened) {
        const std::string type = event->header("streamtype");
        const int port = std::atoi(event->header("port").c_str());
        if ((type != "data" && type != "error") || port < 1 || port > 65'535) {
          connection.reset(event->stream, kCancel);
          continue;
        }
        connection.accept(event->stream);
        auto& forwarded = pairs[event->header("requestid")];
        if (!forwarded) forwarded = std::make_shared<Forwarded>();
        by_stream[event->stream] = forwarded;
        forwarded->port = port;
        (type == "data" ? forwarded->data : forwarded->error) = event->stream;
        if (type == "data" && event->last) forwarded->inbox.end();
        if (forwarded->data != 0 && forwarded->error != 0 && !forwarded->service.joinable()) {
          forwarded->service = std::thread(
              [&connection, &pod, &each = *forwarded] { serve_one(connection, each, pod); });
        }
        continue;
      }
      const auto found = by_stream.find(event->stream);
      if (found == by_stream.end() || found->second->data != event->stream) continue;
      if (event->kind == SpdyConnection::Event::Kind::reset) {
        found->second->inbox.abort();
        continue;
      }
      if (!event->data.empty()) found->second->inbox.put(event->data);
      if (event->last) found->second->inbox.end();
    }
  } catch (const ConnectionLost&) {
    // The client has gone: end the rest.
  }
  for (const auto& [id, forwarded] : pairs) forwarded->inbox.abort();
  for (const auto& [id, forwarded] : pairs) {
    if (forwarded->service.joinable()) forwarded->service.join();
  }
}

}  // namespace lab
