// What the lab's versions can do, at the borders of the specification's table, and the commands of
// its own program.
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "tests/lab/auth_commands.hpp"
#include "tests/lab/server_version.hpp"

namespace {

using lab::ServerVersion;

TEST(LabServerVersion, features_begin_where_they_do) {
  EXPECT_FALSE(ServerVersion("16.5.0").has_split_keys());
  EXPECT_TRUE(ServerVersion("17.0.0").has_split_keys());
  EXPECT_TRUE(ServerVersion("17.0.0").has_single_key());
  EXPECT_FALSE(ServerVersion("18.0.0-rc.1").has_single_key());
  EXPECT_FALSE(ServerVersion("16.5.0").has_suites());
  EXPECT_FALSE(ServerVersion("16.5.0").has_register_using_token());
  EXPECT_FALSE(ServerVersion("18.5.0").forwards_register_using_token());
  EXPECT_FALSE(ServerVersion("17.6.9").has_bound_keypair());
  EXPECT_TRUE(ServerVersion("17.7.0").has_bound_keypair());
  EXPECT_FALSE(ServerVersion("18.0.9").has_bound_keypair());
  EXPECT_TRUE(ServerVersion("18.1.0").has_bound_keypair());
  EXPECT_FALSE(ServerVersion("17.9.9").has_join_v1("token"));
  EXPECT_FALSE(ServerVersion("18.2.9").has_join_v1("token"));
  EXPECT_TRUE(ServerVersion("18.3.0").has_join_v1("token"));
  EXPECT_FALSE(ServerVersion("18.4.9").has_join_v1("kubernetes"));
  EXPECT_TRUE(ServerVersion("18.5.0").has_join_v1("kubernetes"));
  EXPECT_TRUE(ServerVersion("19.0.0").has_join_v1("github"));
  EXPECT_EQ(ServerVersion("16.5.0").max_ttl_seconds(), 86'400);
  EXPECT_EQ(ServerVersion("17.5.0").max_ttl_seconds(), 7 * 86'400);
  EXPECT_THROW(ServerVersion("eighteen"), std::runtime_error);
}

TEST(LabServerVersion, clients_may_be_one_major_older) {
  const ServerVersion server("18.5.0");
  EXPECT_FALSE(server.refuses_client("17.0.0"));
  EXPECT_FALSE(server.refuses_client("19.1.0"));
  EXPECT_TRUE(server.refuses_client("16.9.9"));
  EXPECT_TRUE(server.refuses_client("v18.0.0"));
  EXPECT_TRUE(server.refuses_client("0.1.0"));
}

TEST(LabCommands, do_what_an_administrator_does) {
  lab::Auth auth;
  auth.service().put_role({.name = "kube-access"});
  int served = 0;
  const auto run = [&](const std::string& line) {
    lab::run_command(
        auth, "ci",
        [&] {
          ++served;
          return lab::Handler();
        },
        line);
  };
  const auto names = [&] {
    lab::ClientIdentity identity;
    identity.roles = {"kube-access"};
    std::string all;
    for (const auto& [cluster, host] :
         auth.service().list_clusters(identity, {.limit = 10}).servers) {
      all += cluster.name + "(" + std::to_string(cluster.labels.size()) + ")";
    }
    return all;
  };
  run("add one env=prod,team=a");
  run("add two");
  EXPECT_EQ(names(), "one(2)two(0)");
  EXPECT_EQ(served, 2);
  run("remove one");
  EXPECT_EQ(names(), "two(0)");
  run("token s3cret");
  EXPECT_EQ(auth.service().token("s3cret")->bot, "ci");
  run("rotate init");
  EXPECT_EQ(auth.service().authorities_now().hosts.size(), 2u);
  run("lock bot-ci");
  EXPECT_EQ(auth.service().locks().size(), 1u);
  run("unlock bot-ci");
  EXPECT_TRUE(auth.service().locks().empty());
  run("auth stop");
  EXPECT_FALSE(auth.running());
  run("auth start");
  EXPECT_TRUE(auth.running());
  run("");
  EXPECT_THROW(run("rotate sideways"), std::runtime_error);
  EXPECT_THROW(run("dance"), std::runtime_error);
  EXPECT_THROW(run("add three novalue"), std::runtime_error);
}

}  // namespace
