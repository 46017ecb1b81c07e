// tbot's files as people have them, and what kubelane makes of them.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "config/migrate.hpp"

namespace kubelane {
namespace {

bool says(const std::vector<Problem>& problems, const std::string& part) {
  return std::any_of(problems.begin(), problems.end(), [&](const Problem& problem) {
    return problem.text().find(part) != std::string::npos;
  });
}

std::string all(const Migration& made) {
  std::string text = made.yaml;
  for (const auto* problems : {&made.errors, &made.changed, &made.dropped, &made.warnings})
    for (const Problem& problem : *problems) text += problem.text() + "\n";
  return text;
}

// Valid for `check`, too: without errors.
Config config_of(const Migration& made) {
  EXPECT_TRUE(made.errors.empty()) << all(made);
  LoadResult loaded = load_config(made.yaml, "new", {}, {});
  EXPECT_TRUE(loaded.errors.empty()) << made.yaml;
  EXPECT_TRUE(loaded.warnings.empty()) << loaded.warnings.front().text();
  return loaded.config;
}

TEST(Migrate, the_file_of_a_pod_stays_as_it_is) {
  const Migration made = migrate(
      "version: v2\n"
      "proxy_server: teleport.example.com:443\n"
      "onboarding:\n  join_method: kubernetes\n  token: my-bot-token\n"
      "storage:\n  type: memory\n"
      "credential_ttl: 1h\n"
      "renewal_interval: 20m\n"
      "services:\n"
      "  - type: kubernetes/v2\n"
      "    name: clusters\n"
      "    disable_exec_plugin: true\n"
      "    context_name_template: \"{{.KubeName}}\"\n"
      "    selectors:\n"
      "      - name: prod-eu\n"
      "        default_namespace: payments\n"
      "      - labels: { env: staging }\n"
      "    destination:\n      type: directory\n      path: /var/run/kube\n",
      "tbot.yaml");
  const Config config = config_of(made);
  EXPECT_EQ(config.proxy_server, "teleport.example.com:443");
  EXPECT_EQ(config.onboarding.join_method, JoinMethod::kubernetes);
  EXPECT_EQ(config.onboarding.token, "my-bot-token");
  EXPECT_EQ(config.storage_path, "");
  ASSERT_EQ(config.services.size(), 1u);
  EXPECT_EQ(config.services[0].clusters[0].default_namespace, "payments");
  EXPECT_EQ(config.services[0].clusters[1].labels.at("env"), "staging");
  EXPECT_EQ(config.services[0].destination.path, "/var/run/kube");
  EXPECT_TRUE(made.dropped.empty()) << all(made);
  EXPECT_TRUE(says(made.changed, "tbot.yaml:13:26: disable_exec_plugin")) << all(made);
}

// tbot's default storage is a directory: who migrates takes the bot along.
TEST(Migrate, the_bot_in_tbots_default_storage_is_taken_along) {
  const Migration made = migrate(
      "version: v2\nproxy_server: t.example.com:443\nonboarding: {join_method: token, token: "
      "abc}\noutputs:\n  - {type: kubernetes, kubernetes_cluster: a, destination: /out}\n",
      "tbot.yaml");
  const Config config = config_of(made);
  EXPECT_EQ(config.storage_path, "/var/lib/teleport/bot");
  EXPECT_TRUE(says(made.changed, "storage: /var/lib/teleport/bot")) << all(made);
  EXPECT_TRUE(says(made.changed, "outputs is the old name")) << all(made);
  EXPECT_NE(made.yaml.find("# This is the secret itself"), std::string::npos);
}

TEST(Migrate, a_tbot_that_goes_on_keeps_its_storage) {
  const Migration made = migrate(
      "version: v2\nproxy_server: t.example.com:443\nonboarding: {join_method: token, token: "
      "abc}\nstorage: {type: directory, path: /bot}\nservices:\n"
      "  - {type: application-tunnel, app_name: x, listen: 'tcp://127.0.0.1:1'}\n"
      "  - {type: kubernetes, kubernetes_cluster: a, destination: /out}\n",
      "tbot.yaml");
  EXPECT_EQ(config_of(made).storage_path, "/bot-kubelane");
  EXPECT_TRUE(says(made.changed, "tctl bots instances add")) << all(made);
  EXPECT_TRUE(says(made.warnings, "tbot.yaml:6:12: services of type application-tunnel"))
      << all(made);
}

// Joining that kubelane cannot do is left to tbot, and the cluster is served all the same.
TEST(Migrate, a_foreign_join_method_leaves_joining_to_tbot) {
  const Migration made = migrate(
      "version: v2\nproxy_server: t.example.com:443\nonboarding: {join_method: iam, token: abc}\n"
      "credential_ttl: 30m\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, roles: [r], destination: {type: directory, "
      "path: /out}}\n"
      "  - type: kubernetes/v2\n    selectors: [{labels: {env: x}}, {name: b}]\n"
      "    destination: {type: directory, path: /all}\n"
      "  - type: kubernetes/v2\n    selectors: [{labels: {env: x}}]\n"
      "    destination: {type: directory, path: /more}\n",
      "tbot.yaml");
  const Config config = config_of(made);
  EXPECT_FALSE(config.onboarding.given);
  EXPECT_EQ(config.storage_path, "");
  ASSERT_EQ(config.services.size(), 2u) << all(made);
  EXPECT_EQ(config.services[0].credentials_path, "/out");
  EXPECT_EQ(config.services[0].destination.path, "/out-kubelane");
  EXPECT_EQ(config.services[1].clusters.size(), 1u);
  EXPECT_TRUE(says(made.dropped, "join_method iam")) << all(made);
  EXPECT_TRUE(says(made.dropped, "a selector by labels")) << all(made);
}

TEST(Migrate, what_tbot_lets_pass_is_kept_apart) {
  const Migration made = migrate(
      "version: v2\nauth_server: t.example.com:443\nonboarding: {join_method: kubernetes, token: "
      "abc}\nstorage: {type: memory}\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, destination: /out}\n"
      "  - {type: kubernetes, kubernetes_cluster: a, roles: [r], destination: /out}\n"
      "  - {type: kubernetes/v2, roles: [r], selectors: [{name: a}, {name: b}], "
      "context_name_template: '{{.KubeName}}-{{.Labels.env}}', destination: /out3}\n",
      "tbot.yaml");
  const Config config = config_of(made);
  EXPECT_EQ(config.proxy_server, "t.example.com:443");
  EXPECT_EQ(config.auth_server, "");
  ASSERT_EQ(config.services.size(), 3u);
  EXPECT_EQ(config.services[1].destination.path, "/out-2");
  ASSERT_TRUE(config.services[1].listen);
  EXPECT_EQ(config.services[1].listen->port, 7444);
  ASSERT_EQ(config.services[2].clusters.size(), 1u);
  EXPECT_EQ(config.services[2].clusters[0].name, "b");
  EXPECT_TRUE(says(made.dropped, "roles: a kubernetes/v2 service")) << all(made);
  EXPECT_TRUE(says(made.dropped, ".Labels")) << all(made);
}

TEST(Migrate, every_type_and_field_of_tbots_is_understood) {
  std::string yaml =
      "version: v2\nproxy_server: t.example.com:443\nonboarding: {join_method: kubernetes, token: "
      "abc, azure: {client_id: x}, bound_keypair: {registration_secret: y}}\n"
      "diag_addr: 127.0.0.1:3001\nfips: false\nscoped: false\npid_file: /run/x\nleeway: 1m\n"
      "oneshot: false\ndebug: false\ncertificate_ttl: 1h\nrenewal_interval: 20m\n"
      "storage: /bot\nservices:\n";
  for (const char* type :
       {"identity", "application", "application-tunnel", "application-proxy", "database",
        "database-tunnel", "ssh-multiplexer", "ssh_host", "workload-identity-x509",
        "workload-identity-jwt", "workload-identity-api", "workload-identity-aws-roles-anywhere",
        "spiffe-svid", "spiffe-workload-api", "kubernetes/argo-cd", "example", "noop"})
    yaml += std::string("  - {type: ") + type + ", whatever: [1, {a: b}]}\n";
  yaml +=
      "outputs:\n  - {type: kubernetes/v2, relay_server: r.example.com, selectors: [{name: a}], "
      "destination: {type: directory, path: /o, symlinks: try-secure, acls: try, readers: [{user: "
      "u}]}}\n";
  const Migration made = migrate(yaml, "tbot.yaml");
  const Config config = config_of(made);
  EXPECT_EQ(config.services.size(), 1u);
  EXPECT_EQ(config.storage_path, "/bot-kubelane");
  EXPECT_EQ(std::count_if(made.warnings.begin(), made.warnings.end(),
                          [](const Problem& each) {
                            return each.message.find("left") != std::string::npos ||
                                   each.message.find("leave them to tbot") != std::string::npos;
                          }) >= 17,
            true)
      << all(made);
}

TEST(Migrate, version_1) {
  const Migration made = migrate(
      "auth_server: teleport.example.com:443\n"
      "onboarding:\n  join_method: token\n  token: abcd\n"
      "storage:\n  directory:\n    path: /var/lib/bot\n    acls: off\n"
      "certificate_ttl: 2h\n"
      "destinations:\n"
      "  - directory: /opt/machine-id\n"
      "    kubernetes_cluster: prod\n"
      "    roles: [access]\n"
      "    configs: [kubernetes]\n"
      "  - directory:\n      path: /opt/two\n      symlinks: secure\n"
      "    kubernetes_cluster: {cluster_name: stage}\n",
      "old.yaml");
  const Config config = config_of(made);
  EXPECT_EQ(config.proxy_server, "teleport.example.com:443");
  EXPECT_EQ(config.storage_path, "/var/lib/bot");
  EXPECT_EQ(config.credential_ttl, std::chrono::hours(2));
  ASSERT_EQ(config.services.size(), 2u) << all(made);
  EXPECT_EQ(config.services[0].clusters[0].name, "prod");
  EXPECT_EQ(config.services[0].roles, std::vector<std::string>{"access"});
  EXPECT_EQ(config.services[0].destination.path, "/opt/machine-id");
  EXPECT_EQ(config.services[1].clusters[0].name, "stage");
  EXPECT_EQ(config.services[1].destination.symlinks, Destination::Symlinks::secure);
  EXPECT_TRUE(says(made.changed, "version v1")) << all(made);
}

TEST(Migrate, of_version_1_other_destinations_stay_with_tbot) {
  const Migration made = migrate(
      "version: v1\nproxy_server: t.example.com:443\nonboarding: {join_method: kubernetes, token: "
      "t}\nstorage: {memory: true}\n"
      "destinations:\n  - {directory: /a, app: grafana}\n  - {directory: /b, database: {service: "
      "x}}\n  - {directory: /c}\n  - {directory: /d, kubernetes_cluster: k}\n",
      "old.yaml");
  EXPECT_EQ(config_of(made).services.size(), 1u);
  for (const char* type : {"application", "database", "identity"})
    EXPECT_TRUE(says(made.warnings, std::string("services of type ") + type)) << all(made);
}

TEST(Migrate, what_is_no_configuration_gives_none) {
  for (const char* text :
       {"", "a: [", "- a\n", "just words\n", "version: v3\n", "proxy_servr: x\n", "a: &a [*a]\n",
        "services: {a: b}\n", "outputs: 1\n", "destinations: 1\n", "storage: [1]\nversion: v1\n"}) {
    const Migration made = migrate(text, "tbot.yaml");
    EXPECT_FALSE(made.errors.empty()) << text;
    EXPECT_EQ(made.yaml, "") << text;
  }
}

}  // namespace
}  // namespace kubelane
