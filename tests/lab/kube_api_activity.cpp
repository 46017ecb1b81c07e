#include "tests/lab/kube_api_activity.hpp"

#include <algorithm>

namespace lab {
namespace {

constexpr int kDoneCheck = 20;  // milliseconds

}  // namespace

Activities::Entry::Entry(Activities& all, Sort sort) : all_(all), sort_(sort) {
  const std::scoped_lock lock(all_.mutex_);
  all_.entries_.emplace(sort_, this);
  stop = all_.stopped_.load();
}

Activities::Entry::~Entry() {
  const std::scoped_lock lock(all_.mutex_);
  all_.entries_.erase({sort_, this});
}

void Activities::stop_all() {
  const std::scoped_lock lock(mutex_);
  stopped_ = true;
  for (const auto& [sort, entry] : entries_) entry->stop = true;
}

int Activities::count(Sort sort) const {
  const std::scoped_lock lock(mutex_);
  return static_cast<int>(std::count_if(entries_.begin(), entries_.end(),
                                        [&](const auto& each) { return each.first == sort; }));
}

PeerWatch::PeerWatch(Stream& stream, std::atomic<bool>& stop, std::function<void()> notify)
    : thread_([this, &stream, &stop, notify = std::move(notify)] {
        try {
          while (!done_ && !stop) {
            if (!stream.wait_readable(kDoneCheck)) continue;
            gone_ = true;
            break;
          }
        } catch (const ConnectionLost&) {
          gone_ = true;
        }
        if (gone_) stop = true;
        notify();
      }) {}

PeerWatch::~PeerWatch() {
  done_ = true;
  thread_.join();
}

}  // namespace lab
