#include <deque>
#include <map>

#include "tests/lab/exec_transports.hpp"
#include "tests/lab/spdy.hpp"

namespace lab {
namespace {

class SpdyChannels final : public ExecChannels {
 public:
  SpdyChannels(Stream& stream, const std::atomic<bool>& stop)
      : stream_(stream), stop_(stop), connection_(stream) {}

  // Until all the streams are open; what came on the first of them meanwhile is kept.
  bool open(const ExecStreams& wanted) {
    std::size_t missing = 1;
    for (const bool each : {wanted.input, wanted.output, wanted.error, wanted.terminal}) {
      missing += each ? 1 : 0;
    }
    while (missing > 0) {
      auto event = connection_.next(stop_);
      if (!event) return false;
      if (event->kind == SpdyConnection::Event::Kind::opened) {
        connection_.accept(event->stream);
        streams_[event->header("streamtype")] = event->stream;
        --missing;
      } else {
        early_.push_back(std::move(*event));
      }
    }
    return true;
  }

  ExecInput next() override {
    for (;;) {
      std::optional<SpdyConnection::Event> event;
      if (input_ended_) {
        input_ended_ = false;
        return {ExecInput::Kind::end, {}, {}};
      }
      if (!early_.empty()) {
        event = std::move(early_.front());
        early_.pop_front();
      } else {
        event = connection_.next(stop_);
      }
      if (!event) return {};
      const bool input = event->stream == number("stdin");
      if (input && (event->last || event->kind == SpdyConnection::Event::Kind::reset)) {
        input_ended_ = true;
      }
      if (input && !event->data.empty()) {
        return {ExecInput::Kind::data, std::move(event->data), {}};
      }
      if (event->stream == number("resize")) {
        if (const auto size = parse_terminal_size(event->data)) {
          return {ExecInput::Kind::resize, {}, *size};
        }
      }
    }
  }

  bool gone() override { return stop_ || stream_.peer_ended(); }

  void write_output(std::string_view bytes) override { send("stdout", bytes); }
  void write_error(std::string_view bytes) override { send("stderr", bytes); }

  void finish(std::string_view status) override {
    for (const auto& [type, id] : streams_) {
      connection_.send(id, type == "error" ? status : std::string_view(), true);
    }
  }

 private:
  std::uint32_t number(const std::string& type) const {
    const auto found = streams_.find(type);
    return found == streams_.end() ? 0 : found->second;
  }
  void send(const std::string& type, std::string_view bytes) {
    if (const std::uint32_t id = number(type); id != 0 && !bytes.empty()) {
      connection_.send(id, bytes);
    }
  }

  Stream& stream_;
  const std::atomic<bool>& stop_;
  SpdyConnection connection_;
  std::map<std::string, std::uint32_t> streams_;  // by type
  std::deque<SpdyConnection::Event> early_;
  bool input_ended_ = false;
};

}  // namespace

std::unique_ptr<ExecChannels> exec_over_spdy(Stream& stream, const ExecStreams& wanted,
                                             const std::atomic<bool>& stop) {
  stream.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
      "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n");
  auto channels = std::make_unique<SpdyChannels>(stream, stop);
  if (!channels->open(wanted)) return nullptr;
  return channels;
}

}  // namespace lab
