#include "tests/lab/apiserver_forwarder.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lab/body_reader.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {
namespace {

struct Upstream {
  ApiserverOptions options;
  ContextPtr context;
};

ContextPtr client_context(const ApiserverOptions& options) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_load_verify_locations(raw, options.ca_file.c_str(), nullptr) != 1) {
    throw std::runtime_error("cannot read the API server's CA " + options.ca_file);
  }
  if (SSL_CTX_use_certificate_file(raw, options.certificate_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(raw, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    throw std::runtime_error("cannot read the client certificate " + options.certificate_file);
  }
  const unsigned char alpn[] = "\x08http/1.1";
  SSL_CTX_set_alpn_protos(raw, alpn, sizeof alpn - 1);
  return context;
}

std::unique_ptr<TlsStream> dial(const Upstream& upstream) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(upstream.options.port);
  inet_pton(AF_INET, upstream.options.host.c_str(), &address.sin_addr);
  if (connect(socket.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw ConnectionLost{"the API server is not reachable"};
  }
  const int on = 1;
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto stream = std::make_unique<TlsStream>(std::move(socket), upstream.context);
  X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(stream->ssl()), upstream.options.host.c_str());
  stream->connect("");
  return stream;
}

bool hop_by_hop(std::string_view name) {
  constexpr std::array<std::string_view, 9> kNames{
      "Connection", "Keep-Alive", "Proxy-Connection",  "TE",    "Trailer",
      "Upgrade",    "Host",       "Transfer-Encoding", "Expect"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view each) { return same_text(each, name); });
}

std::string upstream_head(const Request& request, bool upgrade) {
  std::string head = request.method + " " + request.target + " HTTP/1.1\r\nHost: kubernetes\r\n";
  for (const auto& [name, value] : request.headers) {
    if (!hop_by_hop(name)) head += name + ": " + value + "\r\n";
  }
  head += "Impersonate-User: " + request.user + "\r\n";
  for (const auto& group : request.groups) head += "Impersonate-Group: " + group + "\r\n";
  if (upgrade) {
    head += "Connection: Upgrade\r\nUpgrade: " + request.header("Upgrade") + "\r\n";
  } else {
    head += "Connection: close\r\n";
    if (request.has("Transfer-Encoding")) head += "Transfer-Encoding: chunked\r\n";
  }
  return head + "\r\n";
}

void send_body(Stream& client, const Request& request, Stream& server) {
  BodyReader body(client, request);
  while (const auto piece = body.next()) {
    if (body.chunked()) {
      write_chunk(server, *piece);
    } else {
      server.write(*piece);
    }
  }
  if (body.chunked()) end_chunked(server);
}

struct ResponseHead {
  int status = 0;
  std::string text;  // without Connection fields and without the final empty line
  bool chunked = false;
  std::optional<std::uint64_t> length;
};

ResponseHead read_response_head(Stream& server, bool keep_connection) {
  ResponseHead head;
  const std::string raw = server.read_until("\r\n\r\n");
  std::size_t at = raw.find("\r\n") + 2;
  head.text = raw.substr(0, at);
  const std::size_t code = raw.find(' ') + 1;
  std::from_chars(raw.data() + code, raw.data() + at, head.status);
  while (at + 2 < raw.size()) {
    const std::size_t end = raw.find("\r\n", at);
    const auto [name, value] = parse_field(std::string_view(raw).substr(at, end - at));
    if (same_text(name, "Transfer-Encoding")) head.chunked = same_text(value, "chunked");
    if (same_text(name, "Content-Length")) {
      std::uint64_t length = 0;
      std::from_chars(value.data(), value.data() + value.size(), length);
      head.length = length;
    }
    if (keep_connection || !same_text(name, "Connection")) {
      head.text += raw.substr(at, end + 2 - at);
    }
    at = end + 2;
  }
  return head;
}

// Waits for the server to say something; throws when the client has gone meanwhile.
void await_server(TlsStream& server, Stream& client) {
  while (!server.wait_readable(50)) {
    if (client.peer_ended()) throw ConnectionLost{"the client has gone"};
  }
}

void relay_exactly(TlsStream& server, Stream& client, std::uint64_t bytes) {
  std::array<char, 32 * 1024> block;
  while (bytes > 0) {
    await_server(server, client);
    const std::size_t got = server.read(
        block.data(), static_cast<std::size_t>(std::min<std::uint64_t>(bytes, block.size())));
    if (got == 0) throw ConnectionLost{"the API server ended early"};
    client.write(std::string_view(block.data(), got));
    bytes -= got;
  }
}

void relay_chunks(TlsStream& server, Stream& client) {
  for (;;) {
    await_server(server, client);
    const std::string line = server.read_until("\r\n");
    std::uint64_t size = 0;
    std::from_chars(line.data(), line.data() + line.size(), size, 16);
    if (size == 0) {
      std::string end = line;
      for (std::string trailer = server.read_until("\r\n"); trailer != "\r\n";
           trailer = server.read_until("\r\n")) {
        end += trailer;
      }
      client.write(end + "\r\n");
      return;
    }
    std::string chunk(static_cast<std::size_t>(size + 2), '\0');
    server.read_exactly(chunk.data(), chunk.size());
    client.write(line + chunk);
  }
}

// One direction of a tunnel, with its end passed on.
void pump(Stream& from, Stream& to) {
  std::array<char, 32 * 1024> block;
  try {
    for (std::size_t got = from.read(block.data(), block.size()); got > 0;
         got = from.read(block.data(), block.size())) {
      to.write(std::string_view(block.data(), got));
    }
    to.close_write();
  } catch (const ConnectionLost&) {
    from.reset();  // ends the other direction as well
    to.reset();
  }
}

void tunnel(Stream& client, Stream& server) {
  std::thread down([&] { pump(server, client); });
  pump(client, server);
  down.join();
}

bool forward(const Upstream& upstream, Stream& client, const Request& request) {
  std::unique_ptr<TlsStream> server;
  try {
    server = dial(upstream);
  } catch (const ConnectionLost& lost) {
    answer_status(client, 504, "Timeout", lost.what);
    return false;
  }
  const bool upgrade = request.has("Upgrade");
  server->write(upstream_head(request, upgrade));
  if (!upgrade) send_body(client, request, *server);
  for (;;) {
    await_server(*server, client);
    ResponseHead head = read_response_head(*server, upgrade);
    if (head.status == 101) {
      client.write(head.text + "\r\n");
      tunnel(client, *server);
      return false;
    }
    const bool interim = head.status < 200;
    const bool bodiless =
        interim || head.status == 204 || head.status == 304 || request.method == "HEAD";
    const bool until_close = !bodiless && !head.chunked && !head.length;
    if (until_close) head.text += "Connection: close\r\n";
    client.write(head.text + "\r\n");
    if (interim) continue;
    if (bodiless) return !upgrade;
    if (head.chunked) {
      relay_chunks(*server, client);
    } else if (head.length) {
      relay_exactly(*server, client, *head.length);
    } else {
      pump(*server, client);
    }
    // A refused upgrade may have left bytes of the client unread.
    return !until_close && !upgrade;
  }
}

}  // namespace

Handler forward_to_apiserver(const ApiserverOptions& options) {
  const Upstream upstream{options, client_context(options)};
  return
      [upstream](Stream& client, Request& request) { return forward(upstream, client, request); };
}

}  // namespace lab
