#include <gtest/gtest.h>

#include "proxy/admin/cause.hpp"

namespace {

using kubelane::Code;
using kubelane::Error;
using kubelane::Retry;
using kubelane::Side;
using kubelane::admin::Cause;
using kubelane::admin::cause_of;
using kubelane::admin::cause_of_answer;
using kubelane::admin::message_of;

Error error(Code code, int sys = 0, const char* where = "connect") {
  return {code, Side::upstream, Retry::no, sys, where};
}

TEST(Cause, of_failures) {
  EXPECT_EQ(cause_of(error(Code::refused), true), Cause::no_route);
  EXPECT_EQ(cause_of(error(Code::dns), true), Cause::no_route);
  EXPECT_EQ(cause_of(error(Code::timeout), true), Cause::no_route);
  EXPECT_EQ(cause_of(error(Code::timeout, 0, "response head"), true), Cause::offline);
  EXPECT_EQ(cause_of(error(Code::tls_peer, 44), true), Cause::denied);
  EXPECT_EQ(cause_of(error(Code::tls_peer, 45), true), Cause::clock_skew);
  EXPECT_EQ(cause_of(error(Code::tls_peer, 45), false), Cause::expired);
  EXPECT_EQ(cause_of(error(Code::tls_untrusted, 20), true), Cause::no_route);
  EXPECT_EQ(cause_of(error(Code::tls_untrusted, 9), true), Cause::clock_skew);
  EXPECT_EQ(cause_of(error(Code::tls_untrusted, 10), true), Cause::clock_skew);
}

TEST(Cause, of_answers) {
  EXPECT_EQ(cause_of_answer(200, ""), Cause::none);
  EXPECT_EQ(cause_of_answer(429, "slow down"), Cause::none);
  EXPECT_EQ(cause_of_answer(401, ""), Cause::denied);
  EXPECT_EQ(cause_of_answer(403, "[00] access denied"), Cause::denied);
  EXPECT_EQ(cause_of_answer(403, "User \"x\" cannot get path \"/version\""), Cause::none);
  EXPECT_EQ(cause_of_answer(404, "Your user's Teleport role does not allow Kubernetes access."),
            Cause::denied);
  EXPECT_EQ(cause_of_answer(404, "Kubernetes cluster \"x\" not found"), Cause::offline);
  EXPECT_EQ(cause_of_answer(500, "[00] access denied"), Cause::denied);
  EXPECT_EQ(cause_of_answer(500, "lock targeting User:\"bot-ci\" is in force"), Cause::denied);
  EXPECT_EQ(cause_of_answer(504, "dial"), Cause::offline);
}

TEST(Cause, messages_of_status_of_teleport_and_of_anybody) {
  EXPECT_EQ(message_of(R"({"kind":"Status","message":"no agent"})"), "no agent");
  EXPECT_EQ(message_of(R"({"error": {"message": "denied"}, "message": "other"})"), "denied");
  EXPECT_EQ(message_of("plain\r\ntext\n"), "plain text");
  EXPECT_EQ(message_of(R"({"message": 5})"), R"({"message": 5})");
  EXPECT_EQ(message_of(""), "");
  EXPECT_EQ(message_of("}{"), "}{");
  EXPECT_EQ(message_of("\xff\x1b[31m"), "? [31m");
  EXPECT_LE(message_of(std::string(5000, 'x')).size(), 300u);
}

}  // namespace
