// The configuration file, whatever it holds: load_config() ends soon, with a configuration that
// keeps our promises or with problems that a person can read. Input: the file; what follows a NUL
// is a value for a flag, chosen by its first byte.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/load.hpp"
#include "config/settings.hpp"
#include "config/values.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane;
using fuzz::require;

void check_problems(const std::vector<Problem>& problems) {
  require(problems.size() <= 101, "the problems can be read");
  for (const Problem& problem : problems) {
    const std::string text = problem.text();
    require(!problem.message.empty(), "a problem is said");
    require(text.size() < 8192, "a message is short");
    require(std::none_of(text.begin(), text.end(),
                         [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }),
            "a message is one line without control bytes");
    require((problem.line > 0) == (problem.column > 0), "a place is whole");
    require(problem.line == 0 || problem.file == "k.yaml", "a place is in the file");
  }
}

void check_listener(const ListenAddress& address, LocalAuth auth, bool tls, bool remote) {
  require(remote || is_loopback(address), "others reach only what is meant for them");
  require(tls || auth == LocalAuth::none, "no credentials over plain HTTP");
}

void check_service(const Config& config, const Service& service) {
  require(!service.clusters.empty(), "a service has a cluster");
  require(!service.label().empty(), "a service has a name for logs");
  std::set<std::string> names;
  for (const ClusterSelector& cluster : service.clusters) {
    require(!cluster.name.empty() && cluster.name.size() <= 4096, "a cluster has a name");
    require(names.insert(cluster.name).second, "a cluster is selected once");
  }
  if (service.type == Service::Type::kubernetes)
    require(names.size() == 1, "kubernetes has one cluster");
  if (service.listen) {
    require(names.size() == 1, "a listener of its own has one cluster");
    check_listener(*service.listen, service.local_auth, service.local_tls, config.allow_remote);
  } else {
    check_listener(config.listen, config.local_auth, config.local_tls, config.allow_remote);
    require(service.local_auth == config.local_auth && service.local_tls == config.local_tls,
            "the shared listener has one way to authenticate");
  }
  for (const std::string& path : {service.credentials_path, service.destination.path})
    require(path.empty() || path.starts_with('/'), "paths are absolute");
  require((service.destination.type == Destination::Type::directory) ==
              !service.destination.path.empty(),
          "a directory has a path");
  for (const Destination::Reader& reader : service.destination.readers)
    require(reader.user.empty() != reader.group.empty(), "a reader is a user or a group");
}

void check_config(const Config& config) {
  std::set<std::string> destinations;
  std::set<std::string> credentials;
  for (const Service& service : config.services) {
    check_service(config, service);
    credentials.insert(service.credentials_path);
    if (service.destination.type == Destination::Type::directory)
      require(destinations.insert(service.destination.path).second, "a destination is not shared");
  }
  for (const std::string& path : destinations) {
    require(!credentials.contains(path), "tbot does not overwrite our kubeconfig");
    require(path != config.storage_path, "storage is a directory of its own");
  }
  const Limits& limits = config.limits;
  require(limits.max_header_bytes >= 1024 && limits.max_header_bytes <= 64 * 1024 &&
              limits.max_header_fields >= 8 && limits.max_header_fields <= 256 &&
              limits.max_connections >= 1 && limits.max_upstream_connections >= 1,
          "limits are within what the buffers hold");
  const Timeouts& timeouts = config.timeouts;
  for (const auto& timeout :
       {timeouts.local_handshake, timeouts.request_head, timeouts.local_idle, timeouts.connect,
        timeouts.upstream_handshake, timeouts.response_head, timeouts.progress,
        timeouts.upstream_idle, timeouts.half_closed, timeouts.drain, timeouts.credentials_poll})
    require(timeout.count() > 0, "a timeout is some time");
  require(config.workers <= 64, "there are as many workers as CPUs, about");
  require(
      config.proxy_server.empty() || parse_proxy_server(config.proxy_server) == config.proxy_server,
      "the Proxy's address is one");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string yaml(input.substr(0, end));
  std::vector<Override> overrides;
  if (end != input.npos) {
    std::string_view flag = input.substr(end + 1);
    const auto& setting = settings().at(fuzz::take_choice(flag) % settings().size());
    overrides.push_back({setting.key, std::string(flag), "--" + setting.key});
  }
  const LoadResult loaded = load_config(yaml, "k.yaml", overrides, std::nullopt);
  check_problems(loaded.errors);
  check_problems(loaded.warnings);
  check_problems(loaded.missing);
  if (loaded.errors.empty()) check_config(loaded.config);
  return 0;
}
