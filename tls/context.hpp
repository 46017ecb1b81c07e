// The only place of TLS policy: versions, suites, ALPN, verification, tickets, buffer modes.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "tls/openssl.hpp"

namespace kubelane::tls {

// Client context toward the Proxy's Kubernetes listener, without identity: TLS 1.2 at least,
// AES-128-GCM first where the CPU has AES, verification on, client session cache through
// callbacks only (session_cache.hpp), our key schedule and record layer. ALPN is said per
// connection: offer_protocols().
Outcome<ContextPtr> make_upstream_context();

// Server context of the local listeners. `certificate_pem`: leaf then CA; `client_ca_pem`: when not
// empty, a client certificate signed by it is required (mtls). Tickets on, no session cache.
// ALPN: picks h2 where allow_http2() permits it, else http/1.1; a client that offers only others is
// refused (no_application_protocol).
Outcome<ContextPtr> make_local_context(std::string_view certificate_pem, std::string_view key_pem,
                                       std::string_view client_ca_pem);

// Client context for the Proxy's web address (ping): system roots, or `ca_file` alone, or no
// verification when `insecure`.
Outcome<ContextPtr> make_web_context(const std::string& ca_file, bool insecure);

// Client context for Teleport's Auth Service: trusts only `roots_pem` (the cluster's host CAs, one
// or more), or nothing and everybody when that is empty, for a look at a service that is not known
// yet. `certificate` and `key` may both be null; the chain sent is that one certificate
// (control-plane spec 3.1).
Outcome<ContextPtr> make_auth_context(std::string_view roots_pem, X509* certificate, EVP_PKEY* key);

// Client side: a list of names by their order, for the routes of the Proxy's ALPN. False when
// OpenSSL refuses.
bool offer_names(SSL* ssl, std::span<const std::string> names);

// Client side: what to offer. False when OpenSSL refuses.
bool offer_protocols(SSL* ssl, bool http2, bool http1);
// Server side of a local context, before the handshake.
void allow_http2(SSL* ssl, bool allowed);
// After the handshake.
bool chose_http2(const SSL* ssl);

// Sets the name to verify and SNI on a connection; an IP literal is verified as an IP SAN and sent
// without SNI (data-path spec 2.2). False when OpenSSL refuses the name.
bool set_expected_peer(SSL* ssl, const std::string& name);

}  // namespace kubelane::tls
