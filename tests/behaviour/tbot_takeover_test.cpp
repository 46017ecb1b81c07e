// A bot that tbot has left in its directory: kubelane goes on with it, and never beside tbot.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/tbot_bot.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;

class TbotTakeover : public support::BotFixture {
 protected:
  TbotTakeover() {
    method = "token";
    join_token = "s3cr3t-for-one-join";
    storage = "{type: directory, path: " + store().string() + "}";
  }
  fs::path store() const { return directory() / "bot"; }
  std::string text(const std::string& name) const {
    std::ifstream file(store() / name);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }
  void leave_bot(lab::KeyKind key_kind = lab::KeyKind::ecdsa) {
    start_teleport();
    artifacts_ = support::join_as_tbot(proxy(), join_token, key_kind);
    support::write_as_tbot(store(), artifacts_);
  }
  // One join, by tbot, one instance, no lock, and renewals of it by us.
  void expect_taken_over() {
    EXPECT_TRUE(logged("the bot's stored identity is used"));
    EXPECT_EQ(get("/bytes/10").status, 200);
    EXPECT_EQ(auth().calls().joins(), 1u);
    EXPECT_EQ(auth().service().instances().size(), 1u);
    EXPECT_GE(generation(), 2u);
    EXPECT_NE(text("tlscert"), artifacts_.at("tlscert"));
    EXPECT_NE(text("key"), artifacts_.at("key"));
    EXPECT_EQ(text("tokenhash"), artifacts_.at("tokenhash"));
  }

  support::TbotArtifacts artifacts_;
};

TEST_F(TbotTakeover, the_bot_is_renewed_and_not_joined_again) {
  ASSERT_NO_FATAL_FAILURE(leave_bot());
  ASSERT_EQ(auth().calls().joins(), 1u);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect_taken_over();
  // And once more: the chain of generations holds.
  const std::uint64_t before = generation();
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return generation() > before; }));
  EXPECT_EQ(auth().service().instances().size(), 1u);
}

// The legacy suite's keys are RSA in PKCS#1.
TEST_F(TbotTakeover, a_key_of_the_legacy_suite_is_read) {
  ASSERT_NO_FATAL_FAILURE(leave_bot(lab::KeyKind::rsa));
  ASSERT_NE(artifacts_.at("key").find("RSA PRIVATE KEY"), std::string::npos);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect_taken_over();
}

TEST_F(TbotTakeover, while_tbot_holds_its_lock_nothing_is_touched) {
  ASSERT_NO_FATAL_FAILURE(leave_bot());
  const int lock = ::open((store() / "lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(lock, 0);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  start_kubelane(bot_config());
  EXPECT_EQ(kubelane().wait_exit().value_or(-1), 1);
  EXPECT_TRUE(kubelane().wait_for_line("another process (tbot, or another kubelane) is using it"));
  EXPECT_EQ(text("tlscert"), artifacts_.at("tlscert"));
  EXPECT_EQ(generation(), 1u);
  ::close(lock);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect_taken_over();
}

// What tbot needs to be there, too, is there: it can take the bot back.
TEST_F(TbotTakeover, the_layout_stays_tbots) {
  ASSERT_NO_FATAL_FAILURE(leave_bot());
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  expect_taken_over();
  EXPECT_EQ(stop_kubelane(), 0);
  for (const auto& [name, content] : artifacts_) {
    ASSERT_TRUE(fs::exists(store() / name)) << name;
    EXPECT_EQ(fs::status(store() / name).permissions(),
              fs::perms::owner_read | fs::perms::owner_write)
        << name;
  }
  EXPECT_TRUE(text("tlscert").starts_with("-----BEGIN CERTIFICATE-----"));
  EXPECT_TRUE(text("key").starts_with("-----BEGIN PRIVATE KEY-----")) << "PKCS#8 for ECDSA";
  EXPECT_NE(text("tlscacerts").find("-----END CERTIFICATE-----"), std::string::npos);
  EXPECT_NE(text("key-cert.pub").find("-cert-v01@openssh.com "), std::string::npos);
}

}  // namespace
