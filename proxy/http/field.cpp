#include "proxy/http/field.hpp"

#include <algorithm>
#include <array>

namespace kubelane::http {
namespace {

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// `known` is lower case.
bool equals_lower(std::string_view text, std::string_view known) noexcept {
  if (text.size() != known.size()) return false;
  if (lower(text.front()) != known.front()) return false;
  if (text == known) return true;  // most are: HTTP/2 demands it
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

// Sorted by length, so that a name meets only those of its own length.
constexpr std::array known_fields = {
    Known{"te", FieldId::te},
    Known{"host", FieldId::host},
    Known{"accept", FieldId::accept},
    Known{"cookie", FieldId::cookie},
    Known{"expect", FieldId::expect},
    Known{"origin", FieldId::origin},
    Known{"alt-svc", FieldId::alt_svc},
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
    Known{"http2-settings", FieldId::http2_settings},
    Known{"impersonate-user", FieldId::impersonate_user},
    Known{"proxy-connection", FieldId::proxy_connection},
    Known{"impersonate-group", FieldId::impersonate_group},
    Known{"transfer-encoding", FieldId::transfer_encoding},
    Known{"proxy-authenticate", FieldId::proxy_authenticate},
    Known{"proxy-authorization", FieldId::proxy_authorization},
    Known{"strict-transport-security", FieldId::strict_transport_security},
};

static_assert(std::ranges::is_sorted(known_fields, {},
                                     [](const Known& known) { return known.name.size(); }));

constexpr std::size_t longest_name = known_fields.back().name.size();

// first_of_length[n]: index of the first name of n or more bytes.
constexpr auto first_of_length = [] {
  std::array<std::uint8_t, longest_name + 2> first{};
  std::uint8_t at = 0;
  for (std::size_t length = 0; length < first.size(); ++length) {
    while (at < known_fields.size() && known_fields[at].name.size() < length) ++at;
    first[length] = at;
  }
  return first;
}();

FieldId family(std::string_view name) noexcept {
  switch (lower(name.front())) {
    case 'i':
      return begins_lower(name, "impersonate-") ? FieldId::impersonate : FieldId::other;
    case 'p':
      return begins_lower(name, "proxy-") ? FieldId::proxy_other : FieldId::other;
    case 't':
      return begins_lower(name, "teleport-") ? FieldId::teleport : FieldId::other;
    case 'x':
      if (begins_lower(name, "x-forwarded-")) return FieldId::x_forwarded;
      return begins_lower(name, "x-teleport-") ? FieldId::teleport : FieldId::other;
    default:
      return FieldId::other;
  }
}

}  // namespace

FieldId identify(std::string_view name) noexcept {
  if (name.empty()) return FieldId::other;
  if (name.size() <= longest_name) {
    const std::size_t end = first_of_length[name.size() + 1];
    for (std::size_t at = first_of_length[name.size()]; at < end; ++at)
      if (equals_lower(name, known_fields[at].name)) return known_fields[at].id;
  }
  return family(name);
}

bool is_hop_by_hop(FieldId id) noexcept {
  switch (id) {
    case FieldId::connection:
    case FieldId::http2_settings:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::proxy_authenticate:
    case FieldId::proxy_authorization:
    case FieldId::proxy_other:
    case FieldId::te:
    case FieldId::upgrade:
      return true;
    default:
      return false;
  }
}

bool may_be_trailer(FieldId id, Direction direction) noexcept {
  if (is_hop_by_hop(id) || id == FieldId::transfer_encoding || id == FieldId::content_length ||
      id == FieldId::trailer || id == FieldId::host)
    return false;
  if (direction == Direction::response) return true;
  switch (id) {
    case FieldId::authorization:
    case FieldId::content_type:
    case FieldId::cookie:
    case FieldId::expect:
    case FieldId::impersonate:
    case FieldId::impersonate_group:
    case FieldId::impersonate_user:
    case FieldId::teleport:
    case FieldId::x_forwarded:
      return false;
    default:
      return true;
  }
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
