// The real kubelane binary between a test client and the lab's proxy, in a directory of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/lab/proxy.hpp"
#include "tests/lab/standard_paths.hpp"
#include "tests/lab/tbot_directory.hpp"
#include "tests/support/h2_client.hpp"
#include "tests/support/h2_raw_client.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

// What a client needs for one cluster, from the ready line and the written kubeconfig.
struct LocalEndpoint {
  bool tls = true;
  std::string host;
  std::uint16_t port = 0;
  std::string prefix;  // of the path; empty on a listener of its own
  std::string ca_pem;
  std::string token;  // empty: not in token mode
  std::string client_certificate_pem;
  std::string client_key_pem;
  std::string kubeconfig_path;

  std::string host_header() const { return host + ":" + std::to_string(port); }
};

// The first cluster of a kubeconfig that kubelane wrote, for tests that cannot wait for readiness.
LocalEndpoint read_endpoint(const std::filesystem::path& kubeconfig);

// Use: set `proxy_options`, `kind`, `more_yaml` … in the test, then start(), or the pieces of it.
class KubelaneFixture : public ::testing::Test {
 protected:
  // --- before start() ---------------------------------------------------------------------------
  lab::ProxyOptions proxy_options;  // no clusters: one named "demo" with the standard paths
  lab::TbotKind kind = lab::TbotKind::kubernetes_v2;
  lab::ClientSpec client;
  std::string listen = "127.0.0.1:0";
  std::string log_level = "debug";
  std::string proxy_protocol = "auto";
  std::string more_yaml;          // top level
  std::string more_service_yaml;  // of the service, indented by four spaces
  std::map<std::string, std::string> environment;
  std::vector<std::string> wrapper;  // a program and its arguments that start the binary, by exec

  // Lab, credentials, configuration, process; returns when kubelane is ready.
  void start();
  void start_lab();
  void write_credentials(const lab::TbotWriteOptions& options = {});
  std::string default_config() const;
  // Writes kubelane.yaml and spawns the binary; does not wait.
  void start_kubelane(const std::string& config);
  // Waits for "kubelane is ready" after line `from`, and reads the endpoints.
  void wait_ready(std::size_t from = 0);
  // SIGTERM and its exit status; a failure of the test when it does not end.
  int stop_kubelane();

  // --- afterwards -------------------------------------------------------------------------------
  lab::Proxy& proxy() { return *proxy_; }
  lab::EventGate& gate() { return gate_; }
  lab::TbotDirectory& credentials() { return *credentials_; }
  Process& kubelane() { return *process_; }
  const std::filesystem::path& directory() const { return directory_.path(); }
  std::filesystem::path credentials_path() const { return directory() / "credentials"; }
  std::filesystem::path destination_path() const { return directory() / "out"; }

  const LocalEndpoint& endpoint(const std::string& cluster = "demo") const;
  TlsClient connect(const LocalEndpoint& to) const;
  TlsClient connect(const std::string& cluster = "demo") const {
    return connect(endpoint(cluster));
  }
  // A request as bytes: request line with the cluster's prefix before `target`, Host, the token,
  // then `fields` as given (each with CRLF), the empty line and the body.
  std::string request(const std::string& method, const std::string& target,
                      const std::string& fields = "", const std::string& body = "",
                      const std::string& cluster = "demo") const;
  // One request on a connection of its own.
  Response exchange(const std::string& method, const std::string& target,
                    const std::string& fields = "", const std::string& body = "",
                    const std::string& cluster = "demo") const;
  Response get(const std::string& target, const std::string& cluster = "demo") const {
    return exchange("GET", target, "", "", cluster);
  }
  // HTTP/2 to the local side, for streams and for raw frames.
  std::unique_ptr<H2Client> connect_h2(const std::string& cluster = "demo",
                                       const H2ClientOptions& options = {}) const;
  std::unique_ptr<H2RawClient> connect_h2_raw(const std::string& cluster = "demo") const;
  // With the cluster's prefix before `target`, and the token.
  H2Request h2_request(const std::string& method, const std::string& target,
                       lab::h2::Fields fields = {}, const std::string& body = "",
                       const std::string& cluster = "demo") const;
  // The route that requests take upstream: "" for a v1 directory.
  std::string upstream_prefix(const std::string& cluster = "demo") const;

  void TearDown() override;

 private:
  static ClientOptions client_options(const LocalEndpoint& to);

  TempDirectory directory_;
  lab::EventGate gate_;
  std::unique_ptr<lab::Proxy> proxy_;
  std::unique_ptr<lab::TbotDirectory> credentials_;
  std::unique_ptr<Process> process_;
  std::map<std::string, LocalEndpoint> endpoints_;
};

}  // namespace support
