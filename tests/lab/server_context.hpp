// A TLS context for the lab's servers.
#pragma once

#include <vector>

#include "tests/lab/pki.hpp"
#include "tests/lab/tls_stream.hpp"

namespace lab {

// TLS 1.2 and later. `alpn`: in order of preference; it must outlive the context's connections. A
// client whose list has none of them gets the alert no_application_protocol, as from Go.
ContextPtr server_context(const Issued& certificate, const std::vector<const char*>& alpn);

// Empty: none.
std::string chosen_alpn(TlsStream& stream);

}  // namespace lab
