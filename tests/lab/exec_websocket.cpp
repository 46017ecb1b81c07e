#include "tests/lab/exec_transports.hpp"
#include "tests/lab/websocket.hpp"

namespace lab {
namespace {

// The first byte of a message is its channel.
constexpr char kInput = 0;
constexpr char kOutput = 1;
constexpr char kError = 2;
constexpr char kStatus = 3;
constexpr char kResize = 4;
constexpr char kCloseSignal = static_cast<char>(255);  // v5: the next byte names what has ended
constexpr std::size_t kLargestPiece = 32 * 1024;

class WebSocketChannels final : public ExecChannels {
 public:
  WebSocketChannels(Stream& stream, bool close_signal, const std::atomic<bool>& stop)
      : stream_(stream), stop_(stop), socket_(stream), close_signal_(close_signal) {}

  // An empty message on the first output tells the client that the session stands.
  void greet(const ExecStreams& wanted) {
    write(wanted.output ? kOutput : wanted.error ? kError : kStatus, {});
  }

  ExecInput next() override {
    try {
      while (auto message = socket_.read(stop_)) {
        if (message->empty()) continue;
        const char channel = message->front();
        if (channel == kInput && message->size() > 1) {
          return {ExecInput::Kind::data, message->substr(1), {}};
        }
        if (close_signal_ && channel == kCloseSignal && message->size() == 2 &&
            message->back() == kInput) {
          return {ExecInput::Kind::end, {}, {}};
        }
        if (channel == kResize) {
          if (const auto size = parse_terminal_size(std::string_view(*message).substr(1))) {
            return {ExecInput::Kind::resize, {}, *size};
          }
        }
      }
    } catch (const ConnectionLost&) {
      // As good as a Close.
    }
    return {};
  }

  bool gone() override { return stop_ || stream_.peer_ended(); }

  void write_output(std::string_view bytes) override { write_pieces(kOutput, bytes); }
  void write_error(std::string_view bytes) override { write_pieces(kError, bytes); }

  void finish(std::string_view status) override {
    write(kStatus, status);
    socket_.close(1000);
  }

 private:
  void write(char channel, std::string_view bytes) {
    std::string message(1, channel);
    message += bytes;
    socket_.write(message);
  }
  void write_pieces(char channel, std::string_view bytes) {
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, kLargestPiece);
      write(channel, piece);
      bytes.remove_prefix(piece.size());
    }
  }

  Stream& stream_;
  const std::atomic<bool>& stop_;
  WebSocket socket_;
  bool close_signal_;
};

}  // namespace

std::unique_ptr<ExecChannels> exec_over_websocket(Stream& stream, const Request& request,
                                                  std::string_view subprotocol,
                                                  const ExecStreams& wanted,
                                                  const std::atomic<bool>& stop) {
  accept_websocket(stream, request, subprotocol);
  auto channels =
      std::make_unique<WebSocketChannels>(stream, subprotocol == "v5.channel.k8s.io", stop);
  channels->greet(wanted);
  return channels;
}

}  // namespace lab
