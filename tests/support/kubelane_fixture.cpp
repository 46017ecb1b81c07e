#include "tests/support/kubelane_fixture.hpp"

#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>

#include <boost/json.hpp>

#include "tests/lab/base64.hpp"

namespace support {
namespace {

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The first value of a key in the kubeconfig: every key that we look for is a plain scalar.
std::string yaml_value(const std::string& yaml, const std::string& key) {
  std::istringstream lines(yaml);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find(key + ": ");
    if (at == std::string::npos || line.find_first_not_of(" -") != at) continue;
    std::string value = line.substr(at + key.size() + 2);
    if (value.size() > 1 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    return value;
  }
  return "";
}

std::string decoded(const std::string& yaml, const std::string& key) {
  return lab::from_base64(yaml_value(yaml, key)).value_or("");
}

// scheme://host:port/prefix
void read_server(const std::string& url, LocalEndpoint& endpoint) {
  endpoint.tls = url.starts_with("https://");
  const std::size_t start = url.find("://") + 3;
  const std::size_t slash = std::min(url.find('/', start), url.size());
  const std::size_t colon = url.rfind(':', slash - 1);
  endpoint.host = url.substr(start, colon - start);
  endpoint.port = static_cast<std::uint16_t>(std::stoul(url.substr(colon + 1, slash - colon - 1)));
  endpoint.prefix = url.substr(slash);
}

}  // namespace

LocalEndpoint read_endpoint(const std::filesystem::path& kubeconfig) {
  const std::string yaml = file_text(kubeconfig);
  LocalEndpoint endpoint;
  read_server(yaml_value(yaml, "server"), endpoint);
  endpoint.kubeconfig_path = kubeconfig;
  endpoint.ca_pem = decoded(yaml, "certificate-authority-data");
  endpoint.token = yaml_value(yaml, "token");
  endpoint.client_certificate_pem = decoded(yaml, "client-certificate-data");
  endpoint.client_key_pem = decoded(yaml, "client-key-data");
  return endpoint;
}

void KubelaneFixture::start() {
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  wait_ready();
}

void KubelaneFixture::start_lab() {
  if (proxy_options.clusters.empty()) {
    proxy_options.clusters.push_back({"demo", lab::standard_paths(gate_)});
  }
  proxy_ = std::make_unique<lab::Proxy>(proxy_options);
  std::ofstream(directory() / "web-ca.pem") << proxy_->web_ca_pem();
}

void KubelaneFixture::write_credentials(const lab::TbotWriteOptions& options) {
  if (!credentials_) credentials_ = std::make_unique<lab::TbotDirectory>(credentials_path());
  credentials_->write(proxy_->renew(kind, client), options);
}

std::string KubelaneFixture::default_config() const {
  std::string yaml = "version: v2\nproxy_server: " + proxy_->address() +
                     "\nproxy_ca: " + (directory() / "web-ca.pem").string() +
                     "\nproxy_protocol: " + proxy_protocol + "\nlisten: " + listen +
                     "\nstorage:\n  type: memory\nlog: {format: json, level: " + log_level + "}\n" +
                     more_yaml + "services:\n";
  const auto service = [&](const std::string& type, const std::string& selection) {
    yaml += "  - type: " + type + "\n" + selection +
            "    credentials: {type: directory, path: " + credentials_path().string() +
            "}\n    destination: {type: directory, path: " + destination_path().string() + "}\n" +
            more_service_yaml;
  };
  if (kind == lab::TbotKind::kubernetes) {
    service("kubernetes",
            "    kubernetes_cluster: \"" + proxy_options.clusters.front().name + "\"\n");
  } else {
    std::string selectors = "    selectors:\n";
    for (const auto& cluster : proxy_options.clusters) {
      selectors += "      - name: \"" + cluster.name + "\"\n";
    }
    service("kubernetes/v2", selectors);
  }
  return yaml;
}

void KubelaneFixture::start_kubelane(const std::string& config) {
  const std::filesystem::path path = directory() / "kubelane.yaml";
  std::ofstream(path) << config;
  std::vector<std::string> words = wrapper;
  words.insert(words.end(), {KUBELANE_BINARY, "start", "-c", path.string()});
  const std::string program = words.front();
  words.erase(words.begin());
  process_ = std::make_unique<Process>(program, words, environment);
}

void KubelaneFixture::wait_ready(std::size_t from) {
  ASSERT_TRUE(process_->wait_for_line("\"kubelane is ready\"", from))
      << "kubelane did not get ready";
  const auto lines = process_->error_lines();
  for (std::size_t i = from; i < lines.size(); ++i) {
    boost::json::error_code not_json;
    const boost::json::value line = boost::json::parse(lines[i], not_json);
    if (not_json || !line.is_object() || !line.as_object().contains("message")) continue;
    if (line.at("message") != "ready") continue;
    LocalEndpoint endpoint =
        read_endpoint(boost::json::value_to<std::string>(line.at("kubeconfig")));
    read_server(boost::json::value_to<std::string>(line.at("server")), endpoint);
    endpoints_[boost::json::value_to<std::string>(line.at("cluster"))] = endpoint;
  }
}

int KubelaneFixture::stop_kubelane() {
  process_->signal(SIGTERM);
  const auto status = process_->wait_exit();
  EXPECT_TRUE(status) << "kubelane did not end";
  return status.value_or(-1);
}

const LocalEndpoint& KubelaneFixture::endpoint(const std::string& cluster) const {
  const auto found = endpoints_.find(cluster);
  if (found == endpoints_.end()) throw std::runtime_error("no ready line for cluster " + cluster);
  return found->second;
}

ClientOptions KubelaneFixture::client_options(const LocalEndpoint& to) {
  ClientOptions options;
  options.tls = to.tls;
  options.ca_pem = to.ca_pem;
  options.certificate_pem = to.client_certificate_pem;
  options.key_pem = to.client_key_pem;
  return options;
}

TlsClient KubelaneFixture::connect(const LocalEndpoint& to) const {
  ClientOptions options = client_options(to);
  options.alpn = {"http/1.1"};
  return {to.host, to.port, options};
}

std::unique_ptr<H2Client> KubelaneFixture::connect_h2(const std::string& cluster,
                                                      const H2ClientOptions& options) const {
  const LocalEndpoint& to = endpoint(cluster);
  return std::make_unique<H2Client>(to.host, to.port, client_options(to), options);
}

std::unique_ptr<H2RawClient> KubelaneFixture::connect_h2_raw(const std::string& cluster) const {
  const LocalEndpoint& to = endpoint(cluster);
  return std::make_unique<H2RawClient>(to.host, to.port, client_options(to));
}

H2Request KubelaneFixture::h2_request(const std::string& method, const std::string& target,
                                      lab::h2::Fields fields, const std::string& body,
                                      const std::string& cluster) const {
  const LocalEndpoint& to = endpoint(cluster);
  if (!to.token.empty()) fields.emplace_back("authorization", "Bearer " + to.token);
  return {.method = method, .path = to.prefix + target, .fields = std::move(fields), .body = body};
}

std::string KubelaneFixture::request(const std::string& method, const std::string& target,
                                     const std::string& fields, const std::string& body,
                                     const std::string& cluster) const {
  const LocalEndpoint& to = endpoint(cluster);
  std::string text =
      method + " " + to.prefix + target + " HTTP/1.1\r\nHost: " + to.host_header() + "\r\n";
  if (!to.token.empty()) text += "Authorization: Bearer " + to.token + "\r\n";
  return text + fields + "\r\n" + body;
}

Response KubelaneFixture::exchange(const std::string& method, const std::string& target,
                                   const std::string& fields, const std::string& body,
                                   const std::string& cluster) const {
  TlsClient client_connection = connect(cluster);
  client_connection.write(request(method, target, fields, body, cluster));
  return client_connection.read_response(method == "HEAD");
}

std::string KubelaneFixture::upstream_prefix(const std::string& cluster) const {
  if (kind == lab::TbotKind::kubernetes) return "";
  return "/v1/teleport/" + lab::base64url(proxy_options.cluster_name) + "/" +
         lab::base64url(cluster);
}

void KubelaneFixture::TearDown() {
  if (HasFailure() && process_) {
    for (const auto& line : process_->error_lines()) std::cerr << line << '\n';
  }
  if (proxy_) {
    EXPECT_EQ(proxy_->seen().authorization_seen, 0u) << "a local secret went upstream";
  }
  // The process first: the lab's threads end when their peers do.
  process_.reset();
  proxy_.reset();
}

}  // namespace support
