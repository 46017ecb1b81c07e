// TLS 1.3's key schedule for OpenSSL's handshakes, as a provider of our own that offers this one
// function (TLS13-KDF): OpenSSL's takes a tenth of a handshake's time, and the key log callback,
// the only other public door to the traffic secrets that our record layer needs, as much again to
// print them as hexadecimal digits. Contexts that are made with properties() prefer it; all other
// algorithms are OpenSSL's.
#pragma once

namespace kubelane::tls {

// The property query for SSL_CTX_new_ex(), after the provider is there. Null when OpenSSL does not
// take it: then connections stay with OpenSSL's key schedule and record layer.
const char* key_schedule_properties();

}  // namespace kubelane::tls
