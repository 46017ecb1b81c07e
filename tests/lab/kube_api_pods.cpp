#include "tests/lab/kube_api_pods.hpp"

#include <algorithm>

#include "tests/lab/body_reader.hpp"
#include "tests/lab/exec_session.hpp"
#include "tests/lab/exec_transports.hpp"
#include "tests/lab/kube_api_portforward.hpp"
#include "tests/lab/websocket.hpp"

namespace lab {
namespace {

namespace json = boost::json;

constexpr std::string_view kV4 = "v4.channel.k8s.io";
constexpr std::string_view kV5 = "v5.channel.k8s.io";
constexpr std::string_view kPortForward = "portforward.k8s.io";
constexpr std::string_view kTunnelledPortForward = "SPDY/3.1+portforward.k8s.io";

// The elements of all the header's lines.
std::vector<std::string> elements(const Request& request, std::string_view name) {
  std::vector<std::string> found;
  for (const auto& [field, value] : request.headers) {
    if (!same_text(field, name)) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      std::string_view element = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(element.size() + 1, rest.size()));
      while (!element.empty() && element.front() == ' ') element.remove_prefix(1);
      while (!element.empty() && element.back() == ' ') element.remove_suffix(1);
      if (!element.empty()) found.emplace_back(element);
    }
  }
  return found;
}

bool offers(const Request& request, std::string_view header, std::string_view protocol) {
  const auto offered = elements(request, header);
  return std::find(offered.begin(), offered.end(), protocol) != offered.end();
}

[[noreturn]] void refuse_upgrade(int code, const std::string& why) {
  throw ApiError{code, code == 403 ? "Forbidden" : "BadRequest", "unable to upgrade: " + why, {}};
}

// The one protocol that this server knows under SPDY.
void require_spdy(const Request& request, std::string_view protocol) {
  if (!same_text(request.header("Upgrade"), "SPDY/3.1")) {
    throw bad_request("Upgrade request required");
  }
  if (!offers(request, "X-Stream-Protocol-Version", protocol)) {
    refuse_upgrade(403, "unable to negotiate protocol: server accepts " + std::string(protocol));
  }
}

void check_container(const ResourcePath& path, const std::string& wanted, const json::object& pod) {
  if (wanted.empty()) return;
  const json::value* const containers = value_at(pod, "spec.containers");
  for (const auto& each : containers->as_array()) {
    if (text_at(each.as_object(), "name") == wanted) return;
  }
  throw bad_request("container " + wanted + " is not valid for pod " + path.name);
}

}  // namespace

bool PodStreams::serves(const std::string& subresource) {
  return subresource == "log" || subresource == "exec" || subresource == "attach" ||
         subresource == "portforward";
}

bool PodStreams::serve(Stream& stream, const Request& request, const ResourcePath& path,
                       const QueryParameters& query, const json::object& pod) {
  if (request.method != "GET" && (request.method != "POST" || path.subresource == "log")) {
    throw ApiError{405, "MethodNotAllowed", "this method is not allowed on a pod's streams", {}};
  }
  check_container(path, query.get("container"), pod);
  if (path.subresource == "log") {
    return logs_.serve(stream, activities_,
                       {path.name_space, path.name, query.flag("follow"), query.flag("timestamps"),
                        query.number("tailLines")});
  }
  const json::value* const annotations = value_at(pod, "metadata.annotations");
  const json::value* const mode = annotations != nullptr && annotations->is_object()
                                      ? annotations->get_object().if_contains("lab/websocket")
                                      : nullptr;
  const bool classic = mode != nullptr && mode->is_string() && mode->get_string() == "classic";
  if (path.subresource == "portforward") {
    forward_ports(stream, request, path, classic);
  } else {
    run(stream, request, path, query, classic);
  }
  return false;
}

void PodStreams::run(Stream& stream, const Request& request, const ResourcePath& path,
                     const QueryParameters& query, bool classic) {
  const ExecStreams wanted{query.flag("stdin"), query.flag("stdout"), query.flag("stderr"),
                           query.flag("tty")};
  const bool exec = path.subresource == "exec";
  ExecCommand command{query.all("command"), scratch_ / path.name_space / path.name, wanted.input,
                      wanted.terminal};
  if (exec && command.command.empty()) throw bad_request("you must specify a command");
  std::filesystem::create_directories(command.directory);

  Activities::Entry entry(activities_, Activities::Sort::session);
  std::unique_ptr<ExecChannels> channels;
  if (is_websocket_upgrade(request)) {
    const bool v5 = offers(request, "Sec-WebSocket-Protocol", kV5);
    const bool v4 = offers(request, "Sec-WebSocket-Protocol", kV4);
    if (!v4 && !(v5 && !classic)) {
      refuse_upgrade(v5 ? 403 : 400, "unable to negotiate protocol: no common subprotocol");
    }
    channels = exec_over_websocket(stream, request, v5 && !classic ? kV5 : kV4, wanted, entry.stop);
  } else {
    require_spdy(request, kV4);
    channels = exec_over_spdy(stream, wanted, entry.stop);
  }
  if (!channels) return;
  if (exec) {
    run_exec(*channels, command, entry.stop);
  } else {
    run_attach(*channels, wanted.terminal, entry.stop);
  }
}

void PodStreams::forward_ports(Stream& stream, const Request& request, const ResourcePath& path,
                               bool classic) {
  Activities::Entry entry(activities_, Activities::Sort::session);
  if (is_websocket_upgrade(request)) {
    if (classic || !offers(request, "Sec-WebSocket-Protocol", kTunnelledPortForward)) {
      refuse_upgrade(403, "unable to negotiate protocol: no common subprotocol");
    }
    accept_websocket(stream, request, kTunnelledPortForward);
    WebSocketStream inner(stream);
    serve_port_forward(inner, path.name, entry.stop);
    inner.close_write();
    return;
  }
  require_spdy(request, kPortForward);
  stream.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
      "X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n");
  serve_port_forward(stream, path.name, entry.stop);
}

}  // namespace lab
