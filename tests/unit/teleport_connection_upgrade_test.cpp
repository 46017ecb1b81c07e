#include <gtest/gtest.h>

#include "proxy/teleport/connection_upgrade.hpp"

namespace {

using kubelane::teleport::upgrade_mode;
using Mode = kubelane::teleport::ConnectionUpgrade::Mode;

constexpr const char* address = "teleport.example.com:443";

TEST(ConnectionUpgrade, follows_tbots_variable) {
  const std::pair<const char*, Mode> cases[] = {
      {"", Mode::automatic},
      {"yes", Mode::always},
      {"YEAH", Mode::always},
      {"off", Mode::never},
      {"t", Mode::never},  // not one of Teleport's words
      {"teleport.example.com:443=on", Mode::always},
      {"other.example.com:443=on", Mode::never},
      {"no;teleport.example.com:443=1", Mode::always},
      {"teleport.example.com:443=0, yes", Mode::never},
      {"other.example.com:443=no,true", Mode::always},
      {"teleport.example.com:443=perhaps,yes", Mode::never},
      {",;", Mode::never},
  };
  for (const auto& [text, mode] : cases) EXPECT_EQ(upgrade_mode(text, address), mode) << text;
}

TEST(ConnectionUpgrade, learns_only_where_nobody_has_decided) {
  using kubelane::teleport::ConnectionUpgrade;
  ConnectionUpgrade automatic({}, Mode::automatic);
  EXPECT_FALSE(automatic.needed());
  EXPECT_TRUE(automatic.may_help());
  automatic.learn(true);
  EXPECT_TRUE(automatic.needed());
  automatic.learn(false);
  EXPECT_TRUE(automatic.may_help());
  ConnectionUpgrade never({}, Mode::never);
  EXPECT_FALSE(never.may_help());
  never.learn(true);
  EXPECT_FALSE(never.needed());
  ConnectionUpgrade always({}, Mode::always);
  always.learn(false);
  EXPECT_TRUE(always.needed());
}

}  // namespace
