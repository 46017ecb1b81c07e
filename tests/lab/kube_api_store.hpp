// The objects of the API, their versions and the history that watches read.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "tests/lab/kube_api_resources.hpp"

namespace lab {

using ObjectPtr = std::shared_ptr<const boost::json::object>;

// One change; a missing `before` is a creation, a missing `after` a deletion.
struct Change {
  std::uint64_t version = 0;
  const ResourceKind* kind = nullptr;
  std::string name_space;
  ObjectPtr before;
  ObjectPtr after;  // of a deletion: nothing, and `before` carries the version of the deletion
};

// Thread-safe. What it throws is ApiError.
class Store {
 public:
  explicit Store(std::size_t history) : history_limit_(history) {}

  struct Snapshot {
    std::uint64_t version = 0;
    std::vector<ObjectPtr> objects;  // by namespace and name
  };
  // An empty namespace means all.
  Snapshot list(const ResourceKind& kind, const std::string& name_space) const;
  ObjectPtr find(const ResourceKind& kind, const std::string& name_space,
                 const std::string& name) const;  // null when there is none

  // Sets uid, creationTimestamp, generation and resourceVersion. 409 when it exists.
  ObjectPtr create(const ResourceKind& kind, boost::json::object object);
  // `edit` gets a copy and runs under the lock. 404 when there is none; unchanged objects keep
  // their version and cause no event. The object's identity cannot be changed.
  using Edit = std::function<void(boost::json::object&)>;
  ObjectPtr modify(const ResourceKind& kind, const std::string& name_space, const std::string& name,
                   const Edit& edit);
  // `check` may throw to prevent it. Gives the last state.
  using Check = std::function<void(const boost::json::object&)>;
  ObjectPtr erase(const ResourceKind& kind, const std::string& name_space, const std::string& name,
                  const Check& check = {});
  void erase_namespace(const std::string& name_space);  // everything in it

  std::uint64_t version() const;
  // Whether changes after `version` are all still known.
  bool knows_since(std::uint64_t version) const;
  void compact();

  struct News {
    std::vector<Change> changes;  // of the kind and namespace
    std::uint64_t version = 0;    // everything up to here was looked at
    bool expired = false;         // history after the version is no longer complete
  };
  // Blocks until there is something new after `version`, until `deadline`, or until wake() with
  // `ended` true.
  News wait(const ResourceKind& kind, const std::string& name_space, std::uint64_t version,
            std::chrono::steady_clock::time_point deadline, const std::function<bool()>& ended);
  void wake();

 private:
  using Key = std::pair<std::string, std::string>;  // namespace, name
  void record(const ResourceKind& kind, const std::string& name_space, ObjectPtr before,
              ObjectPtr after);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t history_limit_;
  std::uint64_t version_ = 1000;
  std::uint64_t known_since_ = 1000;
  std::deque<Change> history_;
  std::map<const ResourceKind*, std::map<Key, ObjectPtr>> objects_;
};

// RFC 3339, UTC, whole seconds.
std::string timestamp();
std::string random_uid();

}  // namespace lab
