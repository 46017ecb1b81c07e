#include "tests/lab/auth_calls.hpp"

#include <algorithm>

#include "tests/lab/call_error.hpp"

namespace lab {

std::size_t AuthCalls::count(const std::string& method) const {
  return static_cast<std::size_t>(std::count_if(
      calls.begin(), calls.end(), [&](const AuthCall& call) { return call.method == method; }));
}

std::size_t AuthCalls::count_answered(const std::string& method) const {
  return static_cast<std::size_t>(
      std::count_if(calls.begin(), calls.end(), [&](const AuthCall& call) {
        return call.method == method && call.code == grpc_code::ok && call.answered;
      }));
}

std::size_t AuthCalls::joins() const {
  return static_cast<std::size_t>(
      std::count_if(calls.begin(), calls.end(), [](const AuthCall& call) {
        return call.join() && call.code == grpc_code::ok && call.answered;
      }));
}

const AuthCall* AuthCalls::last(const std::string& method) const {
  const auto found = std::find_if(calls.rbegin(), calls.rend(),
                                  [&](const AuthCall& call) { return call.method == method; });
  return found == calls.rend() ? nullptr : &*found;
}

AuthCall* AuthCalls::find(int id) {
  const auto found = std::find_if(calls.rbegin(), calls.rend(),
                                  [&](const AuthCall& call) { return call.id == id; });
  return found == calls.rend() ? nullptr : &*found;
}

void AuthCallLog::change(const std::function<void(AuthCalls&)>& edit) {
  {
    const std::scoped_lock lock(mutex_);
    edit(seen_);
  }
  changed_.notify_all();
}

AuthCalls AuthCallLog::snapshot() const {
  const std::scoped_lock lock(mutex_);
  return seen_;
}

bool AuthCallLog::wait_for(const std::function<bool(const AuthCalls&)>& predicate,
                           std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return predicate(seen_); });
}

}  // namespace lab
