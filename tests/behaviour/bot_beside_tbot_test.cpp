// One process with two identities: its own bot's, and that of a tbot beside it.
#include <csignal>
#include <filesystem>
#include <string>

#include "tests/support/bot_fixture.hpp"

namespace {

class BotBesideTbot : public support::BotFixture {};

TEST_F(BotBesideTbot, each_service_goes_by_its_own_identity) {
  add_cluster("demo");
  add_cluster("theirs");
  start_teleport();
  write_credentials();
  const std::string destination = (directory() / "out-theirs").string();
  start_kubelane(bot_config() + "  - type: kubernetes/v2\n    selectors: [{name: theirs}]\n" +
                 "    credentials: {type: directory, path: " + credentials_path().string() +
                 "}\n    destination: {type: directory, path: " + destination + "}\n");
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  const std::string own = proxy().seen().requests.back().client_serial;
  EXPECT_EQ(get("/bytes/10", "theirs").status, 200);
  EXPECT_NE(proxy().seen().requests.back().client_serial, own);
  // What happens to one is nothing to the other.
  auth().service().lock(lab::Lock::Target::user, "bot-ci");
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(logged("the bot has stopped renewing"));
  std::filesystem::remove_all(credentials_path());
  EXPECT_TRUE(kubelane().running());
}

}  // namespace
