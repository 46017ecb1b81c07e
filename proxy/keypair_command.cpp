#include "proxy/keypair_command.hpp"

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "proxy/teleport/bot_storage.hpp"
#include "proxy/teleport/bound_keypair.hpp"

namespace kubelane {
namespace {

Outcome<std::string> public_line(const Command& command) {
  Outcome<std::unique_ptr<teleport::BotStorage>> storage =
      teleport::open_directory_storage(command.storage_path);
  if (!storage) return storage.error();
  Outcome<teleport::StoredBot> stored = (*storage)->load();
  if (!stored) return stored.error();
  Outcome<teleport::BoundKeypair> keypair = teleport::BoundKeypair::parse(stored->keypair);
  if (!keypair) return keypair.error();
  if (keypair->bound()) return keypair->public_line();
  const teleport::KeyKind kind =
      command.fips ? teleport::KeyKind::ecdsa : teleport::KeyKind::ed25519;
  if (Outcome<void> made = keypair->create(kind, std::chrono::system_clock::now()); !made)
    return made.error();
  if (Outcome<void> saved = (*storage)->save_keypair(keypair->artifacts()); !saved)
    return saved.error();
  return keypair->public_line();
}

}  // namespace

int create_keypair(const Command& command) {
  const Outcome<std::string> line = public_line(command);
  if (!line) {
    std::cerr << "kubelane: " << line.error().message << '\n';
    return EXIT_FAILURE;
  }
  std::cout << *line << '\n';
  return EXIT_SUCCESS;
}

}  // namespace kubelane
