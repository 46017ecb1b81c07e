// What the kubeconfig says, byte for byte and field for field, and how context names are made.
#include <set>

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "proxy/kube/kubeconfig.hpp"

namespace kubelane::kube {
namespace {

Kubeconfig token_kubeconfig() {
  Kubeconfig kubeconfig;
  kubeconfig.clusters = {{"root.example.com-prod", "https://127.0.0.1:7443/prod", "web"},
                         {"root.example.com-arn:aws:eks:eu-west-1:1:cluster/a%b",
                          "https://127.0.0.1:7443/arn%3Aaws", ""}};
  kubeconfig.user = "root.example.com";
  kubeconfig.ca_pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
  kubeconfig.token = "f00dfeed";
  return kubeconfig;
}

// Every key of every map in the document, as a path.
void collect(const YAML::Node& node, const std::string& path, std::set<std::string>& keys) {
  if (node.IsSequence())
    for (const auto& item : node) collect(item, path, keys);
  if (node.IsMap()) {
    for (const auto& pair : node) {
      const std::string key = path + "/" + pair.first.as<std::string>();
      keys.insert(key);
      collect(pair.second, key, keys);
    }
  }
}

std::set<std::string> keys_of(const Kubeconfig& kubeconfig) {
  std::set<std::string> keys;
  collect(YAML::Load(render(kubeconfig)), "", keys);
  return keys;
}

const std::set<std::string> common_keys = {"/apiVersion",
                                           "/kind",
                                           "/clusters",
                                           "/clusters/name",
                                           "/clusters/cluster",
                                           "/clusters/cluster/server",
                                           "/contexts",
                                           "/contexts/name",
                                           "/contexts/context",
                                           "/contexts/context/cluster",
                                           "/contexts/context/user",
                                           "/current-context",
                                           "/users",
                                           "/users/name",
                                           "/users/user"};

std::set<std::string> with(std::set<std::string> keys, const std::set<std::string>& more) {
  keys.insert(more.begin(), more.end());
  return keys;
}

TEST(RenderKubeconfig, token_mode_reads_back) {
  const Kubeconfig kubeconfig = token_kubeconfig();
  const YAML::Node yaml = YAML::Load(render(kubeconfig));
  EXPECT_EQ(yaml["apiVersion"].as<std::string>(), "v1");
  EXPECT_EQ(yaml["kind"].as<std::string>(), "Config");
  EXPECT_EQ(yaml["current-context"].as<std::string>(), "root.example.com-prod");
  ASSERT_EQ(yaml["clusters"].size(), 2u);
  ASSERT_EQ(yaml["contexts"].size(), 2u);
  ASSERT_EQ(yaml["users"].size(), 1u);
  for (std::size_t i = 0; i < 2; ++i) {
    const KubeconfigCluster& wanted = kubeconfig.clusters[i];
    EXPECT_EQ(yaml["clusters"][i]["name"].as<std::string>(), wanted.context);
    EXPECT_EQ(yaml["clusters"][i]["cluster"]["server"].as<std::string>(), wanted.server);
    EXPECT_EQ(yaml["contexts"][i]["name"].as<std::string>(), wanted.context);
    EXPECT_EQ(yaml["contexts"][i]["context"]["cluster"].as<std::string>(), wanted.context);
    EXPECT_EQ(yaml["contexts"][i]["context"]["user"].as<std::string>(), "root.example.com");
    const YAML::Binary ca =
        yaml["clusters"][i]["cluster"]["certificate-authority-data"].as<YAML::Binary>();
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(ca.data()), ca.size()), kubeconfig.ca_pem);
  }
  EXPECT_EQ(yaml["contexts"][0]["context"]["namespace"].as<std::string>(), "web");
  EXPECT_FALSE(yaml["contexts"][1]["context"]["namespace"].IsDefined());
  EXPECT_EQ(yaml["users"][0]["user"]["token"].as<std::string>(), "f00dfeed");
}

TEST(RenderKubeconfig, holds_only_plain_fields) {
  Kubeconfig kubeconfig = token_kubeconfig();
  const std::string ca = "/clusters/cluster/certificate-authority-data";
  const std::string name_space = "/contexts/context/namespace";
  EXPECT_EQ(keys_of(kubeconfig), with(common_keys, {ca, name_space, "/users/user/token"}));
  kubeconfig.token.clear();
  kubeconfig.client_certificate_pem = "certificate";
  kubeconfig.client_key_pem = "key";
  EXPECT_EQ(keys_of(kubeconfig),
            with(common_keys, {ca, name_space, "/users/user/client-certificate-data",
                               "/users/user/client-key-data"}));
  kubeconfig.client_certificate_pem.clear();
  kubeconfig.client_key_pem.clear();
  kubeconfig.ca_pem.clear();
  kubeconfig.clusters[0].name_space.clear();
  EXPECT_EQ(keys_of(kubeconfig), common_keys);
}

TEST(RenderKubeconfig, is_deterministic) {
  EXPECT_EQ(render(token_kubeconfig()), render(token_kubeconfig()));
}

// Names that YAML readers would take for something else, or that would end the scalar early.
TEST(RenderKubeconfig, quotes_every_awkward_name) {
  for (const std::string name :
       {"true",       "no",       "null", "~",    "12",   "1e3",  "0x1f", "1_000",
        "2024-01-01", "12:30:45", ".inf", "-",    "- a",  "a: b", "a #b", "#a",
        "&a",         "*a",       "!a",   "%a",   "@a",   "`a",   "{a}",  "[a]",
        "'a'",        "\"a\"",    "a\\b", "a\nb", "a\tb", " a",   "a ",   "a\x7f",
        "ü",          "y",        "=",    "<<",   "|",    ">",    "?",    "a/b:c%d"}) {
    Kubeconfig kubeconfig = token_kubeconfig();
    kubeconfig.clusters.resize(1);
    kubeconfig.clusters[0].context = name;
    kubeconfig.clusters[0].name_space = name;
    kubeconfig.user = name;
    const YAML::Node yaml = YAML::Load(render(kubeconfig));
    for (const YAML::Node& node :
         {yaml["clusters"][0]["name"], yaml["contexts"][0]["context"]["namespace"],
          yaml["users"][0]["name"], yaml["current-context"]}) {
      EXPECT_EQ(node.as<std::string>(), name);
      EXPECT_EQ(node.Tag(), "!") << name << " is not quoted";
    }
  }
}

TEST(ExpandContextName, knows_tbots_two_fields) {
  const auto expand = [](const std::string& name_template) {
    return expand_context_name(name_template, "root", "prod");
  };
  EXPECT_EQ(expand("{{.ClusterName}}-{{.KubeName}}").value(), "root-prod");
  EXPECT_EQ(expand("k8s/{{ .KubeName }}").value(), "k8s/prod");
  EXPECT_EQ(expand("plain").value(), "plain");
  EXPECT_EQ(expand("{{.KubeName}}{{.KubeName}}").value(), "prodprod");
  EXPECT_EQ(expand("{.KubeName}").value(), "{.KubeName}");
}

TEST(ExpandContextName, values_are_not_expanded_again) {
  EXPECT_EQ(expand_context_name("{{.KubeName}}", "root", "{{.ClusterName}}").value(),
            "{{.ClusterName}}");
}

TEST(ExpandContextName, names_what_it_does_not_know) {
  for (const std::string bad : {"{{.Name}}", "{{KubeName}}", "{{}}", "{{   }}", "{{.KubeName"}) {
    const Outcome<std::string> result = expand_context_name(bad, "root", "prod");
    ASSERT_FALSE(result.has_value()) << bad;
    EXPECT_EQ(result.error().code, Code::config);
    EXPECT_NE(result.error().message.find("context_name_template"), std::string::npos);
  }
}

}  // namespace
}  // namespace kubelane::kube
