#include "tls/traffic_secrets.hpp"

#include <string_view>

#include <openssl/crypto.h>

namespace kubelane::tls {
namespace {

int secrets_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool from_hex(std::string_view text, RecordLayer::Secret& out) noexcept {
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

}  // namespace

TrafficSecrets::~TrafficSecrets() {
  OPENSSL_cleanse(client_.data(), client_.size());
  OPENSSL_cleanse(server_.data(), server_.size());
}

void TrafficSecrets::enable(SSL_CTX* context) {
  secrets_index();
  SSL_CTX_set_keylog_callback(context, on_line);
}

void TrafficSecrets::attach(SSL* ssl, TrafficSecrets* secrets) {
  SSL_set_ex_data(ssl, secrets_index(), secrets);
}

// A line is a label, the client's random and the secret, with spaces between.
void TrafficSecrets::on_line(const SSL* ssl, const char* line) {
  auto* secrets = static_cast<TrafficSecrets*>(SSL_get_ex_data(ssl, secrets_index()));
  if (secrets == nullptr) return;
  const std::string_view text(line);
  const std::string_view secret = text.substr(text.rfind(' ') + 1);
  if (text.starts_with("CLIENT_TRAFFIC_SECRET_0 "))
    secrets->has_client_ = from_hex(secret, secrets->client_);
  else if (text.starts_with("SERVER_TRAFFIC_SECRET_0 "))
    secrets->has_server_ = from_hex(secret, secrets->server_);
}

}  // namespace kubelane::tls
