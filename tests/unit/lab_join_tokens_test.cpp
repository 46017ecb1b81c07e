// Join tokens and JWTs of the lab: signatures are really verified, and each rule can fail.
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/join_tokens.hpp"
#include "tests/lab/jwt.hpp"
#include "tests/lab/jwt_issuer.hpp"
#include "tests/lab/public_key.hpp"

namespace {

using lab::JwtIssuer;
using lab::KubernetesKind;

lab::KeyPtr ed25519() { return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free}; }

// ---------------------------------------------------------------- signatures

TEST(LabJwt, each_algorithm_verifies_its_own_and_nothing_else) {
  const std::vector<lab::KeyPtr> keys{lab::make_key(lab::KeyKind::ecdsa),
                                      lab::make_key(lab::KeyKind::rsa), ed25519()};
  const std::vector<std::string> algorithms{"ES256", "RS256", "EdDSA"};
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string compact = lab::sign_jws(keys[i], R"({"a":1})", "k");
    const auto good = lab::verify_jws(keys[i], compact);
    ASSERT_TRUE(good) << algorithms[i];
    EXPECT_EQ(good->payload, R"({"a":1})");
    EXPECT_EQ(good->header.at("alg").as_string(), algorithms[i]);
    EXPECT_TRUE(lab::verify_jws(lab::jwks(keys[i], "k"), compact));
    EXPECT_FALSE(lab::verify_jws(lab::jwks(keys[i], "other"), compact));
    for (std::size_t other = 0; other < keys.size(); ++other) {
      if (other != i) {
        EXPECT_FALSE(lab::verify_jws(keys[other], compact));
      }
    }
    const std::size_t payload = compact.find('.') + 1;
    std::string changed = compact;
    changed[payload] = changed[payload] == 'e' ? 'f' : 'e';
    EXPECT_FALSE(lab::verify_jws(keys[i], changed));
    EXPECT_FALSE(lab::verify_jws(keys[i], compact.substr(0, compact.rfind('.') + 1)));
    const std::string none =
        lab::base64url(R"({"alg":"none"})") + "." + lab::base64url(R"({"a":1})") + ".";
    EXPECT_FALSE(lab::verify_jws(keys[i], none));
  }
}

// RFC 7515, appendix A.3: somebody else's signature.
TEST(LabJwt, the_example_of_the_rfc_verifies) {
  const std::string key_set = R"({"keys":[{"kty":"EC","crv":"P-256",)"
                              R"("x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
                              R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})";
  const std::string compact =
      "eyJhbGciOiJFUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
  EXPECT_TRUE(lab::verify_jws(key_set, compact));
}

TEST(LabPublicKey, survives_its_encodings) {
  for (const auto& key :
       {lab::make_key(lab::KeyKind::ecdsa), lab::make_key(lab::KeyKind::rsa), ed25519()}) {
    const std::string wire = lab::ssh::wire_key(key);
    EXPECT_EQ(lab::ssh::wire_key(lab::ssh::key_from_wire(wire)), wire);
    EXPECT_EQ(lab::ssh::wire_from_line(lab::ssh::line_from_wire(wire) + " comment\n"), wire);
    EXPECT_EQ(lab::ssh::wire_key(lab::public_key_from_pem(lab::public_key_pem(key))), wire);
    EXPECT_EQ(lab::ssh::wire_key(lab::public_key_from_der(lab::public_key_der(key))), wire);
    EXPECT_FALSE(lab::public_key_from_der(lab::public_key_der(key) + "x"));
    EXPECT_FALSE(lab::ssh::key_from_wire(wire + "x"));
    EXPECT_FALSE(lab::ssh::key_from_wire(wire.substr(0, wire.size() - 1)));
  }
  EXPECT_FALSE(lab::public_key_from_pem("no key"));
  EXPECT_FALSE(lab::ssh::wire_from_line("ssh-rsa"));
  EXPECT_FALSE(lab::ssh::wire_from_line("ssh-rsa AAAA"));
}

// ---------------------------------------------------------------- kubernetes

class LabServiceAccount : public ::testing::Test {
 protected:
  // Empty: accepted.
  std::string refusal(const std::string& jwt) {
    const std::map<std::string, std::string> published = published_;
    try {
      check_service_account(rules_, jwt,
                            {"root.example.com", std::time(nullptr) + skew_, version_, published});
      return "";
    } catch (const lab::CallError& error) {
      return error.message;
    }
  }
  std::string good(long lifetime = 600) const {
    return issuer_.service_account("apps", "kubelane", "root.example.com", {5, lifetime});
  }

  JwtIssuer issuer_{"https://issuer.example.com"};
  lab::ServerVersion version_{"18.5.0"};
  std::map<std::string, std::string> published_;
  long skew_ = 0;
  lab::KubernetesRules rules_{
      KubernetesKind::static_jwks, issuer_.jwks(), "", {"apps:other", "apps:kubelane"}};
};

TEST_F(LabServiceAccount, static_keys_want_audience_pod_lifetime_and_rule) {
  EXPECT_EQ(refusal(good()), "");
  EXPECT_NE(refusal(issuer_.service_account("apps", "kubelane", "kubernetes")), "");
  EXPECT_NE(refusal(issuer_.service_account("apps", "kubelane", "root.example.com", {}, "")), "");
  EXPECT_NE(refusal(issuer_.service_account("apps", "third", "root.example.com")), "");
  EXPECT_NE(refusal(good(3600)), "");  // lives too long
  EXPECT_NE(refusal(JwtIssuer("x").service_account("apps", "kubelane", "root.example.com")), "");
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal("a.b.c"), "");
}

TEST_F(LabServiceAccount, expiry_goes_by_auths_clock_with_ten_seconds_of_leeway) {
  const std::string jwt = good(60);
  skew_ = 65;
  EXPECT_EQ(refusal(jwt), "");
  skew_ = 120;
  EXPECT_NE(refusal(jwt).find("expired"), std::string::npos);
  skew_ = -10;
  EXPECT_EQ(refusal(jwt), "");
  skew_ = -120;
  EXPECT_NE(refusal(jwt).find("not valid yet"), std::string::npos);
}

TEST_F(LabServiceAccount, in_cluster_takes_the_api_servers_audience) {
  rules_.kind = KubernetesKind::in_cluster;
  EXPECT_EQ(refusal(issuer_.service_account("apps", "kubelane", "https://kubernetes.default.svc")),
            "");
  EXPECT_EQ(refusal(good(3600)), "");
  EXPECT_NE(refusal(issuer_.service_account("apps", "kubelane", "elsewhere")), "");
}

TEST_F(LabServiceAccount, oidc_wants_issuer_and_published_keys_and_a_version_that_has_it) {
  rules_ = {KubernetesKind::oidc, "", "https://issuer.example.com", {"apps:kubelane"}};
  EXPECT_NE(refusal(good()), "");  // not published
  published_["https://issuer.example.com"] = issuer_.jwks();
  EXPECT_EQ(refusal(good()), "");
  version_ = lab::ServerVersion("17.7.2");
  EXPECT_NE(refusal(good()).find("unsupported"), std::string::npos);
  version_ = lab::ServerVersion("17.7.3");
  EXPECT_EQ(refusal(good()), "");
  rules_.issuer = "https://other.example.com";
  published_["https://other.example.com"] = issuer_.jwks();
  EXPECT_NE(refusal(good()), "");
}

// ---------------------------------------------------------------- other ID tokens

struct IdTokenCase {
  std::string method;
  std::string issuer;    // what the method or the rules want
  std::string audience;  // likewise
  bool issuer_in_rules;
  bool audience_in_rules;
  boost::json::object claims;
  std::map<std::string, std::string> rule;
  std::map<std::string, std::string> wrong_rule;
};

const std::vector<IdTokenCase>& id_token_cases() {
  using Object = boost::json::object;
  static const std::vector<IdTokenCase> cases{
      {"github",
       "https://token.actions.githubusercontent.com",
       "teleport.cluster.local",
       false,
       false,
       Object{{"repository", "acme/app"}, {"ref", "refs/heads/main"}},
       {{"repository", "acme/app"}},
       {{"repository", "acme/app"}, {"ref", "refs/heads/dev"}}},
      {"gitlab",
       "https://gitlab.com",
       "root.example.com",
       false,
       false,
       Object{{"project_path", "acme/app"}},
       {{"project_path", "acme/app"}},
       {{"project_path", "acme/other"}}},
      {"gcp",
       "https://accounts.google.com",
       "teleport.cluster.local",
       false,
       false,
       Object{{"google", Object{{"compute_engine", Object{{"project_id", "p-1"}}}}}},
       {{"project_id", "p-1"}},
       {{"project_id", "p-2"}}},
      {"circleci",
       "https://oidc.circleci.com/org/o-1",
       "o-1",
       true,
       true,
       Object{{"oidc.circleci.com/project-id", "c-1"},
              {"oidc.circleci.com/context-ids", boost::json::array{"x", "y"}}},
       {{"project_id", "c-1"}, {"context_id", "y"}},
       {{"context_id", "z"}}},
      {"bitbucket",
       "https://bitbucket.example.com/workspaces/acme/identity/oidc",
       "ari:cloud:bitbucket::workspace/1",
       true,
       true,
       Object{{"workspaceUuid", "{w}"}},
       {{"workspace_uuid", "{w}"}},
       {{"workspace_uuid", "{v}"}}},
      {"azure_devops",
       "https://vstoken.dev.azure.com/o-1",
       "api://AzureADTokenExchange",
       true,
       false,
       Object{{"sub", "p://acme/app/build"}},
       {{"sub", "p://acme/app/build"}},
       {{"sub", "p://acme/other/build"}}},
      {"terraform_cloud",
       "https://app.terraform.io",
       "root.example.com",
       false,
       false,
       Object{{"terraform_organization_name", "acme"}},
       {{"organization_name", "acme"}},
       {{"organization_name", "acme"}, {"workspace_name", "w"}}},
      {"spacelift",
       "https://acme.app.spacelift.io",
       "acme.app.spacelift.io",
       true,
       true,
       Object{{"spaceId", "root"}, {"callerType", "stack"}},
       {{"space_id", "root"}},
       {{"space_id", "root"}, {"caller_type", "module"}}}};
  return cases;
}

TEST(LabIdToken, each_method_wants_its_issuer_audience_time_and_rule) {
  const lab::ServerVersion version("18.5.0");
  const std::map<std::string, std::string> published;
  for (const auto& each : id_token_cases()) {
    SCOPED_TRACE(each.method);
    EXPECT_TRUE(lab::is_id_token_method(each.method));
    const JwtIssuer issuer(each.issuer);
    lab::IdTokenRules rules;
    rules.jwks = issuer.jwks();
    if (each.issuer_in_rules) rules.issuer = each.issuer;
    if (each.audience_in_rules) rules.audience = each.audience;
    rules.allow = {each.wrong_rule, each.rule};
    const auto accepted = [&](const std::string& jwt) {
      try {
        check_id_token(each.method, rules, jwt,
                       {"root.example.com", std::time(nullptr), version, published});
        return true;
      } catch (const lab::CallError&) {
        return false;
      }
    };
    EXPECT_TRUE(accepted(issuer.issue(each.claims, each.audience)));
    EXPECT_FALSE(accepted(issuer.issue(each.claims, "another")));
    EXPECT_FALSE(accepted(issuer.issue(each.claims, each.audience, {700, -60})));
    EXPECT_FALSE(accepted(JwtIssuer(each.issuer).issue(each.claims, each.audience)));
    auto elsewhere = each.claims;
    elsewhere["iss"] = "https://elsewhere.example.com";
    EXPECT_FALSE(accepted(issuer.issue(elsewhere, each.audience)));
    rules.allow = {each.wrong_rule};
    EXPECT_FALSE(accepted(issuer.issue(each.claims, each.audience)));
    rules.allow.clear();
    EXPECT_FALSE(accepted(issuer.issue(each.claims, each.audience)));
  }
  for (const char* other : {"token", "kubernetes", "iam", "azure", "tpm", "bound_keypair"}) {
    EXPECT_FALSE(lab::is_id_token_method(other));
  }
}

}  // namespace
