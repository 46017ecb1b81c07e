#include <set>
#include <string>

#include <gtest/gtest.h>

#include "proxy/http/route_path.hpp"

namespace kubelane::http {
namespace {

TEST(LocalPrefix, IsReadableAndInjective) {
  EXPECT_EQ(local_prefix("prod"), "/prod");
  EXPECT_EQ(local_prefix("arn:aws:eks:eu-west-1:1:cluster/prod"),
            "/arn:aws:eks:eu-west-1:1:cluster~2Fprod");
  EXPECT_EQ(local_prefix("a%2Fb"), "/a~252Fb");
  EXPECT_EQ(local_prefix(".."), "/~2E.");
  EXPECT_EQ(local_prefix("a~b"), "/a~7Eb");
  EXPECT_NE(local_prefix("a/b"), local_prefix("a~2Fb"));
}

// What client-go and a plain URL reader leave alone, for every byte that a name may hold.
TEST(LocalPrefix, NeedsNoEscapeAndNamesEveryClusterDifferently) {
  std::set<std::string> paths;
  for (int first = 0; first < 256; ++first) {
    for (const std::string rest : {"", "x", "~", "2F"}) {
      const std::string path = local_prefix(static_cast<char>(first) + rest);
      EXPECT_TRUE(paths.insert(path).second) << path;
      EXPECT_EQ(path.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                       "0123456789._-:~",
                                       1),
                std::string::npos)
          << path;
      EXPECT_NE(path.substr(1, 1), ".");
      const auto segment = first_segment(path + "/api");
      ASSERT_TRUE(segment);
      EXPECT_EQ(segment->name, path.substr(1));
      EXPECT_EQ(segment->length, path.size());
    }
  }
}

TEST(FirstSegment, IsDecodedOnce) {
  EXPECT_EQ(first_segment("/arn%3Aaws/api")->name, "arn:aws");
  EXPECT_EQ(first_segment("/arn%3Aaws/api")->length, 10u);
  EXPECT_EQ(first_segment("/a%252F")->name, "a%2F");
  EXPECT_EQ(first_segment("/prod")->length, 5u);
  EXPECT_FALSE(first_segment("/"));
  EXPECT_FALSE(first_segment("//prod"));
  EXPECT_FALSE(first_segment("/a%2"));
  EXPECT_FALSE(first_segment("/a%zz"));
  EXPECT_FALSE(first_segment("prod/"));
}

// Vectors of data-path spec sections 1.6, 3 and 11.
TEST(TeleportPrefix, MatchesTheSpecification) {
  EXPECT_EQ(teleport_prefix("tele.blackmesa.gov", "a"), "/v1/teleport/dGVsZS5ibGFja21lc2EuZ292/YQ");
  EXPECT_EQ(teleport_prefix("root.example.com", "my-kube"),
            "/v1/teleport/cm9vdC5leGFtcGxlLmNvbQ/bXkta3ViZQ");
  const auto route = parse_teleport_prefix("/v1/teleport/cm9vdC5leGFtcGxlLmNvbQ/bXkta3ViZQ");
  ASSERT_TRUE(route);
  EXPECT_EQ(route->teleport_cluster, "root.example.com");
  EXPECT_EQ(route->kube_cluster, "my-kube");
  EXPECT_FALSE(parse_teleport_prefix("/v1/teleport/cm9vdC5leGFtcGxlLmNvbQ"));
  EXPECT_FALSE(parse_teleport_prefix("/v1/teleport/*/a"));
  EXPECT_FALSE(parse_teleport_prefix("/api"));
}

TEST(TeleportPrefix, ReadsBackWhatItWrote) {
  for (const std::string name :
       {"a", "ab", "abc", "a/b:c%d", "\xfb\xff\xfe", "arn:aws:eks:1:c/prod"}) {
    const auto route = parse_teleport_prefix(teleport_prefix(name, "k" + name) + "/api");
    ASSERT_TRUE(route) << name;
    EXPECT_EQ(route->teleport_cluster, name);
    EXPECT_EQ(route->kube_cluster, "k" + name);
  }
  for (const char* path : {"/v1/teleport//YQ", "/v1/teleport/YQ/", "/v1/teleport/YQ==/YQ",
                           "/v1/teleport/Y/YQ", "/v1/teleport/+w/YQ", "v1/teleport/YQ/YQ"})
    EXPECT_FALSE(parse_teleport_prefix(path)) << path;
}

}  // namespace
}  // namespace kubelane::http
