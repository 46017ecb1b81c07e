#include "tests/lab/spdy_headers.hpp"

#include <array>
#include <cstdint>

#include "tests/lab/http.hpp"

namespace lab {
namespace {

constexpr std::size_t kLargestBlock = 1 << 20;

// The dictionary is a constant of the protocol: these words, each after its length in four bytes,
// and then the tail.
constexpr std::array<std::string_view, 65> kWords{
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
};
constexpr std::string_view kTail =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00"
    " Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

void append_number(std::string& to, std::size_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>((value >> shift) & 0xff);
}

const std::string& dictionary() {
  static const std::string made = [] {
    std::string bytes;
    for (const std::string_view word : kWords) {
      append_number(bytes, word.size());
      bytes += word;
    }
    return bytes += kTail;
  }();
  return made;
}

Bytef* mutable_bytes(std::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
}

std::string take(std::string_view& from, std::size_t bytes) {
  if (from.size() < bytes) throw ConnectionLost{"SPDY: a header block that ends early"};
  std::string taken(from.substr(0, bytes));
  from.remove_prefix(bytes);
  return taken;
}

std::uint32_t take_number(std::string_view& from) {
  std::uint32_t value = 0;
  for (const char c : take(from, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

SpdyHeaderWriter::SpdyHeaderWriter() {
  deflateInit(&zlib_, Z_BEST_COMPRESSION);
  deflateSetDictionary(&zlib_, mutable_bytes(dictionary()), static_cast<uInt>(dictionary().size()));
}
SpdyHeaderWriter::~SpdyHeaderWriter() { deflateEnd(&zlib_); }

std::string SpdyHeaderWriter::write(const SpdyHeaders& headers) {
  std::string plain;
  append_number(plain, headers.size());
  for (const auto& [name, value] : headers) {
    append_number(plain, name.size());
    plain += name;
    append_number(plain, value.size());
    plain += value;
  }
  std::string block;
  std::array<char, 4096> piece;
  zlib_.next_in = mutable_bytes(plain);
  zlib_.avail_in = static_cast<uInt>(plain.size());
  do {
    zlib_.next_out = reinterpret_cast<Bytef*>(piece.data());
    zlib_.avail_out = static_cast<uInt>(piece.size());
    deflate(&zlib_, Z_SYNC_FLUSH);
    block.append(piece.data(), piece.size() - zlib_.avail_out);
  } while (zlib_.avail_out == 0);
  return block;
}

SpdyHeaderReader::SpdyHeaderReader() { inflateInit(&zlib_); }
SpdyHeaderReader::~SpdyHeaderReader() { inflateEnd(&zlib_); }

SpdyHeaders SpdyHeaderReader::read(std::string_view block) {
  std::string plain;
  std::array<char, 4096> piece;
  zlib_.next_in = mutable_bytes(block);
  zlib_.avail_in = static_cast<uInt>(block.size());
  for (;;) {
    zlib_.next_out = reinterpret_cast<Bytef*>(piece.data());
    zlib_.avail_out = static_cast<uInt>(piece.size());
    const int result = inflate(&zlib_, Z_SYNC_FLUSH);
    plain.append(piece.data(), piece.size() - zlib_.avail_out);
    if (plain.size() > kLargestBlock) throw ConnectionLost{"SPDY: an immense header block"};
    if (result == Z_NEED_DICT) {
      if (inflateSetDictionary(&zlib_, mutable_bytes(dictionary()),
                               static_cast<uInt>(dictionary().size())) != Z_OK) {
        throw ConnectionLost{"SPDY: another dictionary"};
      }
      continue;
    }
    if (result != Z_OK && result != Z_BUF_ERROR) throw ConnectionLost{"SPDY: bad zlib data"};
    if (zlib_.avail_out != 0) break;
  }
  std::string_view rest = plain;
  SpdyHeaders headers;
  for (std::uint32_t left = take_number(rest); left > 0; --left) {
    std::string name = take(rest, take_number(rest));
    std::string value = take(rest, take_number(rest));
    headers.emplace_back(std::move(name), std::move(value));
  }
  return headers;
}

}  // namespace lab
