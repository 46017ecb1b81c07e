// What a Teleport of some version can do (control-plane spec 10, 1.1, 9; data-path spec 0.1).
#pragma once

#include <array>
#include <string>

namespace lab {

class ServerVersion {
 public:
  explicit ServerVersion(std::string text);

  const std::string& text() const { return text_; }
  int major() const { return numbers_[0]; }

  bool has_suites() const { return major() >= 17; }
  bool has_split_keys() const { return major() >= 17; }  // fields 22, 23 of UserCertsRequest
  bool has_single_key() const { return major() <= 17; }  // field 1
  bool has_register_using_token() const { return major() >= 17; }       // unary, on Auth
  bool forwards_register_using_token() const { return major() >= 19; }  // by the Proxy
  bool has_kubernetes_oidc() const { return late_17(7, 3) || from(18, 2, 0); }
  bool has_bound_keypair() const { return late_17(7, 0) || from(18, 1, 0); }
  // Of a method in teleport.join.v1.
  bool has_join_v1(const std::string& method) const;
  // A mismatch of generations locks the instance or the token, not the bot's user.
  bool locks_instance() const { return late_17(7, 0) || from(18, 1, 0); }
  long max_ttl_seconds() const { return major() >= 17 ? 7 * 86'400L : 86'400L; }

  // Whether a client of that version is too old; "bad" texts are (spec 3.2).
  bool refuses_client(const std::string& version) const;

 private:
  bool from(int major, int minor, int patch) const {
    return numbers_ >= std::array<int, 3>{major, minor, patch};
  }
  bool late_17(int minor, int patch) const { return major() == 17 && from(17, minor, patch); }

  std::string text_;
  std::array<int, 3> numbers_{};
};

}  // namespace lab
