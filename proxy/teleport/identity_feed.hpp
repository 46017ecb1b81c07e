// Where a service's identity comes from: a directory that tbot writes, or kubelane's own bot.
#pragma once

#include <functional>
#include <string>

#include "tls/identity.hpp"

namespace kubelane::teleport {

// Thread: control. Callbacks run on its io_context, never from within start() of another object.
class IdentityFeed {
 public:
  struct Callbacks {
    // A new, complete identity, or the same one after a problem is over. `kubeconfig`: tbot's
    // kubeconfig.yaml at the same time, may be empty.
    std::function<void(tls::IdentityPtr, std::string kubeconfig)> on_identity;
    // Nothing usable is there (yet); a sentence. Repeated only when the text changes.
    std::function<void(std::string)> on_problem;
  };

  virtual ~IdentityFeed() = default;
  virtual void start(Callbacks callbacks) = 0;
  // Looks for a newer identity now.
  virtual void reload() = 0;

  // How sentences call the identity, e.g. "the credentials in /opt/machine-id".
  virtual std::string noun() const = 0;
  // What to do when it is not renewed, e.g. "is tbot running?".
  virtual std::string remedy() const = 0;
};

}  // namespace kubelane::teleport
