// The certificate authority of this installation: signs the localhost server certificate and, for
// local_auth mtls, one client certificate. ECDSA P-256. Lives in memory, or in a storage directory
// (0700, files 0600) so that running clients never break across restarts.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {

struct LeafPem {
  std::string certificate;  // leaf only
  std::string key;          // PKCS#8
  std::chrono::system_clock::time_point not_after;
};

// Everything the local side must keep across restarts. Copies hold secrets.
struct LocalTrust {
  std::string ca_certificate;  // PEM
  std::string ca_key;          // PEM
  std::string token;           // 256 bits, base64url, for local_auth: token
  std::chrono::system_clock::time_point not_after;
};

// Reads kubelane-ca.crt, kubelane-ca.key and kubelane-token from `storage_path`, creating what is
// missing, the directory too; an empty path makes new ones in memory. Each file is written to a
// temporary, fsynced and renamed; a lock on kubelane.lock keeps two processes from creating
// different ones. Files that are damaged, symbolic links, another user's or, the secret ones,
// readable by others are a Failure that says what to do: never overwritten silently. The CA's
// certificate lives 10 years and is replaced when less than 30 days are left; key and name stay, so
// that clients with the old one go on until it ends. A directory that cannot be written is a
// Failure only when something would have to be written. Blocks for the disk and for another
// process's lock.
Outcome<LocalTrust> open_local_trust(const std::string& storage_path);

// Whether clients can send it after "Bearer " and nobody guesses it: at least 32 bytes. An
// operator's own may hold all that RFC 6750 allows.
bool is_local_token(const std::string& text);

// When this CA's certificate ends; nothing: it is none, or not this key's.
std::optional<std::chrono::system_clock::time_point> authority_end(
    const std::string& certificate_pem, EVP_PKEY* key);

// Server leaf: SANs localhost, 127.0.0.1, ::1 and `extra_names` (DNS names or IP literals).
// What is neither is left out: no client could verify it. Valid 90 days, renewed by the caller when
// less than 30 are left. NotBefore 1 h back.
Outcome<LeafPem> issue_server_leaf(const LocalTrust& trust,
                                   const std::vector<std::string>& extra_names);

// Client leaf (extendedKeyUsage clientAuth) for the kubeconfig in mtls mode; valid as long as the
// CA.
Outcome<LeafPem> issue_client_leaf(const LocalTrust& trust);

}  // namespace kubelane::tls
