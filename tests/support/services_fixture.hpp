// Several services in one process, each with a cluster, a directory of tbot's and a destination of
// its own, in a configuration that a test changes while kubelane runs.
#pragma once

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/http2_fixture.hpp"

namespace support {

class ServicesFixture : public Http2Fixture {
 protected:
  ServicesFixture() {
    kind = lab::TbotKind::kubernetes;
    more_yaml = "";
  }

  std::filesystem::path config_path() const { return directory() / "kubelane.yaml"; }
  std::filesystem::path credentials_of(const std::string& cluster) const {
    return directory() / ("credentials-" + cluster);
  }
  std::filesystem::path kubeconfig_of(const std::string& cluster) const {
    return directory() / ("out-" + cluster) / "kubeconfig.yaml";
  }
  // What stands behind the service of a cluster, indented by four spaces.
  std::map<std::string, std::string> more_of;

  std::string config_of(const std::vector<std::string>& clusters) const {
    std::string config = default_config();
    config.erase(config.find("services:\n"));
    config += "services:\n";
    for (const std::string& cluster : clusters) {
      config += "  - type: kubernetes\n    kubernetes_cluster: " + cluster +
                "\n    credentials: {type: directory, path: " + credentials_of(cluster).string() +
                "}\n    destination: {type: directory, path: " +
                kubeconfig_of(cluster).parent_path().string() + "}\n";
      if (const auto more = more_of.find(cluster); more != more_of.end()) config += more->second;
    }
    return config;
  }
  // All of `known` exist; of them `served` are configured.
  void start_services(const std::vector<std::string>& known,
                      const std::vector<std::string>& served) {
    for (const std::string& cluster : known)
      if (std::none_of(proxy_options.clusters.begin(), proxy_options.clusters.end(),
                       [&](const auto& each) { return each.name == cluster; }))
        proxy_options.clusters.push_back({cluster, lab::standard_paths(gate())});
    start_lab();
    for (const std::string& cluster : known)
      lab::TbotDirectory(credentials_of(cluster)).write(proxy().renew(kind, client, {cluster}));
    start_kubelane(config_of(served));
    wait_ready();
  }

  void write_config(const std::string& config) const {
    const std::filesystem::path fresh = directory() / "kubelane.yaml.new";
    std::ofstream(fresh) << config;
    std::filesystem::rename(fresh, config_path());
  }
  // SIGHUP, and until that line is in the log.
  testing::AssertionResult reload(
      const std::string& config, const std::string& until = "\"the configuration is taken over\"") {
    write_config(config);
    const std::size_t from = kubelane().error_lines().size();
    kubelane().signal(SIGHUP);
    if (kubelane().wait_for_line(until, from)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "not in the log: " << until;
  }
  // By the kubeconfig as it was then.
  std::string request_at(const LocalEndpoint& to, const std::string& target) const {
    return "GET " + to.prefix + target + " HTTP/1.1\r\nHost: " + to.host_header() + "\r\n" +
           (to.token.empty() ? "" : "Authorization: Bearer " + to.token + "\r\n") + "\r\n";
  }
  Response get_at(const LocalEndpoint& to, const std::string& target) const {
    TlsClient local = connect(to);
    local.write(request_at(to, target));
    return local.read_response();
  }
  // The kubeconfig of a cluster that was added later; waits for it.
  LocalEndpoint endpoint_of(const std::string& cluster) const {
    eventually([&] { return std::filesystem::exists(kubeconfig_of(cluster)); });
    return read_endpoint(kubeconfig_of(cluster));
  }
};

}  // namespace support
