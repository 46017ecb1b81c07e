// PEM text: files cut into blocks, certificates to and from OpenSSL. Keys: key.hpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl.hpp"

namespace kubelane::tls {

// The blocks of a file in their order, by kind, as views into its text. Everything outside blocks
// (SSH certificate, @cert-authority lines) and blocks with other labels are left out.
struct PemBlocks {
  std::vector<std::string_view> keys;          // any label that ends with PRIVATE KEY
  std::vector<std::string_view> certificates;  // label CERTIFICATE
  // The text stops inside a block or inside a line that begins one: it is still being written.
  bool torn = false;
};

// Spaces and CR around lines are tolerated, as Teleport's own reader does (data-path spec 1.3).
PemBlocks split_pem(std::string_view text);

// The label of the block that `pem` begins with; empty when it begins with none.
std::string_view pem_label(std::string_view pem);

// A read-only BIO over `text`, which must outlive it.
BioPtr memory_bio(std::string_view text);

// For OpenSSL's readers: an encrypted block fails instead of asking at a terminal.
int refuse_password(char* buffer, int size, int writing, void* context);

// The first certificate, or null. Leaves the error queue empty.
CertificatePtr parse_certificate(std::string_view pem);

// Empty when out of memory.
std::string certificate_pem(X509* certificate);

// The block with each line trimmed. May hold a key: wipe() it.
std::string trim_lines(std::string_view block);

}  // namespace kubelane::tls
