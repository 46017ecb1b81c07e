// First-contact trust in an Auth Service that is dialled directly (control-plane spec 1.6). Pure.
#pragma once

#include <string>
#include <vector>

#include "config/result.hpp"

namespace kubelane::teleport {

// Every certificate of the bundle must match one of the pins (sha256:<hex> over its
// SubjectPublicKeyInfo) and be within its validity. Why it does not, or an empty string.
std::string check_ca_pins(const std::string& bundle_pem, const std::vector<std::string>& pins);

// PEM; at least one certificate.
Outcome<std::string> read_ca_file(const std::string& path);

}  // namespace kubelane::teleport
