#include "tests/lab/kube_api_watch.hpp"

#include <algorithm>

namespace lab {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

class Watch {
 public:
  Watch(Stream& stream, const WatchRequest& request) : stream_(stream), request_(request) {}

  void send(const char* type, const ObjectPtr& object) {
    if (!request_.table) {
      write(type, *object);
      return;
    }
    json::object table = make_table(*request_.kind, {object}, *request_.table, !header_sent_);
    header_sent_ = true;
    table["metadata"] = json::object{
        {"resourceVersion", text_at(*object, "metadata.resourceVersion").value_or("")}};
    write(type, std::move(table));
  }

  void initial(const Store::Snapshot& snapshot) {
    for (const auto& object : snapshot.objects) {
      if (request_.selector.matches(*object)) send("ADDED", object);
    }
    if (request_.mark_initial_end) bookmark(snapshot.version, true);
  }

  // What a change means to somebody who sees only the objects that match.
  void send(const Change& change) {
    const bool was = change.before && request_.selector.matches(*change.before);
    const bool is = change.after && request_.selector.matches(*change.after);
    if (is) {
      send(was ? "MODIFIED" : "ADDED", change.after);
    } else if (was) {
      json::object last = change.after ? *change.after : *change.before;
      send("DELETED", std::make_shared<json::object>(std::move(last)));
    }
  }

  void bookmark(std::uint64_t version, bool initial_end = false) {
    json::object fields{{"resourceVersion", std::to_string(version)},
                        {"creationTimestamp", nullptr}};
    if (initial_end) {
      fields["annotations"] = json::object{{"k8s.io/initial-events-end", "true"}};
    }
    if (request_.table) {
      json::object table = make_table(*request_.kind, {}, *request_.table, !header_sent_);
      header_sent_ = true;
      table["metadata"] = std::move(fields);
      write("BOOKMARK", std::move(table));
      return;
    }
    write("BOOKMARK", json::object{{"kind", request_.kind->kind},
                                   {"apiVersion", request_.kind->api_version()},
                                   {"metadata", std::move(fields)}});
  }

  void expired(std::uint64_t version) {
    write("ERROR", to_status(gone("too old resource version: " + std::to_string(version))));
  }

 private:
  void write(const char* type, json::object object) {
    write_chunk(
        stream_,
        json::serialize(json::object{{"type", type}, {"object", std::move(object)}}) + "\n");
  }

  Stream& stream_;
  const WatchRequest& request_;
  bool header_sent_ = false;
};

}  // namespace

bool serve_watch(Stream& stream, Store& store, Activities& activities,
                 const WatchRequest& request) {
  Activities::Entry entry(activities, Activities::Sort::watch);
  begin_chunked(stream, 200, "application/json");
  bool peer_gone = false;
  {
    PeerWatch peer(stream, entry.stop, [&store] { store.wake(); });
    Watch watch(stream, request);
    std::uint64_t version = request.since.value_or(0);
    if (!request.since) {
      const auto snapshot = store.list(*request.kind, request.name_space);
      watch.initial(snapshot);
      version = snapshot.version;
    }
    const Clock::time_point end =
        request.timeout ? Clock::now() + *request.timeout : Clock::time_point::max();
    Clock::time_point next_bookmark = Clock::now() + request.bookmark_interval;
    while (!entry.stop && Clock::now() < end) {
      const auto news = store.wait(*request.kind, request.name_space, version,
                                   std::min(end, next_bookmark), [&] { return entry.stop.load(); });
      if (news.expired) {
        watch.expired(version);
        break;
      }
      for (const auto& change : news.changes) watch.send(change);
      version = news.version;
      if (Clock::now() < next_bookmark) continue;
      if (request.bookmarks) watch.bookmark(version);
      next_bookmark = Clock::now() + request.bookmark_interval;
    }
    peer_gone = peer.gone();
  }
  if (peer_gone) return false;
  end_chunked(stream);
  return !activities.stopped();
}

}  // namespace lab
