#include "proxy/relay/access_log.hpp"

#include <vector>

#include "proxy/observe/log.hpp"

namespace kubelane::relay {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t end = path.find('/');
    const std::string_view part = path.substr(0, end);
    if (!part.empty()) parts.push_back(part);
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  return parts;
}

// True when the query has `key` with a true value.
bool flag(std::string_view query, std::string_view key) {
  if (query.starts_with('?')) query.remove_prefix(1);
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    if (pair.starts_with(key)) {
      const std::string_view value = pair.substr(key.size());
      if (value == "=true" || value == "=1" || value == "=True" || value == "=TRUE" ||
          value == "=t" || value == "=T")
        return true;
    }
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return false;
}

std::string verb_of(std::string_view method, const ResourceRef& ref, std::string_view query) {
  if (!ref.is_resource) return std::string(method);
  if (method == "GET" || method == "HEAD") {
    if (flag(query, "watch")) return "watch";
    return ref.name.empty() ? "list" : "get";
  }
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return ref.name.empty() ? "deletecollection" : "delete";
  return std::string(method);
}

std::int64_t microseconds(runtime::Clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace

ResourceRef parse_resource(std::string_view path) {
  ResourceRef ref;
  const std::vector<std::string_view> parts = split(path);
  std::size_t at = 0;
  if (parts.size() >= 3 && parts[0] == "api") {
    at = 2;
  } else if (parts.size() >= 4 && parts[0] == "apis") {
    at = 3;
  } else {
    ref.resource = path.substr(0, 200);
    return ref;
  }
  ref.is_resource = true;
  if (parts[at] == "watch" && parts.size() > at + 1) ++at;  // the deprecated watch prefix
  if (parts[at] == "namespaces" && parts.size() > at + 1) {
    ref.name_space = parts[at + 1];
    // The namespace itself has two subresources; everything else after its name is in it.
    const bool own =
        parts.size() == at + 2 || parts[at + 2] == "status" || parts[at + 2] == "finalize";
    if (!own) at += 2;
  }
  ref.resource = parts[at];
  if (parts.size() > at + 1) ref.name = parts[at + 1];
  if (parts.size() > at + 2) ref.resource += "/" + std::string(parts[at + 2]);
  return ref;
}

bool is_watch(std::string_view path, std::string_view query) {
  if (!query.empty() && (flag(query, "watch") || flag(query, "follow"))) return true;
  return path.find("/watch/") != std::string_view::npos;
}

void AccessLog::begin(std::string_view method, std::string_view path, std::string_view query,
                      runtime::Clock::time_point now, std::string_view protocol) {
  active_ = log::enabled(LogLevel::debug);
  if (!active_) return;
  resource_ = parse_resource(path);
  verb_ = verb_of(method, resource_, query);
  begin_ = now;
  protocol_ = protocol;
}

void AccessLog::end(std::string_view cluster, int answered, std::uint64_t request_bytes,
                    std::uint64_t response_bytes, bool reused_connection, std::string_view failure,
                    runtime::Clock::time_point now) const {
  if (!active_) return;
  const auto to_first = first_byte_ > begin_ ? first_byte_ - begin_ : runtime::Clock::duration{};
  log::debug("request", {{"cluster", cluster},
                         {"protocol", protocol_},
                         {"verb", verb_},
                         {"resource", resource_.resource},
                         {"namespace", resource_.name_space},
                         {"name", resource_.name},
                         {"status", answered},
                         {"first_byte_us", microseconds(to_first)},
                         {"total_us", microseconds(now - begin_)},
                         {"request_bytes", request_bytes},
                         {"response_bytes", response_bytes},
                         {"reused", reused_connection ? "true" : "false"},
                         {"failure", failure}});
}

}  // namespace kubelane::relay
