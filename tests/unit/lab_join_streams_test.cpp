// The join streams of the lab, older and newer, through the Proxy and at Auth.
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include <openssl/pem.h>

#include "tests/lab/jwt.hpp"
#include "tests/lab/jwt_issuer.hpp"
#include "tests/lab/proto/auth.pb.h"
#include "tests/lab/proto/join_v1.pb.h"
#include "tests/lab/public_key.hpp"
#include "tests/support/lab_auth_fixture.hpp"

namespace {

namespace v1 = teleport::join::v1;
using support::Credentials;
using support::GrpcAnswer;
using support::GrpcClient;

constexpr const char* kOlder = "/proto.JoinService/RegisterUsingBoundKeypairMethod";
constexpr const char* kNewer = "/teleport.join.v1.JoinService/Join";

std::string line(const lab::KeyPtr& key) {
  return lab::ssh::line_from_wire(lab::ssh::wire_key(key));
}

class LabJoinStreams : public support::LabAuthFixture {
 protected:
  LabJoinStreams() {
    lab::JoinToken bound;
    bound.name = "bound";
    bound.method = "bound_keypair";
    bound.bot = "ci";
    bound.bound_keypair.registration_secret = "registration";
    bound.bound_keypair.recovery_limit = 9;
    service().put_token(bound);
    lab::JoinToken kubernetes;
    kubernetes.name = "pods";
    kubernetes.method = "kubernetes";
    kubernetes.bot = "ci";
    kubernetes.kubernetes = {
        lab::KubernetesKind::static_jwks, issuer_.jwks(), "", {"apps:kubelane"}};
    service().put_token(kubernetes);
  }

  static lab::CertificatePtr from_der(const std::string& der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    return {d2i_X509(nullptr, &at, static_cast<long>(der.size())), X509_free};
  }
  static void fill(v1::ClientParams& params, const Credentials& of) {
    auto& bot = *params.mutable_bot_params();
    bot.mutable_public_keys()->set_public_tls_key(lab::public_key_der(of.key));
    bot.mutable_public_keys()->set_public_ssh_key(lab::ssh::wire_key(of.key));
    bot.mutable_expires()->set_seconds(std::time(nullptr) + 600);
  }
  static v1::JoinRequest hello(const std::string& token) {
    v1::JoinRequest request;
    request.mutable_client_init()->set_token_name(token);
    request.mutable_client_init()->set_system_role("Bot");
    return request;
  }
  static v1::JoinResponse response(GrpcClient& client, std::int32_t stream, std::size_t index) {
    v1::JoinResponse parsed;
    parsed.ParseFromString(client.message(stream, index));
    return parsed;
  }
  // The certificate of a result, or nothing with the call's error in `error`.
  std::optional<Credentials> join_v1(
      GrpcClient& client, const std::string& token,
      const std::function<void(v1::JoinRequest&, Credentials&)>& init, std::string& error) {
    const auto stream = client.open(kNewer);
    client.send(stream, hello(token).SerializeAsString());
    try {
      const auto server = response(client, stream, 0);
      EXPECT_EQ(server.init().signature_algorithm_suite(), "balanced-v1");
      Credentials made;
      v1::JoinRequest request;
      init(request, made);
      client.send(stream, request.SerializeAsString());
      const auto result = response(client, stream, 1).result().bot_result();
      made.certificate = from_der(result.certificates().tls_cert());
      EXPECT_EQ(result.certificates().tls_ca_certs_size(), 2);
      EXPECT_TRUE(client.finish(stream).ok());
      return made;
    } catch (const std::runtime_error& ended) {
      error = ended.what();
      return std::nullopt;
    }
  }

  lab::JwtIssuer issuer_{"https://issuer.example.com"};
};

TEST_F(LabJoinStreams, a_secret_token_joins_by_the_newer_stream_once) {
  const std::string secret = new_token();
  const auto client = connect_to_proxy();
  std::string error;
  const auto init = [](v1::JoinRequest& request, Credentials& made) {
    fill(*request.mutable_token_init()->mutable_client_params(), made);
  };
  const auto bot = join_v1(*client, secret, init, error);
  ASSERT_TRUE(bot) << error;
  EXPECT_TRUE(bot->identity().renewable);
  EXPECT_TRUE(connect(*bot)->call("/proto.AuthService/Ping", proto::PingRequest()).ok());
  EXPECT_FALSE(join_v1(*client, secret, init, error));
  EXPECT_NE(error.find("expired or not found"), std::string::npos);
  const auto calls = auth().calls();
  EXPECT_TRUE(calls.last("Join")->through_proxy);
  EXPECT_EQ(calls.last("Join")->token, secret);
}

TEST_F(LabJoinStreams, a_service_account_joins_by_the_newer_stream_and_again_at_auth) {
  const std::string jwt = issuer_.service_account("apps", "kubelane", "root.example.com");
  const auto init = [&](v1::JoinRequest& request, Credentials& made) {
    fill(*request.mutable_oidc_init()->mutable_client_params(), made);
    request.mutable_oidc_init()->set_id_token(jwt);
  };
  std::string error;
  const auto proxy_client = connect_to_proxy();
  const auto bot = join_v1(*proxy_client, "pods", init, error);
  ASSERT_TRUE(bot) << error;
  const auto auth_client = connect(*bot);
  const auto again = join_v1(*auth_client, "pods", init, error);
  ASSERT_TRUE(again) << error;
  EXPECT_EQ(again->identity().bot_instance_id, bot->identity().bot_instance_id);
  EXPECT_EQ(again->identity().generation, 2u);
  const auto wrong = [&](v1::JoinRequest& request, Credentials& made) {
    init(request, made);
    request.mutable_oidc_init()->set_id_token(jwt + "A");
  };
  EXPECT_FALSE(join_v1(*proxy_client, "pods", wrong, error));
}

TEST_F(LabJoinStreams, methods_reach_the_newer_stream_with_their_versions) {
  std::string error;
  const auto init = [&](v1::JoinRequest& request, Credentials& made) {
    fill(*request.mutable_oidc_init()->mutable_client_params(), made);
  };
  const auto client = connect_to_proxy();
  service().set_version("18.4.0");
  EXPECT_FALSE(join_v1(*client, "pods", init, error));
  EXPECT_NE(error.find("ended by 12"), std::string::npos) << error;
  service().set_version("18.2.0");
  EXPECT_FALSE(join_v1(*client, new_token(), init, error));
  EXPECT_NE(error.find("ended by 12"), std::string::npos) << error;
}

TEST_F(LabJoinStreams, a_client_is_told_when_it_says_what_it_may_not) {
  const auto client = connect_to_proxy();
  const auto refused = [&](const v1::JoinRequest& first) {
    const auto stream = client->open(kNewer);
    client->send(stream, first.SerializeAsString(), true);
    return client->finish(stream);
  };
  auto forged = hello("pods");
  forged.mutable_client_init()->set_forwarded_by_proxy(true);
  EXPECT_EQ(refused(forged).code, 7);
  auto method = hello("pods");
  method.mutable_client_init()->set_join_method("token");
  EXPECT_EQ(refused(method).code, 3);
  EXPECT_EQ(refused(v1::JoinRequest()).code, 3);
  const auto stream = client->open(kNewer);
  client->send(stream, hello("pods").SerializeAsString());
  EXPECT_EQ(response(*client, stream, 0).init().join_method(), "kubernetes");
  v1::JoinRequest giving_up;
  giving_up.mutable_giving_up()->set_reason(1);
  giving_up.mutable_giving_up()->set_msg("cannot");
  client->send(stream, giving_up.SerializeAsString(), true);
  EXPECT_EQ(client->finish(stream).code, 3);
}

TEST_F(LabJoinStreams, a_keypair_joins_by_both_streams) {
  lab::KeyPtr joining(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
  std::string state;
  std::optional<Credentials> bot;
  {
    // The older one: rotation, challenge, certificates.
    Credentials made;
    const auto client = connect_to_proxy();
    const auto stream = client->open(kOlder);
    using Request = proto::RegisterUsingBoundKeypairMethodRequest;
    const auto next = [&](std::size_t index) {
      proto::RegisterUsingBoundKeypairMethodResponse parsed;
      parsed.ParseFromString(client->message(stream, index));
      return parsed;
    };
    Request init;
    auto& join = *init.mutable_init()->mutable_join_request();
    join.set_role("Bot");
    join.set_token("bound");
    join.set_publictlskey(lab::public_key_pem(made.key));
    join.set_publicsshkey(line(made.key));
    init.mutable_init()->set_initial_join_secret("registration");
    client->send(stream, init.SerializeAsString());
    ASSERT_TRUE(next(0).has_rotation());
    Request rotated;
    rotated.mutable_rotation_response()->set_public_key(line(joining));
    client->send(stream, rotated.SerializeAsString());
    ASSERT_TRUE(next(1).has_challenge());
    EXPECT_EQ(next(1).challenge().public_key(), line(joining));
    Request solved;
    solved.mutable_challenge_response()->set_solution(
        lab::sign_jws(joining, next(1).challenge().challenge()));
    client->send(stream, solved.SerializeAsString());
    const auto certs = next(2).certs();
    EXPECT_EQ(certs.public_key(), line(joining));
    state = certs.join_state();
    EXPECT_TRUE(client->finish(stream).ok());
    const std::string& pem = certs.certs().tls();
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
    made.certificate = {PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free};
    bot = made;
  }
  {
    // The newer one, authenticated at Auth: challenge, result.
    Credentials made;
    const auto client = connect(*bot);
    const auto stream = client->open(kNewer);
    client->send(stream, hello("bound").SerializeAsString());
    EXPECT_EQ(response(*client, stream, 0).init().join_method(), "bound_keypair");
    v1::JoinRequest init;
    fill(*init.mutable_bound_keypair_init()->mutable_client_params(), made);
    init.mutable_bound_keypair_init()->set_previous_join_state(state);
    client->send(stream, init.SerializeAsString());
    const auto challenge = response(*client, stream, 1).challenge().bound_keypair_challenge();
    EXPECT_EQ(challenge.public_key(), line(joining));
    v1::JoinRequest solved;
    solved.mutable_solution()->mutable_bound_keypair_challenge_solution()->set_solution(
        lab::sign_jws(joining, challenge.challenge()));
    client->send(stream, solved.SerializeAsString());
    const auto result = response(*client, stream, 2).result().bot_result();
    EXPECT_NE(result.bound_keypair_result().join_state(), state);
    made.certificate = from_der(result.certificates().tls_cert());
    EXPECT_EQ(made.identity().bot_instance_id, bot->identity().bot_instance_id);
    EXPECT_EQ(made.identity().generation, 2u);
    EXPECT_TRUE(client->finish(stream).ok());
  }
  EXPECT_EQ(service().token("bound")->bound.recoveries, 1);
}

TEST_F(LabJoinStreams, the_proxy_serves_joins_only_and_answers_for_an_auth_that_is_down) {
  const auto client = connect_to_proxy();
  EXPECT_EQ(client->call("/proto.AuthService/Ping", proto::PingRequest()).code, 12);
  auth().set_legacy_joins(false);
  EXPECT_EQ(client->call(kOlder, proto::RegisterUsingBoundKeypairMethodRequest()).code, 12);
  auth().set_legacy_joins(true);
  auth().stop();
  EXPECT_EQ(client->call(kOlder, proto::RegisterUsingBoundKeypairMethodRequest()).code, 14);
}

}  // namespace
