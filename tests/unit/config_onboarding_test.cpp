// How the bot joins, as file, flags and environment say it.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/command_line.hpp"
#include "config/load.hpp"

namespace {

using namespace kubelane;
using std::chrono::milliseconds;

const std::string service = R"(services:
  - type: kubernetes/v2
    selectors: [{labels: {env: prod}}]
    destination: {type: directory, path: /d}
)";
const std::string proxy = "proxy_server: t.example.com\n";

LoadResult load(const std::string& yaml, const std::vector<Override>& overrides = {}) {
  return load_config(yaml, "k.yaml", overrides, std::nullopt);
}

Config good(const std::string& yaml, const std::vector<Override>& overrides = {}) {
  const LoadResult loaded = load(yaml, overrides);
  for (const Problem& each : loaded.errors) ADD_FAILURE() << each.text();
  for (const Problem& each : loaded.missing) ADD_FAILURE() << each.text();
  for (const Problem& each : loaded.warnings) ADD_FAILURE() << each.text();
  return loaded.config;
}

// The one error.
std::string error(const std::string& yaml, const std::vector<Override>& overrides = {}) {
  const LoadResult loaded = load(yaml, overrides);
  EXPECT_EQ(loaded.errors.size(), 1u) << yaml;
  return loaded.errors.empty() ? "" : loaded.errors[0].text();
}

TEST(Onboarding, a_file_of_tbots_is_taken_as_it_is) {
  const Config config = good(R"(version: v2
proxy_server: teleport.example.com:443
onboarding:
  join_method: kubernetes
  token: my-bot-token
  kubernetes: {token_path: /var/run/secrets/tokens/join-sa-token}
storage: {type: memory}
credential_ttl: 40m
renewal_interval: 10m
leeway: 30s
services:
  - type: kubernetes/v2
    selectors: [{name: prod-eu, default_namespace: payments}, {labels: {env: staging, team: '*'}}]
    destination: {type: directory, path: /d}
    credential_ttl: 30m
  - type: kubernetes
    kubernetes_cluster: old
    roles: [viewer]
    destination: {type: directory, path: /e}
)");
  EXPECT_TRUE(config.onboarding.given);
  EXPECT_EQ(config.onboarding.join_method, JoinMethod::kubernetes);
  EXPECT_EQ(config.onboarding.token, "my-bot-token");
  EXPECT_EQ(config.onboarding.kubernetes_token_path, "/var/run/secrets/tokens/join-sa-token");
  EXPECT_EQ(config.credential_ttl, milliseconds(2'400'000));
  EXPECT_EQ(config.renewal_interval, milliseconds(600'000));
  EXPECT_EQ(config.leeway, milliseconds(30'000));
  ASSERT_EQ(config.services.size(), 2u);
  EXPECT_TRUE(config.services[0].by_bot());
  EXPECT_EQ(config.services[0].credential_ttl, milliseconds(1'800'000));
  ASSERT_EQ(config.services[0].clusters.size(), 2u);
  EXPECT_EQ(config.services[0].clusters[1].labels.at("env"), "staging");
  EXPECT_EQ(config.services[0].clusters[1].labels.at("team"), "*");
  EXPECT_EQ(config.services[1].roles, std::vector<std::string>{"viewer"});
}

TEST(Onboarding, every_method_is_known_by_tbots_name) {
  for (const std::string method : {"token", "kubernetes", "github", "gitlab", "gcp", "circleci",
                                   "bitbucket", "azure_devops", "terraform_cloud", "spacelift"}) {
    const Config config =
        good(proxy + "onboarding: {token: t, join_method: " + method + "}\n" + service);
    EXPECT_EQ(name(config.onboarding.join_method), method);
  }
  for (const std::string method : {"iam", "azure", "tpm", "ec2", "oracle"})
    EXPECT_EQ(error(proxy + "onboarding: {token: t, join_method: " + method + "}\n" + service)
                  .rfind("k.yaml:2:37: onboarding.join_method: join_method " + method +
                             " is not supported by kubelane: let tbot join",
                         0),
              0u);
  EXPECT_EQ(error(proxy + "onboarding: {token: t, join_method: kubernets}\n" + service)
                .rfind("k.yaml:2:37: onboarding.join_method: \"kubernets\" is not one of", 0),
            0u);
}

TEST(Onboarding, a_bound_keypair_as_in_tbots_file) {
  const std::string head = proxy + "onboarding: {token: t, join_method: bound_keypair";
  const std::string disk = "storage: {type: directory, path: /s}\n" + service;
  const Config config =
      good(head + ", bound_keypair: {registration_secret_path: /run/secret}}\n" + disk);
  EXPECT_EQ(config.onboarding.join_method, JoinMethod::bound_keypair);
  EXPECT_EQ(config.onboarding.bound_keypair.registration_secret_path, "/run/secret");
  // tbot has had both names.
  for (const std::string name : {"static_private_key_path", "static_key_path"})
    EXPECT_EQ(
        good(head + ", bound_keypair: {" + name + ": /k}}\nstorage: {type: memory}\n" + service)
            .onboarding.bound_keypair.static_key_path,
        "/k");
  // A stronger place ends what a weaker one said in another way.
  const Config environment = good(
      head + ", bound_keypair: {registration_secret_path: /run/secret}}\n" + disk,
      {{"onboarding.bound_keypair.registration_secret", "hunter2", "TBOT_REGISTRATION_SECRET"}});
  EXPECT_EQ(environment.onboarding.bound_keypair.registration_secret, "hunter2");
  EXPECT_EQ(environment.onboarding.bound_keypair.registration_secret_path, "");
  const auto refused = [&](const std::string& more, const std::string& rest) {
    return error(head + more + "}\n" + rest);
  };
  EXPECT_NE(refused("", service).find("give storage a directory"), std::string::npos);
  EXPECT_NE(refused(", join_path: web", disk).find("join_path: web excludes"), std::string::npos);
  const std::string secrets = refused(
      ", bound_keypair: {registration_secret: hunter2, registration_secret_path: /p}", disk);
  EXPECT_NE(secrets.find("exclude each other"), std::string::npos);
  EXPECT_EQ(secrets.find("hunter2"), std::string::npos);
  EXPECT_NE(refused(", bound_keypair: {registration_secret: a, static_key_path: /p}", disk)
                .find("takes no registration secret"),
            std::string::npos);
  EXPECT_NE(refused(", bound_keypair: {registration_secrt: a}", disk).find("registration_secret"),
            std::string::npos);
}

TEST(Onboarding, what_is_missing_or_excludes_each_other_has_a_place) {
  EXPECT_EQ(error(proxy + "onboarding: {join_method: kubernetes}\n" + service)
                .rfind("k.yaml:2:13: onboarding.token is missing", 0),
            0u);
  EXPECT_EQ(error("auth_server: a:3025\nonboarding: {token: t}\n" + service)
                .rfind("k.yaml:2:13: auth_server needs onboarding.ca_pins", 0),
            0u);
  EXPECT_EQ(error(proxy + "onboarding: {token: t, ca_pins: [sha256:12]}\n" + service)
                .rfind("k.yaml:2:34: onboarding.ca_pins: \"sha256:12\" is not a CA pin", 0),
            0u);
}

TEST(Onboarding, a_pin_lets_the_auth_server_be_named) {
  const std::string pin = "sha256:" + std::string(64, 'a');
  const Config config = good("auth_server: auth.example.com\nonboarding: {token: t, ca_pins: [" +
                             pin + "]}\n" + service);
  EXPECT_EQ(config.auth_server, "auth.example.com:3025");
  EXPECT_EQ(config.onboarding.ca_pins, std::vector<std::string>{pin});
}

TEST(Onboarding, a_flag_replaces_the_whole_section) {
  const Config config =
      good(proxy + "onboarding: {token: secret, join_method: kubernetes, ca_path: /ca}\n" + service,
           {{"onboarding.token", "other", "--token"}});
  EXPECT_EQ(config.onboarding.token, "other");
  EXPECT_EQ(config.onboarding.join_method, JoinMethod::token);
  EXPECT_EQ(config.onboarding.ca_path, "");
}

TEST(Onboarding, a_join_uri_says_it_all) {
  const Config config =
      good("join_uri: tbot+proxy+azure-devops://my%2Dtoken@teleport.example.com:3080\n" + service);
  EXPECT_TRUE(config.onboarding.given);
  EXPECT_EQ(config.proxy_server, "teleport.example.com:3080");
  EXPECT_EQ(config.onboarding.join_method, JoinMethod::azure_devops);
  EXPECT_EQ(config.onboarding.token, "my-token");
  const Config bound = good(
      "join_uri: tbot+proxy+bound-keypair://host:hunter2@t\nstorage: {type: directory, path: "
      "/s}\n" +
      service);
  EXPECT_EQ(bound.onboarding.bound_keypair.registration_secret, "hunter2");
  for (const std::string uri :
       {"tbot+proxy+token://@t", "tbot+proxy+token://hunter2", "https://hunter2@t",
        "tbot+proxy://hunter2@t", "tbot+proxy+token://hunter%2@t", "tbot+proxy+token://hunter2@"}) {
    const std::string text = error("join_uri: " + uri + "\n" + service);
    EXPECT_EQ(text.rfind("k.yaml:1:11: join_uri is not of the form", 0), 0u) << text;
    EXPECT_EQ(text.find("hunter2"), std::string::npos);
  }
  EXPECT_NE(error("join_uri: tbot+proxy+token://a:b@t\n" + service).find("does not take"),
            std::string::npos);
}

TEST(Onboarding, lifetimes_that_cannot_work_are_told) {
  const LoadResult loaded = load(proxy + "onboarding: {token: t}\ncredential_ttl: 10m\n" + service);
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_EQ(loaded.warnings[0].text().rfind("k.yaml:3:17: renewal_interval is not shorter", 0), 0u)
      << loaded.warnings[0].text();
}

TEST(Onboarding, flags_alone_make_a_bot) {
  const auto environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "TELEPORT_BOT_TOKEN") return "hunter2";
    return std::nullopt;
  };
  const char* arguments[] = {"kubelane",
                             "start",
                             "kubernetes/v2",
                             "--label-selector",
                             "env=prod,a=*",
                             "--proxy-server",
                             "t.example.com",
                             "--join-method",
                             "kubernetes",
                             "--destination",
                             "/d",
                             "--certificate-ttl",
                             "30m",
                             "--renewal-interval",
                             "5m"};
  const LoadResult loaded =
      resolve(parse_command_line(static_cast<int>(std::size(arguments)), arguments, environment));
  for (const Problem& each : loaded.errors) ADD_FAILURE() << each.text();
  for (const Problem& each : loaded.missing) ADD_FAILURE() << each.text();
  for (const Problem& each : loaded.warnings) ADD_FAILURE() << each.text();
  EXPECT_EQ(loaded.config.onboarding.token, "hunter2");
  EXPECT_EQ(loaded.config.onboarding.join_method, JoinMethod::kubernetes);
  EXPECT_EQ(loaded.config.credential_ttl, milliseconds(1'800'000));
  EXPECT_EQ(loaded.config.services.at(0).clusters.at(0).labels.at("a"), "*");
}

}  // namespace
