// The lab's own HTTP/1.1: a blocking byte stream, a request as it was read, helpers to answer.
// Written from RFC 9112 and the specification; shares nothing with the product, so that the two
// cannot agree on a mistake. One thread per connection.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lab {

// A connected, blocking stream with a read buffer. Throws ConnectionLost on a broken connection.
struct ConnectionLost {
  std::string what;
};
class Stream {
 public:
  virtual ~Stream() = default;
  // Reads at least one byte; 0 means the peer ended its direction.
  std::size_t read(char* into, std::size_t bytes);
  // Up to and including the delimiter; throws ConnectionLost when the peer ends first.
  std::string read_until(std::string_view delimiter, std::size_t limit = 1 << 20);
  void read_exactly(char* into, std::size_t bytes);
  void write(std::string_view bytes);  // all of it
  virtual void close_write() = 0;      // TLS close_notify and TCP half-close
  virtual void reset() = 0;            // RST now (SO_LINGER 0)
  // False when no byte and no end came within the time; the connection stays usable.
  virtual bool wait_readable(int milliseconds) = 0;
  // The peer has gone, whether or not its bytes were all read. False where that is not known.
  virtual bool peer_ended() const { return false; }
  // Calls that, once, when the peer goes, from any thread. False where nobody can: then ask
  // peer_ended() now and then.
  virtual bool on_peer_end(std::function<void()> /*notify*/) { return false; }
  bool buffered() const { return !buffer_.empty(); }

 protected:
  virtual std::size_t read_some(char* into, std::size_t bytes) = 0;  // 0: end
  virtual void write_all(std::string_view bytes) = 0;

 private:
  std::string buffer_;  // read ahead by read_until
};

struct Request {
  std::string raw_head;  // exactly the bytes received, final empty line included
  std::string method;
  std::string target;  // as received
  std::string path;    // target up to '?'
  std::string query;   // without '?'
  std::vector<std::pair<std::string, std::string>> headers;
  // Kubernetes user after Teleport's mapping and impersonation; for the API and its log.
  std::string user;
  std::vector<std::string> groups;

  // First value, case-insensitive name; empty when absent.
  std::string header(std::string_view name) const;
  bool has(std::string_view name) const;
};

// Reads one head. False when the peer ended the connection cleanly before a first byte.
bool read_request(Stream& stream, Request& request);

// Reads the whole body by its framing (length or chunked, trailers kept), decoded.
struct Body {
  std::string bytes;
  std::vector<std::pair<std::string, std::string>> trailers;
};
Body read_body(Stream& stream, const Request& request);

// Head and body with Content-Length; extra headers as given.
void answer(Stream& stream, int status, std::string_view content_type, std::string_view body,
            const std::vector<std::pair<std::string, std::string>>& headers = {});
void begin_chunked(Stream& stream, int status, std::string_view content_type);
void write_chunk(Stream& stream, std::string_view data);
void end_chunked(Stream& stream);

// A Kubernetes Status as an answer.
void answer_status(Stream& stream, int code, std::string_view reason, std::string_view message);

// Serves one request whose head was read; the body, if any, is still unread. Returns false when the
// connection must be closed afterwards (after an upgrade, or when the answer was ended by closing).
using Handler = std::function<bool(Stream&, Request&)>;

}  // namespace lab
