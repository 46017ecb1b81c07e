#include "tests/lab/kube_api_logs.hpp"

#include <algorithm>

#include "tests/lab/kube_api_store.hpp"

namespace lab {

using Clock = std::chrono::steady_clock;

std::vector<PodLogs::Line>& PodLogs::lines_of(const Key& key) {
  auto& lines = logs_[key];
  if (lines.empty()) {
    for (const char* const what : {"starting", "listening on port 8080", "ready"}) {
      lines.push_back({timestamp(), key.second + ": " + what});
    }
  }
  return lines;
}

void PodLogs::append(const std::string& name_space, const std::string& pod, std::string line) {
  const std::scoped_lock lock(mutex_);
  lines_of({name_space, pod}).push_back({timestamp(), std::move(line)});
  changed_.notify_all();
}

void PodLogs::forget(const std::string& name_space, const std::string& pod) {
  const std::scoped_lock lock(mutex_);
  logs_.erase({name_space, pod});
}

void PodLogs::wake() {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

std::string PodLogs::take(const Key& key, std::size_t& from, bool timestamps) {
  std::string text;
  const auto& lines = lines_of(key);
  for (; from < lines.size(); ++from) {
    if (timestamps) text += lines[from].time + " ";
    text += lines[from].text + "\n";
  }
  return text;
}

bool PodLogs::serve(Stream& stream, Activities& activities, const LogRequest& request) {
  const Key key{request.name_space, request.pod};
  std::size_t at = 0;
  std::string text;
  {
    const std::scoped_lock lock(mutex_);
    const std::size_t count = lines_of(key).size();
    if (request.tail) at = count - std::min<std::size_t>(count, *request.tail);
    text = take(key, at, request.timestamps);
  }
  if (!request.follow) {
    answer(stream, 200, "text/plain", text);
    return true;
  }
  Activities::Entry entry(activities, Activities::Sort::log);
  begin_chunked(stream, 200, "text/plain");
  write_chunk(stream, text);
  bool peer_gone = false;
  {
    const PeerWatch peer(stream, entry.stop, [this] { wake(); });
    Clock::time_point next = Clock::now() + interval_;
    while (!entry.stop) {
      {
        std::unique_lock lock(mutex_);
        const auto news = [&] { return entry.stop || lines_of(key).size() > at; };
        if (interval_.count() == 0) {
          changed_.wait(lock, news);
        } else if (!changed_.wait_until(lock, next, news)) {
          auto& lines = lines_of(key);
          lines.push_back({timestamp(), request.pod + ": line " + std::to_string(lines.size())});
          changed_.notify_all();
          next += interval_;
        }
        text = take(key, at, request.timestamps);
      }
      write_chunk(stream, text);
    }
    peer_gone = peer.gone();
  }
  if (peer_gone) return false;
  end_chunked(stream);
  return false;
}

}  // namespace lab
