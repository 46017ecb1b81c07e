// Which valid name a misspelt one was meant to be, and how messages quote what was written.
#include <gtest/gtest.h>

#include "config/suggest.hpp"

namespace kubelane {
namespace {

const Names fields = {"listen", "local_auth", "local_tls",    "log",    "services",
                      "path",   "user",       "proxy_server", "limits", "acls"};

TEST(NearestName, finds_the_usual_slips) {
  EXPECT_EQ(nearest_name("lsiten", fields), "listen") << "two letters swapped";
  EXPECT_EQ(nearest_name("usre", fields), "user") << "two letters swapped in a short name";
  EXPECT_EQ(nearest_name("proxy_sever", fields), "proxy_server") << "a letter missing";
  EXPECT_EQ(nearest_name("servicess", fields), "services") << "a letter too many";
  EXPECT_EQ(nearest_name("proxy-server", fields), "proxy_server") << "a flag's spelling";
  EXPECT_EQ(nearest_name("proxyServer", fields), "proxy_server") << "camel case";
  EXPECT_EQ(nearest_name("acl", fields), "acls");
}

TEST(NearestName, takes_the_nearest_of_several) {
  EXPECT_EQ(nearest_name("local_tl", fields), "local_tls");
  EXPECT_EQ(nearest_name("local_aut", fields), "local_auth");
  EXPECT_EQ(nearest_name("limit", fields), "limits");
}

TEST(NearestName, is_silent_when_nothing_is_near) {
  for (const char* far : {"", "x", "on", "kubernetes_cluster", "impersonate", "zzzz"})
    EXPECT_EQ(nearest_name(far, fields), "") << far;
  EXPECT_EQ(nearest_name(std::string(1 << 20, 'a'), fields), "");
  EXPECT_EQ(nearest_name("listen", {}), "");
}

TEST(DidYouMean, is_a_question_or_nothing) {
  EXPECT_EQ(did_you_mean("lisen", fields), " (did you mean \"listen\"?)");
  EXPECT_EQ(did_you_mean("zzzz", fields), "");
}

TEST(NotOneOf, lists_what_is_valid) {
  EXPECT_EQ(not_one_of("jsno", {"text", "json"}),
            "\"jsno\" is not one of text, json (did you mean \"json\"?)");
  EXPECT_EQ(not_one_of("xml-like", {"text", "json"}), "\"xml-like\" is not one of text, json");
}

TEST(Shorten, keeps_characters_whole) {
  EXPECT_EQ(shorten("abc", 3), "abc");
  EXPECT_EQ(shorten("abcd", 3), "abc…");
  EXPECT_EQ(shorten("aöb", 2), "a…") << "no half of an ö";
  EXPECT_EQ(shorten("aöb", 3), "aö…");
  EXPECT_EQ(shorten(std::string(8, '\x80'), 4), "…")
      << "and no endless search in what is not UTF-8";
}

TEST(Quote, is_readable_whatever_was_written) {
  EXPECT_EQ(quote("x"), "\"x\"");
  EXPECT_LT(quote(std::string(1 << 20, 'x')).size(), 100u);
}

}  // namespace
}  // namespace kubelane
