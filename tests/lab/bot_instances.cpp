#include "tests/lab/bot_instances.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <openssl/rand.h>

#include "tests/lab/call_error.hpp"

namespace lab {
namespace {

std::string random_uuid() {
  std::array<unsigned char, 16> bytes{};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string_view kind_of(Lock::Target target) {
  switch (target) {
    case Lock::Target::user:
      return "User";
    case Lock::Target::role:
      return "Role";
    case Lock::Target::bot_instance:
      return "BotInstanceID";
    default:
      return "JoinToken";
  }
}

bool enforced(const BotInstance& instance) {
  return instance.method == "token" || instance.method == "bound_keypair";
}

[[noreturn]] void refuse(const Lock& lock) {
  deny("lock targeting " + std::string(kind_of(lock.target)) + ":\"" + lock.name +
       "\" is in force: " + lock.message);
}

}  // namespace

const BotInstance& BotInstances::create(const std::string& user, const std::string& token,
                                        const std::string& method) {
  BotInstance made;
  made.id = random_uuid();
  made.user = user;
  made.token = token;
  made.method = method;
  made.generation = 1;
  return instances_[made.id] = made;
}

BotInstance* BotInstances::find(const std::string& id) {
  const auto found = instances_.find(id);
  return found == instances_.end() ? nullptr : &found->second;
}

void BotInstances::set_generation(const std::string& id, std::uint64_t generation) {
  if (BotInstance* instance = find(id)) instance->generation = generation;
}

std::uint64_t BotInstances::advance(const ClientIdentity& presented, const ServerVersion& version) {
  if (!presented.generation) {
    deny("a current identity generation must be provided");
  }
  BotInstance* instance = find(presented.bot_instance_id);
  if (instance == nullptr) {
    // v17 goes on with the counter on the bot's user; here that counter is the certificate's.
    BotInstance& revived = instances_[presented.bot_instance_id];
    revived.id = presented.bot_instance_id;
    revived.user = presented.username;
    revived.method = presented.renewable ? "token" : "kubernetes";
    revived.generation = *presented.generation;
    instance = &revived;
  }
  if (instance->generation != *presented.generation && enforced(*instance)) {
    Lock made;
    made.message = "The bot user \"" + instance->user +
                   "\" has been locked due to a certificate generation mismatch, possibly "
                   "indicating a stolen certificate.";
    if (!version.locks_instance()) {
      made.target = Lock::Target::user;
      made.name = instance->user;
    } else if (instance->method == "bound_keypair") {
      made.target = Lock::Target::join_token;
      made.name = instance->token;
    } else {
      made.target = Lock::Target::bot_instance;
      made.name = instance->id;
    }
    lock(std::move(made));
    deny("renewable cert generation mismatch for bot " + presented.bot_name + "/" + instance->id +
         ": stored=" + std::to_string(instance->generation) +
         ", presented=" + std::to_string(*presented.generation));
  }
  return ++instance->generation;
}

void BotInstances::lock(Lock lock) { locks_.push_back(std::move(lock)); }

void BotInstances::unlock(Lock::Target target, const std::string& name) {
  std::erase_if(locks_,
                [&](const Lock& each) { return each.target == target && each.name == name; });
}

void BotInstances::check_locks(const ClientIdentity& identity) const {
  const auto instance = instances_.find(identity.bot_instance_id);
  for (const auto& each : locks_) {
    bool hit = false;
    switch (each.target) {
      case Lock::Target::user:
        hit = each.name == identity.username || each.name == identity.impersonator;
        break;
      case Lock::Target::role:
        hit = std::find(identity.roles.begin(), identity.roles.end(), each.name) !=
              identity.roles.end();
        break;
      case Lock::Target::bot_instance:
        hit = each.name == identity.bot_instance_id;
        break;
      case Lock::Target::join_token:
        hit = instance != instances_.end() && each.name == instance->second.token;
        break;
    }
    if (hit) refuse(each);
  }
}

void BotInstances::check_token_lock(const std::string& token) const {
  for (const auto& each : locks_) {
    if (each.target == Lock::Target::join_token && each.name == token) refuse(each);
  }
}

}  // namespace lab
