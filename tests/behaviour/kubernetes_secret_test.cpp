// Secrets of the cluster that kubelane runs in: the bot's identity in one, kubeconfigs in others,
// with an API server that is slow, dead, of another opinion, or in other hands as well.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <openssl/pem.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/secret_api.hpp"
#include "tests/support/bot_fixture.hpp"
#include "tests/support/tbot_bot.hpp"

namespace {

using Fault = lab::SecretApi::Fault;
using support::eventually;

class InCluster : public support::BotFixture {
 protected:
  InCluster() { environment = api().environment("kubelane-a"); }
  lab::SecretApi& api() { return api_; }
  std::string text(const boost::json::object& object, const char* part, const char* field) const {
    const boost::json::value* found = object.at(part).as_object().if_contains(field);
    return found == nullptr ? "" : std::string(found->as_string());
  }
  std::string holder() const {
    const auto lease = api_.object("leases", "bot");
    return lease ? text(*lease, "spec", "holderIdentity") : "none";
  }

 private:
  lab::SecretApi api_{directory() / "service-account"};
};

// ---- the bot's own identity

class SecretStorage : public InCluster {
 protected:
  SecretStorage() {
    method = "token";
    join_token = "s3cr3t-for-one-join";
    storage = "{type: kubernetes_secret, name: bot, labels: {app: kubelane}}";
  }
  std::size_t self_renewals() {
    const lab::AuthCalls seen = auth().calls();
    return static_cast<std::size_t>(
        std::count_if(seen.calls.begin(), seen.calls.end(),
                      [](const lab::AuthCall& call) { return call.self_renewal(); }));
  }
  // The stored certificate is of the generation that Auth has counted, and nothing is under way.
  bool stored_is_newest() {
    const std::string pem = api().value("bot", "tlscert");
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
    const lab::CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                          X509_free);
    if (!certificate || !api().value("bot", "kubelane-renewing").empty()) return false;
    const auto values = lab::subject_values(certificate.get(), "1.3.9999.1.14");
    return !values.empty() && values.front() == std::to_string(generation());
  }
  void renew() {
    const std::uint64_t before = generation();
    kubelane().signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return generation() > before && stored_is_newest(); }));
  }
  void expect_no_lock() {
    for (const std::string& line : kubelane().error_lines())
      EXPECT_EQ(line.find("mismatch"), std::string::npos) << line;
    EXPECT_EQ(auth().service().instances().size(), 1u);
    EXPECT_EQ(auth().calls().joins(), 1u);
  }
};

TEST_F(SecretStorage, a_restart_goes_on_with_the_same_instance) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  for (const char* name :
       {"tlscert", "key-cert.pub", "key", "key.pub", "tlscacerts", "sshcacerts", "tokenhash"})
    EXPECT_NE(api().value("bot", name), "") << name;
  EXPECT_EQ(api().label("bot", "app"), "kubelane");
  EXPECT_EQ(holder(), "kubelane-a");
  ASSERT_NO_FATAL_FAILURE(renew());
  EXPECT_EQ(stop_kubelane(), 0);
  EXPECT_EQ(holder(), "") << "the next pod need not wait";
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_GE(generation(), 3u);
  expect_no_lock();
  for (const lab::SecretApi::Call& call : api().calls())
    if (call.method == "PATCH") {
      EXPECT_EQ(call.content_type, "application/apply-patch+yaml");
      EXPECT_NE(call.query.find("fieldManager=kubelane"), std::string::npos);
    }
}

TEST_F(SecretStorage, the_key_is_in_no_log) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::string key = api().value("bot", "key");
  const std::string part = key.substr(key.find('\n') + 66, 40);
  api().inject("PATCH", "secrets", Fault::unavailable, 1);
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("etcdserver"));
  EXPECT_EQ(stop_kubelane(), 0);
  for (const std::string& line : kubelane().error_lines()) {
    EXPECT_EQ(line.find(part), std::string::npos);
    EXPECT_EQ(line.find(lab::base64(key).substr(0, 40)), std::string::npos);
    EXPECT_EQ(line.find("service-account-token"), std::string::npos);
  }
}

TEST_F(SecretStorage, a_second_replica_gets_a_clear_error_and_no_lock) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  std::ofstream(directory() / "second.yaml") << bot_config();
  support::Process second(KUBELANE_BINARY, {"start", "-c", (directory() / "second.yaml").string()},
                          api().environment("kubelane-b"));
  EXPECT_TRUE(second.wait_for_line("the bot's storage is in use by pod \\\"kubelane-a\\\""));
  EXPECT_TRUE(second.wait_for_line("run one replica"));
  ASSERT_NO_FATAL_FAILURE(renew());
  EXPECT_EQ(get("/bytes/10").status, 200);
  // It takes over when the first has gone, and not before.
  EXPECT_EQ(stop_kubelane(), 0);
  EXPECT_TRUE(second.wait_for_line("kubelane is ready"));
  EXPECT_EQ(holder(), "kubelane-b");
  expect_no_lock();
}

TEST_F(SecretStorage, a_pod_that_died_is_not_waited_for_longer_than_its_lease) {
  api().put_lease("bot", "kubelane-dead", 1);
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_TRUE(logged("a pod that gives no sign of life"));
  EXPECT_EQ(holder(), "kubelane-a");
}

TEST_F(SecretStorage, a_conflict_is_read_again) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().inject("PATCH", "secrets", Fault::conflict, 3);
  ASSERT_NO_FATAL_FAILURE(renew());
  expect_no_lock();
}

TEST_F(SecretStorage, a_lost_answer_loses_nothing) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().inject("PATCH", "secrets", Fault::lose_answer, 1);  // before the renewal
  ASSERT_NO_FATAL_FAILURE(renew());
  api().inject("PATCH", "secrets", Fault::lose_answer, 1, 1);  // behind it
  ASSERT_NO_FATAL_FAILURE(renew());
  ASSERT_NO_FATAL_FAILURE(renew());
  expect_no_lock();
}

TEST_F(SecretStorage, what_could_not_be_stored_is_stored_later) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().inject("PATCH", "secrets", Fault::unavailable, 2, 1);
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("the bot's new identity cannot be stored; trying again"));
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_TRUE(logged("the bot's identity is stored now"));
  EXPECT_TRUE(eventually([&] { return stored_is_newest(); }));
  EXPECT_EQ(stop_kubelane(), 0);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect_no_lock();
}

TEST_F(SecretStorage, a_dead_api_server_stops_renewals_but_not_service) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::size_t before = self_renewals();
  const std::size_t others = auth().calls().calls.size();
  api().go_down();
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("the bot cannot renew; trying again"));
  // What reaches clusters is renewed all the same.
  EXPECT_TRUE(eventually([&] { return auth().calls().calls.size() > others + 1; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(self_renewals(), before) << "a renewal whose answer cannot be kept locks the bot out";
  api().come_up();
  EXPECT_TRUE(eventually([&] { return self_renewals() > before && stored_is_newest(); }));
  expect_no_lock();
}

TEST_F(SecretStorage, a_silent_api_server_holds_up_nobody) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().inject("", "", Fault::hang, -1);
  kubelane().signal(SIGHUP);
  const std::size_t calls = api().calls().size();
  ASSERT_TRUE(eventually([&] { return api().calls().size() > calls; }));
  EXPECT_EQ(get("/bytes/10").status, 200);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(stop_kubelane(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, support::patience());
}

TEST_F(SecretStorage, a_missing_permission_is_named_before_the_token_is_spent) {
  start_teleport();
  api().forbid("create", "secrets");
  start_kubelane(bot_config());
  EXPECT_TRUE(logged("does not let kubelane create Secret \\\"apps/bot\\\""));
  EXPECT_TRUE(logged(
      "a Role with the rules {apiGroups: [\\\"\\\"], resources: [secrets], resourceNames: [bot], "
      "verbs: [get, patch]} and {apiGroups: [\\\"\\\"], resources: [secrets], verbs: [create]}"));
  EXPECT_EQ(auth().calls().joins(), 0u);
  api().allow_all();
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(auth().calls().joins(), 1u);
}

TEST_F(SecretStorage, a_missing_permission_for_the_lease_is_named_too) {
  start_teleport();
  api().forbid("get", "leases");
  start_kubelane(bot_config());
  EXPECT_TRUE(
      logged("{apiGroups: [\\\"coordination.k8s.io\\\"], resources: [leases], resourceNames: "
             "[bot], verbs: [get, update]}"));
}

// The Secret has gone through other hands meanwhile: what is there is newer than what we have.
TEST_F(SecretStorage, a_newer_generation_is_taken_and_never_overwritten) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  kubelane().signal(SIGSTOP);
  api().put_lease("bot", "", 1);
  std::ofstream(directory() / "second.yaml") << bot_config();
  {
    support::Process second(KUBELANE_BINARY,
                            {"start", "-c", (directory() / "second.yaml").string()},
                            api().environment("kubelane-b"));
    ASSERT_TRUE(second.wait_for_line("kubelane is ready"));
    second.signal(SIGTERM);
    EXPECT_EQ(second.wait_exit().value_or(-1), 0);
  }
  const std::uint64_t theirs = generation();
  kubelane().signal(SIGCONT);
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("somebody else has put another identity into"));
  EXPECT_TRUE(eventually([&] { return generation() > theirs && stored_is_newest(); }));
  EXPECT_EQ(get("/bytes/10").status, 200);
  expect_no_lock();
}

TEST_F(SecretStorage, a_deleted_secret_is_made_again) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().remove("secrets", "bot");
  ASSERT_NO_FATAL_FAILURE(renew());
  expect_no_lock();
}

TEST_F(SecretStorage, tbots_secret_is_taken_over) {
  start_teleport();
  api().put_secret("bot", support::join_as_tbot(proxy(), join_token, lab::KeyKind::ecdsa), "tbot");
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_GE(generation(), 2u);
  EXPECT_TRUE(eventually([&] { return stored_is_newest(); }));
  expect_no_lock();
}

TEST_F(SecretStorage, the_service_accounts_token_is_read_anew) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  api().rotate_token();
  ASSERT_NO_FATAL_FAILURE(renew());
}

TEST_F(SecretStorage, outside_a_pod_it_ends_with_the_reason) {
  start_teleport();
  environment = {{"KUBERNETES_SERVICE_HOST", ""}};
  start_kubelane(bot_config());
  EXPECT_EQ(kubelane().wait_exit().value_or(-1), 1);
  EXPECT_TRUE(logged("KUBERNETES_SERVICE_HOST is not set"));
}

// ---- kubeconfigs

class KubeconfigSecret : public InCluster {
 protected:
  KubeconfigSecret() {
    kubeconfig_goes_to = "{type: kubernetes_secret, name: out, labels: {team: web}}";
  }
  std::string written() { return api().value("out", "kubeconfig.yaml"); }
  // Through kubelane, as whoever reads the Secret.
  int ask() {
    const std::filesystem::path file = directory() / "read-from-the-secret.yaml";
    std::ofstream(file) << written();
    const support::LocalEndpoint to = support::read_endpoint(file);
    support::TlsClient local = connect(to);
    local.write("GET " + to.prefix + "/bytes/10 HTTP/1.1\r\nHost: " + to.host_header() +
                "\r\nAuthorization: Bearer " + to.token + "\r\n\r\n");
    return local.read_response().status;
  }
  void start_and_wait() {
    start_teleport();
    start_kubelane(bot_config());
    ASSERT_TRUE(logged("kubelane is ready"));
  }
};

TEST_F(KubeconfigSecret, works_for_who_reads_it) {
  ASSERT_NO_FATAL_FAILURE(start_and_wait());
  EXPECT_EQ(ask(), 200);
  EXPECT_EQ(api().label("out", "team"), "web");
  EXPECT_EQ(api().done("PATCH", "secrets"), 1u) << "and is not written without need";
}

TEST_F(KubeconfigSecret, other_keys_and_tbots_own_give_way_as_they_should) {
  api().put_secret("out", {{"kubeconfig.yaml", "old"}, {"tlscert", "x"}}, "tbot");
  api().put_secret("out", {{"note", "mine"}}, "kubectl");
  ASSERT_NO_FATAL_FAILURE(start_and_wait());
  EXPECT_EQ(ask(), 200);
  EXPECT_EQ(api().value("out", "note"), "mine");
}

TEST_F(KubeconfigSecret, another_owners_key_is_left_alone) {
  start_teleport();
  api().put_secret("out", {{"kubeconfig.yaml", "theirs"}}, "helm");
  start_kubelane(bot_config());
  EXPECT_TRUE(logged("the key kubeconfig.yaml of Secret \\\"apps/out\\\" belongs to \\\"helm\\\""));
  EXPECT_EQ(written(), "theirs");
}

TEST_F(KubeconfigSecret, trouble_is_told_and_overcome) {
  start_teleport();
  api().forbid("patch", "secrets");
  start_kubelane(bot_config());
  EXPECT_TRUE(logged("does not let kubelane patch Secret \\\"apps/out\\\""));
  EXPECT_TRUE(logged("resourceNames: [out], verbs: [get, patch]"));
  api().go_down();
  api().allow_all();
  EXPECT_TRUE(logged("the API server", kubelane().error_lines().size()));
  api().inject("PATCH", "secrets", Fault::conflict, 1);
  api().inject("PATCH", "secrets", Fault::lose_answer, 1);
  api().come_up();
  EXPECT_TRUE(logged("kubelane is ready"));
  EXPECT_EQ(ask(), 200);
}

// The list of clusters changes: so does the Secret.
TEST_F(KubeconfigSecret, follows_the_clusters) {
  selectors = "[{labels: {env: prod}}]";
  add_cluster("first", {{"env", "prod"}});
  ASSERT_NO_FATAL_FAILURE(start_and_wait());
  EXPECT_EQ(written().find("second"), std::string::npos);
  lab::KubeResource late;
  late.name = "second";
  late.labels = {{"env", "prod"}};
  late.handler = lab::standard_paths(gate());
  auth().service().put_cluster(late);
  EXPECT_TRUE(eventually([&] { return written().find("second") != std::string::npos; }));
}

}  // namespace
