#include "tests/lab/kube_api.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <system_error>

#include <boost/json.hpp>
#include <stdlib.h>  // mkdtemp

#include "tests/lab/kube_api_defaults.hpp"
#include "tests/lab/kube_api_logs.hpp"
#include "tests/lab/kube_api_objects.hpp"
#include "tests/lab/kube_api_pods.hpp"
#include "tests/lab/kube_api_protobuf.hpp"
#include "tests/lab/kube_api_table.hpp"
#include "tests/lab/kube_api_watch.hpp"

namespace lab {
namespace {

namespace json = boost::json;

constexpr std::string_view kJson = "application/json";

// A directory for the files of the "containers", removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "lab-pods-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), "mkdtemp");
    }
    path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void answer_json(Stream& stream, int code, const json::object& body) {
  answer(stream, code, kJson, json::serialize(body));
}

std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    parts.push_back(percent_decode(part, false));
  }
  return parts;
}

// Nothing when it is no path of a resource that exists.
std::optional<ResourcePath> parse_resource_path(const std::vector<std::string>& parts) {
  const bool core = !parts.empty() && parts[0] == "api";
  if (!core && (parts.empty() || parts[0] != "apis")) return std::nullopt;
  std::size_t at = core ? 2 : 3;
  if (parts.size() <= at) return std::nullopt;
  const std::string group = core ? "" : parts[1];
  const std::string& version = parts[at - 1];
  ResourcePath path;
  if (parts[at] == "namespaces" && parts.size() > at + 2 &&
      find_resource(group, version, parts[at + 2]) != nullptr) {
    path.name_space = parts[at + 1];
    at += 2;
  }
  path.kind = find_resource(group, version, parts[at++]);
  if (path.kind == nullptr || path.kind->namespaced < !path.name_space.empty()) {
    return std::nullopt;
  }
  if (at < parts.size()) path.name = parts[at++];
  if (at < parts.size()) path.subresource = parts[at++];
  for (; at < parts.size(); ++at) path.rest += "/" + parts[at];
  if (path.kind->namespaced && path.name_space.empty() && !path.name.empty()) return std::nullopt;
  return path;
}

json::object version_document(const std::string& version) {
  const std::size_t first = version.find('.');
  const std::size_t second = version.find('.', first + 1);
  return {{"major", version.substr(1, first - 1)},
          {"minor", version.substr(first + 1, second - first - 1)},
          {"gitVersion", version},
          {"gitCommit", "0000000000000000000000000000000000000000"},
          {"gitTreeState", "clean"},
          {"buildDate", "2024-01-01T00:00:00Z"},
          {"goVersion", "none"},
          {"compiler", "none"},
          {"platform", "linux/amd64"}};
}

// No schemas at all: clients then leave validation to the server.
void answer_openapi(Stream& stream, const Request& request) {
  if (request.header("Accept").find("protobuf") != std::string::npos) {
    const std::string document(
        "\x0a\x03"
        "2.0",
        5);  // field 1, "swagger"
    answer(stream, 200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", document);
    return;
  }
  answer_json(stream, 200,
              {{"swagger", "2.0"},
               {"info", json::object{{"title", "Kubernetes"}, {"version", "lab"}}},
               {"paths", json::object{}},
               {"definitions", json::object{}}});
}

std::string verb_of(const Request& request, const ResourcePath& path,
                    const QueryParameters& query) {
  const std::string& method = request.method;
  if (method == "GET") {
    return query.flag("watch") ? "watch" : path.name.empty() ? "list" : "get";
  }
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  return path.name.empty() ? "deletecollection" : "delete";
}

ApiError forbidden(const std::string& user, const std::string& verb, const ResourcePath& path) {
  std::string resource(path.kind->plural);
  if (!path.subresource.empty()) resource += "/" + path.subresource;
  std::string message = path.kind->qualified();
  if (!path.name.empty()) message += " \"" + path.name + "\"";
  message += " is forbidden: User \"" + user + "\" cannot " + verb + " resource \"" + resource +
             "\" in API group \"" + std::string(path.kind->group) + "\"";
  message += path.name_space.empty() ? " at the cluster scope"
                                     : " in the namespace \"" + path.name_space + "\"";
  return {403, "Forbidden", message, {{"name", path.name}, {"kind", path.kind->plural}}};
}

}  // namespace

struct KubeApi::State {
  explicit State(Options wanted)
      : options(std::move(wanted)),
        store(options.watch_history),
        objects(store),
        logs(options.log_interval),
        pods(activities, logs, scratch.path()) {}

  bool serve(Stream& stream, Request& request);
  bool serve_document(Stream& stream, const Request& request,
                      const std::vector<std::string>& parts);
  bool serve_resource(Stream& stream, const Request& request, const ResourcePath& path,
                      const std::string& body);
  bool serve_get(Stream& stream, const Request& request, const ResourcePath& path,
                 const QueryParameters& query);
  ObjectAnswer review(const Request& request, const ResourcePath& path, const std::string& body);
  void put(const json::object& object);

  const Options options;
  Scratch scratch;
  Store store;
  ObjectApi objects;
  Activities activities;
  PodLogs logs;
  PodStreams pods;
};

bool KubeApi::State::serve(Stream& stream, Request& request) {
  Body body = read_body(stream, request);
  try {
    if (request.header("Content-Type").starts_with("application/vnd.kubernetes.protobuf")) {
      body.bytes = json::serialize(from_protobuf(body.bytes));
    }
    if (activities.stopped()) {
      throw ApiError{503, "ServiceUnavailable", "the API server has ended", {}};
    }
    const auto parts = segments(request.path);
    if (const auto path = parse_resource_path(parts)) {
      return serve_resource(stream, request, *path, body.bytes);
    }
    if (!serve_document(stream, request, parts)) {
      throw ApiError{404, "NotFound", "the server could not find the requested resource", {}};
    }
  } catch (const ApiError& error) {
    answer_json(stream, error.code, to_status(error));
  }
  return true;
}

// Discovery and what else does not concern objects.
bool KubeApi::State::serve_document(Stream& stream, const Request& request,
                                    const std::vector<std::string>& parts) {
  if (request.method != "GET" || parts.empty()) return false;
  const std::string& first = parts[0];
  json::object document;
  if (first == "healthz" || first == "livez" || first == "readyz") {
    answer(stream, 200, "text/plain", "ok");
    return true;
  }
  if (request.path == "/openapi/v2") {
    answer_openapi(stream, request);
    return true;
  }
  if (parts.size() == 1 && first == "version") document = version_document(options.version);
  if (parts.size() == 1 && first == "api") document = core_versions();
  if (parts.size() == 1 && first == "apis") document = group_list();
  if (parts.size() == 2 && first == "api") document = resource_list("", parts[1]);
  if (parts.size() == 2 && first == "apis") document = group_document(parts[1]);
  if (parts.size() == 3 && first == "apis") document = resource_list(parts[1], parts[2]);
  if (document.empty()) return false;
  answer_json(stream, 200, document);
  return true;
}

bool KubeApi::State::serve_resource(Stream& stream, const Request& request,
                                    const ResourcePath& path, const std::string& body) {
  const QueryParameters query(request.query);
  if (!path.kind->stored) {
    if (request.method != "POST") {
      throw ApiError{405, "MethodNotAllowed", "only create is supported", {}};
    }
    const ObjectAnswer reviewed = review(request, path, body);
    answer_json(stream, reviewed.code, reviewed.body);
    return true;
  }
  if (request.user == "nobody") throw forbidden(request.user, verb_of(request, path, query), path);

  if (!path.subresource.empty()) {
    const auto& known = path.kind->subresources;
    if (std::find(known.begin(), known.end(), path.subresource) == known.end()) {
      throw ApiError{404, "NotFound", "the server could not find the requested resource", {}};
    }
    const ObjectPtr object = objects.get(path);
    if (path.subresource == "proxy") {
      const std::string text =
          path.rest == "/healthz"
              ? "ok"
              : "hello from " + path.name + ": " + request.method + " " + path.rest + "\n";
      answer(stream, 200, "text/plain", text);
      return true;
    }
    if (PodStreams::serves(path.subresource)) {
      return pods.serve(stream, request, path, query, *object);
    }
  }
  const std::string& method = request.method;
  if (method == "GET") return serve_get(stream, request, path, query);
  ObjectAnswer done;
  if (method == "POST" && path.name.empty()) {
    done = objects.create(path, query, body);
  } else if (method == "PUT" && !path.name.empty()) {
    done = objects.update(path, query, body);
  } else if (method == "PATCH" && !path.name.empty()) {
    done = objects.patch(path, query, request.header("Content-Type"), body);
  } else if (method == "DELETE") {
    done = path.name.empty() ? objects.erase_collection(path, query)
                             : objects.erase(path, query, body);
    if (path.kind->kind == "Pod") logs.forget(path.name_space, path.name);
  } else {
    throw ApiError{405, "MethodNotAllowed", "the server does not allow this method here", {}};
  }
  answer_json(stream, done.code, done.body);
  return true;
}

bool KubeApi::State::serve_get(Stream& stream, const Request& request, const ResourcePath& path,
                               const QueryParameters& query) {
  std::optional<TableObjects> table;
  if (request.header("Accept").find("as=Table") != std::string::npos) {
    const std::string include = query.get("includeObject");
    table = include == "Object" ? TableObjects::whole
            : include == "None" ? TableObjects::none
                                : TableObjects::metadata;
  }
  if (query.flag("watch")) {
    std::string fields = query.get("fieldSelector");
    if (!path.name.empty()) fields += (fields.empty() ? "" : ",") + ("metadata.name=" + path.name);
    WatchRequest watch;
    watch.kind = path.kind;
    watch.name_space = path.name_space;
    watch.selector = Selector(query.get("labelSelector"), fields);
    watch.since = query.number("resourceVersion");
    if (watch.since == 0u || query.flag("sendInitialEvents")) watch.since.reset();
    watch.bookmarks = query.flag("allowWatchBookmarks");
    watch.mark_initial_end = query.flag("sendInitialEvents");
    watch.bookmark_interval = options.bookmark_interval;
    if (const auto seconds = query.number("timeoutSeconds")) {
      watch.timeout = std::chrono::seconds(*seconds);
    }
    watch.table = table;
    return serve_watch(stream, store, activities, watch);
  }
  if (!path.name.empty()) {
    const ObjectPtr object = objects.get(path);
    if (!table) {
      answer_json(stream, 200, *object);
      return true;
    }
    json::object made = make_table(*path.kind, {object}, *table);
    made["metadata"] = json::object{
        {"resourceVersion", text_at(*object, "metadata.resourceVersion").value_or("")}};
    answer_json(stream, 200, made);
    return true;
  }
  ObjectApi::Page page = objects.list(path, query);
  if (table) {
    json::object made = make_table(*path.kind, page.objects, *table);
    made["metadata"] = std::move(page.metadata);
    answer_json(stream, 200, made);
    return true;
  }
  json::array items;
  for (const auto& object : page.objects) items.push_back(*object);
  answer_json(stream, 200,
              {{"kind", path.kind->list_kind()},
               {"apiVersion", path.kind->api_version()},
               {"metadata", std::move(page.metadata)},
               {"items", std::move(items)}});
  return true;
}

ObjectAnswer KubeApi::State::review(const Request& request, const ResourcePath& path,
                                    const std::string& body) {
  boost::system::error_code error;
  json::value given = json::parse(body, error);
  if (error || !given.is_object()) throw bad_request("the object provided is not JSON");
  json::object& object = given.get_object();
  object["kind"] = path.kind->kind;
  object["apiVersion"] = path.kind->api_version();
  if (path.kind->kind == "SelfSubjectReview") {
    json::array groups;
    for (const auto& group : request.groups) groups.push_back(json::string(group));
    object["status"] = json::object{
        {"userInfo", json::object{{"username", request.user}, {"groups", std::move(groups)}}}};
  } else {
    object["status"] = json::object{{"allowed", request.user != "nobody"}};
  }
  return {201, std::move(object)};
}

void KubeApi::State::put(const json::object& object) {
  const std::string kind = text_at(object, "kind").value_or("");
  ResourcePath path;
  path.kind = find_kind(text_at(object, "apiVersion").value_or(""), kind);
  if (path.kind == nullptr) throw bad_request("unknown kind \"" + kind + "\"");
  path.name = text_at(object, "metadata.name").value_or("");
  const QueryParameters none("");
  if (path.kind->namespaced) {
    path.name_space = text_at(object, "metadata.namespace").value_or("default");
    const ResourceKind& namespaces = *find_resource("", "v1", "namespaces");
    if (!store.find(namespaces, "", path.name_space)) {
      put({{"kind", "Namespace"},
           {"apiVersion", "v1"},
           {"metadata", json::object{{"name", path.name_space}}}});
    }
  }
  const std::string body = json::serialize(object);
  if (store.find(*path.kind, path.name_space, path.name)) {
    objects.update(path, none, body);
  } else {
    path.name.clear();
    objects.create(path, none, body);
  }
}

KubeApi::KubeApi() : KubeApi(Options{}) {}

KubeApi::KubeApi(Options options) : state_(std::make_shared<State>(std::move(options))) {
  for (const char* const name : {"default", "kube-system"}) {
    state_->put(
        {{"kind", "Namespace"}, {"apiVersion", "v1"}, {"metadata", json::object{{"name", name}}}});
  }
  const json::object ready{{"type", "Ready"}, {"status", "True"}, {"reason", "KubeletReady"}};
  const json::object address{{"type", "InternalIP"}, {"address", "10.0.0.1"}};
  const json::object status{
      {"conditions", json::array{ready}},
      {"addresses", json::array{address}},
      {"nodeInfo", json::object{{"kubeletVersion", state_->options.version}}}};
  state_->put({{"kind", "Node"},
               {"apiVersion", "v1"},
               {"metadata", json::object{{"name", kNodeName}}},
               {"status", status}});
  if (!state_->options.demo_pods) return;
  add_pod("demo");
  add_pod("demo-classic", "default", WebSockets::classic);
}

KubeApi::~KubeApi() {
  state_->activities.stop_all();
  state_->store.wake();
  state_->logs.wake();
}

Handler KubeApi::handler() {
  return
      [state = state_](Stream& stream, Request& request) { return state->serve(stream, request); };
}

void KubeApi::add_pod(const std::string& name, const std::string& name_space, WebSockets mode) {
  const json::object container{{"name", "main"}, {"image", "lab/main:1"}};
  const char* const websocket = mode == WebSockets::classic ? "classic" : "modern";
  put(json::serialize(json::object{
      {"kind", "Pod"},
      {"apiVersion", "v1"},
      {"metadata", json::object{{"name", name},
                                {"namespace", name_space},
                                {"labels", json::object{{"app", name}}},
                                {"annotations", json::object{{"lab/websocket", websocket}}}}},
      {"spec", json::object{{"containers", json::array{container}}}}}));
}

void KubeApi::put(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) throw std::invalid_argument("not a JSON object");
  try {
    state_->put(value.get_object());
  } catch (const ApiError& refused) {
    throw std::invalid_argument(refused.message);
  }
}

void KubeApi::append_log(const std::string& name_space, const std::string& pod, std::string line) {
  state_->logs.append(name_space, pod, std::move(line));
}

void KubeApi::compact() { state_->store.compact(); }

KubeApi::Activity KubeApi::activity() const {
  return {state_->activities.count(Activities::Sort::watch),
          state_->activities.count(Activities::Sort::log),
          state_->activities.count(Activities::Sort::session)};
}

}  // namespace lab
