#include "tests/lab/l7_balancer.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/lab/listening_socket.hpp"
#include "tests/lab/server_context.hpp"

namespace lab {
namespace {

constexpr int kLook = 20;  // milliseconds between looks at stopping_

}  // namespace

struct L7Balancer::Connection {
  Socket socket;
  std::atomic<bool> cut{false};
  std::thread thread;
};

L7Balancer::L7Balancer(std::uint16_t proxy_port, std::vector<const char*> alpn)
    : proxy_port_(proxy_port),
      alpn_(std::move(alpn)),
      authority_(make_authority("balancer.example.com", KeyKind::ecdsa)),
      certificate_(issue_server(authority_, "balancer", {"localhost", "127.0.0.1"})),
      server_(server_context(certificate_, alpn_)),
      client_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free),
      listener_(listening_socket(port_)),
      acceptor_([this] { accept_loop(); }) {
  if (alpn_.empty()) SSL_CTX_set_alpn_select_cb(server_.get(), nullptr, nullptr);
}

L7Balancer::~L7Balancer() {
  stopping_ = true;
  shutdown(listener_.fd(), SHUT_RDWR);
  acceptor_.join();
  for (const auto& connection : connections_) connection->thread.join();
}

void L7Balancer::cut_all() {
  const std::scoped_lock lock(mutex_);
  for (const auto& connection : connections_) connection->cut = true;
}

void L7Balancer::accept_loop() {
  while (!stopping_) {
    Socket socket(accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;
    const int on = 1;
    setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++accepted_;
    auto connection = std::make_unique<Connection>();
    connection->socket = std::move(socket);
    Connection& raw = *connection;
    const std::scoped_lock lock(mutex_);
    connections_.push_back(std::move(connection));
    raw.thread = std::thread([this, &raw] {
      try {
        serve(raw);
      } catch (const ConnectionLost&) {
        return;  // either side went
      }
    });
  }
}

bool L7Balancer::refuse_upgrade(TlsStream& client, std::string_view head) const {
  if (refused_status_ == 0 || head.find("/webapi/connectionupgrade") == head.npos) return false;
  answer(client, refused_status_, "text/html", "<html>");
  client.linger(1000);
  return true;
}

void L7Balancer::serve(Connection& connection) {
  TlsStream client(std::move(connection.socket), server_);
  client.accept();
  if (chosen_alpn(client) == "h2") return;
  TlsStream server(connect_to(proxy_port_), client_);
  server.connect("localhost");
  TlsStream* const ends[2] = {&client, &server};
  bool open[2] = {true, true};
  while ((open[0] || open[1]) && !stopping_ && !connection.cut) {
    bool moved = false;
    for (int i = 0; i < 2; ++i) {
      char block[16 * 1024];
      const auto got = open[i] ? ends[i]->try_read(block, sizeof block) : std::nullopt;
      if (!got) continue;
      moved = true;
      if (i == 0 && refuse_upgrade(client, {block, *got})) return;
      if (*got > 0) {
        ends[1 - i]->write({block, *got});
      } else {
        open[i] = false;
        ends[1 - i]->close_write();
      }
    }
    if (moved) continue;
    pollfd ready[2] = {{open[0] ? client.fd() : -1, POLLIN, 0},
                       {open[1] ? server.fd() : -1, POLLIN, 0}};
    poll(ready, 2, kLook);
  }
}

}  // namespace lab
