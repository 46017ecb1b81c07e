#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/http/head.hpp"

namespace kubelane::http {
namespace {

using Kind = HeadVerdict::Kind;

struct Parsed {
  std::unique_ptr<const std::string> text;  // the head's slices point here
  HeadVerdict verdict;
  std::unique_ptr<RequestHead> head = std::make_unique<RequestHead>();
};

Parsed parse(std::string_view text, HeadLimits limits = {}) {
  Parsed parsed;
  parsed.text = std::make_unique<const std::string>(text);
  HeadParser parser(limits);
  parsed.verdict = parser.request(*parsed.text, *parsed.head);
  return parsed;
}

const std::string plain = "GET /api HTTP/1.1\r\nHost: a\r\n";

TEST(RequestHead, IsReadWithItsFields) {
  const std::string text =
      "PATCH /x/y%2F..//z;p?a=b&c=%20 HTTP/1.1\r\nHost: localhost:7443\r\n"
      "Content-Type: application/json\r\nContent-Length: 12\r\nImpersonate-User:  bob \r\n\r\nbody";
  const Parsed parsed = parse(text);
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.verdict.bytes, text.size() - 4);
  const RequestHead& head = *parsed.head;
  EXPECT_EQ(head.method, "PATCH");
  EXPECT_EQ(head.path, "/x/y%2F..//z;p");
  EXPECT_EQ(head.query, "?a=b&c=%20");
  EXPECT_EQ(head.authority, "localhost:7443");
  EXPECT_EQ(head.body, BodyKind::length);
  EXPECT_EQ(head.content_length, 12u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_FALSE(head.upgrade);
  ASSERT_EQ(head.field_count, 4u);
  EXPECT_EQ(head.fields()[3].value, "bob");
  EXPECT_EQ(head.fields()[3].id, FieldId::impersonate_user);
}

TEST(RequestHead, GivesTheSameResultAtEverySplit) {
  const std::string text =
      "POST /v1?x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade, close"
      "\r\nUpgrade: SPDY/3.1\r\n\r\n";
  for (std::size_t split = 0; split < text.size(); ++split) {
    HeadParser parser;
    const auto head = std::make_unique<RequestHead>();
    const std::string_view whole = text;
    EXPECT_EQ(parser.request(whole.substr(0, split), *head).kind, Kind::need_more) << split;
    const HeadVerdict verdict = parser.request(whole, *head);
    ASSERT_EQ(verdict.kind, Kind::done) << split;
    EXPECT_EQ(verdict.bytes, text.size());
    EXPECT_TRUE(head->upgrade);
    EXPECT_FALSE(head->keep_alive);
    EXPECT_EQ(head->body, BodyKind::chunked);
  }
}

TEST(RequestHead, SkipsTwoEmptyLinesAndNoMore) {
  EXPECT_EQ(parse("\r\n\r\n" + plain + "\r\n").verdict.kind, Kind::done);
  EXPECT_EQ(parse("\r\n\r\n\r\n" + plain + "\r\n").verdict.kind, Kind::bad);
  EXPECT_EQ(parse("\r\n\r").verdict.kind, Kind::need_more);
}

class RefusedRequest : public testing::TestWithParam<std::string> {};

TEST_P(RefusedRequest, IsBad) {
  const Parsed parsed = parse(GetParam());
  EXPECT_EQ(parsed.verdict.kind, Kind::bad);
  EXPECT_STRNE(parsed.verdict.reason, "");
}

TEST_P(RefusedRequest, IsBadHoweverItArrives) {
  const std::string_view whole = GetParam();
  const auto head = std::make_unique<RequestHead>();
  for (std::size_t split = 0; split < whole.size(); ++split) {
    HeadParser parser;
    HeadVerdict verdict = parser.request(whole.substr(0, split), *head);
    if (verdict.kind == Kind::need_more) verdict = parser.request(whole, *head);
    EXPECT_EQ(verdict.kind, Kind::bad) << split;
  }
  HeadParser parser;
  Kind kind = Kind::need_more;
  for (std::size_t size = 1; size <= whole.size() && kind == Kind::need_more; ++size)
    kind = parser.request(whole.substr(0, size), *head).kind;
  EXPECT_EQ(kind, Kind::bad);
}

const std::string nul(1, '\0');

INSTANTIATE_TEST_SUITE_P(
    Smuggling, RefusedRequest,
    testing::Values(
        // Two framings, or one that can be read twice.
        plain + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        plain + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        plain + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        plain + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        plain + "Content-Length: 5, 5\r\n\r\n", plain + "Content-Length: +5\r\n\r\n",
        plain + "Content-Length: -5\r\n\r\n", plain + "Content-Length: 0x5\r\n\r\n",
        plain + "Content-Length: 5 5\r\n\r\n", plain + "Content-Length: \r\n\r\n",
        plain + "Content-Length: 99999999999999999999\r\n\r\n",
        plain + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        plain + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        plain + "Transfer-Encoding: chunked, identity\r\n\r\n",
        plain + "Transfer-Encoding: xchunked\r\n\r\n", plain + "Transfer-Encoding:\r\n\r\n",
        plain + "Transfer-Encoding: \"chunked\"\r\n\r\n",
        plain + "Transfer-Encoding: chunked;q=1\r\n\r\n",
        // Line ends and folds (CVE-2023-30589, CVE-2024-27982).
        "GET /api HTTP/1.1\nHost: a\n\n", "GET /api HTTP/1.1\r\nHost: a\n\r\n",
        plain + "X: a\rContent-Length: 5\r\n\r\n", plain + "X: a\r\rB: c\r\n\r\n",
        plain + "X: a\r\n b\r\n\r\n", plain + "X: a\r\n\tContent-Length: 5\r\n\r\n",
        "GET /api HTTP/1.1\r\n Host: a\r\n\r\n", plain + " Content-Length: 5\r\n\r\n",
        plain + "Content-Length : 5\r\n\r\n", plain + "Content-Length\t: 5\r\n\r\n",
        plain + ": x\r\n\r\n", plain + "no colon\r\n\r\n", plain + "X\x01: a\r\n\r\n",
        plain + "X: a" + nul + "b\r\n\r\n", plain + "X" + nul + ": a\r\n\r\n",
        plain + "X: a\x0b\r\n\r\n", plain + "X: \x7f\r\n\r\n", plain + "Tr\xc3\xa4nsfer: x\r\n\r\n",
        // Request line and Host.
        "GET  /api HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET api HTTP/1.1\r\nHost: a\r\n\r\n",
        "G{T /api HTTP/1.1\r\nHost: a\r\n\r\n", "GET /api HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /api XTTP/1.1\r\nHost: a\r\n\r\n", "GET /api\r\nHost: a\r\n\r\n",
        "GET /api HTTP/1.1\r\n\r\n", "GET /api HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /api HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET /api HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://b/api HTTP/1.1\r\nHost: a\r\n\r\n", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///api HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "GET https://user@a/ HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET /api HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET /api HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET /api HTTP/1.1\r\nHost: a?b\r\n\r\n", "GET /api HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n",
        "GET //b/api HTTP/1.1\rHost: a\r\n\r\n", "GET ?x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /api http/1.1\r\nHost: a\r\n\r\n", "GET /api HTTP/1.\r\nHost: a HTTP/1.1\r\n\r\n",
        "GET\t/api HTTP/1.1\r\nHost: a\r\n\r\n", " GET /api HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\rET /api HTTP/1.1\r\nHost: a\r\n\r\n", "\nGET /api HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\nGET /api HTTP/1.1\r\nHost: a\r\n\r\n",
        // What hides behind a value that a lenient reader would cut or join.
        plain + "Transfer-Encoding: chunked\x0b\r\n\r\n",
        plain + "Transfer-Encoding: \x0c" + "chunked\r\n\r\n",
        plain + "Transfer-Encoding\r\n : chunked\r\n\r\n",
        plain + "Transfer-Encoding:\r\n chunked\r\n\r\n",
        plain + "Content-Length: 0\r\n\tContent-Length: 5\r\n\r\n",
        plain + "Content-Length: 1_0\r\n\r\n", plain + "Content-Length: 5;\r\n\r\n",
        plain + "Content-Length: \xc2\xb2\r\n\r\n", plain + "content-length: 1e1\r\n\r\n",
        plain + "X: a\r\nContent-Length : 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        plain + "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        plain + "Content-Length: 5\r\r\n\r\n", plain + "Content-Length: 5\r\n\r\r\n\r\n",
        plain + "(X): a\r\n\r\n", plain + "X@: a\r\n\r\n", plain + "\"X\": a\r\n\r\n",
        plain + "X: 1234567\x01\r\n\r\n", plain + "X: 12345678\x1f" + "9\r\n\r\n",
        plain + "X: \t12345678\t1234567\x7f\r\n\r\n"));

TEST(RequestHead, AcceptsAbsoluteFormThatNamesItsHost) {
  const Parsed parsed = parse("GET https://A:1/api?x HTTP/1.1\r\nHost: a:1\r\n\r\n");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.head->path, "/api");
  EXPECT_EQ(parsed.head->query, "?x");
}

TEST(RequestHead, AbsoluteFormWithoutAPathMeansTheRoot) {
  const Parsed parsed = parse("GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.head->path, "/");
  EXPECT_EQ(parsed.head->query, "?x");
}

TEST(RequestHead, OptionsMayAskForTheServer) {
  const Parsed parsed = parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.head->path, "*");
}

TEST(RequestHead, HostMayBeAnyNameOrAddress) {
  for (const char* host :
       {"localhost", "127.0.0.1:7443", "[::1]:7443", "[fe80::1%25lo]", "a_b-c.d"})
    EXPECT_EQ(parse(std::string("GET / HTTP/1.1\r\nHost: ") + host + "\r\n\r\n").verdict.kind,
              Kind::done)
        << host;
}

TEST(RequestHead, ValuesKeepTabsAndBytesBeyondAscii) {
  const Parsed parsed = parse(plain + "X: \t a\tb\xc3\xa4 12345678\xff\x80 \t\r\nY:\r\n\r\n");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.head->fields()[1].value, "a\tb\xc3\xa4 12345678\xff\x80");
  EXPECT_EQ(parsed.head->fields()[2].value, "");
}

TEST(RequestHead, TheLargestLengthIsRead) {
  const Parsed parsed = parse(plain + "Content-Length: 9999999999999999999\r\n\r\n");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_EQ(parsed.head->content_length, 9999999999999999999u);
}

TEST(RequestHead, ConnectionListsAreReadAsAWhole) {
  const Parsed both = parse(plain +
                            "Connection: keep-alive\r\nX: y\r\nconnection: x,\tUPGRADE\r\n"
                            "Connection: Close\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_EQ(both.verdict.kind, Kind::done);
  EXPECT_TRUE(both.head->upgrade);
  EXPECT_FALSE(both.head->keep_alive);
  EXPECT_FALSE(parse(plain + "Upgrade: websocket\r\n\r\n").head->upgrade);
  EXPECT_FALSE(parse(plain + "Connection: upgrade\r\n\r\n").head->upgrade);
  EXPECT_FALSE(parse(plain + "Connection: upgraded\r\nUpgrade: websocket\r\n\r\n").head->upgrade);
}

TEST(RequestHead, AnUpgradeThatWouldCarryRequestsIsNoUpgrade) {
  const std::string upgrade = plain + "Connection: Upgrade\r\nUpgrade: ";
  for (const char* protocol :
       {"h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0, websocket", "websocket,h2c"}) {
    const Parsed parsed = parse(upgrade + protocol + "\r\n\r\n");
    ASSERT_EQ(parsed.verdict.kind, Kind::done);
    EXPECT_FALSE(parsed.head->upgrade) << protocol;
  }
  for (const char* protocol : {"SPDY/3.1", "websocket", "WebSocket/13"})
    EXPECT_TRUE(parse(upgrade + protocol + "\r\n\r\n").head->upgrade) << protocol;
}

TEST(RequestHead, AnUpgradeMayHaveABody) {
  const Parsed parsed =
      parse(plain + "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 3\r\n\r\nabc");
  ASSERT_EQ(parsed.verdict.kind, Kind::done);
  EXPECT_TRUE(parsed.head->upgrade);
  EXPECT_EQ(parsed.head->body, BodyKind::length);
}

TEST(RequestHead, OneExpectationIsKnown) {
  EXPECT_TRUE(parse(plain + "Expect: 100-Continue\r\n\r\n").head->expect_continue);
  EXPECT_FALSE(parse(plain + "Expect: 100-continue, x\r\n\r\n").head->expect_continue);
  EXPECT_FALSE(parse(plain + "\r\n").head->expect_continue);
}

TEST(RequestHead, ALineFeedAloneIsRefusedAtOnce) {
  EXPECT_EQ(parse("GET / HTTP/1.1\n").verdict.kind, Kind::bad);
  EXPECT_EQ(parse("\n").verdict.kind, Kind::bad);
  EXPECT_EQ(parse("\r\n\r\n\r\n").verdict.kind, Kind::bad);
}

TEST(RequestHead, OneHeadAfterAnother) {
  const std::string first = plain + "Content-Length: 3\r\nConnection: close\r\nUpgrade: x\r\n\r\n";
  const std::string second = plain + "\r\n";
  HeadParser parser;
  const auto head = std::make_unique<RequestHead>();
  const std::string both = first + second;
  ASSERT_EQ(parser.request(both, *head).bytes, first.size());
  parser.reset();
  ASSERT_EQ(parser.request(second, *head).bytes, second.size());
  EXPECT_EQ(head->field_count, 1u);
  EXPECT_EQ(head->body, BodyKind::none);
  EXPECT_EQ(head->content_length, 0u);
  EXPECT_TRUE(head->keep_alive);
}

TEST(RequestHead, OtherVersionsAreNamedAsSuch) {
  EXPECT_EQ(parse("GET / HTTP/1.2\r\nHost: a\r\n\r\n").verdict.kind, Kind::version);
  EXPECT_EQ(parse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").verdict.kind, Kind::version);
  EXPECT_EQ(parse("GET / HTTP/1.0\r\nHost: a\r\n\r\n").verdict.kind, Kind::version);
  EXPECT_EQ(parse("PRI * HTTP/2.0\r\n\r\n").verdict.kind, Kind::version);
}

TEST(RequestHead, LimitsHoldBeforeTheHeadIsComplete) {
  const HeadLimits limits{1024, 8};
  EXPECT_EQ(parse("GET /" + std::string(2000, 'a'), limits).verdict.kind, Kind::too_large);
  std::string many = plain;
  for (int i = 0; i < 8; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(parse(many + "\r\n", limits).verdict.kind, Kind::too_large);
  EXPECT_EQ(parse(plain + "X: " + std::string(1024, 'b') + "\r\n\r\n", limits).verdict.kind,
            Kind::too_large);
}

// The limit is exact, and a fault beyond it does not change the verdict.
TEST(RequestHead, TheLimitIsTheSameHoweverTheHeadArrives) {
  const std::string text = plain + "X: " + std::string(50, 'b') + "\r\n\r\n";
  const std::string faulty = plain + "X: " + std::string(50, 'b') + "\n\r\n";
  const auto head = std::make_unique<RequestHead>();
  for (const std::string_view whole : {std::string_view(text), std::string_view(faulty)}) {
    for (std::size_t limit = 1; limit <= whole.size(); ++limit) {
      HeadParser at_once({limit, 96});
      const Kind expected = at_once.request(whole, *head).kind;
      EXPECT_EQ(expected == Kind::done, limit == text.size()) << limit;
      HeadParser by_bytes({limit, 96});
      Kind kind = Kind::need_more;
      for (std::size_t size = 1; size <= whole.size() && kind == Kind::need_more; ++size)
        kind = by_bytes.request(whole.substr(0, size), *head).kind;
      EXPECT_EQ(kind, expected) << limit;
    }
  }
}

struct ParsedResponse {
  HeadVerdict verdict;
  std::unique_ptr<ResponseHead> head = std::make_unique<ResponseHead>();
};

ParsedResponse parse_response(std::string_view text, std::string_view method = "GET") {
  ParsedResponse parsed;
  HeadParser parser;
  parsed.verdict = parser.response(text, method, *parsed.head);
  return parsed;
}

TEST(ResponseHead, BodyKindFollowsTheRfc) {
  struct Case {
    const char* text;
    const char* method;
    BodyKind body;
    bool keep_alive;
  };
  const Case cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", BodyKind::length, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", BodyKind::none, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "GET", BodyKind::chunked, true},
      {"HTTP/1.1 200 OK\r\n\r\n", "GET", BodyKind::until_close, false},
      {"HTTP/1.1 204 No Content\r\n\r\n", "GET", BodyKind::none, true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", BodyKind::none, true},
      {"HTTP/1.1 100 Continue\r\n\r\n", "POST", BodyKind::none, true},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "GET", BodyKind::none, true},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "GET", BodyKind::none,
       false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "GET", BodyKind::length, false},
      {"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", "GET", BodyKind::length, true},
  };
  for (const Case& c : cases) {
    const ParsedResponse parsed = parse_response(c.text, c.method);
    ASSERT_EQ(parsed.verdict.kind, Kind::done) << c.text << parsed.verdict.reason;
    EXPECT_EQ(parsed.head->body, c.body) << c.text;
    EXPECT_EQ(parsed.head->keep_alive, c.keep_alive) << c.text;
  }
}

TEST(ResponseHead, GivesTheSameResultAtEverySplit) {
  const std::string_view whole =
      "HTTP/1.1 503 Service  Unavailable\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const auto head = std::make_unique<ResponseHead>();
  for (std::size_t split = 0; split < whole.size(); ++split) {
    HeadParser parser;
    EXPECT_EQ(parser.response(whole.substr(0, split), "GET", *head).kind, Kind::need_more);
    ASSERT_EQ(parser.response(whole, "GET", *head).kind, Kind::done) << split;
    EXPECT_EQ(head->status, 503);
    EXPECT_EQ(head->reason, "Service  Unavailable");
    EXPECT_EQ(head->body, BodyKind::chunked);
    EXPECT_EQ(head->field_count, 2u);
  }
}

TEST(ResponseHead, KeepAliveOfTheOldVersionMustBeSaid) {
  EXPECT_TRUE(
      parse_response("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n")
          .head->keep_alive);
  EXPECT_FALSE(parse_response(
                   "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 1\r\n\r\n")
                   .head->keep_alive);
}

TEST(ResponseHead, MalformedOnesAreRefused) {
  for (const char* text : {
           "\r\nHTTP/1.1 200 OK\r\n\r\n",
           "HTTP/1.1  200 OK\r\n\r\n",
           "HTTP/1.1 2x0 OK\r\n\r\n",
           "HTTP/1.1 200\tOK\r\n\r\n",
           "HTTP/1.1 200 O\x01K\r\n\r\n",
           "HTTP/1.1 200 O\rK\r\n\r\n",
           "http/1.1 200 OK\r\n\r\n",
           "HTTP/1.2 200 OK\r\n\r\n",
           "ICY 200 OK\r\n\r\n",
           "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
           "HTTP/1.1 200 OK\r\nX: y\rContent-Length: 1\r\n\r\n",
           "HTTP/1.1 204 X\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
           "HTTP/1.1 20 OK\r\n\r\n",
           "HTTP/1.1 2000 OK\r\n\r\n",
           "HTTP/2 200 OK\r\n\r\n",
           "HTTP/1.1 099 X\r\n\r\n",
           "HTTP/1.1 200 OK\nContent-Length: 1\n\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
           "HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
       }) {
    EXPECT_EQ(parse_response(text).verdict.kind, Kind::bad) << text;
  }
}

}  // namespace
}  // namespace kubelane::http
