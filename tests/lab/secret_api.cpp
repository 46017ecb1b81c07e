#include "tests/lab/secret_api.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <set>

#include <sys/socket.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/listening_socket.hpp"
#include "tests/lab/server_context.hpp"

namespace lab {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

constexpr const char* kNamespace = "apps";
const std::vector<const char*> kAlpn = {"http/1.1"};

json::object status(int code, const std::string& reason, const std::string& message) {
  return {{"kind", "Status"},   {"apiVersion", "v1"}, {"status", "Failure"},
          {"message", message}, {"reason", reason},   {"code", code}};
}

std::string field(const std::string& query, const std::string& name) {
  const std::string all = "&" + query;
  const std::size_t at = all.find("&" + name + "=");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + name.size() + 2;
  return all.substr(begin, std::min(all.find('&', begin), all.size()) - begin);
}

void write_file(const fs::path& path, const std::string& text) {
  const fs::path fresh = path.string() + ".new";
  std::ofstream(fresh) << text;
  fs::rename(fresh, path);
}

// metadata.labels and data: what apply is about here.
json::object& part(json::object& object, const std::string& name) {
  json::object& parent = name == "labels" ? object["metadata"].get_object() : object;
  if (!parent[name].is_object()) parent[name] = json::object();
  return parent[name].get_object();
}

const json::object* find_part(const json::object& object, const std::string& name) {
  const json::object* parent = &object;
  if (name == "labels") parent = object.at("metadata").if_object();
  const json::value* found = parent->if_contains(name);
  return found != nullptr ? found->if_object() : nullptr;
}

std::string version_of(const json::object& object) {
  const json::value* metadata = object.if_contains("metadata");
  const json::value* version = metadata != nullptr && metadata->is_object()
                                   ? metadata->get_object().if_contains("resourceVersion")
                                   : nullptr;
  return version != nullptr && version->is_string() ? std::string(version->get_string()) : "";
}

}  // namespace

SecretApi::SecretApi(fs::path service_account)
    : directory_(std::move(service_account)),
      authority_(make_authority("kubernetes", KeyKind::ecdsa)),
      context_(server_context(issue_server(authority_, "kube-apiserver", {"127.0.0.1"}), kAlpn)) {
  std::signal(SIGPIPE, SIG_IGN);
  fs::create_directories(directory_);
  write_file(directory_ / "ca.crt", authority_.pem());
  write_file(directory_ / "namespace", kNamespace);
  rotate_token();
  listen();
  acceptor_ = std::thread([this] { accept_loop(); });
}

SecretApi::~SecretApi() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  up_ = false;
  ::shutdown(listener_.fd(), SHUT_RDWR);
  acceptor_.join();
  for (Connection& each : connections_)
    if (const int fd = each.fd; fd >= 0) ::shutdown(fd, SHUT_RDWR);
  for (Connection& each : connections_) each.thread.join();
}

std::map<std::string, std::string> SecretApi::environment(const std::string& pod) const {
  return {{"KUBERNETES_SERVICE_HOST", "127.0.0.1"},
          {"KUBERNETES_SERVICE_PORT", std::to_string(port_)},
          {"KUBELANE_SERVICE_ACCOUNT_DIR", directory_.string()},
          {"POD_NAMESPACE", ""},
          {"POD_NAME", pod}};
}

void SecretApi::inject(const std::string& method, const std::string& kind, Fault fault, int times,
                       int after) {
  const std::scoped_lock lock(mutex_);
  faults_.push_back({method, kind, fault, times, after});
}

void SecretApi::clear_faults() {
  {
    const std::scoped_lock lock(mutex_);
    faults_.clear();
    ++released_;
  }
  changed_.notify_all();
}

void SecretApi::forbid(const std::string& verb, const std::string& kind) {
  const std::scoped_lock lock(mutex_);
  forbidden_.emplace_back(verb, kind);
}

void SecretApi::allow_all() {
  const std::scoped_lock lock(mutex_);
  forbidden_.clear();
}

void SecretApi::listen() {
  listener_ = listening_socket(port_);
  up_ = true;
}

// The listening socket stays, so that the port does: what comes is reset before a byte.
void SecretApi::go_down() { up_ = false; }
void SecretApi::come_up() { up_ = true; }

void SecretApi::rotate_token() {
  const std::scoped_lock lock(mutex_);
  token_ = "service-account-token-" + std::to_string(++tokens_);
  write_file(directory_ / "token", token_);
}

std::optional<json::object> SecretApi::object(const std::string& kind,
                                              const std::string& name) const {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find(kind + "/" + name);
  if (found == objects_.end()) return std::nullopt;
  return found->second;
}

std::string SecretApi::value(const std::string& secret, const std::string& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find("secrets/" + secret);
  if (found == objects_.end()) return {};
  const json::object* data = find_part(found->second, "data");
  const json::value* text = data != nullptr ? data->if_contains(key) : nullptr;
  if (text == nullptr) return {};
  return from_base64(std::string_view(text->get_string())).value_or("");
}

std::string SecretApi::label(const std::string& secret, const std::string& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find("secrets/" + secret);
  if (found == objects_.end()) return {};
  const json::object* labels = find_part(found->second, "labels");
  const json::value* text = labels != nullptr ? labels->if_contains(key) : nullptr;
  return text == nullptr ? "" : std::string(text->get_string());
}

void SecretApi::put_secret(const std::string& name, const std::map<std::string, std::string>& data,
                           const std::string& manager) {
  json::object values;
  for (const auto& [key, text] : data) values[key] = base64(text);
  const std::scoped_lock lock(mutex_);
  apply("secrets/" + name,
        {{"apiVersion", "v1"},
         {"kind", "Secret"},
         {"metadata", {{"name", name}, {"namespace", kNamespace}}},
         {"data", std::move(values)}},
        manager, true);
}

void SecretApi::put_lease(const std::string& name, const std::string& holder, int seconds) {
  const std::scoped_lock lock(mutex_);
  objects_["leases/" + name] =
      stamped({{"apiVersion", "coordination.k8s.io/v1"},
               {"kind", "Lease"},
               {"metadata", {{"name", name}, {"namespace", kNamespace}}},
               {"spec", {{"holderIdentity", holder}, {"leaseDurationSeconds", seconds}}}});
}

void SecretApi::remove(const std::string& kind, const std::string& name) {
  const std::scoped_lock lock(mutex_);
  objects_.erase(kind + "/" + name);
  owners_.erase(kind + "/" + name);
}

std::vector<SecretApi::Call> SecretApi::calls() const {
  const std::scoped_lock lock(mutex_);
  return calls_;
}

std::size_t SecretApi::done(const std::string& method, const std::string& kind) const {
  const std::scoped_lock lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(calls_.begin(), calls_.end(), [&](const Call& call) {
        return call.method == method && call.status / 100 == 2 &&
               call.path.find("/" + kind) != std::string::npos;
      }));
}

void SecretApi::accept_loop() {
  for (;;) {
    Socket socket(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    {
      const std::scoped_lock lock(mutex_);
      if (stopping_) return;
    }
    if (!socket) continue;
    if (!up_) {
      const linger at_once{1, 0};
      ::setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      continue;
    }
    for (auto each = connections_.begin(); each != connections_.end();) {
      if (!each->ended) {
        ++each;
        continue;
      }
      each->thread.join();
      each = connections_.erase(each);
    }
    Connection& connection = connections_.emplace_back();
    connection.fd = socket.fd();
    connection.thread = std::thread([this, &connection, fd = std::move(socket)]() mutable {
      serve(connection, std::move(fd));
    });
  }
}

void SecretApi::serve(Connection& connection, Socket socket) {
  try {
    TlsStream stream(std::move(socket), context_);
    stream.accept();
    exchange(stream);
  } catch (const ConnectionLost&) {
    // A client that gave up.
  }
  connection.fd = -1;
  connection.ended = true;
}

std::optional<SecretApi::Fault> SecretApi::fault_for(const std::string& method,
                                                     const std::string& kind) {
  for (Injected& each : faults_) {
    if (each.times == 0 || (!each.method.empty() && each.method != method) ||
        (!each.kind.empty() && each.kind != kind))
      continue;
    if (each.after > 0) {
      --each.after;
      continue;
    }
    if (each.times > 0) --each.times;
    return each.fault;
  }
  return std::nullopt;
}

void SecretApi::exchange(TlsStream& stream) {
  Request request;
  if (!read_request(stream, request)) return;
  const std::string body = read_body(stream, request).bytes;
  const std::string kind = request.path.find("/leases") != std::string::npos ? "leases" : "secrets";
  std::unique_lock lock(mutex_);
  const std::size_t index = calls_.size();
  const std::string authorization = request.header("Authorization");
  calls_.push_back({request.method, request.path, request.query, request.header("Content-Type"),
                    authorization.substr(std::min<std::size_t>(authorization.size(), 7)), 0});
  const std::optional<Fault> fault = fault_for(request.method, kind);
  if (fault == Fault::hang) {
    const std::uint64_t before = released_;
    changed_.wait(lock, [&] { return stopping_ || released_ != before; });
    stream.reset();
    return;
  }
  if (fault == Fault::conflict) {
    const std::size_t slash = request.path.rfind('/');
    if (const auto found = objects_.find(kind + request.path.substr(slash));
        found != objects_.end())
      found->second = stamped(found->second);
  }
  Answer made = fault == Fault::unavailable
                    ? Answer{503, status(503, "ServiceUnavailable", "etcdserver: leader changed")}
                    : act(request, body);
  if (fault == Fault::lose_answer) {
    lock.unlock();
    stream.reset();
    return;
  }
  calls_[index].status = made.status;
  lock.unlock();
  answer(stream, made.status, "application/json", json::serialize(made.body));
  stream.close_write();
}

json::object SecretApi::stamped(json::object object) {
  object["metadata"].get_object()["resourceVersion"] = std::to_string(++version_);
  return object;
}

SecretApi::Answer SecretApi::act(const Request& request, const std::string& body) {
  if (request.header("Authorization") != "Bearer " + token_)
    return {401, status(401, "Unauthorized", "Unauthorized")};
  const std::string kind = request.path.find("/leases") != std::string::npos ? "leases" : "secrets";
  const std::string collection =
      std::string(kind == "leases" ? "/apis/coordination.k8s.io/v1" : "/api/v1") + "/namespaces/" +
      kNamespace + "/" + kind;
  const bool whole = request.path == collection;
  if (!whole && !request.path.starts_with(collection + "/"))
    return {404, status(404, "NotFound", "the server could not find the requested resource")};
  const std::string name = whole ? "" : request.path.substr(collection.size() + 1);
  const std::map<std::string, std::string> verbs = {
      {"GET", "get"}, {"POST", "create"}, {"PUT", "update"}, {"PATCH", "patch"}};
  if (!verbs.contains(request.method) || whole != (request.method == "POST"))
    return {405, status(405, "MethodNotAllowed", "the server does not allow this method")};
  std::string verb = verbs.at(request.method);
  const std::string key = kind + "/" + name;
  const bool there = objects_.contains(key);
  std::vector<std::string> needed = {verb};
  if (verb == "patch" && !there) needed.emplace_back("create");
  for (const std::string& each : needed)
    if (std::find(forbidden_.begin(), forbidden_.end(), std::pair(each, kind)) != forbidden_.end())
      return {403, status(403, "Forbidden",
                          kind + " \"" + name +
                              "\" is forbidden: User "
                              "\"system:serviceaccount:apps:kubelane\" cannot " +
                              each + " resource \"" + kind +
                              "\" in API group \"\" in the namespace \"" + kNamespace + "\"")};
  if (verb == "get") {
    if (!there) return {404, status(404, "NotFound", kind + " \"" + name + "\" not found")};
    return {200, objects_.at(key)};
  }
  boost::system::error_code error;
  json::value parsed = json::parse(body, error);
  if (error || !parsed.is_object() || !parsed.get_object().contains("metadata"))
    return {400, status(400, "BadRequest", "the body is no object")};
  const json::object wanted = parsed.get_object();
  const bool dry_run = field(request.query, "dryRun") == "All";
  if (dry_run && (whole || there)) return {200, wanted};
  if (verb == "patch") {
    if (request.header("Content-Type") != "application/apply-patch+yaml")
      return {415, status(415, "UnsupportedMediaType", "only server-side apply here")};
    const std::string manager = field(request.query, "fieldManager");
    if (manager.empty()) return {422, status(422, "Invalid", "fieldManager: Required value")};
    return apply(key, wanted, manager, field(request.query, "force") == "true");
  }
  const std::string own =
      whole ? kind + "/" + std::string(wanted.at("metadata").at("name").as_string()) : key;
  if (verb == "create") {
    if (objects_.contains(own)) return {409, status(409, "AlreadyExists", own + " already exists")};
    if (!version_of(wanted).empty())
      return {400, status(400, "BadRequest",
                          "resourceVersion should not be set on objects to be "
                          "created")};
    return {201, objects_[own] = stamped(wanted)};
  }
  if (!there) return {404, status(404, "NotFound", key + " not found")};
  if (version_of(wanted) != version_of(objects_.at(key)))
    return {409, status(409, "Conflict",
                        "Operation cannot be fulfilled on " + key +
                            ": the object has been modified; please apply your "
                            "changes to the latest version and try again")};
  return {200, objects_[key] = stamped(wanted)};
}

SecretApi::Answer SecretApi::apply(const std::string& key, const json::object& wanted,
                                   const std::string& manager, bool force) {
  const auto found = objects_.find(key);
  const std::string version = version_of(wanted);
  if (!version.empty() && (found == objects_.end() || version != version_of(found->second)))
    return {409, status(409, "Conflict",
                        "Operation cannot be fulfilled on " + key +
                            ": the object has been modified; please apply your "
                            "changes to the latest version and try again")};
  json::object result = found == objects_.end() ? wanted : found->second;
  std::map<std::string, std::string>& owners = owners_[key];
  for (const std::string name : {"data", "labels"}) {
    const json::object* values = find_part(wanted, name);
    json::object& target = part(result, name);
    // What it applied before and does not any more goes.
    for (auto each = owners.begin(); each != owners.end();) {
      const std::string own = each->first.substr(each->first.find('.') + 1);
      const bool dropped = each->first.starts_with(name + ".") && each->second == manager &&
                           (values == nullptr || !values->contains(own));
      if (dropped) target.erase(own);
      each = dropped ? owners.erase(each) : std::next(each);
    }
    if (values == nullptr) continue;
    for (const auto& each : *values) {
      const std::string path = name + "." + std::string(each.key());
      if (const auto owner = owners.find(path); owner != owners.end() && owner->second != manager &&
                                                target[each.key()] != each.value() && !force)
        return {409,
                status(409, "Conflict",
                       "Apply failed with 1 conflict: conflict with \"" + owner->second + "\"")};
      owners[path] = manager;
      target[each.key()] = each.value();
    }
  }
  json::array managed;
  std::set<std::string> managers;
  for (const auto& [path, owner] : owners) managers.insert(owner);
  for (const std::string& owner : managers) {
    json::object data;
    for (const auto& [path, who] : owners)
      if (who == owner && path.starts_with("data.")) data["f:" + path.substr(5)] = json::object();
    managed.push_back(json::object{{"manager", owner},
                                   {"operation", "Apply"},
                                   {"fieldsV1", json::object{{"f:data", std::move(data)}}}});
  }
  const bool fresh = found == objects_.end();
  result = stamped(std::move(result));
  result["metadata"].get_object()["managedFields"] = std::move(managed);
  objects_[key] = result;
  return {fresh ? 201 : 200, std::move(result)};
}

}  // namespace lab
