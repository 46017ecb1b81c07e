#include "tests/lab/connection_upgrade.hpp"

#include <atomic>
#include <thread>

#include <sys/socket.h>

#include "tests/lab/listening_socket.hpp"
#include "tests/lab/websocket.hpp"

namespace lab {
namespace {

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace

void serve_connection_upgrade(Stream& stream, const Request& request, std::uint16_t port) {
  const std::string subprotocol = request.header("Sec-WebSocket-Protocol");
  if (!is_websocket_upgrade(request) || (subprotocol != "alpn" && subprotocol != "alpn-ping")) {
    answer(stream, 404, "application/json", R"({"error":{"message":"no such upgrade"}})");
    return;
  }
  const Socket inner = connect_to(port);
  if (!inner) throw ConnectionLost{"upgrade: the Proxy does not answer"};
  accept_websocket(stream, request, subprotocol);
  WebSocket socket(stream);
  socket.forbid_fragments();
  std::atomic<bool> over{false};
  std::thread upward([&] {
    try {
      while (const auto message = socket.read(over))
        if (!send_all(inner.fd(), *message)) break;
    } catch (const ConnectionLost&) {
      stream.reset();
    }
    shutdown(inner.fd(), SHUT_RDWR);
  });
  try {
    char block[16 * 1024];
    for (ssize_t got = 0; (got = recv(inner.fd(), block, sizeof block, 0)) > 0;)
      socket.write({block, static_cast<std::size_t>(got)});
    socket.close(1000);
  } catch (const ConnectionLost&) {
    shutdown(inner.fd(), SHUT_RDWR);
  }
  over = true;
  upward.join();
}

}  // namespace lab
