#include "proxy/http/head_writer.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace kubelane::http {
namespace {

// Appends to a fixed area; remembers when it did not fit.
class Out {
 public:
  explicit Out(std::span<char> area) noexcept : area_(area) {}

  void put(std::string_view text) noexcept {
    flush_lines();
    append(text);
  }

  void field(std::string_view field_name, std::string_view value) noexcept {
    put(field_name);
    append(": ");
    append(value);
    append("\r\n");
  }

  // A field of a received head. Neighbouring lines of the plain form "Name: value" are copied
  // together; other spacing is made plain.
  void received(const Field& field) noexcept {
    const char* const name_end = field.name.data() + field.name.size();
    const char* const value_end = field.value.data() + field.value.size();
    if (field.value.data() != name_end + 2 || name_end[1] != ' ' || *value_end != '\r') {
      this->field(field.name, field.value);
      return;
    }
    if (field.name.data() != lines_end_) {
      flush_lines();
      lines_begin_ = field.name.data();
    }
    lines_end_ = value_end + 2;
  }

  Result<std::size_t> finish() noexcept {
    put("\r\n");
    if (full_) return Error{Code::internal, Side::self, Retry::no, 0, "head does not fit"};
    return size_;
  }

 private:
  void flush_lines() noexcept {
    if (lines_begin_ == nullptr) return;
    append({lines_begin_, static_cast<std::size_t>(lines_end_ - lines_begin_)});
    lines_begin_ = lines_end_ = nullptr;
  }
  void append(std::string_view text) noexcept {
    if (text.size() > area_.size() - size_) {
      full_ = true;
      return;
    }
    if (!text.empty()) std::memcpy(area_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }

  std::span<char> area_;
  std::size_t size_ = 0;
  bool full_ = false;
  const char* lines_begin_ = nullptr;  // lines of the received head that wait to be copied
  const char* lines_end_ = nullptr;
};

// Connection names other fields than the usual three: worth a closer look.
bool nominates_more(std::string_view value) noexcept {
  return !iequals(value, "keep-alive") && !iequals(value, "close") && !iequals(value, "upgrade");
}

struct Nominated {
  std::array<std::string_view, 16> values;  // Connection values that name other fields
  std::size_t count = 0;

  bool contains(std::string_view field_name) const noexcept {
    for (std::size_t i = 0; i < count; ++i)
      if (list_contains(values[i], field_name)) return true;
    return false;
  }
};

// What a client may not have dropped by nominating it: it would change what the request means.
bool must_stay(FieldId id) noexcept {
  switch (id) {
    case FieldId::host:
    case FieldId::content_length:
    case FieldId::content_type:
    case FieldId::transfer_encoding:
    case FieldId::impersonate:
    case FieldId::impersonate_user:
    case FieldId::impersonate_group:
      return true;
    default:
      return false;
  }
}

bool collect_nominated(Fields fields, Nominated& nominated) noexcept {
  for (const Field& field : fields) {
    if (field.id != FieldId::connection || !nominates_more(field.value)) continue;
    if (nominated.count == nominated.values.size()) return false;
    nominated.values[nominated.count++] = field.value;
  }
  return true;
}

}  // namespace

Result<std::size_t> write_request_head(const RequestHead& head, const RequestEdits& edits,
                                       std::span<char> out) noexcept {
  const Error nomination{Code::bad_head, Side::local, Retry::no, 0,
                         "Connection names a field that must not be dropped"};
  Nominated nominated;
  if (!collect_nominated(head.fields(), nominated)) return nomination;
  Out to(out);
  to.put(head.method);
  to.put(" ");
  if (head.path == "*") {
    to.put(edits.upstream_prefix);
    to.put(edits.upstream_prefix.empty() ? "*" : "/");
  } else {
    const std::string_view path =
        head.path.substr(std::min(edits.strip_path_bytes, head.path.size()));
    to.put(edits.upstream_prefix);
    to.put(path.empty() ? std::string_view("/") : path);
  }
  to.put(head.query);
  to.put(" HTTP/1.1\r\n");
  for (const Field& field : head.fields()) {
    if (nominated.count > 0 && nominated.contains(field.name)) {
      if (must_stay(field.id)) return nomination;
      if (!(head.upgrade && field.id == FieldId::upgrade)) continue;
    }
    switch (field.id) {
      case FieldId::host:
        to.field(field.name, edits.authority);
        break;
      case FieldId::authorization:
      case FieldId::teleport:
      case FieldId::x_forwarded:
        break;
      case FieldId::upgrade:
        if (head.upgrade) to.received(field);
        break;
      default:
        if (!is_hop_by_hop(field.id)) to.received(field);
        break;
    }
  }
  if (head.te_trailers) to.put("TE: trailers\r\n");
  if (head.upgrade) to.put("Connection: Upgrade\r\n");
  for (const Field& field : edits.add) to.field(field.name, field.value);
  return to.finish();
}

Result<std::size_t> write_response_head(const ResponseHead& head, const ResponseEdits& edits,
                                        std::span<char> out) noexcept {
  const bool switching = head.status == 101;
  const bool never_body = head.status < 200 || head.status == 204;
  Nominated nominated;
  if (!switching && !collect_nominated(head.fields(), nominated))
    return Error{Code::bad_head, Side::upstream, Retry::no, 0, "too many Connection fields"};
  Out to(out);
  const char code[] = {'H',
                       'T',
                       'T',
                       'P',
                       '/',
                       '1',
                       '.',
                       '1',
                       ' ',
                       static_cast<char>('0' + head.status / 100),
                       static_cast<char>('0' + head.status / 10 % 10),
                       static_cast<char>('0' + head.status % 10),
                       ' '};
  to.put({code, sizeof code});
  to.put(head.reason);
  to.put("\r\n");
  for (const Field& field : head.fields()) {
    if (!switching) {
      if (is_hop_by_hop(field.id) || field.id == FieldId::alt_svc ||
          field.id == FieldId::strict_transport_security)
        continue;
      const bool framing =
          field.id == FieldId::content_length || field.id == FieldId::transfer_encoding;
      if (framing && never_body) continue;
      if (nominated.count > 0 && !framing && nominated.contains(field.name)) continue;
    }
    to.received(field);
  }
  if (edits.close) to.put("Connection: close\r\n");
  return to.finish();
}

Result<void> write_trailers(std::string_view section, Direction direction, std::string& out) {
  const Error malformed{Code::bad_body,
                        direction == Direction::request ? Side::local : Side::upstream, Retry::no,
                        0, "malformed trailer section"};
  while (!section.starts_with("\r\n")) {
    const std::size_t end = section.find("\r\n");
    if (end == std::string_view::npos) return malformed;
    const std::string_view line = section.substr(0, end + 2);
    section.remove_prefix(end + 2);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return malformed;
    const std::string_view field_name = line.substr(0, colon);
    for (const char c : field_name) {
      const bool token = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') ||
                         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
      if (!token) return malformed;
    }
    for (const char c : line.substr(colon + 1, end - colon - 1)) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return malformed;
    }
    const FieldId id = identify(field_name);
    const bool drop = !may_be_trailer(id, direction);
    if (!drop) out.append(line);
  }
  out.append("\r\n");
  return {};
}

}  // namespace kubelane::http
