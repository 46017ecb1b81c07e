// For objects on the control thread that are destroyed while the io_context runs: Asio may have
// queued a handler with success already when its timer or descriptor is destroyed.
#pragma once

#include <memory>

namespace kubelane::runtime {

// A member of the object; a handler keeps its watch() and does nothing once that is over().
// Thread: control.
class Lifetime {
 public:
  Lifetime() : token_(std::make_shared<char>()) {}
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;

  class Watch {
   public:
    explicit Watch(const std::shared_ptr<char>& token) : token_(token) {}
    bool over() const noexcept { return token_.expired(); }

   private:
    std::weak_ptr<char> token_;
  };
  Watch watch() const { return Watch(token_); }

 private:
  std::shared_ptr<char> token_;
};

}  // namespace kubelane::runtime
