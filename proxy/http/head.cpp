#include "proxy/http/head.hpp"

#include <algorithm>
#include <cstring>

#include <llhttp.h>

#include "proxy/http/syntax.hpp"

namespace kubelane::http {
namespace {

using Kind = HeadVerdict::Kind;

HeadVerdict bad(const char* reason) noexcept { return {Kind::bad, 0, reason}; }

// RFC 9112 section 2.3.
bool is_version(std::string_view text) noexcept {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return text.size() == 8 && text.starts_with("HTTP/") && digit(text[5]) && text[6] == '.' &&
         digit(text[7]);
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// llhttp as second opinion on requests, which anybody on this machine may send: what it refuses is
// refused, whatever our own reading says. Responses come from the authenticated Proxy; there our
// reading is held to llhttp's by fuzzing (head_parser_fuzzer), not once per response.
int stop_at_body(llhttp_t*) noexcept { return HPE_PAUSED; }

constinit const llhttp_settings_t settings = [] {
  llhttp_settings_t made{};
  made.on_headers_complete = stop_at_body;
  return made;
}();

bool llhttp_accepts(std::string_view head) noexcept {
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  return llhttp_execute(&parser, head.data(), head.size()) == HPE_PAUSED;
}

struct Framing {
  unsigned content_lengths = 0;
  unsigned transfer_encodings = 0;
  std::uint64_t length = 0;
  bool chunked = false;
};

// Reads the field lines: from behind the start line through the empty line, every line ended by
// CRLF (find_end has seen to it). Returns a reason when malformed.
template <class Head>
const char* read_fields(std::string_view lines, std::size_t limit, Head& head, Framing& framing,
                        bool& too_many) noexcept {
  head.field_count = 0;
  const char* at = lines.data();
  const char* const end = at + lines.size() - 2;  // the empty line
  while (at != end) {
    const char* colon = at;
    while (token_table[static_cast<unsigned char>(*colon)]) ++colon;  // stops at CR at the latest
    if (*colon != ':' || colon == at) {
      if (*at == ' ' || *at == '\t') return "folded header line";
      if (*colon == '\r') return "header line without a colon";
      return "illegal character in a header name";
    }
    const char* const newline =
        static_cast<const char*>(std::memchr(colon, '\n', static_cast<std::size_t>(end - colon)));
    const std::string_view field_name(at, static_cast<std::size_t>(colon - at));
    const std::string_view value =
        trim({colon + 1, static_cast<std::size_t>(newline - 1 - (colon + 1))});
    at = newline + 1;
    if (!is_value(value)) return "control character in a header value";
    if (head.field_count == limit) {
      too_many = true;
      return nullptr;
    }
    Field& field = head.field_array[head.field_count++];
    field.name = field_name;
    field.value = value;
    field.id = identify(field_name);
    if (field.id == FieldId::content_length) {
      if (++framing.content_lengths > 1) return "more than one Content-Length";
      if (value.empty() || value.size() > 19) return "Content-Length is not a plain number";
      std::uint64_t length = 0;
      for (const char c : value) {
        if (c < '0' || c > '9') return "Content-Length is not a plain number";
        length = length * 10 + static_cast<std::uint64_t>(c - '0');
      }
      framing.length = length;
    } else if (field.id == FieldId::transfer_encoding) {
      if (++framing.transfer_encodings > 1) return "more than one Transfer-Encoding";
      if (!iequals(value, "chunked")) return "Transfer-Encoding other than chunked";
      framing.chunked = true;
    }
  }
  if (framing.content_lengths > 0 && framing.transfer_encodings > 0)
    return "both Content-Length and Transfer-Encoding";
  return nullptr;
}

// Scans new bytes for the empty line. `scanned` moves to the first byte that is not looked at yet.
// What is wrong within the limit is bad, everything beyond it is too large: the verdict must not
// depend on how the bytes arrive.
HeadVerdict find_end(std::string_view buffer, std::size_t& scanned, std::size_t limit) noexcept {
  const std::string_view within = buffer.substr(0, limit);
  for (;;) {
    const std::size_t newline = within.find('\n', scanned);
    if (newline == std::string_view::npos) {
      scanned = within.size();
      if (buffer.size() > limit) return {Kind::too_large, 0, "head too large"};
      return {};
    }
    if (newline == 0 || buffer[newline - 1] != '\r') return bad("line that does not end with CRLF");
    if (newline == 1) return bad("empty line where a message should begin");
    scanned = newline + 1;
    if (buffer[newline - 2] == '\n') return {Kind::done, scanned, ""};
  }
}

// The nominations of all Connection fields.
struct Nominations {
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
};

Nominations read_connection(Fields fields) noexcept {
  Nominations found;
  for (const Field& field : fields) {
    if (field.id != FieldId::connection) continue;
    found.close = found.close || list_contains(field.value, "close");
    found.keep_alive = found.keep_alive || list_contains(field.value, "keep-alive");
    found.upgrade = found.upgrade || list_contains(field.value, "upgrade");
  }
  return found;
}

// Protocols that would carry further requests past our rules: h2c, HTTP/2.0, TLS/1.0.
bool carries_http(std::string_view upgrade) noexcept {
  while (!upgrade.empty()) {
    const std::size_t comma = upgrade.find(',');
    const std::string_view protocol = trim(upgrade.substr(0, comma));
    const std::string_view protocol_name = protocol.substr(0, protocol.find('/'));
    for (const std::string_view refused : {"h2c", "h2", "http", "tls"})
      if (iequals(protocol_name, refused)) return true;
    if (comma == std::string_view::npos) break;
    upgrade.remove_prefix(comma + 1);
  }
  return false;
}

// Splits an absolute-form target (RFC 9112 section 3.2.2). False: not http(s) or empty authority.
bool split_absolute(std::string_view target, std::string_view& authority,
                    std::string_view& rest) noexcept {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() <= scheme.size() || !iequals(target.substr(0, scheme.size()), scheme))
      continue;
    target.remove_prefix(scheme.size());
    const std::size_t end = target.find_first_of("/?");
    authority = target.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : target.substr(end);
    return !authority.empty();
  }
  return false;
}

}  // namespace

HeadVerdict HeadParser::request(std::string_view buffer, RequestHead& head) noexcept {
  // Empty lines in front of a request line (RFC 9112 section 2.2), at most two.
  std::size_t skipped = 0;
  while (skipped < 4 && buffer.substr(skipped).starts_with("\r\n")) skipped += 2;
  if (scanned_ < skipped) scanned_ = skipped;
  if (buffer.size() == skipped || (buffer.size() == skipped + 1 && buffer[skipped] == '\r'))
    return {};
  std::string_view text = buffer.substr(skipped);
  std::size_t scanned = scanned_ - skipped;
  const HeadVerdict end = find_end(text, scanned, limits_.max_bytes);
  scanned_ = scanned + skipped;
  if (end.kind != Kind::done) return end;
  text = text.substr(0, end.bytes);

  const std::size_t line_end = text.find("\r\n");
  const std::string_view line = text.substr(0, line_end);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad("malformed request line");
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(head.method)) return bad("malformed method");
  if (version != "HTTP/1.1") {
    if (is_version(version)) return {Kind::version, 0, "HTTP version"};
    return bad("malformed HTTP version");
  }
  if (!is_target(head.target)) return bad("illegal character in the request target");
  if (head.method == "CONNECT") return bad("CONNECT is not served here");

  Framing framing;
  bool too_many = false;
  const char* reason = read_fields(
      text.substr(line_end + 2), std::min(limits_.max_fields, max_fields), head, framing, too_many);
  if (reason != nullptr) return bad(reason);
  if (too_many) return {Kind::too_large, 0, "too many header fields"};

  const Field* host = nullptr;
  head.expect_continue = false;
  head.te_trailers = false;
  bool upgrade_field = false;
  bool upgrade_refused = false;
  for (const Field& field : head.fields()) {
    switch (field.id) {
      case FieldId::host:
        if (host != nullptr) return bad("more than one Host");
        host = &field;
        break;
      case FieldId::expect:
        head.expect_continue = head.expect_continue || iequals(field.value, "100-continue");
        break;
      case FieldId::te:
        head.te_trailers = head.te_trailers || list_contains(field.value, "trailers");
        break;
      case FieldId::upgrade:
        upgrade_field = upgrade_field || !field.value.empty();
        upgrade_refused = upgrade_refused || carries_http(field.value);
        break;
      default:
        break;
    }
  }
  if (host == nullptr) return bad("Host is missing");
  if (!is_authority(host->value)) return bad("malformed Host");
  head.authority = host->value;

  std::string_view path = head.target;
  if (path.front() != '/') {
    std::string_view authority;
    if (path == "*" && head.method == "OPTIONS") {
      // Stays as it is.
    } else if (!split_absolute(head.target, authority, path)) {
      return bad("malformed request target");
    } else if (!iequals(authority, head.authority)) {
      return bad("request target and Host name different hosts");
    }
  }
  const std::size_t question = path.find('?');
  head.path = path.substr(0, question);
  if (head.path.empty()) head.path = "/";  // http://host, http://host?query
  head.query = question == std::string_view::npos ? std::string_view{} : path.substr(question);

  const Nominations connection = read_connection(head.fields());
  head.keep_alive = !connection.close;
  head.upgrade = upgrade_field && connection.upgrade && !upgrade_refused;
  head.content_length = framing.length;
  head.body = framing.chunked                                     ? BodyKind::chunked
              : framing.content_lengths > 0 && framing.length > 0 ? BodyKind::length
                                                                  : BodyKind::none;
  if (!llhttp_accepts(text)) return bad("malformed request");
  return {Kind::done, end.bytes + skipped, ""};
}

HeadVerdict HeadParser::response(std::string_view buffer, std::string_view request_method,
                                 ResponseHead& head) noexcept {
  const HeadVerdict end = find_end(buffer, scanned_, limits_.max_bytes);
  if (end.kind != Kind::done) return end;
  const std::string_view text = buffer.substr(0, end.bytes);
  const std::size_t line_end = text.find("\r\n");
  const std::string_view line = text.substr(0, line_end);
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || (line[7] != '1' && line[7] != '0') ||
      line[8] != ' ')
    return bad("malformed status line");
  head.minor_version = line[7] - '0';
  head.status = 0;
  for (std::size_t i = 9; i < 12; ++i) {
    if (line[i] < '0' || line[i] > '9') return bad("malformed status code");
    head.status = head.status * 10 + (line[i] - '0');
  }
  if (head.status < 100 || (line.size() > 12 && line[12] != ' '))
    return bad("malformed status line");
  head.reason = line.size() > 13 ? line.substr(13) : std::string_view{};
  if (!is_value(head.reason)) return bad("control character in the reason phrase");

  Framing framing;
  bool too_many = false;
  const char* reason = read_fields(
      text.substr(line_end + 2), std::min(limits_.max_fields, max_fields), head, framing, too_many);
  if (reason != nullptr) return bad(reason);
  if (too_many) return {Kind::too_large, 0, "too many header fields"};

  const Nominations connection = read_connection(head.fields());
  head.keep_alive =
      head.minor_version == 1 ? !connection.close : connection.keep_alive && !connection.close;
  head.content_length = framing.length;
  // RFC 9112 section 6.3.
  if (request_method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) {
    head.body = BodyKind::none;
  } else if (framing.chunked) {
    if (head.minor_version == 0) return bad("chunked body in HTTP/1.0");
    head.body = BodyKind::chunked;
  } else if (framing.content_lengths > 0) {
    head.body = framing.length > 0 ? BodyKind::length : BodyKind::none;
  } else {
    head.body = BodyKind::until_close;
    head.keep_alive = false;
  }
  return {Kind::done, end.bytes, ""};
}

}  // namespace kubelane::http
