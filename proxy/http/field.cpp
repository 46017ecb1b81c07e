#include "proxy/http/field.hpp"

#include <array>

namespace kubelane::http {
namespace {

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// `known` is lower case.
bool equals_lower(std::string_view text, std::string_view known) noexcept {
  if (text.size() != known.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (lower(text[i]) != known[i]) return false;
  return true;
}

bool begins_lower(std::string_view text, std::string_view known) noexcept {
  return text.size() >= known.size() && equals_lower(text.substr(0, known.size()), known);
}

struct Known {
  std::string_view name;
  FieldId id;
};

constexpr std::array known_fields = {
    Known{"te", FieldId::te},
    Known{"host", FieldId::host},
    Known{"accept", FieldId::accept},
    Known{"cookie", FieldId::cookie},
    Known{"expect", FieldId::expect},
    Known{"origin", FieldId::origin},
    Known{"trailer", FieldId::trailer},
    Known{"upgrade", FieldId::upgrade},
    Known{"forwarded", FieldId::x_forwarded},
    Known{"x-real-ip", FieldId::x_forwarded},
    Known{"connection", FieldId::connection},
    Known{"keep-alive", FieldId::keep_alive},
    Known{"user-agent", FieldId::user_agent},
    Known{"content-type", FieldId::content_type},
    Known{"authorization", FieldId::authorization},
    Known{"content-length", FieldId::content_length},
    Known{"impersonate-user", FieldId::impersonate_user},
    Known{"proxy-connection", FieldId::proxy_connection},
    Known{"impersonate-group", FieldId::impersonate_group},
    Known{"transfer-encoding", FieldId::transfer_encoding},
    Known{"proxy-authenticate", FieldId::proxy_authenticate},
    Known{"proxy-authorization", FieldId::proxy_authorization},
};

}  // namespace

FieldId identify(std::string_view name) noexcept {
  if (name.empty()) return FieldId::other;
  switch (lower(name.front())) {
    case 'i':
      if (begins_lower(name, "impersonate-")) {
        if (equals_lower(name, "impersonate-user")) return FieldId::impersonate_user;
        if (equals_lower(name, "impersonate-group")) return FieldId::impersonate_group;
        return FieldId::impersonate;
      }
      return FieldId::other;
    case 'x':
      if (begins_lower(name, "x-forwarded-") || equals_lower(name, "x-real-ip"))
        return FieldId::x_forwarded;
      if (begins_lower(name, "x-teleport-")) return FieldId::teleport;
      return FieldId::other;
    default:
      break;
  }
  if (begins_lower(name, "teleport-")) return FieldId::teleport;
  for (const Known& known : known_fields) {
    if (known.name.size() < name.size()) continue;
    if (known.name.size() > name.size()) break;  // sorted by length
    if (equals_lower(name, known.name)) return known.id;
  }
  return FieldId::other;
}

bool iequals(std::string_view left, std::string_view right) noexcept {
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i)
    if (lower(left[i]) != lower(right[i])) return false;
  return true;
}

const Field* find(Fields fields, FieldId id) noexcept {
  for (const Field& field : fields)
    if (field.id == id) return &field;
  return nullptr;
}

bool list_contains(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (iequals(item, token)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace kubelane::http
