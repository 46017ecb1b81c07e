// gRPC's frames and status, however they are cut and whoever wrote them.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/teleport/auth_error.hpp"
#include "proxy/teleport/grpc_frame.hpp"

namespace kubelane::teleport {
namespace {

TEST(GrpcReader, messages_come_out_whole_wherever_the_bytes_are_cut) {
  const std::string bytes = frame_message("one") + frame_message("") + frame_message("three");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    GrpcReader reader(100);
    ASSERT_TRUE(reader.feed(bytes.substr(0, cut)));
    ASSERT_TRUE(reader.feed(bytes.substr(cut)));
    EXPECT_EQ(reader.take(), "one");
    EXPECT_EQ(reader.take(), "");
    EXPECT_EQ(reader.take(), "three");
    EXPECT_TRUE(reader.empty());
    EXPECT_TRUE(reader.at_boundary());
    EXPECT_EQ(reader.waiting_bytes(), 0u);
  }
}

TEST(GrpcReader, what_is_too_large_or_compressed_is_refused_before_it_is_stored) {
  GrpcReader large(10);
  EXPECT_FALSE(large.feed(frame_message(std::string(11, 'x')).substr(0, 5)));
  EXPECT_TRUE(large.too_large());
  EXPECT_FALSE(large.feed("x"));
  GrpcReader huge(10);
  EXPECT_FALSE(huge.feed(std::string("\0\xff\xff\xff\xff", 5)));
  GrpcReader compressed(10);
  EXPECT_FALSE(compressed.feed(std::string("\x01\0\0\0\1x", 6)));
  EXPECT_FALSE(compressed.too_large());
}

bool read(const std::vector<http::Field>& fields, GrpcCode& code, std::string& message) {
  return read_status(fields, code, message);
}

TEST(GrpcStatus, code_and_message_are_read_and_the_message_is_made_harmless) {
  GrpcCode code = GrpcCode::ok;
  std::string message;
  ASSERT_TRUE(
      read({{"grpc-message", "a%20b%0Ac%zz%4", {}}, {"grpc-status", "7", {}}}, code, message));
  EXPECT_EQ(code, GrpcCode::permission_denied);
  EXPECT_EQ(message, "a b c%zz%4");
  ASSERT_TRUE(read({{"grpc-status", "14", {}}, {"grpc-message", std::string(9000, 'x'), {}}}, code,
                   message));
  EXPECT_LE(message.size(), 500u);
  for (const char* wrong : {"", "x", "-1", "7x", "99999999999999"})
    EXPECT_FALSE(read({{"grpc-status", wrong, {}}}, code, message)) << wrong;
  EXPECT_FALSE(read({{"grpc-status", "0", {}}, {"grpc-status", "7", {}}}, code, message));
  EXPECT_FALSE(read({}, code, message));
}

AuthError error(GrpcCode code, const std::string& message) {
  GrpcStatus status;
  status.code = code;
  status.message = message;
  return to_auth_error(status, "asking");
}

TEST(AuthErrors, a_status_is_sorted_by_what_is_to_be_done) {
  using Kind = AuthError::Kind;
  EXPECT_EQ(error(GrpcCode::permission_denied, "access denied").kind, Kind::denied);
  EXPECT_EQ(error(GrpcCode::permission_denied,
                  "renewable cert generation mismatch for bot a/b: stored=3, presented=2")
                .kind,
            Kind::generation_mismatch);
  EXPECT_EQ(error(GrpcCode::permission_denied, "lock targeting User:\"bot-ci\" is in force").kind,
            Kind::locked);
  EXPECT_EQ(error(GrpcCode::unknown, "ssh: no key found").kind, Kind::invalid);
  EXPECT_EQ(error(GrpcCode::unavailable, "").kind, Kind::unreachable);
  EXPECT_EQ(error(GrpcCode::resource_exhausted, "").kind, Kind::busy);
  EXPECT_EQ(error(GrpcCode::failed_precondition, "").kind, Kind::conflict);
  EXPECT_EQ(error(GrpcCode::unimplemented, "").kind, Kind::unimplemented);
}

AuthError error(int status, const std::string& body) {
  HttpsAnswer answer;
  answer.status = status;
  answer.body = body;
  return to_auth_error(answer, "joining");
}

TEST(AuthErrors, an_answer_of_the_web_api_is_too) {
  using Kind = AuthError::Kind;
  EXPECT_EQ(error(403, R"({"error":{"message":"token expired or not found"}})").kind, Kind::denied);
  EXPECT_EQ(error(404, R"({"message":"token not found"})").kind, Kind::not_found);
  EXPECT_EQ(error(404, "<html>").kind, Kind::unimplemented);
  EXPECT_EQ(error(501, "").kind, Kind::unimplemented);
  EXPECT_EQ(error(429, "").kind, Kind::busy);
  EXPECT_TRUE(error(502, "<html>").outcome_unknown);
  EXPECT_FALSE(error(403, "").outcome_unknown);
  EXPECT_NE(error(403, R"({"error":{"message":"a\nb"}})").message.find("a b"), std::string::npos);
}

}  // namespace
}  // namespace kubelane::teleport
