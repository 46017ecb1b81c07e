// What the lab's Auth decides, without a wire: lifetimes, generations, recoveries, predicates.
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/lab/auth_service.hpp"
#include "tests/lab/call_error.hpp"
#include "tests/lab/jwt.hpp"
#include "tests/lab/label_predicate.hpp"
#include "tests/lab/public_key.hpp"

namespace {

using lab::AuthService;
using lab::Lock;

class LabAuthRules : public ::testing::Test {
 protected:
  LabAuthRules() {
    service_.put_role({.name = "kube-access"});
    service_.put_bot("ci", {"kube-access"});
  }
  // What the call is refused with; empty: it is not.
  static std::string refusal(const std::function<void()>& call) {
    try {
      call();
      return "";
    } catch (const lab::CallError& error) {
      return error.message;
    }
  }
  static lab::KeyPtr key() { return lab::make_key(lab::KeyKind::ecdsa); }
  lab::JoinAsk ask(const std::string& token, long ttl = 3600) {
    lab::JoinAsk made;
    made.role = "Bot";
    made.token = token;
    made.tls_key = key();
    made.ssh_key = lab::ssh::wire_key(made.tls_key);
    made.expires = std::time(nullptr) + ttl;
    return made;
  }
  lab::ClientIdentity join(long ttl = 3600) {
    lab::JoinToken token;
    token.name = "secret";
    token.bot = "ci";
    service_.put_token(token);
    return lab::read_identity(service_.join(ask("secret", ttl), std::nullopt).tls.get());
  }
  lab::CertsAsk certs(bool output, long ttl = 3600) {
    lab::CertsAsk made;
    made.username = "bot-ci";
    made.expires = std::time(nullptr) + ttl;
    made.tls_key = key();
    made.use_role_requests = output;
    if (output) made.role_requests = {"kube-access"};
    return made;
  }
  static long left(const lab::ClientIdentity& identity) {
    return identity.not_after - std::time(nullptr);
  }

  AuthService service_{{}};
};

TEST_F(LabAuthRules, lifetimes_are_clamped_by_version_role_and_choice) {
  EXPECT_NEAR(static_cast<double>(left(join(100 * 86'400L))), 12 * 3600, 2);  // the bot's role
  service_.put_bot("ci", {"kube-access"}, 100 * 86'400L);
  EXPECT_NEAR(static_cast<double>(left(join(100 * 86'400L))), 7 * 86'400, 2);
  service_.set_version("16.5.0");
  EXPECT_NEAR(static_cast<double>(left(join(100 * 86'400L))), 86'400, 2);
  service_.set_longest_ttl(5);
  EXPECT_NEAR(static_cast<double>(left(join())), 5, 2);
  EXPECT_NE(refusal([&] { join(-1); }), "");
}

TEST_F(LabAuthRules, an_output_may_outlive_the_bots_certificate_but_a_plain_reissue_may_not) {
  const auto bot = join(60);
  const auto out = lab::read_identity(service_.generate_certs(bot, certs(true)).tls.get());
  EXPECT_NEAR(static_cast<double>(left(out)), 3600, 2);
  auto plain = bot;
  plain.renewable = false;
  const auto again = lab::read_identity(service_.generate_certs(plain, certs(false)).tls.get());
  EXPECT_EQ(again.not_after, bot.not_after);
  EXPECT_EQ(again.generation, bot.generation);
}

TEST_F(LabAuthRules, only_its_own_user_and_its_own_roles_are_given) {
  const auto bot = join();
  auto other = certs(true);
  other.username = "bot-other";
  EXPECT_NE(refusal([&] { service_.generate_certs(bot, other); }), "");
  auto none = certs(true);
  none.role_requests.clear();
  EXPECT_NE(refusal([&] { service_.generate_certs(bot, none); }), "");
  auto leaf = certs(true);
  leaf.route_to_cluster = "leaf.example.com";
  EXPECT_NE(refusal([&] { service_.generate_certs(bot, leaf); }), "");
  auto keyless = certs(true);
  keyless.tls_key = nullptr;
  EXPECT_NE(refusal([&] { service_.generate_certs(bot, keyless); }), "");
}

TEST_F(LabAuthRules, an_instance_that_was_forgotten_goes_on_by_its_certificate) {
  auto bot = join();
  bot = lab::read_identity(service_.generate_certs(bot, certs(false)).tls.get());
  EXPECT_EQ(bot.generation, 2u);
  service_.forget_instance(bot.bot_instance_id);
  EXPECT_EQ(lab::read_identity(service_.generate_certs(bot, certs(false)).tls.get()).generation,
            3u);
  bot.generation.reset();
  EXPECT_NE(refusal([&] { service_.generate_certs(bot, certs(false)); }).find("must be provided"),
            std::string::npos);
}

TEST_F(LabAuthRules, the_lock_of_a_mismatch_has_its_versions_target) {
  for (const auto& [version, target] :
       std::vector<std::pair<std::string, Lock::Target>>{{"16.5.0", Lock::Target::user},
                                                         {"17.5.0", Lock::Target::user},
                                                         {"17.7.1", Lock::Target::bot_instance},
                                                         {"18.0.2", Lock::Target::user},
                                                         {"18.1.0", Lock::Target::bot_instance}}) {
    service_.set_version(version);
    const auto bot = join();
    service_.set_generation(bot.bot_instance_id, 9);
    EXPECT_NE(refusal([&] { service_.generate_certs(bot, certs(false)); }), "");
    ASSERT_EQ(service_.locks().size(), 1u) << version;
    EXPECT_EQ(service_.locks().front().target, target) << version;
    EXPECT_NE(refusal([&] { service_.check_locks(bot); }).find("lock targeting"),
              std::string::npos);
    service_.unlock(target, service_.locks().front().name);
    EXPECT_EQ(refusal([&] { service_.check_locks(bot); }), "");
  }
}

TEST_F(LabAuthRules, a_token_that_is_spent_expired_or_for_something_else_does_not_join) {
  lab::JoinToken token;
  token.name = "t";
  token.bot = "ci";
  token.expires = std::time(nullptr) - 1;
  service_.put_token(token);
  EXPECT_NE(refusal([&] { service_.join(ask("t"), std::nullopt); }), "");
  token.expires.reset();
  service_.put_token(token);
  auto node = ask("t");
  node.role = "Node";
  EXPECT_NE(refusal([&] { service_.join(node, std::nullopt); }), "");
  auto keyless = ask("t");
  keyless.ssh_key.clear();
  EXPECT_NE(refusal([&] { service_.join(keyless, std::nullopt); }), "");
  auto other = ask("t");
  other.method = "kubernetes";
  EXPECT_NE(refusal([&] { service_.join(other, std::nullopt); }), "");
  EXPECT_EQ(refusal([&] { service_.join(ask("t"), std::nullopt); }), "");
  EXPECT_NE(refusal([&] { service_.join(ask("t"), std::nullopt); }), "");
  token.method = "iam";
  service_.put_token(token);
  EXPECT_NE(refusal([&] { service_.join(ask("t"), std::nullopt); }).find("wrong endpoint"),
            std::string::npos);
}

// ---------------------------------------------------------------- bound_keypair

class LabBoundKeypair : public LabAuthRules {
 protected:
  LabBoundKeypair() {
    token_.name = "bound";
    token_.method = "bound_keypair";
    token_.bot = "ci";
    token_.bound_keypair.registration_secret = "registration";
    token_.bound_keypair.recovery_limit = 2;
    service_.put_token(token_);
  }
  static lab::KeyPtr ed25519() {
    return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free};
  }
  static std::string line(const lab::KeyPtr& key) {
    return lab::ssh::line_from_wire(lab::ssh::wire_key(key));
  }
  // As a client in good order; keeps what it gets.
  lab::ClientIdentity join(const std::optional<lab::ClientIdentity>& caller = std::nullopt) {
    lab::BoundKeypairClient client;
    client.secret = secret_;
    client.join_state = state_;
    client.solve = [&](const std::string& public_key, const std::string& challenge) {
      challenged_.push_back(public_key);
      for (const auto& each : keys_) {
        if (line(each) == public_key) return lab::sign_jws(each, challenge + tamper_);
      }
      return std::string("no such key");
    };
    client.rotate = [&](lab::Suite) {
      keys_.push_back(ed25519());
      return line(keys_.back()) + "\n";
    };
    const auto joined = service_.join_by_keypair(ask("bound"), caller, client);
    state_ = joined.join_state;
    return lab::read_identity(joined.certificates.tls.get());
  }

  lab::JoinToken token_;
  std::string secret_ = "registration";
  std::string state_;
  std::string tamper_;
  std::vector<lab::KeyPtr> keys_;
  std::vector<std::string> challenged_;
};

TEST_F(LabBoundKeypair, a_first_join_makes_the_key_and_later_ones_use_it) {
  const auto first = join();
  EXPECT_FALSE(first.renewable);
  EXPECT_EQ(first.generation, 1u);
  EXPECT_EQ(service_.token("bound")->bound.public_key, line(keys_.back()));
  secret_.clear();
  const auto second = join(first);  // with its certificate: no recovery
  EXPECT_EQ(second.bot_instance_id, first.bot_instance_id);
  EXPECT_EQ(second.generation, 2u);
  EXPECT_EQ(service_.token("bound")->bound.recoveries, 1);
  const auto third = join();
  EXPECT_NE(third.bot_instance_id, first.bot_instance_id);
  EXPECT_NE(refusal([&] { join(); }).find("no recovery"), std::string::npos);
  EXPECT_EQ(keys_.size(), 1u);
}

TEST_F(LabBoundKeypair, a_rotation_challenges_the_old_key_and_then_the_new_one) {
  const auto first = join();
  auto token = *service_.token("bound");
  token.bound_keypair.rotate = true;
  service_.put_token(token);
  challenged_.clear();
  join(first);
  ASSERT_EQ(keys_.size(), 2u);
  EXPECT_EQ(challenged_, (std::vector<std::string>{line(keys_[0]), line(keys_[1])}));
  EXPECT_EQ(service_.token("bound")->bound.public_key, line(keys_[1]));
  EXPECT_FALSE(service_.token("bound")->bound_keypair.rotate);
}

TEST_F(LabBoundKeypair, an_old_join_state_locks_the_token) {
  const auto first = join();
  const std::string old = state_;
  const auto second = join(first);
  state_ = old;
  EXPECT_NE(refusal([&] { join(second); }).find("join state"), std::string::npos);
  ASSERT_EQ(service_.locks().size(), 1u);
  EXPECT_EQ(service_.locks().front().target, Lock::Target::join_token);
  EXPECT_NE(refusal([&] { join(second); }).find("lock targeting"), std::string::npos);
  EXPECT_NE(refusal([&] { service_.check_locks(second); }), "");
}

TEST_F(LabBoundKeypair, a_wrong_solution_secret_or_certificate_is_refused) {
  secret_ = "guess";
  EXPECT_NE(refusal([&] { join(); }).find("registration secret"), std::string::npos);
  secret_ = "registration";
  tamper_ = " ";
  EXPECT_NE(refusal([&] { join(); }).find("solution"), std::string::npos);
  tamper_.clear();
  auto stranger = join();
  stranger.bot_instance_id = "another";
  EXPECT_NE(refusal([&] { join(stranger); }).find("instance mismatch"), std::string::npos);
}

TEST_F(LabBoundKeypair, a_generation_of_before_locks_the_token) {
  const auto first = join();
  join(first);
  EXPECT_NE(refusal([&] { join(first); }).find("generation mismatch"), std::string::npos);
  ASSERT_EQ(service_.locks().size(), 1u);
  EXPECT_EQ(service_.locks().front().target, Lock::Target::join_token);
}

// ---------------------------------------------------------------- predicates

TEST(LabPredicate, compares_names_and_labels) {
  const std::map<std::string, std::string> labels{{"env", "prod"}, {"a/b", "x \"y\""}};
  const auto matches = [&](const std::string& text) {
    return lab::matches_predicate(text, "kube-1", labels);
  };
  EXPECT_TRUE(matches(R"(name == "kube-1")"));
  EXPECT_FALSE(matches(R"(name == "kube-2")"));
  EXPECT_TRUE(matches(R"((name == "z") || (labels["env"] == "prod"))"));
  EXPECT_TRUE(matches(R"(labels.env == "prod" && !(name != "kube-1"))"));
  EXPECT_TRUE(matches(R"(equals(resource.metadata.name, "kube-1"))"));
  EXPECT_TRUE(matches(R"(labels["a/b"] == "x \"y\"")"));
  EXPECT_TRUE(matches(R"(name == "\x6b\u0075be-1")"));
  EXPECT_FALSE(matches(R"(labels["absent"] == "prod")"));
  for (const char* bad : {"", "name", "name =", "name == kube", "(name == \"a\"", "name == \"a",
                          "name == \"a\" trailing", "other == \"a\"", R"(name == "\q")"}) {
    EXPECT_THROW(matches(bad), lab::CallError) << bad;
  }
}

}  // namespace
