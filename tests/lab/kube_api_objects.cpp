#include "tests/lab/kube_api_objects.hpp"

#include <algorithm>

#include "tests/lab/base64.hpp"
#include "tests/lab/kube_api_defaults.hpp"
#include "tests/lab/kube_api_patch.hpp"

namespace lab {
namespace {

namespace json = boost::json;

json::value parse(std::string_view body) {
  boost::system::error_code error;
  json::value value = json::parse(body, error);
  if (error) throw bad_request("the object provided is not JSON: " + error.message());
  return value;
}

json::object parse_object(std::string_view body) {
  json::value value = parse(body);
  if (!value.is_object()) throw bad_request("the object provided is not a JSON object");
  return std::move(value.get_object());
}

const ResourceKind& namespaces() { return *find_resource("", "v1", "namespaces"); }

void check_kind(const ResourceKind& kind, json::object& object) {
  const std::string found = text_at(object, "kind").value_or(std::string(kind.kind));
  const std::string version = text_at(object, "apiVersion").value_or(kind.api_version());
  if (found != kind.kind || version != kind.api_version()) {
    throw bad_request(found + " in version \"" + version + "\" cannot be handled as a " +
                      std::string(kind.kind));
  }
  object["kind"] = kind.kind;
  object["apiVersion"] = kind.api_version();
  if (!object["metadata"].is_object()) object["metadata"].emplace_object();
}

void check_version(const ResourceKind& kind, const std::string& name, const std::string& wanted,
                   const json::object& current) {
  if (!wanted.empty() && wanted != text_at(current, "metadata.resourceVersion")) {
    throw conflict(kind, name,
                   "the object has been modified; please apply your changes to the latest version "
                   "and try again");
  }
}

// Where the next page starts: after this key, in a list that began at this version.
struct Continuation {
  std::uint64_t version = 0;
  std::string after;

  std::string token() const {
    return base64url(json::serialize(json::object{{"rv", version}, {"after", after}}));
  }
  static Continuation parse_token(const std::string& token) {
    const auto text = from_base64url(token);
    boost::system::error_code error;
    const json::value value = text ? json::parse(*text, error) : json::value();
    const auto* const object = error ? nullptr : value.if_object();
    const auto* const version = object == nullptr ? nullptr : object->if_contains("rv");
    if (version == nullptr || !version->is_number()) {
      throw bad_request("continue key is not valid");
    }
    return {version->to_number<std::uint64_t>(), text_at(*object, "after").value_or("")};
  }
};

std::string sort_key(const json::object& object) {
  return text_at(object, "metadata.namespace").value_or("") + "/" +
         text_at(object, "metadata.name").value_or("");
}

ObjectAnswer deleted(const ResourceKind& kind, const ObjectPtr& object) {
  if (kind.kind == "Pod" || kind.kind == "Namespace") return {200, *object};
  json::object details{{"name", text_at(*object, "metadata.name").value_or("")},
                       {"kind", kind.plural},
                       {"uid", text_at(*object, "metadata.uid").value_or("")}};
  if (!kind.group.empty()) details["group"] = kind.group;
  return {200, json::object{{"kind", "Status"},
                            {"apiVersion", "v1"},
                            {"metadata", json::object{}},
                            {"status", "Success"},
                            {"details", std::move(details)}}};
}

}  // namespace

ObjectPtr ObjectApi::get(const ResourcePath& path) const {
  ObjectPtr object = store_.find(*path.kind, path.name_space, path.name);
  if (!object) throw not_found(*path.kind, path.name);
  return object;
}

ObjectApi::Page ObjectApi::list(const ResourcePath& path, const QueryParameters& query) const {
  const Selector selector(query.get("labelSelector"), query.get("fieldSelector"));
  auto snapshot = store_.list(*path.kind, path.name_space);
  Continuation from{snapshot.version, ""};
  if (const std::string token = query.get("continue"); !token.empty()) {
    from = Continuation::parse_token(token);
    if (!store_.knows_since(from.version)) {
      throw gone("The provided continue parameter is too old to display a consistent list result.");
    }
  }
  const std::uint64_t limit = query.number("limit").value_or(0);
  Page page;
  std::uint64_t remaining = 0;
  for (const auto& object : snapshot.objects) {
    if (!from.after.empty() && sort_key(*object) <= from.after) continue;
    if (!selector.matches(*object)) continue;
    if (limit > 0 && page.objects.size() == limit) {
      ++remaining;
    } else {
      page.objects.push_back(object);
    }
  }
  page.metadata["resourceVersion"] = std::to_string(from.version);
  if (remaining > 0) {
    page.metadata["continue"] = Continuation{from.version, sort_key(*page.objects.back())}.token();
    if (selector.empty()) page.metadata["remainingItemCount"] = remaining;
  }
  return page;
}

ObjectAnswer ObjectApi::create(const ResourcePath& path, const QueryParameters& query,
                               std::string_view body) {
  return create_object(path, query.get("dryRun") == "All", parse_object(body));
}

ObjectAnswer ObjectApi::create_object(const ResourcePath& path, bool dry_run, json::object object) {
  const ResourceKind& kind = *path.kind;
  check_kind(kind, object);
  if (kind.namespaced) {
    if (path.name_space.empty()) throw bad_request("a namespace is needed");
    if (text_at(object, "metadata.namespace").value_or(path.name_space) != path.name_space) {
      throw bad_request(
          "the namespace of the provided object does not match the namespace sent on the request");
    }
    if (!store_.find(namespaces(), "", path.name_space)) {
      throw not_found(namespaces(), path.name_space);
    }
    object["metadata"].get_object()["namespace"] = path.name_space;
  } else {
    object["metadata"].get_object().erase("namespace");
  }
  complete_new(kind, object);
  json::object& fields = object["metadata"].get_object();
  const std::string name(fields["name"].get_string());
  if (dry_run) {
    if (store_.find(kind, path.name_space, name)) throw already_exists(kind, name);
    fields["uid"] = random_uid();
    fields["creationTimestamp"] = timestamp();
    return {201, std::move(object)};
  }
  const ObjectPtr created = store_.create(kind, std::move(object));
  if (&kind == &namespaces()) {
    const ResourceKind& accounts = *find_resource("", "v1", "serviceaccounts");
    json::object account{{"kind", "ServiceAccount"},
                         {"apiVersion", "v1"},
                         {"metadata", json::object{{"name", "default"}, {"namespace", name}}}};
    store_.create(accounts, std::move(account));
  }
  return {201, *created};
}

ObjectPtr ObjectApi::change(const ResourcePath& path, bool dry_run, const Store::Edit& edit) {
  const Store::Edit whole = [&](json::object& object) {
    edit(object);
    complete_changed(*path.kind, object);
  };
  if (!dry_run) return store_.modify(*path.kind, path.name_space, path.name, whole);
  json::object copy = *get(path);
  whole(copy);
  return std::make_shared<json::object>(std::move(copy));
}

ObjectAnswer ObjectApi::update(const ResourcePath& path, const QueryParameters& query,
                               std::string_view body) {
  json::object object = parse_object(body);
  check_kind(*path.kind, object);
  if (text_at(object, "metadata.name").value_or(path.name) != path.name) {
    throw bad_request("the name of the object does not match the name on the URL");
  }
  const std::string wanted = text_at(object, "metadata.resourceVersion").value_or("");
  const bool status_only = path.subresource == "status";
  return {200, *change(path, query.get("dryRun") == "All", [&](json::object& current) {
            check_version(*path.kind, path.name, wanted, current);
            if (status_only) {
              if (const auto* const status = object.if_contains("status")) {
                current["status"] = *status;
              }
              return;
            }
            const json::value* const status = current.if_contains("status");
            json::object fresh = object;
            if (status != nullptr) fresh["status"] = *status;
            current = std::move(fresh);
          })};
}

ObjectAnswer ObjectApi::patch(const ResourcePath& path, const QueryParameters& query,
                              const std::string& content_type, std::string_view body) {
  const std::string type = content_type.substr(0, content_type.find(';'));
  const bool dry_run = query.get("dryRun") == "All";
  const bool apply = type == "application/apply-patch+yaml";
  if (!apply && type != "application/merge-patch+json" && type != "application/json-patch+json" &&
      type != "application/strategic-merge-patch+json") {
    throw ApiError{415,
                   "UnsupportedMediaType",
                   "the body of the request was in an unknown format: " + type,
                   {}};
  }
  const json::value given = parse(body);
  if (type != "application/json-patch+json" && !given.is_object()) {
    throw bad_request("the patch is not a JSON object");
  }
  if (apply && !store_.find(*path.kind, path.name_space, path.name)) {
    return create_object(path, dry_run, given.get_object());
  }
  return {200, *change(path, dry_run, [&](json::object& current) {
            if (given.is_object()) {
              check_version(*path.kind, path.name,
                            text_at(given.get_object(), "metadata.resourceVersion").value_or(""),
                            current);
            }
            if (type == "application/strategic-merge-patch+json") {
              strategic_merge_patch(current, given.get_object());
            } else {
              json::value whole = std::move(current);
              if (type == "application/json-patch+json") {
                json_patch(whole, given);
              } else {
                merge_patch(whole, given);
              }
              if (!whole.is_object()) throw bad_request("the patch leaves no object");
              current = std::move(whole.get_object());
            }
            check_kind(*path.kind, current);
          })};
}

ObjectAnswer ObjectApi::erase(const ResourcePath& path, const QueryParameters& query,
                              std::string_view body) {
  const json::object options = body.empty() ? json::object{} : parse_object(body);
  const ResourceKind& kind = *path.kind;
  const auto check = [&](const json::object& current) {
    check_version(kind, path.name, text_at(options, "preconditions.resourceVersion").value_or(""),
                  current);
    const auto uid = text_at(options, "preconditions.uid");
    if (uid && uid != text_at(current, "metadata.uid")) {
      throw conflict(kind, path.name, "the UID in the precondition does not match");
    }
  };
  if (query.get("dryRun") == "All" || value_at(options, "dryRun") != nullptr) {
    const ObjectPtr object = get(path);
    check(*object);
    return deleted(kind, object);
  }
  const ObjectPtr last = store_.erase(kind, path.name_space, path.name, check);
  if (kind.kind == "Namespace") store_.erase_namespace(path.name);
  return deleted(kind, last);
}

ObjectAnswer ObjectApi::erase_collection(const ResourcePath& path, const QueryParameters& query) {
  Page page = list(path, query);
  json::array items;
  for (const auto& object : page.objects) {
    ResourcePath one = path;
    one.name_space = text_at(*object, "metadata.namespace").value_or("");
    one.name = text_at(*object, "metadata.name").value_or("");
    try {
      erase(one, query, {});
    } catch (const ApiError& error) {
      if (error.code != 404) throw;
    }
    items.push_back(*object);
  }
  return {200, json::object{{"kind", path.kind->list_kind()},
                            {"apiVersion", path.kind->api_version()},
                            {"metadata", page.metadata},
                            {"items", std::move(items)}}};
}

}  // namespace lab
