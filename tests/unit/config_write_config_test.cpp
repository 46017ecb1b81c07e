// What is written is what is read back.
#include <algorithm>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "config/settings.hpp"
#include "config/write_config.hpp"

namespace kubelane {
namespace {

// Of each scalar setting a value that is not its default, as it is written.
const std::map<std::string, std::string> values = {
    {"proxy_server", "teleport.example.com:3080"},
    {"auth_server", "auth.example.com:3025"},
    {"proxy_ca", "/etc/ca.pem"},
    {"local_trust", "/etc/trust"},
    {"proxy_protocol", "http2"},
    {"insecure", "true"},
    {"credential_ttl", "90m"},
    {"renewal_interval", "1500ms"},
    {"leeway", "2s"},
    {"oneshot", "true"},
    {"listen", "[::1]:7000"},
    {"allow_remote", "true"},
    {"local_auth", "mtls"},
    {"local_tls", "false"},
    {"diag_addr", "0.0.0.0:3000"},
    {"admin_addr", "unix:///run/kubelane/admin"},
    {"sandbox", "false"},
    {"exit.zero_on_sigterm", "false"},
    {"exit.min_sigterm_delay", "3s"},
    {"exit.when_file", "/run/done"},
    {"exit.when_idle", "10m"},
    {"exit.with_pid", "77"},
    {"workers", "2"},
    {"debug", "true"},
    {"log.format", "json"},
    {"log.level", "warn"},
};
// These stand in other places of the file.
const std::vector<std::string> elsewhere = {"storage", "join_uri", "certificate_ttl"};

LoadResult load(const std::string& yaml) { return load_config(yaml, "file", {}, {}); }

TEST(WriteConfig, knows_every_setting) {
  const std::vector<std::string> written = written_settings();
  for (const Setting& setting : settings()) {
    if (std::find(elsewhere.begin(), elsewhere.end(), setting.key) != elsewhere.end()) continue;
    if (setting.key.starts_with("onboarding.")) continue;
    EXPECT_NE(std::find(written.begin(), written.end(), setting.key), written.end())
        << setting.key << " would be lost by configure and migrate";
  }
}

TEST(WriteConfig, each_setting_is_read_back) {
  for (const std::string& key : written_settings()) {
    const auto found = values.find(key);
    const std::string value = found != values.end()                 ? found->second
                              : key.starts_with("timeouts.")        ? "1234ms"
                              : key == "limits.max_header_fields"   ? "200"
                              : key == "limits.buffer_memory_bytes" ? "2097152"
                                                                    : "2000";
    Config config;
    config.onboarding.given = true;
    config.onboarding.token = "example";
    ASSERT_EQ(find_setting(key)->set(config, value), "") << key;
    const std::string text = write_config(config, {});
    EXPECT_NE(text.find(key.substr(key.find('.') + 1) + ": "), std::string::npos) << text;
    LoadResult back = load(text);
    // The same text from what was read: nothing is lost, nothing changes.
    EXPECT_EQ(write_config(back.config, {}), text) << key;
    EXPECT_NE(text, write_config(load(write_config({}, {})).config, {})) << key;
  }
}

TEST(WriteConfig, services_are_read_back) {
  const std::string yaml =
      "version: v2\n"
      "proxy_server: teleport.example.com:443\n"
      "onboarding:\n  join_method: gitlab\n  token: 'a: b'\n  gitlab: {token_env_var_name: JWT}\n"
      "  ca_path: /ca\n  join_path: grpc\n"
      "storage: {type: directory, path: '/a b'}\n"
      "allowed_hosts: [a.example.com]\n"
      "services:\n"
      "  - type: kubernetes/v2\n"
      "    name: all\n"
      "    selectors:\n"
      "      - {name: 'arn:aws:eks:eu-west-1:1:cluster/x', default_namespace: 'true'}\n"
      "      - {labels: {env: '*', 'a/b': 'x: y'}}\n"
      "    context_name_template: '{{.KubeName}}'\n"
      "    credential_ttl: 30m\n"
      "    renewal_interval: 10m\n"
      "    destination: {type: directory, path: /out, symlinks: insecure, acls: required, readers: "
      "[{user: a}, {group: b}]}\n"
      "  - type: kubernetes\n"
      "    kubernetes_cluster: 'yes'\n"
      "    roles: [one, '#two']\n"
      "    listen: 127.0.0.1:7500\n"
      "    local_auth: mtls\n"
      "    impersonate: {user: u, groups: [g]}\n"
      "    credentials: /in\n"
      "    destination: /out2\n";
  const LoadResult first = load(yaml);
  ASSERT_TRUE(first.errors.empty()) << first.errors.front().text();
  const std::string text = write_config(first.config, {"a heading"});
  EXPECT_TRUE(text.starts_with("# a heading\nversion: v2\n"));
  const LoadResult second = load(text);
  ASSERT_TRUE(second.errors.empty()) << second.errors.front().text() << "\n" << text;
  EXPECT_TRUE(second.warnings.size() == first.warnings.size()) << text;
  EXPECT_EQ(write_config(second.config, {"a heading"}), text);
  ASSERT_EQ(second.config.services.size(), 2u);
  const Service& all = second.config.services[0];
  EXPECT_EQ(all.clusters[0].name, "arn:aws:eks:eu-west-1:1:cluster/x");
  EXPECT_EQ(all.clusters[0].default_namespace, "true");
  EXPECT_EQ(all.clusters[1].labels.at("a/b"), "x: y");
  EXPECT_EQ(all.context_name_template, "{{.KubeName}}");
  EXPECT_EQ(all.destination.readers.size(), 2u);
  EXPECT_EQ(all.destination.acls, Destination::Acls::required);
  EXPECT_EQ(second.config.services[1].clusters[0].name, "yes");
  EXPECT_EQ(second.config.services[1].impersonate_groups.size(), 1u);
  EXPECT_EQ(second.config.services[1].credentials_path, "/in");
  EXPECT_EQ(second.config.onboarding.gitlab_token_variable, "JWT");
  EXPECT_EQ(second.config.storage_path, "/a b");
}

TEST(WriteConfig, a_bound_key_is_read_back) {
  for (const char* how : {"registration_secret: abc", "registration_secret_path: /secret",
                          "static_private_key_path: /key"}) {
    const LoadResult first = load(
        std::string("proxy_server: t.example.com:443\nonboarding: {join_method: bound_keypair, "
                    "token: t, bound_keypair: {") +
        how +
        "}}\nstorage: /bot\nservices: [{type: kubernetes, kubernetes_cluster: a, destination: "
        "/out}]\n");
    ASSERT_TRUE(first.errors.empty()) << first.errors.front().text();
    const std::string text = write_config(first.config, {});
    EXPECT_NE(text.find(how), std::string::npos) << text;
    EXPECT_EQ(write_config(load(text).config, {}), text);
  }
}

TEST(WriteConfig, secrets_are_read_back) {
  const LoadResult first = load(
      "proxy_server: t.example.com:443\nonboarding: {join_method: kubernetes, token: t}\n"
      "storage: {type: kubernetes_secret, name: bot, namespace: there}\nservices:\n"
      "  - {type: kubernetes, kubernetes_cluster: a, destination: {type: kubernetes_secret, name: "
      "out, labels: {app: 'x: y'}}}\n"
      "  - {type: kubernetes, kubernetes_cluster: b, destination: 'kubernetes-secret:///b'}\n");
  ASSERT_TRUE(first.errors.empty()) << first.errors.front().text();
  EXPECT_TRUE(first.missing.empty()) << first.missing.front().text();
  const std::string text = write_config(first.config, {});
  const LoadResult second = load(text);
  ASSERT_TRUE(second.errors.empty() && second.warnings.empty()) << text;
  EXPECT_EQ(write_config(second.config, {}), text);
  EXPECT_EQ(second.config.storage_secret.name, "bot");
  EXPECT_EQ(second.config.storage_secret.name_space, "there");
  EXPECT_EQ(second.config.storage_path, "");
  EXPECT_EQ(second.config.services[0].destination.secret.labels.at("app"), "x: y");
  EXPECT_EQ(second.config.services[1].destination.secret.name, "b");
}

TEST(WriteConfig, an_empty_one_shows_what_belongs_there) {
  const std::string text = write_config({}, {});
  for (const char* hint : {"# proxy_server: ", "# onboarding: ", "# services:"})
    EXPECT_NE(text.find(hint), std::string::npos) << text;
  EXPECT_TRUE(load(text).errors.empty());
}

}  // namespace
}  // namespace kubelane
