// The real kubelane binary that joins the lab's Auth itself.
#pragma once

#include <fstream>
#include <memory>
#include <string>

#include "tests/lab/auth.hpp"
#include "tests/lab/jwt_issuer.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace support {

// Use: set `auth_options`, `method` … in the test, then start_bot(), or the pieces of it.
class BotFixture : public KubelaneFixture {
 protected:
  // --- before start_bot() -----------------------------------------------------------------------
  lab::AuthOptions auth_options;
  std::string method = "kubernetes";  // or token, bound_keypair
  std::string join_token = "join-by-pod";
  std::string storage = "{type: memory}";
  std::string lifetimes;  // top level, e.g. "credential_ttl: 6s\nrenewal_interval: 2s\n"
  std::string onboarding_more;
  lab::BoundKeypairRules keypair_rules;  // of the token of method bound_keypair
  std::string service_type = "kubernetes/v2";
  std::string selectors = "[{name: demo}]";  // of kubernetes/v2
  long role_session = 12 * 3600L;

  void start_teleport() {
    if (proxy_options.clusters.empty()) add_cluster("demo");
    auth_ = std::make_unique<lab::Auth>(auth_options);
    lab::Role role;
    role.name = "kube-access";
    auth().service().put_role(role);
    auth().service().put_bot("ci", {"kube-access"}, role_session);
    put_token();
    proxy_options.auth = auth_.get();
    start_lab();
    project_service_account();
  }
  // A join token of `method`, by the name of `join_token`.
  void put_token() {
    lab::JoinToken token;
    token.name = join_token;
    token.method = method;
    token.bot = "ci";
    if (method == "kubernetes")
      token.kubernetes = {
          lab::KubernetesKind::static_jwks, issuer_.jwks(), "", {"default:kubelane"}};
    token.bound_keypair = keypair_rules;
    auth().service().put_token(token);
  }
  void add_cluster(const std::string& name, std::map<std::string, std::string> labels = {}) {
    proxy_options.clusters.push_back({name, lab::standard_paths(gate()), std::move(labels)});
  }
  // As the kubelet does, before the old one expires.
  void project_service_account() {
    const auto fresh = directory() / "service-account-token.new";
    // By the clock of the clusters' side.
    const long skew = auth().service().authorities()->clock_skew();
    lab::JwtIssuer::Times times;
    times.issued_ago -= skew;
    times.expires_in += skew;
    std::ofstream(fresh) << issuer_.service_account("default", "kubelane",
                                                    auth().service().cluster_name(), times);
    std::filesystem::rename(fresh, service_account_path());
  }
  std::filesystem::path service_account_path() const {
    return directory() / "service-account-token";
  }

  std::string bot_config() {
    std::string yaml = "version: v2\nproxy_server: " + proxy().address() +
                       "\nproxy_ca: " + (directory() / "web-ca.pem").string() +
                       "\nlisten: " + listen + "\nonboarding:\n  join_method: " + method +
                       "\n  token: \"" + join_token + "\"\n";
    if (method == "kubernetes")
      yaml += "  kubernetes: {token_path: " + service_account_path().string() + "}\n";
    yaml += onboarding_more + "storage: " + storage + "\n" + lifetimes +
            "log: {format: json, level: " + log_level + "}\n" + more_yaml +
            "services:\n  - type: " + service_type + "\n";
    yaml += service_type == "kubernetes" ? "    kubernetes_cluster: demo\n"
                                         : "    selectors: " + selectors + "\n";
    return yaml + "    destination: {type: directory, path: " + destination_path().string() +
           "}\n" + more_service_yaml;
  }

  void start_bot() {
    start_teleport();
    start_kubelane(bot_config());
    wait_ready();
  }

  // --- afterwards -------------------------------------------------------------------------------
  lab::Auth& auth() { return *auth_; }
  std::uint64_t generation() {
    const auto instances = auth().service().instances();
    return instances.empty() ? 0 : instances.back().generation;
  }
  bool logged(const std::string& text, std::size_t from = 0) {
    return kubelane().wait_for_line(text, from).has_value();
  }

 private:
  lab::JwtIssuer issuer_{"https://kubernetes.default.svc.cluster.local"};
  std::unique_ptr<lab::Auth> auth_;  // must outlive the proxy, which TearDown() ends
};

}  // namespace support
