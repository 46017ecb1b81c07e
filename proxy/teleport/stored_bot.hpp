// The bot's own identity as named artifacts, in tbot's layout (control-plane spec 7): the files of
// a directory, or the keys of a Secret. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/teleport/bot_identity.hpp"

namespace kubelane::teleport {

// Name and content. Keys among them are wiped at the end.
struct Artifacts {
  std::vector<std::pair<std::string, std::string>> files;

  Artifacts() = default;
  Artifacts(Artifacts&&) = default;
  Artifacts& operator=(Artifacts&&) = default;
  Artifacts(const Artifacts&) = delete;
  Artifacts& operator=(const Artifacts&) = delete;
  ~Artifacts();
  // Empty when there is none.
  const std::string& at(std::string_view name) const;
};

// What a whole identity needs to be read.
inline constexpr const char* artifact_names[] = {"tlscert",    "key-cert.pub", "key",
                                                 "tlscacerts", "sshcacerts",   "tokenhash"};

// Those and `key.pub`. `hash`: of the token that it joined with.
Artifacts artifacts_of(const BotIdentity& identity, const std::string& hash);

// Null when the artifacts are no whole identity, or one that is over.
BotIdentityPtr identity_of(const Artifacts& artifacts);

// Lower-case hex of SHA-256, as tbot's `tokenhash` holds it.
std::string token_hash(const std::string& token);

}  // namespace kubelane::teleport
