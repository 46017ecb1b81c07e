#include "tests/support/lab_auth_fixture.hpp"

#include <ctime>

#include <boost/json.hpp>
#include <openssl/pem.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/public_key.hpp"

namespace support {
namespace {

namespace json = boost::json;

lab::CertificatePtr certificate_of(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return {PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free};
}

std::string ssh_line(const Credentials& of) {
  return lab::ssh::line_from_wire(lab::ssh::wire_key(of.key)) + "\n";
}

}  // namespace

std::string Credentials::value(const std::string& oid) const {
  const auto all = lab::subject_values(certificate.get(), oid);
  return all.empty() ? "" : all.front();
}

LabAuthFixture::LabAuthFixture(const std::string& version) {
  lab::AuthOptions options;
  options.server_version = version;
  auth_ = std::make_unique<lab::Auth>(options);
  service().put_role({.name = "kube-access"});
  service().put_bot("ci", {"kube-access"});
  lab::ProxyOptions proxy;
  proxy.auth = auth_.get();
  proxy.clusters.push_back({"prod", lab::standard_paths(gate_), {{"env", "prod"}}});
  proxy.clusters.push_back({"dev", lab::standard_paths(gate_), {{"env", "dev"}}});
  proxy_ = std::make_unique<lab::Proxy>(proxy);
}

std::string LabAuthFixture::new_token() {
  lab::JoinToken token;
  token.name = "secret-" + std::to_string(++tokens_);
  token.bot = "ci";
  service().put_token(token);
  return token.name;
}

std::string LabAuthFixture::join_body(const Credentials& of, const std::string& token,
                                      const std::string& id_token, long expires) {
  json::object body{{"role", "Bot"},
                    {"token", token},
                    {"public_tls_key", lab::base64(lab::public_key_pem(of.key))},
                    {"public_ssh_key", lab::base64(ssh_line(of))},
                    {"id_token", id_token},
                    {"dns_names", nullptr}};
  if (expires > 0) {
    const time_t at = expires;
    tm broken{};
    gmtime_r(&at, &broken);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &broken);
    body["expires"] = text;
  }
  return json::serialize(body);
}

Response LabAuthFixture::post_join(const std::string& body, const std::string& path) {
  ClientOptions options;
  options.ca_pem = proxy_->web_ca_pem();
  TlsClient client("127.0.0.1", proxy_->port(), options);
  client.write("POST " + path + " HTTP/1.1\r\nHost: " + proxy_->address() +
               "\r\nContent-Type: application/json\r\nContent-Length: " +
               std::to_string(body.size()) + "\r\n\r\n" + body);
  return client.read_response();
}

std::optional<Credentials> LabAuthFixture::web_join(const std::string& token, int& status,
                                                    const std::string& id_token, long ttl) {
  Credentials made;
  const long expires = ttl > 0 ? std::time(nullptr) + ttl : 0;
  const Response response =
      post_join(join_body(made, token, id_token, expires), "/v1/webapi/host/credentials");
  status = response.status;
  if (status != 200) return std::nullopt;
  const json::object answer = json::parse(response.body).as_object();
  made.certificate = certificate_of(*lab::from_base64(answer.at("tls").as_string()));
  made.host_authorities = auth_->host_ca_pem();
  return made;
}

Credentials LabAuthFixture::joined() {
  int status = 0;
  const auto made = web_join(new_token(), status);
  if (!made) throw std::runtime_error("the join got " + std::to_string(status));
  return *made;
}

ClientOptions LabAuthFixture::tls_to_auth(const Credentials* as, Way way) const {
  const std::string name = lab::auth_server_name(auth_->service().cluster_name());
  ClientOptions options;
  options.ca_pem = auth_->host_ca_pem();
  options.server_name = name;
  if (as != nullptr) {
    options.certificate_pem = lab::certificate_pem(as->certificate);
    options.key_pem = lab::key_pem(as->key);
  }
  options.alpn = {"h2"};
  if (way == Way::tunnel) options.alpn.insert(options.alpn.begin(), "teleport-auth@" + name);
  return options;
}

std::unique_ptr<GrpcClient> LabAuthFixture::connect(const Credentials& as, Way way) {
  return std::make_unique<GrpcClient>(
      "127.0.0.1", way == Way::tunnel ? proxy_->port() : auth_->port(), tls_to_auth(&as, way));
}

std::unique_ptr<GrpcClient> LabAuthFixture::connect_without_certificate(Way way) {
  return std::make_unique<GrpcClient>(
      "127.0.0.1", way == Way::tunnel ? proxy_->port() : auth_->port(), tls_to_auth(nullptr, way));
}

std::unique_ptr<GrpcClient> LabAuthFixture::connect_to_proxy() {
  ClientOptions options;
  options.ca_pem = proxy_->web_ca_pem();
  options.alpn = {"teleport-proxy-grpc", "h2"};
  return std::make_unique<GrpcClient>("127.0.0.1", proxy_->port(), options);
}

GrpcAnswer LabAuthFixture::generate(GrpcClient& client, Credentials& fresh,
                                    const std::vector<std::string>& roles,
                                    const std::string& kubernetes_cluster, long ttl) {
  proto::UserCertsRequest request;
  request.set_username("bot-ci");
  request.mutable_expires()->set_seconds(std::time(nullptr) + ttl);
  request.set_routetocluster(service().cluster_name());
  request.set_kubernetescluster(kubernetes_cluster);
  for (const auto& role : roles) request.add_rolerequests(role);
  request.set_userolerequests(!roles.empty());
  if (service().version().major() >= 17) {
    request.set_sshpublickey(ssh_line(fresh));
    request.set_tlspublickey(lab::public_key_pem(fresh.key));
  } else {
    request.set_publickey(ssh_line(fresh));
  }
  const GrpcAnswer answer = client.call("/proto.AuthService/GenerateUserCerts", request);
  if (answer.ok()) {
    fresh.certificate = certificate_of(answer.as<proto::Certs>().tls());
    fresh.host_authorities = auth_->host_ca_pem();
  }
  return answer;
}

Response LabAuthFixture::kube_get(const Credentials& as, const std::string& cluster,
                                  const std::string& path) {
  ClientOptions options = tls_to_auth(&as, Way::direct);
  options.alpn = {"http/1.1"};
  options.server_name = "kube-teleport-proxy-alpn.teleport.cluster.local";
  TlsClient client("127.0.0.1", proxy_->port(), options);
  const std::string route = cluster.empty()
                                ? ""
                                : "/v1/teleport/" + lab::base64url(service().cluster_name()) + "/" +
                                      lab::base64url(cluster);
  client.write("GET " + route + path + " HTTP/1.1\r\nHost: kube\r\n\r\n");
  return client.read_response();
}

std::vector<std::string> LabAuthFixture::names(const GrpcAnswer& listing) {
  std::vector<std::string> found;
  const auto response = listing.as<proto::ListResourcesResponse>();
  for (const auto& each : response.resources()) {
    found.push_back(each.kubernetesserver().spec().cluster().metadata().name());
  }
  return found;
}

}  // namespace support
