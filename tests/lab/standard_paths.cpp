#include "tests/lab/standard_paths.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

#include <boost/json.hpp>

#include "tests/lab/body_reader.hpp"

namespace lab {
namespace {

constexpr std::size_t kBlock = 64 * 1024;
constexpr std::string_view kBinary = "application/octet-stream";

// The number after a prefix of the path, or after `name=` in the query.
std::size_t number(std::string_view text, std::size_t otherwise) {
  std::size_t value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::size_t path_number(const Request& request) {
  return number(std::string_view(request.path).substr(request.path.rfind('/') + 1), 0);
}

std::size_t query_number(const Request& request, std::string_view name, std::size_t otherwise) {
  std::string_view rest = request.query;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('&'));
    if (part.substr(0, name.size()) == name && part.substr(name.size(), 1) == "=") {
      return number(part.substr(name.size() + 1), otherwise);
    }
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
  }
  return otherwise;
}

void head(Stream& stream, int status, const std::string& fields) {
  stream.write("HTTP/1.1 " + std::to_string(status) + " Lab\r\n" + fields + "\r\n");
}

void write_pattern(Stream& stream, std::size_t count) {
  for (std::size_t sent = 0; sent < count;) {
    const std::size_t now = std::min(kBlock, count - sent);
    stream.write(pattern_bytes(now, sent));
    sent += now;
  }
}

bool bytes(Stream& stream, const Request& request) {
  const std::size_t count = path_number(request);
  read_body(stream, request);
  head(stream, 200,
       "Content-Type: " + std::string(kBinary) + "\r\nContent-Length: " + std::to_string(count) +
           "\r\n");
  if (request.method != "HEAD") write_pattern(stream, count);
  return true;
}

bool chunked(Stream& stream, const Request& request) {
  const std::size_t count = path_number(request);
  const std::size_t chunk = std::max<std::size_t>(1, query_number(request, "chunk", 4096));
  read_body(stream, request);
  begin_chunked(stream, 200, kBinary);
  if (request.method == "HEAD") return true;
  for (std::size_t sent = 0; sent < count;) {
    const std::size_t now = std::min(chunk, count - sent);
    write_chunk(stream, pattern_bytes(now, sent));
    sent += now;
  }
  end_chunked(stream);
  return true;
}

bool trailers(Stream& stream, const Request& request) {
  const std::size_t count = path_number(request);
  read_body(stream, request);
  head(stream, 200,
       "Content-Type: " + std::string(kBinary) +
           "\r\nTrailer: X-Checksum, X-Done\r\nTransfer-Encoding: chunked\r\n");
  for (std::size_t sent = 0; sent < count;) {
    const std::size_t now = std::min(kBlock, count - sent);
    write_chunk(stream, pattern_bytes(now, sent));
    sent += now;
  }
  stream.write("0\r\nX-Checksum: " + std::to_string(count) + "\r\nX-Done: yes\r\n\r\n");
  return true;
}

bool echo(Stream& stream, const Request& request) {
  BodyReader body(stream, request);
  auto piece = body.next();  // sends 100 Continue first, if that is wanted
  std::string fields = "Content-Type: " + std::string(kBinary) + "\r\n";
  if (body.chunked()) {
    fields += "Transfer-Encoding: chunked\r\n";
  } else {
    fields += "Content-Length: " + std::to_string(body.length()) + "\r\n";
  }
  head(stream, 200, fields);
  for (; piece; piece = body.next()) {
    if (body.chunked()) {
      write_chunk(stream, *piece);
    } else {
      stream.write(*piece);
    }
  }
  if (body.chunked()) {
    std::string end = "0\r\n";
    for (const auto& [name, value] : body.trailers()) end += name + ": " + value + "\r\n";
    stream.write(end + "\r\n");
  }
  return true;
}

bool watch(Stream& stream, const Request& request, EventGate& gate) {
  const std::size_t events = query_number(request, "events", 1);
  const bool open = query_number(request, "open", 0) != 0;
  begin_chunked(stream, 200, "application/json");
  // Hundreds of watches that look every moment whether their client is still there cost a CPU.
  const int look = stream.on_peer_end([&gate] { gate.wake(); }) ? 200 : 20;
  for (std::size_t i = 1; i <= events; ++i) {
    while (!open && !gate.take(look)) {
      if (stream.peer_ended()) throw ConnectionLost{"the client left a watch"};
    }
    const boost::json::object event{
        {"type", "ADDED"}, {"object", boost::json::object{{"kind", "Event"}, {"number", i}}}};
    write_chunk(stream, boost::json::serialize(event) + "\n");
  }
  end_chunked(stream);
  return true;
}

bool status(Stream& stream, const Request& request) {
  read_body(stream, request);
  const int code = static_cast<int>(path_number(request));
  const std::string body = "status " + std::to_string(code) + "\n";
  if (request.method == "HEAD") {
    head(stream, code, "Content-Length: " + std::to_string(body.size()) + "\r\n");
  } else {
    answer(stream, code, "text/plain", body);
  }
  return true;
}

bool early(Stream& stream, const Request& request) {
  answer(stream, static_cast<int>(path_number(request)), "text/plain", "too early\n",
         {{"Connection", "close"}});
  return false;
}

bool hints(Stream& stream, const Request& request) {
  read_body(stream, request);
  stream.write("HTTP/1.1 103 Early Hints\r\nLink: </style>; rel=preload\r\n\r\n");
  answer(stream, 200, "text/plain", "after the hints\n");
  return true;
}

bool until_close(Stream& stream, const Request& request) {
  read_body(stream, request);
  head(stream, 200, "Content-Type: " + std::string(kBinary) + "\r\nConnection: close\r\n");
  write_pattern(stream, path_number(request));
  return false;
}

bool headers(Stream& stream, const Request& request) {
  read_body(stream, request);
  boost::json::array fields;
  for (const auto& [name, value] : request.headers) {
    fields.push_back(boost::json::array{name, value});
  }
  answer(stream, 200, "application/json", boost::json::serialize(fields));
  return true;
}

bool whoami(Stream& stream, const Request& request) {
  read_body(stream, request);
  const boost::json::object who{{"user", request.user},
                                {"groups", boost::json::value_from(request.groups)}};
  answer(stream, 200, "application/json", boost::json::serialize(who));
  return true;
}

bool version(Stream& stream, const Request& request) {
  read_body(stream, request);
  answer(stream, 200, "application/json", R"({"major":"1","minor":"30","gitVersion":"v1.30.0"})");
  return true;
}

}  // namespace

void EventGate::release(std::size_t events) {
  {
    const std::scoped_lock lock(mutex_);
    permits_ += events;
  }
  changed_.notify_all();
}

bool EventGate::take(int milliseconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                    [&, before = wakes_] { return permits_ > 0 || wakes_ != before; });
  if (permits_ == 0) return false;
  --permits_;
  return true;
}

void EventGate::wake() {
  {
    const std::scoped_lock lock(mutex_);
    ++wakes_;
  }
  changed_.notify_all();
}

std::string pattern_bytes(std::size_t count, std::size_t from) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    text[i] = static_cast<char>('a' + static_cast<char>((from + i) % 26));
  }
  return text;
}

Handler standard_paths(EventGate& gate, Handler otherwise) {
  return [&gate, otherwise = std::move(otherwise)](Stream& stream, Request& request) {
    const std::string_view path = request.path;
    if (path.starts_with("/bytes/")) return bytes(stream, request);
    if (path.starts_with("/chunked/")) return chunked(stream, request);
    if (path.starts_with("/trailers/")) return trailers(stream, request);
    if (path == "/echo") return echo(stream, request);
    if (path == "/watch") return watch(stream, request, gate);
    if (path.starts_with("/status/")) return status(stream, request);
    if (path.starts_with("/early/")) return early(stream, request);
    if (path == "/hints") return hints(stream, request);
    if (path.starts_with("/until-close/")) return until_close(stream, request);
    if (path == "/headers") return headers(stream, request);
    if (path == "/whoami") return whoami(stream, request);
    if (otherwise) return otherwise(stream, request);
    if (path == "/version") return version(stream, request);
    read_body(stream, request);
    answer_status(stream, 404, "NotFound", "the lab has nothing at " + request.path);
    return true;
  };
}

}  // namespace lab
