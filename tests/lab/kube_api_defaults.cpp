#include "tests/lab/kube_api_defaults.hpp"

#include <algorithm>
#include <atomic>
#include <string>

#include "tests/lab/base64.hpp"
#include "tests/lab/kube_api_query.hpp"
#include "tests/lab/kube_api_store.hpp"

namespace lab {
namespace {

namespace json = boost::json;

// The member as an object, made when it is not one. Another call may move it.
json::object& part(json::object& object, std::string_view name) {
  json::value& value = object[name];
  if (!value.is_object()) value.emplace_object();
  return value.get_object();
}

void set_default(json::object& object, std::string_view name, json::value value) {
  if (!object.contains(name)) object[name] = std::move(value);
}

// An address of its own for each object that needs one.
std::string next_address(const char* network) {
  static std::atomic<unsigned> next{1};
  const unsigned number = ++next;
  return network + std::to_string(number / 250 % 250) + "." + std::to_string(number % 250 + 1);
}

void check_name(const ResourceKind& kind, const std::string& name) {
  const bool valid =
      !name.empty() && name.size() <= 253 && name.front() != '-' && name.back() != '-' &&
      std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
      });
  if (name.empty()) {
    throw invalid(kind, name, "metadata.name", "Required value: name or generateName is required");
  }
  if (!valid) {
    throw invalid(kind, name, "metadata.name",
                  "Invalid value: \"" + name +
                      "\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                      "characters, '-' or '.'");
  }
}

json::object condition(const char* type, const std::string& now) {
  return {{"type", type}, {"status", "True"}, {"lastTransitionTime", now}};
}

void run_pod(const ResourceKind& kind, const std::string& name, json::object& pod) {
  json::object& spec = part(pod, "spec");
  // Adding keys may move the others: all additions come first.
  set_default(spec, "restartPolicy", "Always");
  set_default(spec, "serviceAccountName", "default");
  set_default(spec, "nodeName", kNodeName);
  json::value* const containers = spec.if_contains("containers");
  if (containers == nullptr || !containers->is_array() || containers->get_array().empty()) {
    throw invalid(kind, name, "spec.containers", "Required value");
  }
  const std::string now = timestamp();
  json::array statuses;
  for (auto& each : containers->get_array()) {
    if (!each.is_object()) throw invalid(kind, name, "spec.containers", "Invalid value");
    const std::string container = text_at(each.get_object(), "name").value_or("");
    const std::string image = text_at(each.get_object(), "image").value_or("");
    if (container.empty()) throw invalid(kind, name, "spec.containers[0].name", "Required value");
    statuses.push_back(
        json::object{{"name", container},
                     {"image", image},
                     {"imageID", image},
                     {"containerID", "lab://" + random_uid()},
                     {"ready", true},
                     {"started", true},
                     {"restartCount", 0},
                     {"state", json::object{{"running", json::object{{"startedAt", now}}}}},
                     {"lastState", json::object{}}});
  }
  const std::string address = next_address("10.1.");
  pod["status"] = json::object{
      {"phase", "Running"},
      {"conditions", json::array{condition("PodScheduled", now), condition("Initialized", now),
                                 condition("ContainersReady", now), condition("Ready", now)}},
      {"hostIP", "10.0.0.1"},
      {"podIP", address},
      {"podIPs", json::array{json::object{{"ip", address}}}},
      {"startTime", now},
      {"containerStatuses", std::move(statuses)},
      {"qosClass", "BestEffort"}};
}

void roll_out(json::object& deployment) {
  json::object& spec = part(deployment, "spec");
  set_default(spec, "replicas", 1);
  const json::value replicas = spec["replicas"];
  const std::string now = timestamp();
  json::object& status = part(deployment, "status");
  for (const char* const count :
       {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"}) {
    status[count] = replicas;
  }
  set_default(status, "conditions",
              json::array{condition("Available", now), condition("Progressing", now)});
}

}  // namespace

void complete_new(const ResourceKind& kind, json::object& object) {
  std::string name = text_at(object, "metadata.name").value_or("");
  if (name.empty()) {
    const std::string prefix = text_at(object, "metadata.generateName").value_or("");
    if (!prefix.empty()) name = prefix + random_uid().substr(0, 5);
    part(object, "metadata")["name"] = name;
  }
  check_name(kind, name);
  part(object, "metadata").erase("resourceVersion");
  if (kind.kind == "Pod") {
    run_pod(kind, name, object);
  } else if (kind.kind == "Namespace") {
    part(object, "spec")["finalizers"] = json::array{"kubernetes"};
    part(object, "status")["phase"] = "Active";
    part(part(object, "metadata"), "labels")["kubernetes.io/metadata.name"] = name;
  } else if (kind.kind == "Service") {
    json::object& spec = part(object, "spec");
    set_default(spec, "type", "ClusterIP");
    set_default(spec, "clusterIP", json::string(next_address("10.2.")));
    set_default(spec, "sessionAffinity", "None");
    part(object, "status")["loadBalancer"] = json::object{};
  } else if (kind.kind == "Secret") {
    set_default(object, "type", "Opaque");
    const json::object plain = part(object, "stringData");
    object.erase("stringData");
    for (const auto& [key, value] : plain) {
      if (value.is_string()) {
        part(object, "data")[key] = base64(std::string_view(value.get_string()));
      }
    }
  } else if (kind.kind == "Deployment") {
    roll_out(object);
    part(object, "status")["observedGeneration"] = 1;
  }
}

void complete_changed(const ResourceKind& kind, json::object& object) {
  if (kind.kind != "Deployment") return;
  roll_out(object);
}

}  // namespace lab
