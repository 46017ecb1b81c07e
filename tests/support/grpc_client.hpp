// gRPC for tests, over H2Client: unary calls, and streams whose messages are sent and awaited one
// by one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/h2_client.hpp"

namespace support {

struct GrpcAnswer {
  int code = -1;  // grpc-status; -1: the call ended without one
  std::string error;
  std::vector<std::string> messages;

  bool ok() const { return code == 0; }
  template <class Message>
  Message as() const {
    Message message;
    if (messages.size() == 1) message.ParseFromString(messages.front());
    return message;
  }
};

class GrpcClient {
 public:
  // Throws std::runtime_error when the connection or the handshake fails.
  GrpcClient(const std::string& host, std::uint16_t port, const ClientOptions& tls)
      : h2_(host, port, tls) {}

  GrpcAnswer call(const std::string& path, std::string_view message, const Fields& more = {});
  template <class Message>
  GrpcAnswer call(const std::string& path, const Message& message, const Fields& more = {}) {
    return call(path, std::string_view(message.SerializeAsString()), more);
  }

  // --- Streams
  H2Client::StreamId open(const std::string& path);
  void send(H2Client::StreamId stream, std::string_view message, bool end = false);
  // The message of that index, once it is there. Throws std::runtime_error when the stream has
  // ended without it, PatienceOver when it does not come.
  std::string message(H2Client::StreamId stream, std::size_t index) const;
  GrpcAnswer finish(H2Client::StreamId stream) const;  // until it is closed

  H2Client& h2() { return h2_; }

 private:
  H2Client h2_;
};

}  // namespace support
