#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <boost/json/src.hpp>
#include <gtest/gtest.h>

#include "proxy/http/head.hpp"
#include "proxy/http/status.hpp"

namespace kubelane::http {
namespace {

namespace json = boost::json;

struct Rendered {
  std::unique_ptr<ResponseHead> head = std::make_unique<ResponseHead>();
  std::string text;  // the head's slices point here
  std::string body;

  std::string_view header(std::string_view field_name) const {
    for (const Field& field : head->fields())
      if (iequals(field.name, field_name)) return field.value;
    return "(absent)";
  }
};

std::unique_ptr<Rendered> render(const Error& error, std::string_view message,
                                 std::string_view accept = "", bool head_only = false,
                                 bool close = false) {
  auto rendered = std::make_unique<Rendered>();
  rendered->text = render_status(answer_for(error), message, accept, head_only, close);
  HeadParser parser;
  const HeadVerdict verdict =
      parser.response(rendered->text, head_only ? "HEAD" : "GET", *rendered->head);
  EXPECT_EQ(verdict.kind, HeadVerdict::Kind::done) << verdict.reason;
  rendered->body = rendered->text.substr(verdict.bytes);
  return rendered;
}

struct AnswerCase {
  Error error;
  int code;
  const char* reason;
  int retry_after;  // -1: none
  bool close;
};

const AnswerCase answers[] = {
    {{Code::bad_head, Side::local, Retry::no, 0, ""}, 400, "BadRequest", -1, true},
    {{Code::bad_body, Side::local, Retry::no, 0, ""}, 400, "BadRequest", -1, true},
    {{Code::http_version, Side::local, Retry::no, 0, ""}, 505, "BadRequest", -1, true},
    {{Code::head_too_large, Side::local, Retry::no, 0, ""}, 431, "RequestEntityTooLarge", -1, true},
    {{Code::unauthorized, Side::local, Retry::no, 0, ""}, 401, "Unauthorized", -1, false},
    {{Code::denied, Side::local, Retry::no, 0, ""}, 403, "Forbidden", -1, false},
    {{Code::unknown_route, Side::local, Retry::no, 0, ""}, 404, "NotFound", -1, false},
    {{Code::overloaded, Side::self, Retry::no, 0, ""}, 429, "TooManyRequests", 1, false},
    {{Code::no_identity, Side::self, Retry::no, 0, ""}, 503, "ServiceUnavailable", 5, false},
    {{Code::draining, Side::self, Retry::no, 0, ""}, 503, "ServiceUnavailable", 1, false},
    {{Code::timeout, Side::local, Retry::no, 0, ""}, 408, "Timeout", -1, true},
    {{Code::timeout, Side::upstream, Retry::no, 0, ""}, 504, "Timeout", -1, false},
    {{Code::dns, Side::upstream, Retry::yes, 0, ""}, 503, "ServiceUnavailable", 1, false},
    {{Code::refused, Side::upstream, Retry::yes, 0, ""}, 503, "ServiceUnavailable", 1, false},
    {{Code::reset, Side::upstream, Retry::no, 0, ""}, 503, "ServiceUnavailable", -1, false},
    {{Code::eof, Side::upstream, Retry::if_reused, 0, ""}, 503, "ServiceUnavailable", -1, false},
    {{Code::tls_handshake, Side::upstream, Retry::no, 0, ""}, 502, "ServiceUnavailable", -1, false},
    {{Code::tls_untrusted, Side::upstream, Retry::no, 0, ""}, 502, "ServiceUnavailable", -1, false},
    {{Code::tls_peer, Side::upstream, Retry::no, 0, ""}, 502, "ServiceUnavailable", -1, false},
    {{Code::bad_head, Side::upstream, Retry::no, 0, ""}, 502, "InternalError", -1, false},
    {{Code::bad_body, Side::upstream, Retry::no, 0, ""}, 502, "InternalError", -1, false},
    {{Code::head_too_large, Side::upstream, Retry::no, 0, ""}, 502, "InternalError", -1, false},
    {{Code::internal, Side::self, Retry::no, 0, ""}, 500, "InternalError", -1, false},
    {{Code::io, Side::self, Retry::no, 0, ""}, 500, "InternalError", -1, false},
};

TEST(Status, EveryErrorHasItsAnswer) {
  for (const AnswerCase& c : answers) {
    const auto rendered = render(c.error, "because");
    SCOPED_TRACE(rendered->text);
    EXPECT_EQ(rendered->head->status, c.code);
    EXPECT_FALSE(rendered->head->reason.empty());
    EXPECT_EQ(rendered->header("content-type"), "application/json");
    EXPECT_EQ(rendered->head->keep_alive, !c.close);
    EXPECT_EQ(rendered->header("retry-after"),
              c.retry_after < 0 ? "(absent)" : std::to_string(c.retry_after));
    EXPECT_EQ(rendered->header("www-authenticate").starts_with("Bearer"), c.code == 401);
    EXPECT_EQ(rendered->header("content-length"), std::to_string(rendered->body.size()));

    const json::object status = json::parse(rendered->body).as_object();
    EXPECT_EQ(status.at("kind").as_string(), "Status");
    EXPECT_EQ(status.at("apiVersion").as_string(), "v1");
    EXPECT_TRUE(status.at("metadata").as_object().empty());
    EXPECT_EQ(status.at("status").as_string(), "Failure");
    EXPECT_EQ(status.at("message").as_string(), "because");
    EXPECT_EQ(status.at("reason").as_string(), c.reason);
    EXPECT_EQ(status.at("code").as_int64(), c.code);
    EXPECT_EQ(status.contains("details"), c.retry_after >= 0);
    if (c.retry_after >= 0) {
      EXPECT_EQ(status.at("details").at("retryAfterSeconds").as_int64(), c.retry_after);
    }
  }
}

const Error any_error{Code::internal, Side::self, Retry::no, 0, ""};

TEST(Status, EveryMessageIsValidJson) {
  std::string all;
  for (int byte = 0; byte < 128; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(json::parse(render(any_error, all)->body).at("message").as_string(), all);

  const std::string utf8 = "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80";
  EXPECT_EQ(json::parse(render(any_error, utf8)->body).at("message").as_string(), utf8);

  // Lone continuation, cut sequence, overlong form, surrogate, beyond U+10FFFF, never a lead byte.
  const std::string replacement = "\xef\xbf\xbd";
  for (const std::string bad : {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                                "\xf4\x90\x80\x80", "\xf8\x88\x80\x80", "\xff", "\xe2\x82"}) {
    const json::value status = json::parse(render(any_error, "a" + bad + "z")->body);
    const json::string& message = status.at("message").as_string();
    std::string expected = "a";
    for (std::size_t i = 0; i < bad.size(); ++i) expected += replacement;
    EXPECT_EQ(message, expected + "z");
  }
}

TEST(Status, HeadGetsTheHeadOnly) {
  const auto with_body = render(any_error, "m");
  const auto head_only = render(any_error, "m", "", true);
  EXPECT_EQ(head_only->body, "");
  EXPECT_EQ(head_only->header("content-length"), with_body->header("content-length"));
}

TEST(Status, CloseIsSaidWhenAskedFor) {
  EXPECT_TRUE(render(any_error, "m")->head->keep_alive);
  EXPECT_FALSE(render(any_error, "m", "", false, true)->head->keep_alive);
}

// A message of Protocol Buffers as field number -> value; nested bytes stay bytes.
struct Message {
  std::map<unsigned, std::string> bytes;
  std::map<unsigned, std::uint64_t> numbers;
};

std::uint64_t take_varint(std::string_view& text) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; !text.empty() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(text.front());
    text.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  ADD_FAILURE() << "cut varint";
  return 0;
}

Message decode(std::string_view text) {
  Message message;
  while (!text.empty()) {
    const std::uint64_t key = take_varint(text);
    const auto number = static_cast<unsigned>(key >> 3);
    const std::uint64_t value = take_varint(text);
    if ((key & 7) == 0) {
      message.numbers[number] = value;
    } else {
      EXPECT_EQ(key & 7, 2u);
      if (value > text.size()) {
        ADD_FAILURE() << "cut field";
        return message;
      }
      message.bytes[number] = text.substr(0, value);
      text.remove_prefix(value);
    }
  }
  return message;
}

TEST(Status, ProtobufWhenNothingElseIsAccepted) {
  const std::string long_message(300, 'm');
  const auto rendered = render({Code::no_identity, Side::self, Retry::no, 0, ""}, long_message,
                               "application/vnd.kubernetes.protobuf");
  EXPECT_EQ(rendered->header("content-type"), "application/vnd.kubernetes.protobuf");
  EXPECT_EQ(rendered->header("content-length"), std::to_string(rendered->body.size()));
  ASSERT_EQ(rendered->body.substr(0, 4), std::string("k8s\0", 4));
  const Message unknown = decode(std::string_view(rendered->body).substr(4));
  const Message type = decode(unknown.bytes.at(1));
  EXPECT_EQ(type.bytes.at(1), "v1");
  EXPECT_EQ(type.bytes.at(2), "Status");
  const Message status = decode(unknown.bytes.at(2));
  EXPECT_EQ(status.bytes.at(2), "Failure");
  EXPECT_EQ(status.bytes.at(3), long_message);
  EXPECT_EQ(status.bytes.at(4), "ServiceUnavailable");
  EXPECT_EQ(decode(status.bytes.at(5)).numbers.at(5), 5u);
  EXPECT_EQ(status.numbers.at(6), 503u);
}

TEST(Status, JsonWheneverItIsAccepted) {
  for (const char* accept :
       {"", "application/json", "*/*", "application/vnd.kubernetes.protobuf,application/json",
        "application/vnd.kubernetes.protobuf, */*", "text/html"}) {
    EXPECT_EQ(render(any_error, "m", accept)->header("content-type"), "application/json") << accept;
  }
}

}  // namespace
}  // namespace kubelane::http
