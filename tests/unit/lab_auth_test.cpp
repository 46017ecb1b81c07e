// The lab's Auth over the wire, through a client that shares no code with the product: joins, the
// tunnel, certificates on the data path, lists, events, and faults.
#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

#include "tests/lab/jwt_issuer.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/proto/machineid.pb.h"
#include "tests/lab/public_key.hpp"
#include "tests/support/lab_auth_fixture.hpp"

namespace {

using lab::CallFault;
using support::Credentials;
using support::GrpcAnswer;
using support::patience;

constexpr const char* kPing = "/proto.AuthService/Ping";
constexpr const char* kList = "/proto.AuthService/ListResources";

class LabAuth : public support::LabAuthFixture {
 protected:
  LabAuth() = default;
  using LabAuthFixture::LabAuthFixture;

  Credentials output(const Credentials& bot, const std::string& cluster = {}, long ttl = 3600) {
    Credentials fresh;
    const auto client = connect(bot);
    const GrpcAnswer answer = generate(*client, fresh, {"kube-access"}, cluster, ttl);
    EXPECT_TRUE(answer.ok()) << answer.error;
    return fresh;
  }
};
class LabAuth16 : public LabAuth {
 protected:
  LabAuth16() : LabAuth("16.5.0") {}
};
class LabAuth17 : public LabAuth {
 protected:
  LabAuth17() : LabAuth("17.2.7") {}
};

proto::ListResourcesRequest list_request(int limit) {
  proto::ListResourcesRequest request;
  request.set_resourcetype("kube_server");
  request.set_namespace_("default");
  request.set_limit(limit);
  return request;
}

// ---------------------------------------------------------------- joins

TEST_F(LabAuth, a_token_joins_once_and_its_certificate_renews_itself) {
  const std::string secret = new_token();
  int status = 0;
  const auto bot = web_join(secret, status, {}, 600);
  ASSERT_TRUE(bot) << status;
  const auto identity = bot->identity();
  EXPECT_EQ(identity.username, "bot-ci");
  EXPECT_EQ(identity.roles, std::vector<std::string>{"bot-ci"});
  EXPECT_TRUE(identity.renewable);
  EXPECT_EQ(identity.generation, 1u);
  EXPECT_EQ(identity.bot_name, "ci");
  EXPECT_EQ(identity.teleport_cluster, "root.example.com");
  EXPECT_FALSE(identity.disallow_reissue);
  EXPECT_EQ(service().instances().size(), 1u);
  EXPECT_EQ(service().instances().front().id, identity.bot_instance_id);

  EXPECT_FALSE(web_join(secret, status));
  EXPECT_EQ(status, 403);

  Credentials next;
  const auto client = connect(*bot);
  ASSERT_TRUE(generate(*client, next, {}).ok());
  EXPECT_EQ(next.identity().generation, 2u);
  EXPECT_TRUE(next.identity().renewable);
  EXPECT_EQ(next.identity().bot_instance_id, identity.bot_instance_id);

  const auto calls = auth().calls();
  EXPECT_EQ(calls.joins(), 1u);
  EXPECT_EQ(calls.last("GenerateUserCerts")->fields, (std::vector<int>{2, 3, 5, 22, 23}));
  EXPECT_TRUE(calls.last("GenerateUserCerts")->self_renewal());
  EXPECT_EQ(calls.most_self_renewals_at_once, 1);
  const auto& join = calls.calls.front();
  EXPECT_EQ(join.method, "HostCredentials");
  EXPECT_EQ(join.token, secret);
  EXPECT_NEAR(static_cast<double>(join.ttl_asked->count()), 600, 2);
  EXPECT_NEAR(static_cast<double>(join.ttl_given->count()), 600, 2);
}

TEST_F(LabAuth, a_service_account_joins_as_often_as_it_likes) {
  const lab::JwtIssuer kubernetes("https://kubernetes.default.svc.cluster.local");
  lab::JoinToken token;
  token.name = "cluster-a";
  token.method = "kubernetes";
  token.bot = "ci";
  token.kubernetes = {lab::KubernetesKind::static_jwks, kubernetes.jwks(), "", {"apps:kubelane"}};
  service().put_token(token);
  int status = 0;
  const auto jwt = kubernetes.service_account("apps", "kubelane", "root.example.com");
  const auto first = web_join("cluster-a", status, jwt);
  const auto second = web_join("cluster-a", status, jwt);
  ASSERT_TRUE(first && second) << status;
  EXPECT_FALSE(first->identity().renewable);
  EXPECT_NE(first->identity().bot_instance_id, second->identity().bot_instance_id);
  EXPECT_FALSE(web_join("cluster-a", status, jwt + "x"));
  EXPECT_EQ(status, 403);

  // Authenticated at Auth: the same instance goes on.
  types::RegisterUsingTokenRequest request;
  request.set_role("Bot");
  request.set_token("cluster-a");
  request.set_idtoken(jwt);
  const Credentials fresh;
  request.set_publictlskey(lab::public_key_pem(fresh.key));
  request.set_publicsshkey(lab::ssh::line_from_wire(lab::ssh::wire_key(fresh.key)));
  const auto client = connect(*first);
  ASSERT_TRUE(client->call("/proto.JoinService/RegisterUsingToken", request).ok());
  const auto instances = service().instances();
  const auto found = std::find_if(instances.begin(), instances.end(), [&](const auto& each) {
    return each.id == first->identity().bot_instance_id;
  });
  ASSERT_NE(found, instances.end());
  EXPECT_EQ(found->generation, 2u);
  EXPECT_EQ(instances.size(), 2u);
}

TEST_F(LabAuth, the_web_api_is_there_without_the_prefix_and_says_what_is_wrong) {
  const Credentials made;
  const auto body = join_body(made, new_token(), "", 0);
  EXPECT_EQ(post_join(body, "/webapi/host/credentials").status, 200);
  EXPECT_EQ(post_join("{", "/v1/webapi/host/credentials").status, 400);
  const auto wrong = post_join(join_body(made, "nonsense", "", 0), "/v1/webapi/host/credentials");
  EXPECT_EQ(wrong.status, 403);
  EXPECT_NE(wrong.body.find("token expired or not found"), std::string::npos);
  auth().set_legacy_joins(false);
  EXPECT_EQ(post_join(join_body(made, new_token(), "", 0), "/v1/webapi/host/credentials").status,
            404);
}

// ---------------------------------------------------------------- the way to Auth

TEST_F(LabAuth, both_ways_lead_to_auth_and_without_a_certificate_little_is_allowed) {
  const auto bot = joined();
  for (const Way way : {Way::tunnel, Way::direct}) {
    const auto client = connect(bot, way);
    const auto ping = client->call(kPing, proto::PingRequest());
    ASSERT_TRUE(ping.ok()) << ping.error;
    EXPECT_EQ(ping.as<proto::PingResponse>().clustername(), "root.example.com");
    EXPECT_EQ(ping.as<proto::PingResponse>().serverversion(), "18.5.0");
    EXPECT_EQ(ping.as<proto::PingResponse>().signature_algorithm_suite(),
              types::SIGNATURE_ALGORITHM_SUITE_BALANCED_V1);

    const auto nobody = connect_without_certificate(way);
    EXPECT_TRUE(nobody->call(kPing, proto::PingRequest()).ok());
    const auto ca = nobody->call("/proto.AuthService/GetClusterCACert", types::Empty());
    EXPECT_EQ(ca.as<proto::GetClusterCACertResponse>().tlsca(), auth().host_ca_pem());
    EXPECT_EQ(nobody->call(kList, list_request(10)).code, 7);
    EXPECT_EQ(nobody->call("/proto.AuthService/Unknown", types::Empty()).code, 12);
  }
  const auto seen = auth().connections();
  EXPECT_EQ(seen.connections.at(1).sni, lab::auth_server_name("root.example.com"));
  EXPECT_EQ(seen.connections.at(1).alpn, "h2");
  EXPECT_EQ(seen.connections.at(1).peer_certificates, 1);
}

TEST_F(LabAuth, a_chain_a_usage_or_an_old_client_version_is_refused) {
  const auto bot = joined();
  auto options = tls_to_auth(&bot, Way::direct);
  // OpenSSL completes the chain from what it trusts: the mistake that Auth does not forgive.
  options.ca_pem += lab::pem_bundle(service().authorities_now().users);
  support::GrpcClient chained("127.0.0.1", auth().port(), options);
  EXPECT_NE(chained.call(kPing, proto::PingRequest()).error.find("intermediaries"),
            std::string::npos);

  Credentials restricted;
  lab::ClientSpec spec;
  spec.usage = {"usage:kube"};
  restricted.certificate = service().authorities()->with([&](const lab::Pki& pki) {
    return lab::issue_client_for(pki.user_signer(), restricted.key, spec);
  });
  EXPECT_EQ(connect(restricted)->call(kPing, proto::PingRequest()).code, 7);

  const auto client = connect(bot);
  EXPECT_TRUE(client->call(kPing, proto::PingRequest(), {{"version", "17.0.0"}}).ok());
  EXPECT_EQ(client->call(kPing, proto::PingRequest(), {{"version", "16.9.9"}}).error,
            "client version is unsupported");
  EXPECT_EQ(client->call(kPing, proto::PingRequest(), {{"version", "kubelane"}}).code, 7);
}

TEST_F(LabAuth, a_foreign_certificate_does_not_get_in) {
  Credentials foreign;
  foreign.certificate = lab::issue_client_for(
      lab::make_authority("root.example.com", lab::KeyKind::ecdsa), foreign.key, {});
  const auto refused = [&] {
    try {
      return connect(foreign)->call(kPing, proto::PingRequest()).code == -1;
    } catch (const std::runtime_error&) {
      return true;
    }
  };
  EXPECT_TRUE(refused());
}

// ---------------------------------------------------------------- certificates in use

TEST_F(LabAuth, output_certificates_work_on_the_data_path_and_internal_ones_do_not) {
  const auto bot = joined();
  const auto out = output(bot);
  const auto identity = out.identity();
  EXPECT_EQ(identity.roles, std::vector<std::string>{"kube-access"});
  EXPECT_EQ(identity.impersonator, "bot-ci");
  EXPECT_TRUE(identity.disallow_reissue);
  EXPECT_FALSE(identity.renewable);
  EXPECT_FALSE(identity.generation);
  EXPECT_EQ(identity.route_to_cluster, "root.example.com");
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").body, "abc");
  EXPECT_EQ(kube_get(bot, "prod", "/bytes/3").status, 404);

  Credentials more;
  const auto client = connect(out);
  EXPECT_EQ(generate(*client, more, {"kube-access"}).code, 7);  // may not be reissued
  EXPECT_EQ(generate(*client, more, {}).code, 7);
}

TEST_F(LabAuth, a_routed_certificate_leads_to_its_cluster_only) {
  const auto bot = joined();
  const auto out = output(bot, "dev");
  EXPECT_EQ(out.identity().kubernetes_cluster, "dev");
  EXPECT_EQ(kube_get(out, "", "/bytes/3").body, "abc");
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 403);
  Credentials none;
  const auto client = connect(bot);
  EXPECT_EQ(generate(*client, none, {"kube-access"}, "absent").code, 3);
}

TEST_F(LabAuth, an_expired_certificate_is_refused_by_auth_and_by_the_proxy) {
  const auto bot = joined();
  const auto out = output(bot, "", 2);
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 200);
  // The clock goes on, not the test.
  service().authorities()->set_clock_skew(3);
  EXPECT_ANY_THROW(kube_get(out, "prod", "/bytes/3"));
  EXPECT_EQ(kube_get(output(bot), "prod", "/bytes/3").status, 200);
  service().authorities()->set_clock_skew(2 * 3600);
  const auto refused = [&] {
    try {
      return connect(bot)->call(kPing, proto::PingRequest()).code == -1;
    } catch (const std::runtime_error&) {
      return true;
    }
  };
  EXPECT_TRUE(refused());
}

TEST_F(LabAuth, certificates_follow_the_clusters_clock) {
  for (const long skew : {120L, -120L}) {
    service().authorities()->set_clock_skew(skew);
    const auto bot = joined();
    const long left = bot.identity().not_after - std::time(nullptr);
    EXPECT_NEAR(static_cast<double>(left), static_cast<double>(3600 + skew), 3);
    EXPECT_TRUE(connect(bot)->call(kPing, proto::PingRequest()).ok());
  }
}

TEST_F(LabAuth, roles_decide_what_is_asked_for_and_seen) {
  service().put_role({.name = "dev-only", .kubernetes_labels = {{"env", "dev"}}});
  service().put_bot("ci", {"kube-access", "dev-only"});
  const auto bot = joined();
  const auto client = connect(bot);
  Credentials none;
  EXPECT_EQ(generate(*client, none, {"editor"}).code, 7);
  Credentials dev;
  ASSERT_TRUE(generate(*client, dev, {"dev-only"}).ok());
  EXPECT_EQ(names(connect(dev)->call(kList, list_request(10))), std::vector<std::string>{"dev"});
  EXPECT_EQ(kube_get(dev, "dev", "/bytes/3").status, 200);
  EXPECT_EQ(kube_get(dev, "prod", "/bytes/3").status, 404);
  EXPECT_TRUE(names(client->call(kList, list_request(10))).empty());  // the bot itself sees none

  proto::GetRoleRequest own;
  own.set_name("bot-ci");
  const auto role = client->call("/proto.AuthService/GetRole", own).as<types::RoleV6>();
  ASSERT_EQ(role.spec().allow().impersonate().roles_size(), 2);
  EXPECT_EQ(role.spec().allow().impersonate().roles(1), "dev-only");
  own.set_name("kube-access");
  EXPECT_EQ(client->call("/proto.AuthService/GetRole", own).code, 7);
  EXPECT_EQ(client->call("/proto.AuthService/GetCurrentUserRoles", types::Empty()).messages.size(),
            1u);
}

TEST_F(LabAuth, clusters_are_listed_in_pages_by_labels_and_by_predicate) {
  for (int i = 0; i < 25; ++i) {
    service().put_cluster({.name = "kube-" + std::to_string(100 + i),
                           .labels = {{"fleet", "yes"}, {"n", std::to_string(i)}},
                           .servers = 2});
  }
  const auto client = connect(output(joined()));
  auto request = list_request(7);
  (*request.mutable_labels())["fleet"] = "yes";
  request.set_needtotalcount(true);
  std::vector<std::string> all;
  int pages = 0;
  do {
    const auto answer = client->call(kList, request);
    ASSERT_TRUE(answer.ok()) << answer.error;
    for (const auto& name : names(answer)) all.push_back(name);
    const auto response = answer.as<proto::ListResourcesResponse>();
    EXPECT_EQ(response.totalcount(), 50);
    request.set_startkey(response.nextkey());
    ++pages;
  } while (!request.startkey().empty());
  EXPECT_EQ(pages, 8);
  EXPECT_EQ(all.size(), 50u);  // two servers for each
  EXPECT_EQ(all.front(), "kube-100");
  EXPECT_EQ(all.back(), "kube-124");

  auto by_name = list_request(10);
  by_name.set_predicateexpression(
      R"((name == "prod") || (labels["teleport.internal/discovered-name"] == "prod"))");
  EXPECT_EQ(names(client->call(kList, by_name)), std::vector<std::string>{"prod"});
  by_name.set_predicateexpression("name = prod");
  EXPECT_EQ(client->call(kList, by_name).code, 3);
  EXPECT_EQ(client->call(kList, list_request(0)).code, 3);
  auth().set_page_limit(500);
  EXPECT_EQ(client->call(kList, list_request(1000)).code, 8);

  service().remove_cluster("dev");
  EXPECT_EQ(kube_get(output(joined()), "dev", "/bytes/3").status, 404);
}

// ---------------------------------------------------------------- locks and generations

TEST_F(LabAuth, a_stale_generation_locks_the_instance) {
  const auto bot = joined();
  const auto other = joined();
  const auto out = output(bot);
  const auto client = connect(bot);
  Credentials next;
  ASSERT_TRUE(generate(*client, next, {}).ok());
  Credentials stale;
  const auto refused = generate(*client, stale, {});
  EXPECT_EQ(refused.code, 7);
  EXPECT_NE(refused.error.find("generation mismatch"), std::string::npos);
  EXPECT_NE(client->call(kPing, proto::PingRequest()).error.find("lock targeting"),
            std::string::npos);
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 403);
  EXPECT_TRUE(connect(other)->call(kPing, proto::PingRequest()).ok());
  service().unlock(lab::Lock::Target::bot_instance, bot.identity().bot_instance_id);
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 200);
}

TEST_F(LabAuth17, a_stale_generation_locks_the_user) {
  const auto bot = joined();
  const auto other = joined();
  const auto client = connect(bot);
  Credentials next;
  ASSERT_TRUE(generate(*client, next, {}).ok());
  EXPECT_EQ(generate(*client, next, {}).code, 7);
  EXPECT_NE(connect(other)->call(kPing, proto::PingRequest()).error.find("User:\"bot-ci\""),
            std::string::npos);
}

TEST_F(LabAuth, a_locked_user_is_stopped_everywhere) {
  const auto bot = joined();
  const auto out = output(bot);
  service().lock(lab::Lock::Target::user, "bot-ci");
  EXPECT_EQ(connect(bot)->call(kPing, proto::PingRequest()).code, 7);
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 403);
  int status = 0;
  EXPECT_FALSE(web_join(new_token(), status));
  EXPECT_EQ(status, 403);
}

// ---------------------------------------------------------------- versions

TEST_F(LabAuth16, it_knows_one_key_field_and_no_suites_and_no_grpc_rejoin) {
  const auto bot = joined();
  const auto client = connect(bot);
  const auto ping = client->call(kPing, proto::PingRequest()).as<proto::PingResponse>();
  EXPECT_EQ(ping.signature_algorithm_suite(), types::SIGNATURE_ALGORITHM_SUITE_UNSPECIFIED);
  Credentials fresh;
  ASSERT_TRUE(generate(*client, fresh, {"kube-access"}, "prod").ok());
  EXPECT_EQ(fresh.value("1.3.9999.2.21"), "");
  EXPECT_EQ(kube_get(fresh, "", "/bytes/3").status, 200);
  // Not by path: the certificate's own cluster gets the whole path.
  EXPECT_NE(kube_get(fresh, "prod", "/bytes/3").body, "abc");

  proto::UserCertsRequest request;
  request.set_username("bot-ci");
  request.set_tlspublickey(lab::public_key_pem(fresh.key));
  request.mutable_expires()->set_seconds(std::time(nullptr) + 60);
  const auto refused = client->call("/proto.AuthService/GenerateUserCerts", request);
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.error, "ssh: no key found");
  EXPECT_EQ(
      client->call("/proto.JoinService/RegisterUsingToken", types::RegisterUsingTokenRequest())
          .code,
      12);
  EXPECT_EQ(connect_to_proxy()->call("/teleport.join.v1.JoinService/Join", types::Empty()).code,
            12);
}

TEST_F(LabAuth, version_18_does_not_know_the_old_key_field) {
  const auto client = connect(joined());
  const Credentials fresh;
  proto::UserCertsRequest request;
  request.set_username("bot-ci");
  request.set_publickey(lab::ssh::line_from_wire(lab::ssh::wire_key(fresh.key)));
  request.mutable_expires()->set_seconds(std::time(nullptr) + 60);
  EXPECT_EQ(client->call("/proto.AuthService/GenerateUserCerts", request).code, 3);
  service().set_version("17.5.0");
  EXPECT_TRUE(client->call("/proto.AuthService/GenerateUserCerts", request).ok());
  request.set_tlspublickey(lab::public_key_pem(fresh.key));
  EXPECT_EQ(client->call("/proto.AuthService/GenerateUserCerts", request).code, 3);
}

// ---------------------------------------------------------------- rotation

TEST_F(LabAuth, a_rotation_goes_through_its_phases_with_events_and_trust) {
  const auto old_bot = joined();
  const auto old_out = output(old_bot);
  const auto client = connect(old_bot);
  proto::Watch watch;
  auto& kind = *watch.add_kinds();
  kind.set_kind("cert_authority");
  for (const char* type : {"host", "user"}) (*kind.mutable_filter())[type] = "root.example.com";
  const auto stream = client->open("/proto.AuthService/WatchEvents");
  client->send(stream, watch.SerializeAsString(), true);
  const auto event = [&](std::size_t index) {
    proto::Event parsed;
    parsed.ParseFromString(client->message(stream, index));
    return parsed;
  };
  EXPECT_EQ(event(0).type(), proto::INIT);

  service().rotate(lab::RotationPhase::init);
  EXPECT_EQ(event(1).certauthority().spec().type(), "host");
  EXPECT_EQ(event(2).certauthority().spec().type(), "user");
  EXPECT_EQ(event(2).certauthority().spec().rotation().phase(), "init");
  service().rotate(lab::RotationPhase::update_clients);
  EXPECT_EQ(event(3).certauthority().spec().rotation().phase(), "update_clients");
  EXPECT_EQ(event(3).certauthority().spec().additionaltrustedkeys().tls_size(), 1);
  const auto new_bot = joined();
  const auto new_out = output(new_bot);
  EXPECT_EQ(kube_get(old_out, "prod", "/bytes/3").status, 200);
  EXPECT_EQ(kube_get(new_out, "prod", "/bytes/3").status, 200);

  service().rotate(lab::RotationPhase::update_servers);
  EXPECT_EQ(kube_get(old_out, "prod", "/bytes/3").status, 200);
  service().rotate(lab::RotationPhase::standby);
  EXPECT_EQ(event(7).certauthority().spec().rotation().phase(), "standby");
  EXPECT_EQ(event(7).certauthority().spec().additionaltrustedkeys().tls_size(), 0);
  EXPECT_ANY_THROW(kube_get(old_out, "prod", "/bytes/3"));
  EXPECT_EQ(kube_get(new_out, "prod", "/bytes/3").status, 200);
  EXPECT_TRUE(connect(new_bot)->call(kPing, proto::PingRequest()).ok());

  auth().stop();
  const auto end = client->finish(stream);
  EXPECT_FALSE(end.ok());
}

TEST_F(LabAuth, a_rollback_forgets_the_new_authorities) {
  service().rotate(lab::RotationPhase::init);
  service().rotate(lab::RotationPhase::update_clients);
  const auto out = output(joined());
  service().rotate(lab::RotationPhase::rollback);
  EXPECT_EQ(kube_get(out, "prod", "/bytes/3").status, 200);
  service().rotate(lab::RotationPhase::standby);
  EXPECT_ANY_THROW(kube_get(out, "prod", "/bytes/3"));
  EXPECT_EQ(kube_get(output(joined()), "prod", "/bytes/3").status, 200);
}

// ---------------------------------------------------------------- faults

TEST_F(LabAuth, an_answer_can_be_lost_after_the_commit) {
  const auto bot = joined();
  auth().inject("GenerateUserCerts", {.kind = CallFault::Kind::lose_answer});
  const auto client = connect(bot);
  Credentials fresh;
  EXPECT_EQ(generate(*client, fresh, {}).code, -1);
  EXPECT_EQ(service().instances().front().generation, 2u);
  ASSERT_TRUE(auth().wait_for(
      [](const lab::AuthCalls& seen) {
        return seen.last("GenerateUserCerts")->done_at.has_value();
      },
      patience()));
  EXPECT_FALSE(auth().calls().last("GenerateUserCerts")->answered);
  const auto again = connect(bot);
  EXPECT_NE(generate(*again, fresh, {}).error.find("generation mismatch"), std::string::npos);

  const std::string secret = new_token();
  auth().inject("HostCredentials", {.kind = CallFault::Kind::lose_answer});
  int status = 0;
  EXPECT_ANY_THROW(web_join(secret, status));
  EXPECT_FALSE(service().token(secret));
}

TEST_F(LabAuth, calls_can_be_refused_dropped_and_late) {
  const auto bot = joined();
  const auto client = connect(bot);
  auth().inject("Ping", {.code = 8, .message = "rate limit exceeded"});
  EXPECT_EQ(client->call(kPing, proto::PingRequest()).code, 8);
  EXPECT_TRUE(client->call(kPing, proto::PingRequest()).ok());
  auth().inject("HostCredentials", {.code = 8, .message = "rate limit exceeded"});
  int status = 0;
  const std::string secret = new_token();
  EXPECT_FALSE(web_join(secret, status));
  EXPECT_EQ(status, 429);
  EXPECT_TRUE(web_join(secret, status));
  auth().inject("Ping", {.kind = CallFault::Kind::late, .delay = std::chrono::milliseconds(80)});
  const auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(client->call(kPing, proto::PingRequest()).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(80));
  auth().inject("Ping", {.kind = CallFault::Kind::drop});
  EXPECT_EQ(client->call(kPing, proto::PingRequest()).code, -1);
  EXPECT_TRUE(client->h2().wait_closed());
}

TEST_F(LabAuth, a_call_that_hangs_ends_with_its_client_or_with_auth) {
  const auto client = connect(joined());
  auth().inject("Ping", {.kind = CallFault::Kind::hang}, 2);
  const auto stream = client->open(kPing);
  client->send(stream, "", true);
  ASSERT_TRUE(auth().wait_for([](const auto& seen) { return seen.count("Ping") == 1; }));
  client->h2().cancel(stream);
  ASSERT_TRUE(auth().wait_for(
      [](const auto& seen) { return seen.last("Ping")->done_at.has_value(); }, patience()));
  const auto other = client->open(kPing);
  client->send(other, "", true);
  ASSERT_TRUE(auth().wait_for([](const auto& seen) { return seen.count("Ping") == 2; }));
  auth().stop();
  EXPECT_EQ(client->finish(other).code, -1);
}

TEST_F(LabAuth, auth_goes_away_and_comes_back_on_its_port) {
  const auto bot = joined();
  const auto port = auth().port();
  const auto client = connect(bot);
  ASSERT_TRUE(client->call(kPing, proto::PingRequest()).ok());
  auth().stop();
  EXPECT_TRUE(client->h2().wait_closed());
  EXPECT_ANY_THROW(connect(bot));
  EXPECT_ANY_THROW(connect(bot, Way::direct));
  int status = 0;
  const std::string secret = new_token();
  EXPECT_FALSE(web_join(secret, status));
  EXPECT_EQ(status, 504);
  auth().start();
  EXPECT_EQ(auth().port(), port);
  EXPECT_TRUE(connect(bot)->call(kPing, proto::PingRequest()).ok());
  EXPECT_TRUE(web_join(secret, status));
  proxy().restart();
  EXPECT_TRUE(connect(bot)->call(kPing, proto::PingRequest()).ok());
}

TEST_F(LabAuth, a_certificate_of_other_authorities_can_be_served) {
  const auto bot = joined();
  const auto pin = auth().ca_pin();
  EXPECT_TRUE(pin.starts_with("sha256:") && pin.size() == 7 + 64) << pin;
  auth().serve_certificate(
      lab::issue_server(lab::make_authority("root.example.com", lab::KeyKind::ecdsa), "auth",
                        {"*.teleport.cluster.local", "teleport.cluster.local"}));
  EXPECT_ANY_THROW(connect(bot));
  auth().serve_certificate(std::nullopt);
  EXPECT_TRUE(connect(bot)->call(kPing, proto::PingRequest()).ok());
  service().rotate(lab::RotationPhase::init);
  EXPECT_NE(auth().ca_pin(), pin);
}

TEST_F(LabAuth, a_frozen_auth_holds_nobody_up_at_the_end) {
  const auto client = connect(joined());
  ASSERT_TRUE(client->call(kPing, proto::PingRequest()).ok());
  auth().h2().set_frozen(true);
  const auto stream = client->open(kPing);
  client->send(stream, "", true);
  proxy().stop();
  EXPECT_TRUE(client->h2().wait_closed());
  auth().stop();
}

TEST_F(LabAuth, heartbeats_are_kept_with_the_instance) {
  const auto client = connect(joined());
  teleport::machineid::v1::SubmitHeartbeatRequest request;
  request.mutable_heartbeat()->set_version("0.1.0");
  request.mutable_heartbeat()->set_is_startup(true);
  request.mutable_heartbeat()->set_join_method("token");
  ASSERT_TRUE(
      client->call("/teleport.machineid.v1.BotInstanceService/SubmitHeartbeat", request).ok());
  const auto instance = service().instances().front();
  ASSERT_EQ(instance.heartbeats.size(), 1u);
  EXPECT_EQ(instance.heartbeats.front().version, "0.1.0");
  EXPECT_TRUE(instance.heartbeats.front().is_startup);
}

}  // namespace
