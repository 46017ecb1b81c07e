#include "tests/lab/teleport_rules.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <boost/json.hpp>

#include "tests/lab/base64.hpp"
#include "tests/lab/body_reader.hpp"
#include "tests/lab/pki.hpp"

namespace lab {
namespace {

constexpr std::size_t kDrainable = 256 * 1024;  // Go's server reads off at most that much

Refusal access_denied(std::string message) {
  return {Refusal::Form::status, 403, "Forbidden", std::move(message)};
}

std::string first(const std::vector<std::string>& values) {
  return values.empty() ? std::string() : values.front();
}

bool contains(const std::vector<std::string>& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

bool has_prefix(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() && same_text(name.substr(0, prefix.size()), prefix);
}

bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t more = 0;
    if (lead >= 0xf0 && lead < 0xf5) {
      more = 3;
    } else if (lead >= 0xe0) {
      more = 2;
    } else if (lead >= 0xc2) {
      more = 1;
    } else if (lead >= 0x80) {
      return false;
    }
    if (lead >= 0xf5 || i + more >= text.size() + (more == 0 ? 1 : 0)) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += more + 1;
  }
  return true;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::sscanf(std::string(text.substr(i + 1, 2)).c_str(), "%2x", &value) == 1) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// Go's url.URL.EscapedPath for a path without RawPath.
std::string go_escaped_path(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~$&+,/:;=@").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned char>(c));
      out += escaped;
    }
  }
  return out;
}

// One segment of the path route: a name, or why not.
std::optional<Refusal> decode_segment(std::string_view segment, std::string& name) {
  const auto decoded = from_base64url(segment);
  if (!decoded) {
    return Refusal{Refusal::Form::status, 500, "InternalError",
                   "illegal base64 data in the path's cluster name"};
  }
  if (decoded->empty() || !valid_utf8(*decoded)) {
    return Refusal{Refusal::Form::status, 400, "BadRequest",
                   "invalid cluster name in the request path"};
  }
  name = *decoded;
  return std::nullopt;
}

std::optional<Refusal> select_user(const ClientIdentity& identity, std::string& user) {
  if (!user.empty()) {
    if (contains(identity.kubernetes_users, user)) return std::nullopt;
    return access_denied("impersonation request has been denied, user header \"" + user +
                         "\" is not allowed in roles");
  }
  if (identity.kubernetes_users.size() > 1) {
    return access_denied(
        "please select a user to impersonate, refusing to select a user due to several "
        "kubernetes_users set up for this user");
  }
  user = identity.kubernetes_users.empty() ? identity.username : identity.kubernetes_users.front();
  return std::nullopt;
}

}  // namespace

ClientIdentity read_identity(X509* certificate) {
  ClientIdentity identity;
  identity.username = first(subject_values(certificate, "2.5.4.3"));
  identity.roles = subject_values(certificate, "2.5.4.10");
  identity.usage = subject_values(certificate, "2.5.4.11");
  identity.route_to_cluster = first(subject_values(certificate, "2.5.4.9"));
  identity.kubernetes_users = subject_values(certificate, "1.3.9999.1.1");
  identity.kubernetes_groups = subject_values(certificate, "1.3.9999.1.2");
  identity.kubernetes_cluster = first(subject_values(certificate, "1.3.9999.1.3"));
  identity.pinned_ip = first(subject_values(certificate, "1.3.9999.2.15"));
  identity.teleport_cluster = first(subject_values(certificate, "1.3.9999.1.7"));
  identity.renewable = first(subject_values(certificate, "1.3.9999.1.13")) == "true";
  const std::string generation = first(subject_values(certificate, "1.3.9999.1.14"));
  if (!generation.empty()) identity.generation = std::strtoull(generation.c_str(), nullptr, 10);
  identity.impersonator = first(subject_values(certificate, "1.3.9999.2.7"));
  identity.disallow_reissue = first(subject_values(certificate, "1.3.9999.2.9")) == "true";
  identity.bot_name = first(subject_values(certificate, "1.3.9999.2.18"));
  identity.bot_instance_id = first(subject_values(certificate, "1.3.9999.2.20"));
  identity.serial = serial_of(certificate);
  tm broken{};
  ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &broken);
  identity.not_after = timegm(&broken);
  return identity;
}

std::string trace_error(const std::string& message) {
  const std::string text = boost::json::serialize(boost::json::value(message));
  return "{\n    \"error\": {\n        \"message\": " + text +
         "\n    },\n    \"message\": " + text + "\n}";
}

bool answer_refusal(Stream& stream, const Request& request, const Refusal& refusal) {
  bool reusable = true;
  if (has_body(request)) {
    reusable = !same_text(request.header("Expect"), "100-continue");
    BodyReader body(stream, request);
    if (body.length() > kDrainable) reusable = false;
    std::size_t drained = 0;
    while (reusable) {
      const auto piece = body.next();
      if (!piece) break;
      drained += piece->size();
      reusable = drained <= kDrainable;
    }
  }
  std::vector<std::pair<std::string, std::string>> headers;
  if (!reusable) headers.emplace_back("Connection", "close");
  if (refusal.form == Refusal::Form::status) {
    const boost::json::object status{
        {"kind", "Status"},    {"apiVersion", "v1"},         {"metadata", boost::json::object{}},
        {"status", "Failure"}, {"message", refusal.message}, {"reason", refusal.reason},
        {"code", refusal.code}};
    answer(stream, refusal.code, "application/json", boost::json::serialize(status), headers);
  } else if (refusal.form == Refusal::Form::trace) {
    answer(stream, refusal.code, "application/json", trace_error(refusal.message), headers);
  } else {
    answer(stream, refusal.code, "text/plain; charset=utf-8", refusal.message + "\n", headers);
  }
  return reusable;
}

bool routes_by_path(const std::string& server_version) {
  std::array<int, 3> version{};
  if (std::sscanf(server_version.c_str(), "%d.%d.%d", &version[0], &version[1], &version[2]) != 3) {
    return false;
  }
  constexpr std::array<int, 3> kFirst{17, 2, 7};
  if (version == kFirst) return server_version.find('-') == std::string::npos;
  return version > kFirst;
}

std::optional<Refusal> check_caller(const std::optional<ClientIdentity>& identity,
                                    int peer_certificates, const Request& request,
                                    const std::string& peer_ip) {
  if (peer_certificates > 1) {
    return Refusal{Refusal::Form::trace, 403, "",
                   "access denied: intermediaries are not supported"};
  }
  if (!request.header("Teleport-Impersonate-User").empty()) {
    return Refusal{Refusal::Form::trace, 403, "",
                   "Credentials forwarding is only permitted for Proxy"};
  }
  if (!identity) return access_denied("[00] access denied");
  const bool usable = identity->usage.empty() ||
                      (identity->usage.size() == 1 && identity->usage.front() == "usage:kube");
  if (!usable) return access_denied("[00] access denied");
  if (!identity->pinned_ip.empty() && identity->pinned_ip != peer_ip) {
    return access_denied("pinned IP doesn't match observed client IP");
  }
  return std::nullopt;
}

std::optional<Refusal> route(Request& request, ClientIdentity identity, bool by_path,
                             const std::string& teleport_cluster, std::string& kube_cluster) {
  constexpr std::string_view kPrefix = "/v1/teleport/";
  const std::string_view path = request.path;
  if (by_path && path.substr(0, kPrefix.size()) == kPrefix) {
    const std::size_t middle = path.find('/', kPrefix.size());
    const std::size_t end = middle == std::string_view::npos ? middle : path.find('/', middle + 1);
    if (end != std::string_view::npos) {
      std::string tele;
      std::string kube;
      if (auto bad = decode_segment(path.substr(kPrefix.size(), middle - kPrefix.size()), tele)) {
        return bad;
      }
      if (auto bad = decode_segment(path.substr(middle + 1, end - middle - 1), kube)) return bad;
      if ((!identity.route_to_cluster.empty() && identity.route_to_cluster != tele) ||
          (!identity.kubernetes_cluster.empty() && identity.kubernetes_cluster != kube)) {
        return access_denied("existing route in identity may not be overwritten");
      }
      identity.route_to_cluster = tele;
      identity.kubernetes_cluster = kube;
      // The raw path is forgotten: escapes in the rest lose themselves.
      request.path = go_escaped_path(percent_decoded(path.substr(end)));
      request.target = request.path + (request.query.empty() ? "" : "?" + request.query);
    }
  }
  if (!identity.route_to_cluster.empty() && identity.route_to_cluster != teleport_cluster) {
    return Refusal{Refusal::Form::status, 404, "NotFound",
                   "cluster \"" + identity.route_to_cluster + "\" is not found"};
  }
  kube_cluster = identity.kubernetes_cluster;
  return std::nullopt;
}

std::optional<Refusal> impersonate(Request& request, const ClientIdentity& identity) {
  if (identity.kubernetes_users.empty() && identity.kubernetes_groups.empty()) {
    return Refusal{Refusal::Form::status, 404, "NotFound",
                   "Your user's Teleport role does not allow Kubernetes access. Please ask cluster "
                   "administrator to ensure your role has appropriate kubernetes_groups and "
                   "kubernetes_users set."};
  }
  std::string user;
  std::vector<std::string> groups;
  int users = 0;
  for (const auto& [name, value] : request.headers) {
    if (!has_prefix(name, "Impersonate-")) continue;
    if (same_text(name, "Impersonate-User")) {
      if (++users > 1) {
        return access_denied("impersonation request has been denied, only one user is allowed");
      }
      user = value;
    } else if (same_text(name, "Impersonate-Group")) {
      if (!contains(identity.kubernetes_groups, value) && value != "system:authenticated") {
        return access_denied("impersonation request has been denied, group header \"" + value +
                             "\" value is not allowed in roles");
      }
      groups.push_back(value);
    } else {
      return access_denied("unsupported impersonation header \"" + name + "\"");
    }
  }
  if (auto refused = select_user(identity, user)) return refused;
  if (groups.empty()) {
    groups = identity.kubernetes_groups;
    if (!contains(groups, "system:authenticated")) groups.emplace_back("system:authenticated");
  }
  request.user = user;
  request.groups = groups;
  std::erase_if(request.headers, [](const auto& field) {
    return has_prefix(field.first, "Impersonate-") ||
           has_prefix(field.first, "Teleport-Impersonate-");
  });
  return std::nullopt;
}

void append_forwarded(Request& request, const std::string& peer_ip) {
  const auto add = [&request](const char* name, const std::string& value) {
    if (!request.has(name)) request.headers.emplace_back(name, value);
  };
  std::erase_if(request.headers,
                [](const auto& field) { return same_text(field.first, "X-Forwarded-For"); });
  add("X-Forwarded-For", peer_ip);
  add("X-Forwarded-Proto", "https");
  add("X-Forwarded-Host", request.header("Host"));
  add("X-Forwarded-Path", request.path);
}

}  // namespace lab
