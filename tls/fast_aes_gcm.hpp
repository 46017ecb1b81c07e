// AES-128-GCM for CPUs with VAES and AVX-512, as a provider inside OpenSSL, for OpenSSL before 3.1,
// which does not know these instructions: intel-ipsec-mb moves 12 GB/s where OpenSSL 3.0 moves 4.5
// and seals a 1 KB record in a quarter of the time. libssl asks for it by the property query below
// and uses it for records; handshakes, certificates and every other algorithm stay with OpenSSL.
#pragma once

namespace kubelane::tls {

// Offers the cipher to OpenSSL when it helps here: built with the library, x86-64 with the
// instructions, OpenSSL older than 3.1, and the same output as OpenSSL's own in a self-test.
// Call once, before any TLS context is made; not thread-safe. False: OpenSSL's own is used.
bool install_fast_aes_gcm();

// Property query for SSL_CTX_new_ex: prefers the fast cipher, falls back to OpenSSL's own.
inline constexpr const char* fast_aes_gcm_query = "?provider=kubelane";

}  // namespace kubelane::tls
