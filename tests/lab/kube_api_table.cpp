#include "tests/lab/kube_api_table.hpp"

#include <cstdint>
#include <ctime>
#include <functional>
#include <string>

#include "tests/lab/kube_api_query.hpp"

namespace lab {
namespace {

namespace json = boost::json;

using Cell = std::function<json::value(const json::object&)>;
struct Column {
  std::string name;
  const char* type;
  int priority;  // above 0: only in wide output
  Cell cell;
};

std::string age_since(const std::string& time) {
  std::tm parts{};
  if (strptime(time.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) return "<unknown>";
  const long seconds = static_cast<long>(std::time(nullptr) - timegm(&parts));
  if (seconds < 120) return std::to_string(seconds < 0 ? 0 : seconds) + "s";
  if (seconds < 3 * 60 * 60) return std::to_string(seconds / 60) + "m";
  if (seconds < 48 * 60 * 60) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86'400) + "d";
}

Column text(std::string name, std::string path, const char* otherwise = "<none>",
            int priority = 0) {
  return {std::move(name), "string", priority,
          [path = std::move(path), otherwise](const json::object& object) -> json::value {
            return json::string(text_at(object, path).value_or(otherwise));
          }};
}

Column number(std::string name, std::string path) {
  return {std::move(name), "integer", 0,
          [path = std::move(path)](const json::object& object) -> json::value {
            const json::value* const value = value_at(object, path);
            return value != nullptr && value->is_number() ? *value : json::value(0);
          }};
}

Column name() { return text("Name", "metadata.name"); }
Column age(const char* title = "Age", std::string path = "metadata.creationTimestamp") {
  return {title, "string", 0, [path = std::move(path)](const json::object& object) -> json::value {
            return json::string(age_since(text_at(object, path).value_or("")));
          }};
}

const json::array& list_at(const json::object& object, std::string_view path) {
  static const json::array kNone;
  const json::value* const value = value_at(object, path);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

Column size(std::string title, std::string path) {
  return {std::move(title), "integer", 0,
          [path = std::move(path)](const json::object& object) -> json::value {
            const json::value* const value = value_at(object, path);
            if (value != nullptr && value->is_object()) return value->get_object().size();
            return list_at(object, path).size();
          }};
}

json::value ready_containers(const json::object& pod) {
  const json::array& statuses = list_at(pod, "status.containerStatuses");
  std::size_t ready = 0;
  for (const auto& status : statuses) {
    const json::value* const value =
        status.is_object() ? status.get_object().if_contains("ready") : nullptr;
    ready += value != nullptr && value->is_bool() && value->get_bool() ? 1 : 0;
  }
  return json::string(std::to_string(ready) + "/" +
                      std::to_string(list_at(pod, "spec.containers").size()));
}

json::value restarts(const json::object& pod) {
  std::int64_t sum = 0;
  for (const auto& status : list_at(pod, "status.containerStatuses")) {
    const json::value* const count =
        status.is_object() ? status.get_object().if_contains("restartCount") : nullptr;
    if (count != nullptr && count->is_int64()) sum += count->get_int64();
  }
  return sum;
}

json::value service_ports(const json::object& service) {
  std::string ports;
  for (const auto& each : list_at(service, "spec.ports")) {
    if (!each.is_object()) continue;
    if (!ports.empty()) ports += ",";
    ports += text_at(each.get_object(), "port").value_or("?") + "/" +
             text_at(each.get_object(), "protocol").value_or("TCP");
  }
  return json::string(ports.empty() ? "<none>" : ports);
}

json::value node_status(const json::object& node) {
  for (const auto& each : list_at(node, "status.conditions")) {
    if (each.is_object() && text_at(each.get_object(), "type") == "Ready") {
      return text_at(each.get_object(), "status") == "True" ? "Ready" : "NotReady";
    }
  }
  return "Unknown";
}

json::value ready_replicas(const json::object& deployment) {
  return json::string(text_at(deployment, "status.readyReplicas").value_or("0") + "/" +
                      text_at(deployment, "spec.replicas").value_or("0"));
}

json::value involved(const json::object& event) {
  return json::string(text_at(event, "involvedObject.kind").value_or("") + "/" +
                      text_at(event, "involvedObject.name").value_or(""));
}

std::vector<Column> columns_of(const ResourceKind& kind) {
  if (kind.kind == "Pod") {
    return {name(),
            {"Ready", "string", 0, ready_containers},
            text("Status", "status.phase"),
            {"Restarts", "integer", 0, restarts},
            age(),
            text("IP", "status.podIP", "<none>", 1),
            text("Node", "spec.nodeName", "<none>", 1)};
  }
  if (kind.kind == "Namespace") return {name(), text("Status", "status.phase"), age()};
  if (kind.kind == "ConfigMap") return {name(), size("Data", "data"), age()};
  if (kind.kind == "Secret") return {name(), text("Type", "type"), size("Data", "data"), age()};
  if (kind.kind == "ServiceAccount") return {name(), size("Secrets", "secrets"), age()};
  if (kind.kind == "Service") {
    return {name(),
            text("Type", "spec.type"),
            text("Cluster-IP", "spec.clusterIP"),
            text("External-IP", "spec.externalName"),
            {"Port(s)", "string", 0, service_ports},
            age()};
  }
  if (kind.kind == "Node") {
    return {name(),
            {"Status", "string", 0, node_status},
            {"Roles", "string", 0, [](const json::object&) -> json::value { return "<none>"; }},
            age(),
            text("Version", "status.nodeInfo.kubeletVersion")};
  }
  if (kind.kind == "Deployment") {
    return {name(),
            {"Ready", "string", 0, ready_replicas},
            number("Up-to-date", "status.updatedReplicas"),
            number("Available", "status.availableReplicas"),
            age()};
  }
  if (kind.kind == "Event") {
    return {age("Last Seen", "lastTimestamp"),
            text("Type", "type"),
            text("Reason", "reason"),
            {"Object", "string", 0, involved},
            text("Message", "message", "")};
  }
  return {name(), age()};
}

}  // namespace

json::object make_table(const ResourceKind& kind, const std::vector<ObjectPtr>& objects,
                        TableObjects include, bool header) {
  const std::vector<Column> columns = columns_of(kind);
  json::array definitions;
  for (const auto& column : columns) {
    if (!header) break;
    definitions.push_back(json::object{{"name", column.name},
                                       {"type", column.type},
                                       {"format", column.name == "Name" ? "name" : ""},
                                       {"description", column.name},
                                       {"priority", column.priority}});
  }
  json::array rows;
  for (const auto& object : objects) {
    json::array cells;
    for (const auto& column : columns) cells.push_back(column.cell(*object));
    json::object row{{"cells", std::move(cells)}};
    if (include == TableObjects::whole) {
      row["object"] = *object;
    } else if (include == TableObjects::metadata) {
      row["object"] = json::object{{"kind", "PartialObjectMetadata"},
                                   {"apiVersion", "meta.k8s.io/v1"},
                                   {"metadata", object->at("metadata")}};
    }
    rows.push_back(std::move(row));
  }
  return {{"kind", "Table"},
          {"apiVersion", "meta.k8s.io/v1"},
          {"metadata", json::object{}},
          {"columnDefinitions", std::move(definitions)},
          {"rows", std::move(rows)}};
}

}  // namespace lab
