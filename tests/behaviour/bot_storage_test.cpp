// The bot's own identity on disk: in tbot's layout, for one process at a time, and never elsewhere.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/stat.h>

#include "tests/support/bot_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;

class BotStorage : public support::BotFixture {
 protected:
  BotStorage() {
    method = "token";
    join_token = "s3cr3t-for-one-join";
    storage = "{type: directory, path: " + store().string() + "}";
  }
  fs::path store() const { return directory() / "bot"; }
  static std::string text(const fs::path& path) {
    std::ifstream file(path);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }
};

TEST_F(BotStorage, a_restart_goes_on_with_the_same_instance) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  for (const char* name :
       {"tlscert", "key-cert.pub", "key", "key.pub", "tlscacerts", "sshcacerts", "tokenhash"}) {
    struct stat status {};
    ASSERT_EQ(::stat((store() / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777u, 0600u) << name;
  }
  EXPECT_EQ(text(store() / "tokenhash").size(), 64u);
  EXPECT_EQ(stop_kubelane(), 0);
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(auth().calls().joins(), 1u);
  EXPECT_EQ(auth().service().instances().size(), 1u);
  EXPECT_GE(generation(), 2u);
}

TEST_F(BotStorage, two_processes_do_not_share_it) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const support::LocalEndpoint first = endpoint();
  std::ofstream(directory() / "second.yaml") << bot_config();
  support::Process second(KUBELANE_BINARY, {"start", "-c", (directory() / "second.yaml").string()});
  EXPECT_EQ(second.wait_exit().value_or(-1), 1);
  EXPECT_TRUE(second.wait_for_line("cannot start"));
  EXPECT_EQ(get("/bytes/10").status, 200);
}

TEST_F(BotStorage, the_key_is_nowhere_but_there) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const std::string key = text(store() / "key");
  ASSERT_NE(key.find("PRIVATE KEY"), std::string::npos);
  // The first line of a P-256 key is much the same in all of them.
  const std::string part = key.substr(key.find('\n') + 66, 40);
  EXPECT_EQ(get("/bytes/10").status, 200);
  EXPECT_EQ(stop_kubelane(), 0);
  for (const std::string& line : kubelane().error_lines())
    EXPECT_EQ(line.find(part), std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(directory())) {
    if (!entry.is_regular_file() || entry.path() == store() / "key") continue;
    EXPECT_EQ(text(entry.path()).find(part), std::string::npos) << entry.path();
    if (entry.path().parent_path() != store()) {
      EXPECT_EQ(text(entry.path()).find("PRIVATE KEY"), std::string::npos) << entry.path();
    }
  }
}

// A crash between the request and its answer leaves the question open whether it was carried out.
TEST_F(BotStorage, a_renewal_that_was_cut_off_is_not_repeated_at_the_start) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  auth().inject("GenerateUserCerts", {lab::CallFault::Kind::hang}, -1);
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return fs::exists(store() / "kubelane-renewing"); }));
  kubelane().signal(SIGKILL);
  kubelane().wait_exit();
  auth().clear_faults();
  const auto self_renewals = [&] {
    const lab::AuthCalls seen = auth().calls();
    return std::count_if(seen.calls.begin(), seen.calls.end(),
                         [](const lab::AuthCall& call) { return call.self_renewal(); });
  };
  const auto before = self_renewals();
  start_kubelane(bot_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_TRUE(logged("in the middle of a renewal"));
  EXPECT_EQ(self_renewals(), before);
  EXPECT_EQ(get("/bytes/10").status, 200);
}

}  // namespace
