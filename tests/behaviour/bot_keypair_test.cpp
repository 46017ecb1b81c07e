// Joining by a key that is bound to the join token (bound_keypair): how the key gets there, stays
// there and changes, and what is done when it is not clear how a join ended.
#include <algorithm>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <openssl/pem.h>
#include <sys/stat.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/public_key.hpp"
#include "tests/support/bot_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;
using support::Response;
using Fault = lab::CallFault;

constexpr const char* older = "RegisterUsingBoundKeypairMethod";
constexpr const char* newer = "Join";
constexpr const char* secret = "registration-hunter2";

class BotKeypair : public support::BotFixture {
 protected:
  BotKeypair() {
    method = "bound_keypair";
    join_token = "build-host";
    storage = "{type: directory, path: " + store().string() + "}";
    keypair_rules.registration_secret = secret;
    onboarding_more = std::string("  bound_keypair: {registration_secret: ") + secret + "}\n";
  }
  fs::path store() const { return directory() / "bot"; }
  static std::string text(const fs::path& path) {
    std::ifstream file(path);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }
  static std::string trimmed(std::string line) {
    while (line.ends_with('\n')) line.pop_back();
    return line;
  }
  static lab::KeyPtr ed25519() {
    return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free};
  }
  static std::string line_of(const lab::KeyPtr& key) {
    return lab::ssh::line_from_wire(lab::ssh::wire_key(key));
  }
  lab::JoinToken token() { return *auth().service().token(join_token); }
  void change_rules(const std::function<void(lab::BoundKeypairRules&)>& edit) {
    lab::JoinToken changed = token();
    edit(changed.bound_keypair);
    auth().service().put_token(changed);
  }
  std::size_t joins() { return auth().calls().count(older) + auth().calls().count(newer); }
  void without_secret() { onboarding_more.clear(); }
  void short_lives() { lifetimes = "credential_ttl: 30s\nrenewal_interval: 1s\nleeway: 0s\n"; }
  // A restart with nothing but the joining key.
  void restart_without_certificate() {
    kubelane().signal(SIGTERM);
    kubelane().wait_exit();
    fs::remove(store() / "tlscert");
    start_kubelane(bot_config());
  }
  std::string stop_line() {
    const auto line = kubelane().wait_for_line("the bot has stopped renewing");
    return line.value_or("");
  }
  // It calls Auth no more, for as long as two renewals would take.
  void expect_silence() {
    const std::size_t before = joins();
    EXPECT_FALSE(auth().wait_for(
        [&](const lab::AuthCalls& seen) { return seen.count(older) + seen.count(newer) > before; },
        std::chrono::milliseconds(2500)));
    EXPECT_TRUE(kubelane().running());
  }
};

TEST_F(BotKeypair, a_registration_secret_binds_a_key_that_stays_on_this_machine) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  for (const char* name : {"id_bkp", "id_bkp.pub", "bkp_state", "bkp_key_history.json", "tlscert",
                           "key", "tokenhash"}) {
    struct stat status {};
    ASSERT_EQ(::stat((store() / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777u, 0600u) << name;
  }
  EXPECT_FALSE(fs::exists(store() / "kubelane-joining"));
  EXPECT_EQ(trimmed(text(store() / "id_bkp.pub")), token().bound.public_key);
  EXPECT_TRUE(token().bound.public_key.starts_with("ssh-ed25519 "));
  EXPECT_NE(
      text(store() / "bkp_key_history.json").find(R"("private_key":"-----BEGIN PRIVATE KEY-)"),
      std::string::npos);
  EXPECT_EQ(auth().calls().count(older), 1u);
  EXPECT_EQ(auth().calls().count(newer), 0u);
  EXPECT_TRUE(auth().calls().last(older)->through_proxy);
  const std::string key = text(store() / "id_bkp").substr(30, 60);
  for (const std::string& line : kubelane().error_lines()) {
    EXPECT_EQ(line.find(secret), std::string::npos) << line;
    EXPECT_EQ(line.find(key), std::string::npos) << line;
  }
}

TEST_F(BotKeypair, rejoins_at_auth_keep_the_instance_and_cost_no_recovery) {
  short_lives();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  std::size_t failures = 0;
  ASSERT_TRUE(eventually([&] {
    if (get("/bytes/10").status != 200) ++failures;
    return generation() >= 4;
  }));
  EXPECT_EQ(failures, 0u);
  EXPECT_FALSE(auth().calls().last(older)->through_proxy);
  EXPECT_EQ(auth().service().instances().size(), 1u);
  EXPECT_EQ(token().bound.recoveries, 1);
  EXPECT_GE(token().bound.joins, 4);
}

TEST_F(BotKeypair, a_restart_goes_on_and_needs_no_secret_any_more) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(stop_kubelane(), 0);
  without_secret();
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(auth().service().instances().size(), 1u);
  EXPECT_EQ(token().bound.recoveries, 1);
  EXPECT_EQ(token().bound.joins, 2);
}

TEST_F(BotKeypair, a_machine_that_was_off_for_long_comes_back_by_its_key) {
  keypair_rules.recovery_limit = 2;
  ASSERT_NO_FATAL_FAILURE(start_bot());
  without_secret();
  restart_without_certificate();
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(token().bound.recoveries, 2);
  EXPECT_EQ(auth().service().instances().size(), 2u);
  // The next one is one too many, until an administrator allows it.
  restart_without_certificate();
  ASSERT_TRUE(logged("no recovery attempts remaining"));
  EXPECT_TRUE(logged("recovery mode and limit"));
  EXPECT_EQ(token().bound.recoveries, 2);
  change_rules([](lab::BoundKeypairRules& rules) { rules.mode = "relaxed"; });
  kubelane().signal(SIGHUP);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotKeypair, a_directory_of_tbots_is_taken_over) {
  // As `tbot keypair create` leaves it: a key that an administrator registers.
  const lab::KeyPtr key = ed25519();
  fs::create_directory(store());
  fs::permissions(store(), fs::perms::owner_all);
  std::ofstream(store() / "id_bkp") << lab::key_pem(key);
  std::ofstream(store() / "id_bkp.pub") << line_of(key) << "\n";
  keypair_rules.registration_secret.clear();
  keypair_rules.initial_public_key = line_of(key);
  without_secret();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(token().bound.public_key, line_of(key));
  EXPECT_EQ(trimmed(text(store() / "id_bkp.pub")), line_of(key));
}

TEST_F(BotKeypair, a_key_is_made_before_the_first_start_and_registered) {
  const auto create = [&] {
    support::Process command(KUBELANE_BINARY, {"keypair", "create", "--storage", store().string()});
    EXPECT_EQ(command.wait_exit().value_or(-1), 0);
    return trimmed(command.output());
  };
  const std::string line = create();
  EXPECT_TRUE(line.starts_with("ssh-ed25519 ")) << line;
  EXPECT_EQ(create(), line);  // it is not replaced
  keypair_rules.registration_secret.clear();
  keypair_rules.initial_public_key = line;
  without_secret();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  // Not beside a kubelane that runs.
  support::Process beside(KUBELANE_BINARY, {"keypair", "create", "--storage", store().string()});
  EXPECT_EQ(beside.wait_exit().value_or(-1), 1);
  EXPECT_TRUE(beside.wait_for_line("another process"));
}

TEST_F(BotKeypair, the_secret_may_stand_in_a_file_or_in_the_environment) {
  std::ofstream(directory() / "secret") << secret << "\n";
  onboarding_more =
      "  bound_keypair: {registration_secret_path: " + (directory() / "secret").string() + "}\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(stop_kubelane(), 0);
  fs::remove_all(store());
  put_token();
  without_secret();
  environment["TBOT_REGISTRATION_SECRET"] = secret;
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotKeypair, a_key_of_ones_own_needs_no_disk) {
  const lab::KeyPtr key = lab::make_key(lab::KeyKind::ecdsa);
  std::ofstream(directory() / "static.pem") << lab::key_pem(key);
  storage = "{type: memory}";
  keypair_rules.registration_secret.clear();
  keypair_rules.initial_public_key = line_of(key);
  keypair_rules.mode = "insecure";
  onboarding_more =
      "  bound_keypair: {static_private_key_path: " + (directory() / "static.pem").string() + "}\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(stop_kubelane(), 0);
  without_secret();
  environment["TBOT_BOUND_KEYPAIR_STATIC_KEY"] = lab::base64(lab::key_pem(key));
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(token().bound.joins, 2);
  for (const auto& entry : fs::recursive_directory_iterator(directory())) {
    if (entry.is_regular_file() && entry.path().filename() != "static.pem") {
      EXPECT_EQ(text(entry.path()).find("PRIVATE KEY"), std::string::npos) << entry.path();
    }
  }
  // It cannot follow a wish for another one, and says so.
  change_rules([](lab::BoundKeypairRules& rules) { rules.rotate = true; });
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(logged("take rotate_after out of the token"));
  EXPECT_EQ(token().bound.public_key, line_of(key));
}

TEST_F(BotKeypair, memory_would_lose_the_key_and_is_refused) {
  storage = "{type: memory}";
  start_teleport();
  start_kubelane(bot_config());
  EXPECT_EQ(kubelane().wait_exit().value_or(-1), 2);
  EXPECT_TRUE(logged("give storage a directory"));
  EXPECT_TRUE(logged("static_private_key_path"));
  EXPECT_EQ(joins(), 0u);
}

TEST_F(BotKeypair, the_key_changes_when_teleport_asks) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::string before = token().bound.public_key;
  change_rules([](lab::BoundKeypairRules& rules) { rules.rotate = true; });
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return token().bound.public_key != before; }));
  ASSERT_TRUE(eventually(
      [&] { return trimmed(text(store() / "id_bkp.pub")) == token().bound.public_key; }));
  EXPECT_EQ(token().bound.recoveries, 1);
  // The new one joins alone, too.
  change_rules([](lab::BoundKeypairRules& rules) { rules.recovery_limit = 2; });
  restart_without_certificate();
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(token().bound.recoveries, 2);
}

TEST_F(BotKeypair, the_key_is_of_the_kind_that_the_cluster_wants) {
  auth_options.suite = lab::Suite::fips_v1;
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_TRUE(token().bound.public_key.starts_with("ecdsa-sha2-nistp256 "));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotKeypair, a_new_key_that_cannot_be_stored_is_told_to_nobody) {
  fs::create_directories(store() / ".bkp_key_history.json.new" / "in-the-way");
  start_teleport();
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("cannot write bkp_key_history.json"));
  EXPECT_EQ(token().bound.public_key, "");
  EXPECT_EQ(token().bound.joins, 0);
  fs::remove_all(store() / ".bkp_key_history.json.new");
  ASSERT_NO_FATAL_FAILURE(wait_ready());  // by itself
}

// ---------------------------------------------------------------- ways and versions

struct Way {
  const char* name;
  const char* version;
  bool legacy;
  const char* path;  // onboarding.join_path
  std::size_t by_older;
  std::size_t by_newer;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class BotKeypairWays : public BotKeypair, public testing::WithParamInterface<Way> {};

TEST_P(BotKeypairWays, a_way_is_found_and_one_alone_is_gone) {
  const Way& way = GetParam();
  auth_options.server_version = way.version;
  onboarding_more += std::string("  join_path: ") + way.path + "\n";
  start_teleport();
  auth().set_legacy_joins(way.legacy);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(auth().calls().count(older), way.by_older);
  EXPECT_EQ(auth().calls().count(newer), way.by_newer);
  EXPECT_EQ(token().bound.joins, 1);
  // And at Auth, with the certificate.
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return token().bound.joins == 2; }));
  EXPECT_EQ(token().bound.recoveries, 1);
  EXPECT_EQ(trimmed(text(store() / "id_bkp.pub")), token().bound.public_key);
}

INSTANTIATE_TEST_SUITE_P(Ways, BotKeypairWays,
                         testing::Values(Way{"v17", "17.7.0", true, "auto", 1, 0},
                                         Way{"v18", "18.1.0", true, "auto", 1, 0},
                                         Way{"v18_switched_off", "18.5.0", false, "auto", 1, 1},
                                         Way{"v18_by_choice", "18.5.0", true, "grpc", 0, 1}),
                         [](const auto& each) { return each.param.name; });

TEST_F(BotKeypair, a_teleport_that_is_too_old_is_named) {
  auth_options.server_version = "16.4.0";
  start_teleport();
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("Teleport 16.4.0 does not know join method bound_keypair"));
  EXPECT_EQ(joins(), 0u);
  EXPECT_EQ(stop_kubelane(), 0);
  auth().service().set_version("18.0.0");
  proxy().set_server_version("18.0.0");
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("takes no joins by bound_keypair"));
  EXPECT_TRUE(kubelane().running());
}

TEST_F(BotKeypair, a_secret_that_was_refused_is_not_tried_on_another_way) {
  keypair_rules.registration_secret = "another";
  start_teleport();
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("a valid registration secret is required"));
  EXPECT_TRUE(logged("spec.bound_keypair"));
  EXPECT_EQ(auth().calls().count(older), 1u);
  EXPECT_EQ(auth().calls().count(newer), 0u);
  change_rules([](lab::BoundKeypairRules& rules) { rules.registration_secret = secret; });
  kubelane().signal(SIGHUP);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
}

TEST_F(BotKeypair, without_key_and_secret_it_says_what_is_missing) {
  without_secret();
  start_teleport();
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("no key yet and no registration secret"));
  EXPECT_EQ(joins(), 0u);
}

// ---------------------------------------------------------------- what is not clear

TEST_F(BotKeypair, a_lost_answer_to_the_first_join_is_never_repeated_by_itself) {
  start_teleport();
  auth().inject(older, {Fault::Kind::lose_answer});
  start_kubelane(bot_config());
  EXPECT_NE(stop_line().find("tctl bots instances ls"), std::string::npos) << stop_line();
  EXPECT_EQ(token().bound.joins, 1);  // it was carried out
  expect_silence();
  EXPECT_EQ(joins(), 1u);
  // Neither does a restart.
  EXPECT_EQ(stop_kubelane(), 0);
  start_kubelane(bot_config());
  EXPECT_NE(stop_line(), "");
  expect_silence();
  EXPECT_EQ(joins(), 1u);
  // The key was stored before it was told: with an administrator's help it joins.
  change_rules([](lab::BoundKeypairRules& rules) { rules.mode = "insecure"; });
  kubelane().signal(SIGHUP);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(trimmed(text(store() / "id_bkp.pub")), token().bound.public_key);
  EXPECT_TRUE(auth().service().locks().empty());
}

TEST_F(BotKeypair, a_break_before_the_proof_is_simply_tried_again) {
  start_teleport();
  auth().inject(older, {Fault::Kind::drop});
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(token().bound.joins, 1);
  EXPECT_EQ(joins(), 2u);
}

TEST_F(BotKeypair, a_kill_between_proof_and_answer_is_not_repeated_either) {
  start_teleport();
  Fault late{Fault::Kind::late_answer};
  late.delay = std::chrono::seconds(30);
  auth().inject(older, late);
  start_kubelane(bot_config());
  ASSERT_TRUE(eventually([&] { return token().bound.joins == 1; }));
  kubelane().signal(SIGKILL);
  kubelane().wait_exit();
  start_kubelane(bot_config());
  EXPECT_NE(stop_line(), "");
  expect_silence();
  EXPECT_EQ(joins(), 1u);
}

TEST_F(BotKeypair, a_lost_answer_to_a_rejoin_waits_and_a_mismatch_then_stops_it_loudly) {
  lifetimes = "credential_ttl: 60s\nrenewal_interval: 3s\nleeway: 0s\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().inject(older, {Fault::Kind::lose_answer});
  ASSERT_TRUE(logged("the answer to a join by the bot's key was lost"));
  const std::size_t before = joins();
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_TRUE(auth().service().locks().empty());
  // What fails meanwhile for another reason does not make it forget.
  auth().inject(older, {Fault::Kind::drop});
  ASSERT_TRUE(auth().wait_for([&](const lab::AuthCalls& seen) {
    return seen.count(older) == before + 1 && seen.last(older)->done_at.has_value();
  }));
  ASSERT_TRUE(logged("the bot cannot renew; trying again"));
  EXPECT_TRUE(fs::exists(store() / "kubelane-joining"));
  // The next one, an interval later, shows Teleport an older join state than its own.
  const std::string line = stop_line();
  EXPECT_EQ(joins(), before + 2);
  EXPECT_NE(line.find("join state"), std::string::npos) << line;
  EXPECT_NE(line.find("tctl rm lock"), std::string::npos) << line;
  ASSERT_EQ(auth().service().locks().size(), 1u);
  EXPECT_EQ(auth().service().locks()[0].name, join_token);
  expect_silence();
  // What the log says heals it.
  auth().service().unlock(lab::Lock::Target::join_token, join_token);
  change_rules([](lab::BoundKeypairRules& rules) { rules.mode = "insecure"; });
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(logged("the bot works again"));
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_TRUE(auth().service().locks().empty());
}

TEST_F(BotKeypair, somebody_else_with_the_same_certificate_stops_it_at_once) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().service().set_generation(auth().service().instances()[0].id, 7);
  kubelane().signal(SIGHUP);
  const std::string line = stop_line();
  EXPECT_NE(line.find("generation mismatch"), std::string::npos) << line;
  EXPECT_NE(line.find("recovery.mode: insecure"), std::string::npos) << line;
  expect_silence();
  // A restart does not show the refused certificate again.
  EXPECT_EQ(stop_kubelane(), 0);
  auth().service().unlock(lab::Lock::Target::join_token, join_token);
  change_rules([](lab::BoundKeypairRules& rules) { rules.mode = "insecure"; });
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_TRUE(auth().service().locks().empty());
}

TEST_F(BotKeypair, an_older_copy_of_the_storage_is_found_out) {
  keypair_rules.recovery_limit = 9;
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::string state = text(store() / "bkp_state");
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return text(store() / "bkp_state") != state; }));
  EXPECT_EQ(stop_kubelane(), 0);
  std::ofstream(store() / "bkp_state") << state;
  fs::remove(store() / "tlscert");
  start_kubelane(bot_config());
  EXPECT_NE(stop_line().find("a restored backup"), std::string::npos) << stop_line();
  expect_silence();
  EXPECT_EQ(auth().service().locks().size(), 1u);
}

TEST_F(BotKeypair, a_proof_that_was_not_accepted_leaves_the_key_for_the_next) {
  start_teleport();
  auth().service().mix_up_nonces(1);
  start_kubelane(bot_config());
  ASSERT_TRUE(logged("invalid challenge solution"));
  EXPECT_EQ(token().bound.joins, 0);
  const std::string history = text(store() / "bkp_key_history.json");
  kubelane().signal(SIGHUP);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(text(store() / "bkp_key_history.json"), history);
}

TEST_F(BotKeypair, while_auth_is_away_no_recovery_is_spent) {
  short_lives();
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().stop();
  ASSERT_TRUE(logged("the bot cannot renew; trying again"));
  EXPECT_EQ(get("/bytes/10").status, 200);
  const int before = token().bound.joins;
  auth().start();
  ASSERT_TRUE(eventually([&] { return token().bound.joins > before; }));
  EXPECT_EQ(token().bound.recoveries, 1);
  EXPECT_EQ(auth().service().instances().size(), 1u);
}

}  // namespace
