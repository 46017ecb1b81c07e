// A watch: one JSON event per chunk, from a resource version on, until the client or time ends it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "tests/lab/http.hpp"
#include "tests/lab/kube_api_activity.hpp"
#include "tests/lab/kube_api_query.hpp"
#include "tests/lab/kube_api_store.hpp"
#include "tests/lab/kube_api_table.hpp"

namespace lab {

struct WatchRequest {
  const ResourceKind* kind = nullptr;
  std::string name_space;  // empty: all
  Selector selector;
  // Without one, the state at the start comes first, as ADDED events.
  std::optional<std::uint64_t> since;
  bool bookmarks = false;
  bool mark_initial_end = false;  // sendInitialEvents
  std::chrono::milliseconds bookmark_interval{60'000};
  std::optional<std::chrono::seconds> timeout;
  std::optional<TableObjects> table;  // as=Table
};

// Returns whether the connection can serve another request: the watch ended by its timeout or with
// an error event. Throws ConnectionLost.
bool serve_watch(Stream& stream, Store& store, Activities& activities, const WatchRequest& request);

}  // namespace lab
