// Bot instances with their generations, and the locks that stop them (control-plane spec 9). Not
// thread-safe by itself.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/server_version.hpp"
#include "tests/lab/teleport_rules.hpp"

namespace lab {

struct Heartbeat {
  bool is_startup = false;
  bool one_shot = false;
  std::string version;
  std::string hostname;
  std::string join_method;
  std::string architecture;
  std::string os;
  int kind = 0;
  long uptime_seconds = 0;
};

struct BotInstance {
  std::string id;
  std::string user;  // bot-<name>
  std::string token;
  std::string method;
  std::uint64_t generation = 0;  // of the newest certificate
  std::vector<Heartbeat> heartbeats;
};

struct Lock {
  enum class Target { user, role, bot_instance, join_token };
  Target target = Target::user;
  std::string name;
  std::string message;
};

class BotInstances {
 public:
  const BotInstance& create(const std::string& user, const std::string& token,
                            const std::string& method);
  BotInstance* find(const std::string& id);
  const std::map<std::string, BotInstance>& all() const { return instances_; }
  // As after a backup was restored.
  void forget(const std::string& id) { instances_.erase(id); }
  void set_generation(const std::string& id, std::uint64_t generation);

  // The generation of the next certificate for the one who presents this identity; remembers it. On
  // a mismatch, where the method enforces it, makes a lock and throws CallError.
  std::uint64_t advance(const ClientIdentity& presented, const ServerVersion& version);

  void lock(Lock lock);
  // All that have this target and name.
  void unlock(Lock::Target target, const std::string& name);
  const std::vector<Lock>& locks() const { return locks_; }
  // Throws CallError when a lock is in force against this identity.
  void check_locks(const ClientIdentity& identity) const;
  void check_token_lock(const std::string& token) const;

 private:
  std::map<std::string, BotInstance> instances_;
  std::vector<Lock> locks_;
};

}  // namespace lab
