#include "tests/lab/observations.hpp"

#include <algorithm>

namespace lab {

std::size_t Observations::open_connections() const {
  return static_cast<std::size_t>(std::count_if(connections.begin(), connections.end(),
                                                [](const auto& each) { return each.second.open; }));
}

std::size_t Observations::open_kube_connections() const {
  return static_cast<std::size_t>(
      std::count_if(connections.begin(), connections.end(), [](const auto& each) {
        return each.second.open && each.second.kube && each.second.handshaken;
      }));
}

std::size_t Observations::idle_kube_connections() const {
  return static_cast<std::size_t>(std::count_if(
      connections.begin(), connections.end(),
      [](const auto& each) { return each.second.open && each.second.kube && each.second.idle; }));
}

const RequestRecord* Observations::last_request(const std::string& target_end) const {
  const auto found = std::find_if(requests.rbegin(), requests.rend(), [&](const auto& request) {
    return request.kube && request.target.ends_with(target_end);
  });
  return found == requests.rend() ? nullptr : &*found;
}

RequestRecord* Observations::request(int id) {
  const auto found = std::find_if(requests.rbegin(), requests.rend(),
                                  [&](const auto& request) { return request.id == id; });
  return found == requests.rend() ? nullptr : &*found;
}

void Observer::change(const std::function<void(Observations&)>& edit) {
  {
    const std::scoped_lock lock(mutex_);
    edit(seen_);
  }
  changed_.notify_all();
}

void Observer::connection_ended(int id, const std::string& error) {
  change([&](Observations& seen) {
    ConnectionRecord& record = seen.connections[id];
    record.open = false;
    record.closed_at = std::chrono::steady_clock::now();
    record.error = error;
    if (!error.empty() && !record.handshaken && !record.tunnel) ++seen.handshakes_failed;
  });
}

Observations Observer::snapshot() const {
  const std::scoped_lock lock(mutex_);
  return seen_;
}

bool Observer::wait_for(const std::function<bool(const Observations&)>& predicate,
                        std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return predicate(seen_); });
}

}  // namespace lab
