#include "proxy/http/h2_edits.hpp"

#include <algorithm>

#include "proxy/http/syntax.hpp"

namespace kubelane::http {
namespace {

// Appends to a string that has room for all of it: slices stay valid.
std::string_view keep(std::string& bytes, std::string_view text) {
  const std::size_t at = bytes.size();
  bytes += text;
  return std::string_view(bytes).substr(at);
}

std::size_t size_of(Fields fields) noexcept {
  std::size_t bytes = 0;
  for (const Field& field : fields) bytes += field.name.size() + field.value.size();
  return bytes;
}

bool leaves(const Field& field) noexcept {
  switch (field.id) {
    case FieldId::authorization:
    case FieldId::host:  // :authority says it
    case FieldId::teleport:
    case FieldId::x_forwarded:
      return false;
    case FieldId::te:
      return true;  // nghttp2 lets nothing but `trailers` in
    default:
      return !is_hop_by_hop(field.id);
  }
}

}  // namespace

const char* refuse_h2_request(const H2Head& head, std::string_view& authority) noexcept {
  if (!is_token(head.method)) return "malformed method";
  if (head.method == "CONNECT") return "CONNECT means nothing to a Kubernetes API";
  if (head.scheme != "https" && head.scheme != "http") return "a scheme other than https";
  if (head.path == "*") {
    if (head.method != "OPTIONS") return "the path * belongs to OPTIONS";
  } else if (!head.path.starts_with('/') || !is_target(head.path)) {
    return "malformed path";
  }
  authority = head.authority;
  unsigned hosts = 0;
  for (const Field& field : head.fields) {
    if (field.id != FieldId::host) continue;
    if (++hosts > 1) return "more than one Host";
    if (authority.empty()) authority = field.value;
    if (!iequals(authority, field.value)) return "Host is not the authority";
  }
  if (!is_authority(authority)) return "malformed authority";
  return nullptr;
}

H2Request::H2Request(const H2Head& head, const RequestEdits& edits) {
  const std::size_t strip = std::min(edits.strip_path_bytes, head.path.size());
  const std::string_view path = head.path.substr(strip);
  bytes_.reserve(head.method.size() + head.scheme.size() + edits.authority.size() +
                 edits.upstream_prefix.size() + head.path.size() + 1 + size_of(head.fields) +
                 size_of(edits.add));
  fields_.reserve(head.fields.size() + edits.add.size());
  head_.method = keep(bytes_, head.method);
  head_.scheme = keep(bytes_, "https");
  head_.authority = keep(bytes_, edits.authority);
  const std::size_t path_at = bytes_.size();
  bytes_ += edits.upstream_prefix;
  if (head.path == "*") {
    bytes_ += edits.upstream_prefix.empty() ? "*" : "/";
  } else {
    if (!path.starts_with('/')) bytes_ += '/';  // empty, or the query alone
    bytes_ += path;
  }
  head_.path = std::string_view(bytes_).substr(path_at);
  for (const Field& field : head.fields)
    if (leaves(field))
      fields_.push_back({keep(bytes_, field.name), keep(bytes_, field.value), field.id});
  for (const Field& field : edits.add)
    fields_.push_back({keep(bytes_, field.name), keep(bytes_, field.value), field.id});
  head_.fields = fields_;
}

void edit_h2_response(const H2Head& head, std::vector<Field>& out) {
  out.clear();
  const bool never_body = head.status < 200 || head.status == 204;
  for (const Field& field : head.fields) {
    if (is_hop_by_hop(field.id) || field.id == FieldId::alt_svc ||
        field.id == FieldId::strict_transport_security)
      continue;
    if (never_body && field.id == FieldId::content_length) continue;
    out.push_back(field);
  }
}

void H2Trailers::set(Fields fields, Direction direction) {
  bytes_.clear();
  fields_.clear();
  bytes_.reserve(size_of(fields));
  for (const Field& field : fields)
    if (may_be_trailer(field.id, direction))
      fields_.push_back({keep(bytes_, field.name), keep(bytes_, field.value), field.id});
}

}  // namespace kubelane::http
