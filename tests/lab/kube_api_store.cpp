#include "tests/lab/kube_api_store.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include <openssl/rand.h>

#include "tests/lab/kube_api_query.hpp"

namespace lab {
namespace {

namespace json = boost::json;

json::object& metadata(json::object& object) {
  json::value& value = object["metadata"];
  if (!value.is_object()) value.emplace_object();
  return value.get_object();
}

void set_version(json::object& object, std::uint64_t version) {
  metadata(object)["resourceVersion"] = std::to_string(version);
}

}  // namespace

std::string timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string random_uid() {
  std::array<unsigned char, 16> bytes;
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);  // version 4, variant 1
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

Store::Snapshot Store::list(const ResourceKind& kind, const std::string& name_space) const {
  const std::scoped_lock lock(mutex_);
  Snapshot snapshot{version_, {}};
  const auto found = objects_.find(&kind);
  if (found == objects_.end()) return snapshot;
  for (const auto& [key, object] : found->second) {
    if (name_space.empty() || key.first == name_space) snapshot.objects.push_back(object);
  }
  return snapshot;
}

ObjectPtr Store::find(const ResourceKind& kind, const std::string& name_space,
                      const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  const auto objects = objects_.find(&kind);
  if (objects == objects_.end()) return nullptr;
  const auto found = objects->second.find({name_space, name});
  return found == objects->second.end() ? nullptr : found->second;
}

ObjectPtr Store::create(const ResourceKind& kind, json::object object) {
  const std::string name = text_at(object, "metadata.name").value_or("");
  const std::string name_space = text_at(object, "metadata.namespace").value_or("");
  const std::scoped_lock lock(mutex_);
  ObjectPtr& place = objects_[&kind][{name_space, name}];
  if (place) throw already_exists(kind, name);
  metadata(object)["uid"] = random_uid();
  metadata(object)["creationTimestamp"] = timestamp();
  if (object.contains("spec")) metadata(object)["generation"] = 1;
  set_version(object, ++version_);
  place = std::make_shared<json::object>(std::move(object));
  record(kind, name_space, nullptr, place);
  return place;
}

ObjectPtr Store::modify(const ResourceKind& kind, const std::string& name_space,
                        const std::string& name, const Edit& edit) {
  const std::scoped_lock lock(mutex_);
  auto& objects = objects_[&kind];
  const auto found = objects.find({name_space, name});
  if (found == objects.end()) throw not_found(kind, name);
  const ObjectPtr before = found->second;
  json::object after = *before;
  edit(after);
  json::object& fields = metadata(after);
  const json::object& old_fields = before->at("metadata").as_object();
  for (const char* const fixed :
       {"name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"}) {
    if (const auto* const value = old_fields.if_contains(fixed)) fields[fixed] = *value;
  }
  if (after == *before) return before;
  const json::value* const spec = after.if_contains("spec");
  const json::value* const old_spec = before->if_contains("spec");
  if (spec != nullptr && (old_spec == nullptr || *spec != *old_spec)) {
    const json::value& generation = fields["generation"];
    fields["generation"] = generation.is_int64() ? generation.get_int64() + 1 : 1;
    // Whoever controls such an object has kept up.
    if (value_at(after, "status.observedGeneration") != nullptr) {
      after["status"].get_object()["observedGeneration"] = fields["generation"];
    }
  }
  set_version(after, ++version_);
  found->second = std::make_shared<json::object>(std::move(after));
  record(kind, name_space, before, found->second);
  return found->second;
}

ObjectPtr Store::erase(const ResourceKind& kind, const std::string& name_space,
                       const std::string& name, const Check& check) {
  const std::scoped_lock lock(mutex_);
  auto& objects = objects_[&kind];
  const auto found = objects.find({name_space, name});
  if (found == objects.end()) throw not_found(kind, name);
  if (check) check(*found->second);
  json::object last = *found->second;
  set_version(last, ++version_);
  objects.erase(found);
  auto erased = std::make_shared<json::object>(std::move(last));
  record(kind, name_space, erased, nullptr);
  return erased;
}

void Store::erase_namespace(const std::string& name_space) {
  std::vector<std::pair<const ResourceKind*, std::string>> names;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [kind, objects] : objects_) {
      for (const auto& [key, object] : objects) {
        if (key.first == name_space) names.emplace_back(kind, key.second);
      }
    }
  }
  for (const auto& [kind, name] : names) {
    try {
      erase(*kind, name_space, name);
    } catch (const ApiError&) {
      // Deleted meanwhile: as wanted.
    }
  }
}

std::uint64_t Store::version() const {
  const std::scoped_lock lock(mutex_);
  return version_;
}

bool Store::knows_since(std::uint64_t version) const {
  const std::scoped_lock lock(mutex_);
  return version >= known_since_;
}

void Store::compact() {
  const std::scoped_lock lock(mutex_);
  history_.clear();
  known_since_ = ++version_;  // even the newest version that a client knows is too old
  changed_.notify_all();
}

void Store::record(const ResourceKind& kind, const std::string& name_space, ObjectPtr before,
                   ObjectPtr after) {
  history_.push_back({version_, &kind, name_space, std::move(before), std::move(after)});
  while (history_.size() > history_limit_) {
    known_since_ = history_.front().version;
    history_.pop_front();
  }
  changed_.notify_all();
}

Store::News Store::wait(const ResourceKind& kind, const std::string& name_space,
                        std::uint64_t version, std::chrono::steady_clock::time_point deadline,
                        const std::function<bool()>& ended) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return ended() || version_ > version; });
  News news;
  news.version = std::max(version, version_);
  news.expired = version < known_since_;
  const auto first = std::upper_bound(
      history_.begin(), history_.end(), version,
      [](std::uint64_t wanted, const Change& change) { return wanted < change.version; });
  for (auto change = first; change != history_.end(); ++change) {
    if (change->kind == &kind && (name_space.empty() || change->name_space == name_space)) {
      news.changes.push_back(*change);
    }
  }
  return news;
}

void Store::wake() {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

}  // namespace lab
