#include <array>
#include <string>

#include <gtest/gtest.h>

#include "proxy/http/field.hpp"

namespace kubelane::http {
namespace {

struct NameCase {
  const char* text;
  FieldId id;
};

const NameCase names[] = {
    {"Accept", FieldId::accept},
    {"Alt-Svc", FieldId::alt_svc},
    {"Authorization", FieldId::authorization},
    {"Connection", FieldId::connection},
    {"Content-Length", FieldId::content_length},
    {"Content-Type", FieldId::content_type},
    {"Cookie", FieldId::cookie},
    {"Expect", FieldId::expect},
    {"Forwarded", FieldId::x_forwarded},
    {"HTTP2-Settings", FieldId::http2_settings},
    {"Host", FieldId::host},
    {"Impersonate-Extra-Scopes", FieldId::impersonate},
    {"Impersonate-Group", FieldId::impersonate_group},
    {"Impersonate-Uid", FieldId::impersonate},
    {"Impersonate-User", FieldId::impersonate_user},
    {"Impersonate-Users", FieldId::impersonate},
    {"Keep-Alive", FieldId::keep_alive},
    {"Origin", FieldId::origin},
    {"Proxy-Authenticate", FieldId::proxy_authenticate},
    {"Proxy-Authorization", FieldId::proxy_authorization},
    {"Proxy-Connection", FieldId::proxy_connection},
    {"Proxy-Features", FieldId::proxy_other},
    {"Strict-Transport-Security", FieldId::strict_transport_security},
    {"TE", FieldId::te},
    {"Teleport-Impersonate-User", FieldId::teleport},
    {"Teleport-", FieldId::teleport},
    {"Trailer", FieldId::trailer},
    {"Transfer-Encoding", FieldId::transfer_encoding},
    {"Upgrade", FieldId::upgrade},
    {"User-Agent", FieldId::user_agent},
    {"X-Forwarded-For", FieldId::x_forwarded},
    {"X-Forwarded-Anything-At-All-However-Long-It-Is", FieldId::x_forwarded},
    {"X-Real-IP", FieldId::x_forwarded},
    {"X-Teleport-Upgrade", FieldId::teleport},
    // Near misses.
    {"", FieldId::other},
    {"A", FieldId::other},
    {"Accepts", FieldId::other},
    {"Hos", FieldId::other},
    {"Hosts", FieldId::other},
    {"Teleport", FieldId::other},
    {"X-Forwarded", FieldId::other},
    {"Impersonate", FieldId::other},
    {"Proxy", FieldId::other},
    {"Content_Length", FieldId::other},
    {"Transfer-Encodin\xe7", FieldId::other},
};

TEST(Identify, KnowsNamesInAnyCase) {
  for (const NameCase& c : names) {
    const std::string text = c.text;
    std::string upper = text;
    std::string lower = text;
    for (char& letter : upper)
      if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 32);
    for (char& letter : lower)
      if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter + 32);
    EXPECT_EQ(identify(text), c.id) << text;
    EXPECT_EQ(identify(upper), c.id) << upper;
    EXPECT_EQ(identify(lower), c.id) << lower;
  }
}

// Only letters have a second form: '@' and '`', '[' and '{' differ in the same bit.
TEST(IEquals, FoldsLettersOnly) {
  EXPECT_TRUE(iequals("aZ-9", "Az-9"));
  EXPECT_TRUE(iequals("", ""));
  EXPECT_FALSE(iequals("a", "ab"));
  EXPECT_FALSE(iequals("@", "`"));
  EXPECT_FALSE(iequals("[", "{"));
  EXPECT_FALSE(iequals("\xc1", "\xe1"));
}

TEST(ListContains, ReadsWholeTokens) {
  EXPECT_TRUE(list_contains("close", "close"));
  EXPECT_TRUE(list_contains("keep-alive,\tUPGRADE ,x", "upgrade"));
  EXPECT_TRUE(list_contains(",, close,", "close"));
  EXPECT_FALSE(list_contains("closed, not-close", "close"));
  EXPECT_FALSE(list_contains("close;q=1", "close"));
  EXPECT_FALSE(list_contains("", "close"));
}

TEST(Find, GivesTheFirstField) {
  const std::array<Field, 3> fields = {{{"A", "1", FieldId::other},
                                        {"Accept", "2", FieldId::accept},
                                        {"accept", "3", FieldId::accept}}};
  ASSERT_NE(find(fields, FieldId::accept), nullptr);
  EXPECT_EQ(find(fields, FieldId::accept)->value, "2");
  EXPECT_EQ(find(fields, FieldId::host), nullptr);
  EXPECT_EQ(find({}, FieldId::host), nullptr);
}

}  // namespace
}  // namespace kubelane::http
