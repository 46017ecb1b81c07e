#include "tests/lab/http.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include <boost/json.hpp>

#include "tests/lab/body_reader.hpp"

namespace lab {
namespace {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Request Entity Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Status";
  }
}

std::string status_line(int status) {
  return "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_phrase(status)) + "\r\n";
}

bool bodiless(int status) { return status < 200 || status == 204 || status == 304; }

[[noreturn]] void malformed(const char* what) {
  throw ConnectionLost{std::string("malformed request: ") + what};
}

void parse_head(Request& request) {
  const std::string_view head = request.raw_head;
  if (head.find('\0') != std::string_view::npos) malformed("NUL in the head");
  std::size_t at = 0;
  const auto next_line = [&] {
    const std::size_t end = head.find("\r\n", at);
    const std::string_view text = head.substr(at, end - at);
    if (text.find_first_of("\r\n") != std::string_view::npos) malformed("bare CR or LF");
    at = end + 2;
    return text;
  };
  const std::string_view first = next_line();
  const std::size_t method_end = first.find(' ');
  const std::size_t target_end = first.rfind(' ');
  if (method_end == std::string_view::npos || method_end == 0 || target_end <= method_end + 1) {
    malformed("bad request line");
  }
  request.method = first.substr(0, method_end);
  request.target = first.substr(method_end + 1, target_end - method_end - 1);
  if (request.target.find(' ') != std::string::npos) malformed("a space in the target");
  if (first.substr(target_end + 1) != "HTTP/1.1") malformed("not HTTP/1.1");
  const std::size_t question = request.target.find('?');
  request.path = request.target.substr(0, question);
  request.query = question == std::string::npos ? "" : request.target.substr(question + 1);
  for (std::string_view text = next_line(); !text.empty(); text = next_line()) {
    request.headers.push_back(parse_field(text));
  }
  const auto hosts =
      std::count_if(request.headers.begin(), request.headers.end(),
                    [](const auto& field) { return same_text(field.first, "Host"); });
  if (hosts != 1) malformed("not exactly one Host");
}

}  // namespace

std::size_t Stream::read(char* into, std::size_t bytes) {
  if (buffer_.empty()) return read_some(into, bytes);
  const std::size_t taken = std::min(bytes, buffer_.size());
  std::memcpy(into, buffer_.data(), taken);
  buffer_.erase(0, taken);
  return taken;
}

std::string Stream::read_until(std::string_view delimiter, std::size_t limit) {
  std::size_t searched = 0;
  for (;;) {
    const std::size_t from = searched < delimiter.size() ? 0 : searched - delimiter.size() + 1;
    const std::size_t found = buffer_.find(delimiter, from);
    if (found != std::string::npos) {
      std::string text = buffer_.substr(0, found + delimiter.size());
      buffer_.erase(0, text.size());
      return text;
    }
    searched = buffer_.size();
    if (searched > limit) throw ConnectionLost{"malformed request: a line or head too long"};
    char block[16 * 1024];
    const std::size_t got = read_some(block, sizeof block);
    if (got == 0) throw ConnectionLost{"the peer ended in the middle of a line or head"};
    buffer_.append(block, got);
  }
}

void Stream::read_exactly(char* into, std::size_t bytes) {
  while (bytes > 0) {
    const std::size_t got = read(into, bytes);
    if (got == 0) throw ConnectionLost{"the peer ended before all bytes came"};
    into += got;
    bytes -= got;
  }
}

void Stream::write(std::string_view bytes) { write_all(bytes); }

std::string Request::header(std::string_view name) const {
  for (const auto& [field, value] : headers) {
    if (same_text(field, name)) return value;
  }
  return "";
}

bool Request::has(std::string_view name) const {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const auto& field) { return same_text(field.first, name); });
}

bool read_request(Stream& stream, Request& request) {
  request = Request{};
  char first = 0;
  if (stream.read(&first, 1) == 0) return false;
  request.raw_head = first + stream.read_until("\r\n\r\n");
  parse_head(request);
  return true;
}

Body read_body(Stream& stream, const Request& request) {
  Body body;
  BodyReader reader(stream, request);
  while (const auto piece = reader.next()) body.bytes += *piece;
  body.trailers = reader.trailers();
  return body;
}

void answer(Stream& stream, int status, std::string_view content_type, std::string_view body,
            const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string text = status_line(status);
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  if (!bodiless(status)) {
    if (!content_type.empty()) text += "Content-Type: " + std::string(content_type) + "\r\n";
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    text += body;
  } else {
    text += "\r\n";
  }
  stream.write(text);
}

void begin_chunked(Stream& stream, int status, std::string_view content_type) {
  stream.write(status_line(status) + "Content-Type: " + std::string(content_type) +
               "\r\nTransfer-Encoding: chunked\r\n\r\n");
}

void write_chunk(Stream& stream, std::string_view data) {
  if (data.empty()) return;  // an empty chunk would end the body
  char size[20];
  const int digits = std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  std::string text(size, static_cast<std::size_t>(digits));
  text += data;
  text += "\r\n";
  stream.write(text);
}

void end_chunked(Stream& stream) { stream.write("0\r\n\r\n"); }

void answer_status(Stream& stream, int code, std::string_view reason, std::string_view message) {
  const boost::json::object status{
      {"kind", "Status"},    {"apiVersion", "v1"}, {"metadata", boost::json::object{}},
      {"status", "Failure"}, {"message", message}, {"reason", reason},
      {"code", code}};
  answer(stream, code, "application/json", boost::json::serialize(status));
}

}  // namespace lab
