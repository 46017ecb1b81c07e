#include "proxy/http/head_writer.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

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

TEST(RequestWriter, UpgradeIsPassed) {
  EXPECT_EQ(rewrite("POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                    "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
                    edits_for(0, "")),
            "POST /a HTTP/1.1\r\nHost: teleport.example.com\r\nUpgrade: SPDY/3.1\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nConnection: Upgrade\r\n\r\n");
}

TEST(RequestWriter, NominatingAFieldOfMeaningIsRefused) {
  for (const char* field : {"Impersonate-User", "Host", "content-length", "Content-Type",
                            "Impersonate-Extra-scopes"}) {
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
  ASSERT_TRUE(write_trailers("grpc-status: 0\r\nContent-Length: 3\r\n\r\n", Direction::response,
                             out));
  EXPECT_EQ(out, "grpc-status: 0\r\n\r\n");
  EXPECT_FALSE(write_trailers("no colon\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers("A : b\r\n\r\n", Direction::request, out));
  EXPECT_FALSE(write_trailers(" folded: b\r\n\r\n", Direction::request, out));
}

}  // namespace
}  // namespace kubelane::http
