// kubelane joins Teleport by itself, without tbot: by method, by version of Teleport, by way.
#include <csignal>
#include <string>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/plain_service.hpp"

namespace {

using support::eventually;
using support::Response;

class BotJoin : public support::BotFixture {};

TEST_F(BotJoin, a_pod_joins_by_its_service_account_and_serves) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(get("/whoami").body.find("ci") == std::string::npos, false);
  const lab::AuthCalls calls = auth().calls();
  ASSERT_NE(calls.last("HostCredentials"), nullptr);
  EXPECT_EQ(calls.last("HostCredentials")->token, "join-by-pod");
  EXPECT_EQ(calls.joins(), 1u);
}

TEST_F(BotJoin, the_service_accounts_token_is_read_again_for_every_join) {
  lifetimes = "credential_ttl: 20s\nrenewal_interval: 1s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const auto last_token = [&] {
    const lab::AuthCalls calls = auth().calls();
    const lab::AuthCall* call = calls.last("RegisterUsingToken");
    return call == nullptr ? std::string() : call->message;
  };
  ASSERT_TRUE(eventually([&] { return !last_token().empty(); }));
  const std::string before = last_token();
  project_service_account();
  std::ifstream file(service_account_path());
  std::string fresh;
  std::getline(file, fresh);
  EXPECT_EQ(before.find(fresh), std::string::npos);
  EXPECT_TRUE(eventually([&] { return last_token().find(fresh) != std::string::npos; }));
}

TEST_F(BotJoin, a_secret_token_is_good_for_one_join) {
  method = "token";
  join_token = "s3cr3t-for-one-join";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_TRUE(logged("\"renewable\":\"true\""));
  EXPECT_EQ(stop_kubelane(), 0);
  for (const std::string& line : kubelane().error_lines())
    EXPECT_EQ(line.find(join_token), std::string::npos) << line;

  start_kubelane(bot_config());  // its storage was memory
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  const auto line = kubelane().wait_for_line("the bot has stopped renewing");
  EXPECT_NE(line->find("make a new one"), std::string::npos) << *line;
  EXPECT_EQ(line->find(join_token), std::string::npos) << *line;
  EXPECT_TRUE(kubelane().running());

  // A new token, and word of it.
  std::string config = bot_config();
  const std::size_t joins = auth().calls().joins();
  join_token = (directory() / "token-file").string();
  EXPECT_EQ(stop_kubelane(), 0);
  std::ofstream(join_token) << "s3cr3t-for-one-join\n";
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  std::ofstream(join_token) << "another-secret\n";
  const std::string path = join_token;
  join_token = "another-secret";
  put_token();
  kubelane().signal(SIGHUP);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(auth().calls().joins(), joins + 1);
}

struct KubernetesKind {
  lab::KubernetesKind kind;
  const char* audience;  // empty: the Teleport cluster
};
class BotKubernetesKinds : public BotJoin, public testing::WithParamInterface<KubernetesKind> {
 protected:
  BotKubernetesKinds() {
    kubernetes_kind = GetParam().kind;
    account_audience = GetParam().audience;
    lifetimes = "credential_ttl: 20s\nrenewal_interval: 1s\nleeway: 0s\n";
  }
};

TEST_P(BotKubernetesKinds, a_pod_joins_and_joins_again) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  ASSERT_TRUE(auth().wait_for(
      [](const lab::AuthCalls& calls) { return calls.count_answered("RegisterUsingToken") >= 2; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_P(BotKubernetesKinds, a_token_for_somebody_else_does_not_join) {
  account_audience = "https://vault.example.com";
  start_teleport();
  start_kubelane(bot_config());
  const auto line = kubelane().wait_for_line("the bot cannot join Teleport");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find("audience"), std::string::npos) << *line;
  EXPECT_NE(line->find("check the join token's rules"), std::string::npos) << *line;
}

INSTANTIATE_TEST_SUITE_P(Kinds, BotKubernetesKinds,
                         testing::Values(KubernetesKind{lab::KubernetesKind::static_jwks, ""},
                                         KubernetesKind{lab::KubernetesKind::oidc, ""},
                                         // The API server's own, as a pod's default token has it.
                                         KubernetesKind{lab::KubernetesKind::in_cluster,
                                                        "https://kubernetes.default.svc"},
                                         KubernetesKind{lab::KubernetesKind::in_cluster, ""}));

TEST_F(BotJoin, a_teleport_that_knows_no_oidc_says_so) {
  kubernetes_kind = lab::KubernetesKind::oidc;
  auth_options.server_version = "17.1.0";
  start_teleport();
  start_kubelane(bot_config());
  const auto line = kubelane().wait_for_line("the bot cannot join Teleport");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find("unsupported kubernetes join type"), std::string::npos) << *line;
}

class BotVersions : public BotJoin,
                    public testing::WithParamInterface<std::tuple<const char*, const char*>> {};

TEST_P(BotVersions, every_version_of_teleport_serves_both_kinds_of_service) {
  auth_options.server_version = std::get<0>(GetParam());
  service_type = std::get<1>(GetParam());
  if (service_type == "kubernetes/v2") {
    add_cluster("demo");
    add_cluster("other");
    selectors = "[{name: demo}, {name: other}]";
  }
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  if (service_type == "kubernetes/v2") {
    EXPECT_EQ(get("/bytes/10", "other").status, 200);
  }
}

INSTANTIATE_TEST_SUITE_P(Teleport, BotVersions,
                         testing::Combine(testing::Values("16.4.2", "17.1.0", "17.5.1", "18.5.0"),
                                          testing::Values("kubernetes", "kubernetes/v2")));

class BotOfCi : public BotJoin {
 protected:
  // Who shows a token of this issuer for this audience may join.
  void trust(const lab::JwtIssuer& ci, const std::string& audience) {
    lab::JoinToken token;
    token.name = join_token;
    token.method = method;
    token.bot = "ci";
    token.id_token.jwks = ci.jwks();
    token.id_token.issuer = "https://ci.example.com";
    token.id_token.audience = audience;
    token.id_token.allow = {{}};
    auth().service().put_token(token);
  }
};

// A CI system's token stands in a variable.
class BotIdToken : public BotOfCi, public testing::WithParamInterface<const char*> {};

TEST_P(BotIdToken, a_job_joins_by_the_token_of_its_ci_system) {
  const lab::JwtIssuer ci("https://ci.example.com");
  method = GetParam();
  start_teleport();
  trust(ci, "lab");
  const std::map<std::string, std::string> variables = {
      {"gitlab", "TBOT_GITLAB_JWT"},
      {"circleci", "CIRCLE_OIDC_TOKEN"},
      {"bitbucket", "BITBUCKET_STEP_OIDC_TOKEN"},
      {"spacelift", "SPACELIFT_OIDC_TOKEN"},
      {"terraform_cloud", "TFC_WORKLOAD_IDENTITY_TOKEN"}};
  environment[variables.at(method)] = ci.issue({{"sub", "job"}}, "lab");
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Methods, BotIdToken,
                         testing::Values("gitlab", "circleci", "bitbucket", "spacelift",
                                         "terraform_cloud"));

// Or a service gives it to the job that knows how to ask.
struct AskedService {
  std::string method;
  std::string audience;                            // of the token
  std::map<std::string, std::string> environment;  // ADDRESS stands for that of the service
  std::string request_line;
  std::string field;   // that it wants to see
  std::string answer;  // TOKEN stands for the token
};

void PrintTo(const AskedService& asked, std::ostream* out) { *out << asked.method; }

class BotTokenService : public BotOfCi, public testing::WithParamInterface<AskedService> {};

TEST_P(BotTokenService, a_job_joins_by_the_token_that_it_asks_for) {
  const AskedService& asked = GetParam();
  const lab::JwtIssuer ci("https://ci.example.com");
  const auto with = [](std::string text, const std::string& name, const std::string& value) {
    const std::size_t at = text.find(name);
    return at == std::string::npos ? text : text.replace(at, name.size(), value);
  };
  method = asked.method;
  start_teleport();
  trust(ci, asked.audience);
  const std::string token = ci.issue({{"sub", "job"}}, asked.audience);
  const support::PlainService service(
      [&](const std::string&) { return with(asked.answer, "TOKEN", token); });
  for (const auto& [name, value] : asked.environment)
    environment[name] = with(value, "ADDRESS", service.address());
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  const auto requests = service.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_TRUE(requests.front().starts_with(asked.request_line + " HTTP/1.1\r\n"))
      << requests.front();
  EXPECT_NE(requests.front().find("\r\n" + asked.field + "\r\n"), std::string::npos)
      << requests.front();
  for (const std::string& line : kubelane().error_lines()) {
    EXPECT_EQ(line.find("job-secret"), std::string::npos) << line;
    EXPECT_EQ(line.find(token), std::string::npos) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Services, BotTokenService,
    testing::Values(
        AskedService{"github",
                     "teleport.cluster.local",
                     {{"ACTIONS_ID_TOKEN_REQUEST_URL", "http://ADDRESS/token?version=1"},
                      {"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-secret"}},
                     "GET /token?version=1&audience=teleport.cluster.local",
                     "Authorization: Bearer job-secret",
                     R"({"value":"TOKEN"})"},
        AskedService{"azure_devops",
                     "api://AzureADTokenExchange",
                     {{"SYSTEM_OIDCREQUESTURI", "http://ADDRESS/oidc"},
                      {"SYSTEM_ACCESSTOKEN", "job-secret"}},
                     "POST /oidc?api-version=7.1",
                     "Authorization: Bearer job-secret",
                     R"({"oidcToken":"TOKEN"})"},
        AskedService{"gcp",
                     "teleport.cluster.local",
                     {{"GCE_METADATA_HOST", "ADDRESS"}},
                     "GET /computeMetadata/v1/instance/service-accounts/default/identity"
                     "?audience=teleport.cluster.local&format=full&licenses=FALSE",
                     "Metadata-Flavor: Google",
                     "TOKEN"}),
    [](const auto& each) { return each.param.method; });

TEST_F(BotJoin, the_auth_server_is_known_by_its_pin) {
  start_teleport();
  std::string config = bot_config();
  const std::string proxy_line = "proxy_server: " + proxy().address();
  config.replace(config.find(proxy_line), proxy_line.size(), "auth_server: " + auth().address());
  const auto with_pin = [&](const std::string& pin) {
    std::string text = config;
    return text.replace(text.find("onboarding:\n"), 12, "onboarding:\n  ca_pins: [" + pin + "]\n");
  };
  start_kubelane(with_pin("sha256:" + std::string(64, '0')));
  ASSERT_TRUE(logged("another host CA"));
  EXPECT_EQ(auth().calls().joins(), 0u);
  EXPECT_EQ(stop_kubelane(), 0);
  start_kubelane(with_pin(auth().ca_pin()));
  EXPECT_TRUE(logged("the bot has joined"));
}

// The joins of before are switched off, as an administrator of Teleport 18 may and 20 will.
TEST_F(BotJoin, where_the_web_api_takes_no_joins_the_newer_way_is_taken) {
  for (const std::string by : {"kubernetes", "token"}) {
    method = by;
    join_token = "join-by-" + by;
    if (by == "kubernetes") start_teleport();
    put_token();
    auth().set_legacy_joins(false);
    start_kubelane(bot_config());
    ASSERT_NO_FATAL_FAILURE(wait_ready());
    EXPECT_EQ(get("/bytes/10").status, 200);
    ASSERT_NE(auth().calls().last("Join"), nullptr);
    EXPECT_EQ(auth().calls().last("Join")->token, join_token);
    EXPECT_EQ(stop_kubelane(), 0);
  }
}

TEST_F(BotJoin, once_means_once) {
  more_yaml = "oneshot: true\n";
  start_teleport();
  start_kubelane(bot_config());
  const auto status = kubelane().wait_exit();
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 0);
  EXPECT_TRUE(std::filesystem::exists(destination_path() / "kubeconfig.yaml"));
}

TEST_F(BotJoin, administrators_see_it_among_their_bots) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_TRUE(auth().wait_for(
      [](const lab::AuthCalls& calls) { return calls.count_answered("SubmitHeartbeat") > 0; }));
  const auto instances = auth().service().instances();
  ASSERT_EQ(instances.size(), 1u);
  ASSERT_EQ(instances[0].heartbeats.size(), 1u);
  EXPECT_TRUE(instances[0].heartbeats[0].is_startup);
  EXPECT_EQ(instances[0].heartbeats[0].join_method, "kubernetes");
  EXPECT_EQ(instances[0].heartbeats[0].version.rfind("0.", 0), 0u);
}

}  // namespace
