#include "tests/lab/server_version.hpp"

#include <cstdio>
#include <stdexcept>
#include <utility>

namespace lab {
namespace {

bool parse(const std::string& text, std::array<int, 3>& numbers) {
  return std::sscanf(text.c_str(), "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]) == 3;
}

}  // namespace

ServerVersion::ServerVersion(std::string text) : text_(std::move(text)) {
  if (!parse(text_, numbers_)) throw std::runtime_error("lab: no version: " + text_);
}

bool ServerVersion::has_join_v1(const std::string& method) const {
  if (major() >= 19) return true;
  if (method == "token" || method == "bound_keypair") return from(18, 3, 0);
  return from(18, 5, 0);
}

bool ServerVersion::refuses_client(const std::string& version) const {
  std::array<int, 3> client{};
  return !parse(version, client) || client[0] < major() - 1;
}

}  // namespace lab
