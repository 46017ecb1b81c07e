// Where the bot's own identity survives the process. tbot's layout, so that either program can take
// a bot over from the other; never both at a time (control-plane spec 7, 9). Control thread.
#pragma once

#include <memory>
#include <string>

#include "config/result.hpp"
#include "proxy/teleport/bot_artifacts.hpp"
#include "proxy/teleport/bot_identity.hpp"

namespace kubelane::teleport {

struct StoredBot {
  BotIdentityPtr identity;  // null: none
  std::string token_hash;   // hex of SHA-256 over the token that it joined with
  // A renewal of exactly this identity was begun, and nobody knows how it ended.
  bool renewal_pending = false;
  Artifacts keypair;  // of bound_keypair_files, those that are there
  // A join by that key was proved to Teleport, and nobody knows how it ended.
  bool join_pending = false;
};

class BotStorage {
 public:
  virtual ~BotStorage() = default;
  virtual Outcome<StoredBot> load() = 0;
  // Proves that save() will work, as far as that can be known, and notes down that this identity
  // is about to be renewed: a renewal whose answer cannot be kept locks the bot out.
  virtual Outcome<void> begin_renewal(const BotIdentity& current) = 0;
  // The renewal was refused for sure: the identity is as good as before.
  virtual void end_renewal() = 0;
  // Durably, before it returns; ends a renewal or a join. `keypair`: of bound_keypair_files, empty
  // for the other methods; all of it survives, or nothing.
  virtual Outcome<void> save(const BotIdentity& identity, const std::string& token_hash,
                             const Artifacts& keypair) = 0;
  // Before a new key is told to anybody; or after a join whose certificate is of no use.
  virtual Outcome<void> save_keypair(const Artifacts& keypair) = 0;
  // The same as begin_renewal() and end_renewal(), of a join by a bound key.
  virtual Outcome<void> begin_join() = 0;
  virtual void end_join() = 0;
  // Teleport refuses this identity for good: load() shall not find it again.
  virtual void forget_identity() = 0;
};

std::unique_ptr<BotStorage> make_memory_storage();

// Makes the directory (0700) where there is none, and takes tbot's advisory lock on it. Failure:
// another process has it, or it cannot be written.
Outcome<std::unique_ptr<BotStorage>> open_directory_storage(const std::string& path);

// Lower-case hex of SHA-256, as tbot's `tokenhash` holds it.
std::string token_hash(const std::string& token);

}  // namespace kubelane::teleport
