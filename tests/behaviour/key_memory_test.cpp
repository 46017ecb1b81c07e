// Where the bot's private keys are, and where they are not: hunted by their public halves in the
// memory of the running process, in its log and in every file it wrote.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <unistd.h>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/key_hunt.hpp"

namespace {

using support::eventually;
using support::FoundKey;
using support::KeyHunt;

std::string list(const std::vector<FoundKey>& found) {
  std::string text;
  for (const FoundKey& each : found)
    text += "\n  key " + std::to_string(each.key) + " as " + each.form + " in " + each.where;
  return text;
}

class KeyMemory : public support::BotFixture {
 protected:
  KeyMemory() { lifetimes = "credential_ttl: 60s\nrenewal_interval: 20s\n"; }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root may read the memory of kubelane";
    if (support::Process::sanitized) GTEST_SKIP() << "a sanitizer keeps what is freed";
  }
  std::size_t renewals() { return auth().calls().count_answered("GenerateUserCerts"); }
  void renew(int times) {
    for (int i = 0; i < times; ++i) {
      const std::size_t before = renewals();
      kubelane().signal(SIGHUP);
      ASSERT_TRUE(eventually([&] { return renewals() > before; }));
      ASSERT_EQ(get("/bytes/10").status, 200);
    }
  }
};

TEST_F(KeyMemory, no_key_is_where_a_core_file_would_hold_it) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_NO_FATAL_FAILURE(renew(3));
  // The hunt finds what is there: the keys in use, in the arena. On a slow machine they may be
  // replaced while it lasts.
  std::vector<FoundKey> everywhere;
  ASSERT_TRUE(eventually([&] {
    const KeyHunt now(auth().service().certified_keys());
    everywhere = now.search(kubelane().pid(), KeyHunt::Pages::all);
    return !everywhere.empty();
  }));
  const KeyHunt hunt(auth().service().certified_keys());
  for (const FoundKey& each : everywhere) EXPECT_TRUE(each.locked) << list({each});
  // And a core file would have none of it, by the marks alone.
  const auto dumped = hunt.search(kubelane().pid(), KeyHunt::Pages::not_excluded);
  EXPECT_TRUE(dumped.empty()) << list(dumped);
  EXPECT_EQ(support::core_filter(kubelane().pid()), 0u);
  // Nobody but root may look.
  struct stat status {};
  ASSERT_EQ(::stat(("/proc/" + std::to_string(kubelane().pid()) + "/mem").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
}

TEST_F(KeyMemory, a_replaced_key_is_nowhere_in_memory) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_NO_FATAL_FAILURE(renew(1));
  auto replaced = auth().service().certified_keys();
  ASSERT_NO_FATAL_FAILURE(renew(2));
  const KeyHunt hunt(replaced);
  std::vector<FoundKey> found;
  // The last connections of an old identity take a moment.
  EXPECT_TRUE(eventually([&] {
    found = hunt.search(kubelane().pid(), KeyHunt::Pages::all);
    return found.empty();
  })) << list(found);
}

TEST_F(KeyMemory, no_key_is_in_a_file_or_in_the_log) {
  ASSERT_NO_FATAL_FAILURE(start_bot());
  ASSERT_NO_FATAL_FAILURE(renew(2));
  const KeyHunt hunt(auth().service().certified_keys());
  EXPECT_EQ(stop_kubelane(), 0);
  std::string log = kubelane().output();
  for (const std::string& line : kubelane().error_lines()) log += line + "\n";
  EXPECT_GT(log.size(), 1000u);
  EXPECT_TRUE(hunt.search(log, "the log").empty());
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory())) {
    if (!entry.is_regular_file()) continue;
    std::ostringstream bytes;
    bytes << std::ifstream(entry.path()).rdbuf();
    const auto found = hunt.search(bytes.str(), entry.path().string());
    EXPECT_TRUE(found.empty()) << list(found);
    ++files;
  }
  EXPECT_GT(files, 2u);
}

// Keys that tbot wrote are read from its files, and leave no more behind.
class KeyMemoryOfTbot : public KeyMemory, public testing::WithParamInterface<lab::KeyKind> {};

TEST_P(KeyMemoryOfTbot, keys_from_its_files_are_guarded_the_same) {
  client.key_kind = proxy_options.key_kind = GetParam();
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<lab::KeyPtr> replaced;
  lab::KeyPtr current;
  for (int i = 0; i < 3; ++i) {
    if (current) replaced.push_back(current);
    const lab::TbotMaterial next = proxy().renew(kind, client);
    current = next.client.key;
    credentials().write(next);
    ASSERT_TRUE(eventually([&] {
      return get("/bytes/10").status == 200 &&
             proxy().seen().requests.back().client_serial == next.client.serial;
    }));
  }
  std::vector<FoundKey> found;
  EXPECT_TRUE(eventually([&] {
    found = KeyHunt(replaced).search(kubelane().pid(), KeyHunt::Pages::all);
    return found.empty();
  })) << list(found);
  const KeyHunt hunt({current});
  EXPECT_FALSE(hunt.search(kubelane().pid(), KeyHunt::Pages::all).empty());
  EXPECT_EQ(support::core_filter(kubelane().pid()), 0u);
  auto dumped = hunt.search(kubelane().pid(), KeyHunt::Pages::not_excluded);
  // Of RSA, OpenSSL keeps the factors beside the arena, as numbers to calculate with: the filter
  // alone leaves them out.
  if (GetParam() == lab::KeyKind::rsa)
    std::erase_if(dumped, [](const FoundKey& each) { return each.form == "number"; });
  EXPECT_TRUE(dumped.empty()) << list(dumped);
}

INSTANTIATE_TEST_SUITE_P(Kinds, KeyMemoryOfTbot,
                         testing::Values(lab::KeyKind::ecdsa, lab::KeyKind::rsa));

// Where the bot's own key is asked to be kept, it is there, and the clusters' are not.
TEST_F(KeyMemory, storage_holds_the_bots_own_key_alone) {
  method = "token";
  join_token = "s3cr3t-for-one-join";
  const auto store = directory() / "bot";
  storage = "{type: directory, path: " + store.string() + "}";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  const KeyHunt hunt(auth().service().certified_keys());
  EXPECT_EQ(stop_kubelane(), 0);
  std::size_t found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory())) {
    if (!entry.is_regular_file()) continue;
    std::ostringstream bytes;
    bytes << std::ifstream(entry.path()).rdbuf();
    for (const FoundKey& each : hunt.search(bytes.str(), entry.path().string())) {
      EXPECT_EQ(entry.path(), store / "key") << list({each});
      EXPECT_EQ(each.key, 0u);
      ++found;
    }
  }
  EXPECT_GE(found, 1u);
}

}  // namespace
