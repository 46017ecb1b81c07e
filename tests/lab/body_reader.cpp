#include "tests/lab/body_reader.hpp"

#include <algorithm>
#include <charconv>

namespace lab {
namespace {

constexpr std::uint64_t kPiece = 64 * 1024;
constexpr std::uint64_t kLargestChunk = std::uint64_t{1} << 30;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool token_char(char c) {
  if ((c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::uint64_t number(std::string_view text, int base, const char* what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    throw ConnectionLost{std::string("malformed request: bad ") + what};
  }
  return value;
}

std::string line(Stream& stream) {
  std::string text = stream.read_until("\r\n");
  text.resize(text.size() - 2);
  if (text.find_first_of("\r\n") != std::string::npos) {
    throw ConnectionLost{"malformed request: bare CR or LF in the body's framing"};
  }
  return text;
}

}  // namespace

bool same_text(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::pair<std::string, std::string> parse_field(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) {
    throw ConnectionLost{"malformed request: a field without a name"};
  }
  const std::string_view name = text.substr(0, colon);
  if (!std::all_of(name.begin(), name.end(), token_char)) {
    throw ConnectionLost{"malformed request: a field name that is no token"};
  }
  std::string_view value = text.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  for (const char c : value) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
      throw ConnectionLost{"malformed request: a control character in a field value"};
    }
  }
  return {std::string(name), std::string(value)};
}

bool has_body(const Request& request) {
  return request.has("Transfer-Encoding") ||
         (request.has("Content-Length") && request.header("Content-Length") != "0");
}

BodyReader::BodyReader(Stream& stream, const Request& request) : stream_(stream) {
  int lengths = 0;
  int codings = 0;
  for (const auto& [name, value] : request.headers) {
    if (same_text(name, "Content-Length")) {
      ++lengths;
      if (value.find_first_not_of("0123456789") != std::string::npos) {
        throw ConnectionLost{"malformed request: bad Content-Length"};
      }
      length_ = number(value, 10, "Content-Length");
    } else if (same_text(name, "Transfer-Encoding")) {
      ++codings;
      chunked_ = same_text(value, "chunked");
      if (!chunked_) throw ConnectionLost{"malformed request: unknown transfer coding"};
    }
  }
  if (lengths + codings > 1) {
    throw ConnectionLost{"malformed request: more than one framing of the body"};
  }
  left_ = length_;
  ended_ = !chunked_ && length_ == 0;
  continue_wanted_ = !ended_ && same_text(request.header("Expect"), "100-continue");
}

std::optional<std::string> BodyReader::next() {
  if (ended_) return std::nullopt;
  if (continue_wanted_) {
    continue_wanted_ = false;
    stream_.write("HTTP/1.1 100 Continue\r\n\r\n");
  }
  std::string piece;
  if (!chunked_) {
    piece.resize(static_cast<std::size_t>(std::min(left_, kPiece)));
    const std::size_t got = stream_.read(piece.data(), piece.size());
    if (got == 0) throw ConnectionLost{"the peer ended before the body was complete"};
    piece.resize(got);
    left_ -= got;
    ended_ = left_ == 0;
    return piece;
  }
  std::string size_line = line(stream_);
  // Chunk extensions carry nothing here; only their presence is tolerated.
  if (const std::size_t extension = size_line.find(';'); extension != std::string::npos) {
    size_line.resize(extension);
  }
  const std::uint64_t size = number(size_line, 16, "chunk size");
  if (size > kLargestChunk) throw ConnectionLost{"malformed request: an immense chunk"};
  if (size == 0) {
    read_trailers();
    ended_ = true;
    return std::nullopt;
  }
  piece.resize(static_cast<std::size_t>(size));
  stream_.read_exactly(piece.data(), piece.size());
  char end[2];
  stream_.read_exactly(end, sizeof end);
  if (end[0] != '\r' || end[1] != '\n') {
    throw ConnectionLost{"malformed request: a chunk longer than its size"};
  }
  return piece;
}

void BodyReader::read_trailers() {
  for (std::string text = line(stream_); !text.empty(); text = line(stream_)) {
    trailers_.push_back(parse_field(text));
  }
}

}  // namespace lab
