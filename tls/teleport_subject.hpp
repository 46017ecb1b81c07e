// What Teleport writes into the subject of a certificate: user, clusters, bot, generation
// (control-plane spec 2.1).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "config/result.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {

struct TeleportSubject {
  std::string user;                         // CN, e.g. bot-ci
  std::string teleport_cluster;             // 1.3.9999.1.7, else the issuer's O; never empty
  std::string route_to_cluster;             // STREET
  std::string kubernetes_cluster;           // 1.3.9999.1.3
  std::string pinned_ip;                    // 1.3.9999.2.15
  std::string bot_name;                     // 1.3.9999.2.18
  std::string bot_instance;                 // 1.3.9999.2.20
  bool renewable = false;                   // 1.3.9999.1.13
  std::optional<std::uint64_t> generation;  // 1.3.9999.1.14
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;
  std::string serial;  // hex, for logs
};

// Failure{Code::io} when it is no certificate of Teleport's, or holds control characters.
Outcome<TeleportSubject> read_subject(X509* certificate);

// First value of an attribute, by dotted OID; empty when there is none.
std::string subject_attribute(const X509_NAME* subject, const char* oid);
inline constexpr const char* oid_common_name = "2.5.4.3";

std::string hex(const unsigned char* bytes, std::size_t count);

}  // namespace kubelane::tls
