// Long-lived requests of the API: how they learn that the client or the server goes.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "tests/lab/http.hpp"

namespace lab {

// The long-lived requests that run now, by sort. Thread-safe.
class Activities {
 public:
  enum class Sort { watch, log, session };
  // Counts itself for its lifetime.
  class Entry {
   public:
    Entry(Activities& all, Sort sort);
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    // True when this request shall end; may also be set by the request itself.
    std::atomic<bool> stop{false};

   private:
    Activities& all_;
    Sort sort_;
  };

  void stop_all();  // also those that come later
  bool stopped() const { return stopped_; }
  int count(Sort sort) const;

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> stopped_{false};
  std::set<std::pair<Sort, Entry*>> entries_;
};

// Watches a client that has nothing more to say: sets `stop` and calls `notify` when it ends or
// sends anything else. Reads the stream, so that nobody else may while this lives.
class PeerWatch {
 public:
  PeerWatch(Stream& stream, std::atomic<bool>& stop, std::function<void()> notify);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;
  bool gone() const { return gone_; }

 private:
  std::atomic<bool> done_{false};
  std::atomic<bool> gone_{false};
  std::thread thread_;
};

}  // namespace lab
