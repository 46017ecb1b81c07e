// The bot's own identity as named artifacts, in tbot's layout (control-plane spec 7): the files of
// a directory, or the keys of a Secret. Pure functions.
#pragma once

#include <array>
#include <string>

#include "proxy/teleport/bot_artifacts.hpp"
#include "proxy/teleport/bot_identity.hpp"

namespace kubelane::teleport {

// What a whole identity needs to be read.
inline constexpr std::array<const char*, 6> identity_files = {
    "tlscert", "key-cert.pub", "key", "tlscacerts", "sshcacerts", "tokenhash"};

// Those and `key.pub`. `hash`: of the token that it joined with.
Artifacts artifacts_of(const BotIdentity& identity, const std::string& hash);

// Null when the artifacts are no whole identity, or one that is over.
BotIdentityPtr identity_of(const Artifacts& artifacts);

// Lower-case hex of SHA-256, as tbot's `tokenhash` holds it.
std::string token_hash(const std::string& token);

}  // namespace kubelane::teleport
