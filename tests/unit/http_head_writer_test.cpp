#include <array>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "proxy/http/head_writer.hpp"

namespace kubelane::http {
namespace {

std::string rewrite(const std::string& text, const RequestEdits& edits) {
  const auto head = std::make_unique<RequestHead>();
  HeadParser parser;
  const HeadVerdict verdict = parser.request(text, *head);
  EXPECT_EQ(verdict.kind, HeadVerdict::Kind::done) << verdict.reason;
  std::array<char, 4096> out;
  const Result<std::size_t> written = write_request_head(*head, edits, out);
  if (!written) return std::string("error: ") + std::string(name(written.error().code));
  return {out.data(), *written};
}

RequestEdits edits_for(std::size_t strip, std::string_view prefix) {
  RequestEdits edits;
  edits.strip_path_bytes = strip;
  edits.upstream_prefix = prefix;
  edits.authority = "teleport.example.com";
  return edits;
}

TEST(RequestWriter, SwapsThePrefixAndKeepsTheRestByteForByte) {
  EXPECT_EQ(rewrite("GET /prod/api/v1//a%2Fb/../c;d?x=%20&y HTTP/1.1\r\nhOsT: localhost:1\r\n"
                    "X-Odd:a\r\nAccept-Encoding: gzip\r\n\r\n",
                    edits_for(5, "/v1/teleport/a/b")),
            "GET /v1/teleport/a/b/api/v1//a%2Fb/../c;d?x=%20&y HTTP/1.1\r\n"
            "hOsT: teleport.example.com\r\nX-Odd: a\r\nAccept-Encoding: gzip\r\n\r\n");
  EXPECT_EQ(rewrite("GET /prod?watch=1 HTTP/1.1\r\nHost: h\r\n\r\n", edits_for(5, "")),
            "GET /?watch=1 HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
}

TEST(RequestWriter, CredentialsAndForwardingFieldsNeverLeave) {
  EXPECT_EQ(rewrite("GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n"
                    "AUTHORIZATION: x\r\nProxy-Authorization: y\r\nTeleport-Impersonate-User: z\r\n"
                    "teleport-anything: z\r\nX-Teleport-Upgrade: z\r\nX-Forwarded-For: 1.2.3.4\r\n"
                    "x-forwarded-host: e\r\nX-Real-IP: 1\r\nForwarded: for=1\r\n"
                    "Impersonate-User: bob\r\nImpersonate-Group: g\r\n\r\n",
                    edits_for(0, "")),
            "GET /a HTTP/1.1\r\nHost: teleport.example.com\r\nImpersonate-User: bob\r\n"
            "Impersonate-Group: g\r\n\r\n");
}

TEST(RequestWriter, HopByHopFieldsStay) {
  EXPECT_EQ(rewrite("GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
                    "Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n\r\n",
                    edits_for(0, "")),
            "GET /a HTTP/1.1\r\nHost: teleport.example.com\r\nTE: trailers\r\n\r\n");
}

TEST(RequestWriter, PlainLinesAndOddSpacingComeOutTheSame) {
  EXPECT_EQ(rewrite("GET /a HTTP/1.1\r\nA: 1\r\nB:2\r\nC: 3\r\nD:  4\r\nE: 5 \r\nF:\r\nG: \r\n"
                    "H: 8\r\nHost: h\r\nI:\t9\r\nJ: 10\r\n\r\n",
                    edits_for(0, "")),
            "GET /a HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: \r\nG: \r\n"
            "H: 8\r\nHost: teleport.example.com\r\nI: 9\r\nJ: 10\r\n\r\n");
}

TEST(RequestWriter, AbsoluteFormBecomesOriginForm) {
  EXPECT_EQ(rewrite("GET https://h/prod/api?x HTTP/1.1\r\nHost: h\r\n\r\n", edits_for(5, "/p")),
            "GET /p/api?x HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
  EXPECT_EQ(rewrite("GET https://h?x HTTP/1.1\r\nHost: h\r\n\r\n", edits_for(0, "/p")),
            "GET /p/?x HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
}

TEST(RequestWriter, OptionsForTheServerStaysInItsRoute) {
  const std::string text = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_EQ(rewrite(text, edits_for(0, "")),
            "OPTIONS * HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
  EXPECT_EQ(rewrite(text, edits_for(0, "/p")),
            "OPTIONS /p/ HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
}

TEST(RequestWriter, AddedFieldsComeLast) {
  const std::array<Field, 2> add = {{{"Impersonate-User", "u", FieldId::impersonate_user},
                                     {"Impersonate-Group", "g", FieldId::impersonate_group}}};
  RequestEdits edits = edits_for(0, "");
  edits.add = add;
  EXPECT_EQ(rewrite("GET /a HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n", edits),
            "GET /a HTTP/1.1\r\nHost: teleport.example.com\r\nA: 1\r\nImpersonate-User: u\r\n"
            "Impersonate-Group: g\r\n\r\n");
}

TEST(RequestWriter, BodyFieldsPassAsTheyAre) {
  EXPECT_EQ(rewrite("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTrailer: X-Sum\r\n"
                    "transfer-encoding: Chunked\r\nCookie: c\r\n\r\n",
                    edits_for(0, "")),
            "POST /a HTTP/1.1\r\nHost: teleport.example.com\r\nExpect: 100-continue\r\n"
            "Trailer: X-Sum\r\ntransfer-encoding: Chunked\r\nCookie: c\r\n\r\n");
}

TEST(RequestWriter, AnHttpUpgradeIsNotPassed) {
  EXPECT_EQ(rewrite("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nProxy-Features: x\r\n\r\n",
                    edits_for(0, "")),
            "GET /a HTTP/1.1\r\nHost: teleport.example.com\r\n\r\n");
}

TEST(RequestWriter, UpgradeIsPassed) {
  EXPECT_EQ(rewrite("POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                    "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
                    edits_for(0, "")),
            "POST /a HTTP/1.1\r\nHost: teleport.example.com\r\nUpgrade: SPDY/3.1\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nConnection: Upgrade\r\n\r\n");
}

TEST(RequestWriter, NominatingAFieldOfMeaningIsRefused) {
  for (const char* field :
       {"Impersonate-User", "Host", "content-length", "Content-Type", "Impersonate-Extra-scopes"}) {
    const std::string text = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: x, " + std::string(field) +
                             "\r\nImpersonate-User: bob\r\nImpersonate-Extra-scopes: y\r\n"
                             "Content-Type: a\r\nContent-Length: 0\r\n\r\n";
    EXPECT_EQ(rewrite(text, edits_for(0, "")), "error: bad_head") << field;
  }
}

TEST(RequestWriter, TooSmallAnAreaIsAnErrorNotAnOverflow) {
  const auto head = std::make_unique<RequestHead>();
  HeadParser parser;
  ASSERT_EQ(parser.request("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", *head).kind,
            HeadVerdict::Kind::done);
  std::array<char, 128> out;
  RequestEdits edits = edits_for(0, "");
  const std::size_t needed = *write_request_head(*head, edits, out);
  for (std::size_t size = 0; size < needed; ++size)
    EXPECT_FALSE(write_request_head(*head, edits, {out.data(), size})) << size;
}

std::string rewrite_response(const std::string& text, bool close) {
  const auto head = std::make_unique<ResponseHead>();
  HeadParser parser;
  EXPECT_EQ(parser.response(text, "GET", *head).kind, HeadVerdict::Kind::done);
  std::array<char, 4096> out;
  return {out.data(), *write_response_head(*head, {close}, out)};
}

TEST(ResponseWriter, DropsHopByHopAndKeepsTheRest) {
  EXPECT_EQ(rewrite_response("HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
                             "Keep-Alive: x\r\nTransfer-Encoding: chunked\r\nAlt-Svc: h3\r\n"
                             "Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
                             false),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
            "\r\n");
  EXPECT_EQ(rewrite_response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST(ResponseWriter, WhatHasNoBodyHasNoFraming) {
  EXPECT_EQ(rewrite_response(
                "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n", false),
            "HTTP/1.1 204 No Content\r\nA: 1\r\n\r\n");
  EXPECT_EQ(
      rewrite_response("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: x\r\n\r\n", false),
      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  EXPECT_EQ(rewrite_response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false),
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
}

TEST(ResponseWriter, FramingCannotBeNominatedAway) {
  EXPECT_EQ(rewrite_response("HTTP/1.1 200 OK\r\nConnection: content-length, x\r\nX: 1\r\n"
                             "Content-Length: 5\r\n\r\n",
                             false),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
}

TEST(ResponseWriter, StatusLineBecomesOurVersion) {
  EXPECT_EQ(
      rewrite_response("HTTP/1.0 207\r\nStrict-Transport-Security: max-age=1\r\nA:1\r\n\r\n", true),
      "HTTP/1.1 207 \r\nA: 1\r\nConnection: close\r\n\r\n");
}

TEST(ResponseWriter, SwitchingProtocolsKeepsEverything) {
  const std::string text =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: x=\r\n\r\n";
  EXPECT_EQ(rewrite_response(text, false), text);
}

TEST(Trailers, CredentialsAreDroppedInRequestsOnly) {
  const std::string section =
      "X-Checksum: 1\r\nAuthorization: Bearer x\r\nTeleport-Impersonate-User: y\r\n"
      "Impersonate-User: z\r\n\r\n";
  std::string out;
  ASSERT_TRUE(write_trailers(section, Direction::request, out));
  EXPECT_EQ(out, "X-Checksum: 1\r\n\r\n");
  out.clear();
  ASSERT_TRUE(
      write_trailers("grpc-status: 0\r\nContent-Length: 3\r\n\r\n", Direction::response, out));
  EXPECT_EQ(out, "grpc-status: 0\r\n\r\n");
  out.clear();
  ASSERT_TRUE(
      write_trailers("Transfer-Encoding: chunked\r\nConnection: x\r\nHost: y\r\n"
                     "X-Forwarded-For: 1\r\nProxy-Authorization: z\r\nTrailer: A\r\n\r\n",
                     Direction::request, out));
  EXPECT_EQ(out, "\r\n");
  EXPECT_FALSE(write_trailers("A: b\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers("A: b\x01\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers("A: b\rC: d\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers(": b\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers("no colon\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers("A : b\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers(" folded: b\r\n\r\n", Direction::request, out));
}

}  // namespace
}  // namespace kubelane::http
