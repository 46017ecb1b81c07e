// The key by which a bot joins with method bound_keypair, those that it had before, and the
// document that Teleport gave at the last join (control-plane spec 1.8). No I/O: the files'
// contents go in and out, by tbot's names and in its formats. Control thread.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.hpp"
#include "proxy/teleport/bot_artifacts.hpp"
#include "proxy/teleport/find.hpp"
#include "tls/openssl.hpp"

namespace kubelane::teleport {

// id_bkp, id_bkp.pub, bkp_state, bkp_key_history.json.
extern const std::array<const char*, 4> bound_keypair_files;

class BoundKeypair {
 public:
  BoundKeypair() = default;
  // What tbot or kubelane stored; nothing stored is an empty one. Failure: a sentence about a file
  // that cannot be read.
  static Outcome<BoundKeypair> parse(const Artifacts& stored);

  // Joins by this key alone from now on, which the operator gave and which is never stored.
  void use_fixed(std::shared_ptr<EVP_PKEY> key);
  bool fixed() const noexcept { return fixed_; }
  // There is a key that Teleport has bound, or that an administrator registers.
  bool bound() const noexcept { return active_.key != nullptr; }
  const std::string& join_state() const noexcept { return join_state_; }

  // The key whose public half this is (authorized_keys; white space at the ends and a comment do
  // not count), of now or of before. Null: it is not here.
  EVP_PKEY* find(std::string_view public_line) const;
  // A new key, to be stored before its public line (no newline) is told to anybody. The one of an
  // attempt whose end is not known is taken again, unless `used` is it: Teleport may have bound it.
  // Failure: fixed(), or OpenSSL cannot make one.
  Outcome<std::string> rotate(KeyKind kind, std::string_view used,
                              std::chrono::system_clock::time_point now);
  // A key to be registered before the first join; bound() from now on. Failure: out of randomness.
  Outcome<void> create(KeyKind kind, std::chrono::system_clock::time_point now);
  // authorized_keys, no newline; empty: not bound().
  const std::string& public_line() const noexcept { return active_.line; }
  // What a join ended with. Failure: Teleport has bound a key that is not here.
  Outcome<void> accept(std::string join_state, std::string_view public_line);
  // Of another token than before: keys stay in the history, nothing is bound.
  void start_over();

  Artifacts artifacts() const;

 private:
  struct Entry {
    std::shared_ptr<EVP_PKEY> key;
    std::string line;  // authorized_keys, no newline
    std::string time;  // RFC 3339, when it was made
  };
  static Outcome<Entry> read_key(std::string_view pem, const std::string& file);
  static Outcome<Entry> make_entry(KeyKind kind, std::chrono::system_clock::time_point now);
  const Entry* entry_of(std::string_view public_line) const;
  std::string history_json() const;

  Entry active_;
  std::vector<Entry> history_;  // oldest first
  std::string stale_;           // of another token: not to be told to this one
  std::string join_state_;
  bool fixed_ = false;
};

}  // namespace kubelane::teleport
