#include "tls/traffic_secrets.hpp"

#include <algorithm>

#include <openssl/crypto.h>

namespace kubelane::tls {

TrafficSecrets::~TrafficSecrets() {
  OPENSSL_cleanse(client_.data(), client_.size());
  OPENSSL_cleanse(server_.data(), server_.size());
}

TrafficSecrets*& TrafficSecrets::taker() noexcept {
  thread_local TrafficSecrets* current = nullptr;
  return current;
}

void TrafficSecrets::derived(std::string_view label,
                             std::span<const std::uint8_t> secret) noexcept {
  TrafficSecrets* const to = taker();
  if (to == nullptr || secret.size() != to->client_.size()) return;
  if (label == "c ap traffic") {
    std::copy(secret.begin(), secret.end(), to->client_.begin());
    to->has_client_ = true;
  } else if (label == "s ap traffic") {
    std::copy(secret.begin(), secret.end(), to->server_.begin());
    to->has_server_ = true;
  }
}

}  // namespace kubelane::tls
