// A bot's identity toward the Teleport Proxy: one immutable, validated snapshot of certificate,
// key, trusted CAs and route. Made from the files that tbot writes (data-path spec 1.2, 1.3, 2.4,
// 8).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {

// The bytes of the files at one moment; absent files are empty.
struct IdentityFiles {
  std::string identity;     // `identity`: key, certificate and CAs in one file; wins when usable
  std::string certificate;  // `tlscert`
  std::string key;          // `key`
  std::string host_ca;      // `teleport-host-ca.crt`
  std::string kubeconfig;   // `kubeconfig.yaml`; not used here
  // Made here and never written: belongs to `certificate`, in place of every key in the files.
  std::shared_ptr<EVP_PKEY> own_key = nullptr;
};

// Immutable after make_identity(). Shared across threads; the SSL_CTX is only read.
struct Identity {
  ContextPtr context;  // client: our one certificate and key, the root cluster's host CAs, policy
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;
  std::string user;                // CN, e.g. bot-ci
  std::string bot_name;            // 1.3.9999.2.18
  std::string teleport_cluster;    // root: 1.3.9999.1.7, else Issuer O; never empty
  std::string route_to_cluster;    // STREET
  std::string kubernetes_cluster;  // 1.3.9999.1.3; empty: path routing is needed
  std::string pinned_ip;           // 1.3.9999.2.15
  std::string fingerprint;         // SHA-256 over certificate and CA bundle, hex: equal means same
  std::string serial;              // certificate serial, hex, for logs
  std::vector<std::string> ca_subjects;  // one line each, for logs
};
using IdentityPtr = std::shared_ptr<const Identity>;

// Parses and validates: the key matches the certificate, the certificate is a leaf, at least one CA
// of the root cluster is there (selected by Subject CN == teleport_cluster). Order-tolerant by PEM
// label; an unterminated PEM block, an empty file or a mismatch is a Failure{Code::io} whose
// message says "incomplete" or names the mismatch: the caller retries, since tbot writes in place.
// An expired certificate is returned as it is: the caller decides by not_after. Private key bytes
// are wiped from every temporary. `files` is consumed and its key bytes wiped.
Outcome<IdentityPtr> make_identity(IdentityFiles files);

}  // namespace kubelane::tls
