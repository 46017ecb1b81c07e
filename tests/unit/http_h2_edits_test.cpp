// What of an HTTP/2 head passes, and that a kept request never points into bytes that moved.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/http/h2_edits.hpp"

namespace kubelane::http {
namespace {

H2Head request(std::string_view path, Fields fields = {}) {
  H2Head head;
  head.method = "GET";
  head.scheme = "https";
  head.authority = "127.0.0.1:7443";
  head.path = path;
  head.fields = fields;
  return head;
}

const char* refusal(const H2Head& head) {
  std::string_view authority;
  return refuse_h2_request(head, authority);
}

TEST(H2Edits, WhatTwoReadersCouldTakeForDifferentRequestsIsRefused) {
  EXPECT_EQ(refusal(request("/api")), nullptr);
  for (const char* path : {"", "api", "*", "/a b", "/a#b", "http://x/"})
    EXPECT_NE(refusal(request(path)), nullptr) << path;
  H2Head head = request("*");
  head.method = "OPTIONS";
  EXPECT_EQ(refusal(head), nullptr);
  head = request("/");
  for (const char* method : {"", "G ET", "CONNECT"}) {
    head.method = method;
    EXPECT_NE(refusal(head), nullptr) << method;
  }
  head = request("/");
  for (const char* authority : {"", "a@b", "a,b", "a/b"}) {
    head.authority = authority;
    EXPECT_NE(refusal(head), nullptr) << authority;
  }
  const Field same{"host", "127.0.0.1:7443", FieldId::host};
  const Field other{"host", "example.com", FieldId::host};
  EXPECT_EQ(refusal(request("/", {&same, 1})), nullptr);
  EXPECT_NE(refusal(request("/", {&other, 1})), nullptr);
  const Field twice[] = {same, same};
  EXPECT_NE(refusal(request("/", twice)), nullptr);
}

// Every length of every part: the copy's views must hold whatever the string's capacity is.
TEST(H2Edits, AKeptRequestStandsOnItsOwn) {
  for (std::size_t length = 0; length < 200; ++length) {
    const std::string prefix = "/" + std::string(length, 'p');
    for (const std::string& rest : {std::string(), std::string("?a=b"), std::string("/x")}) {
      for (const char* scheme : {"http", "https"}) {
        std::string path = prefix + rest;
        H2Head head = request(path);
        head.scheme = scheme;
        RequestEdits edits;
        edits.strip_path_bytes = prefix.size();
        edits.upstream_prefix = "";
        edits.authority = "t";
        const H2Request kept(head, edits);
        path.assign(path.size(), '!');
        EXPECT_EQ(kept.head().method, "GET");
        EXPECT_EQ(kept.head().scheme, "https");
        EXPECT_EQ(kept.head().authority, "t");
        EXPECT_EQ(kept.head().path, rest.starts_with('/') ? rest : "/" + rest);
      }
    }
  }
}

TEST(H2Edits, ThePrefixIsSwappedAndDefaultsAreAdded) {
  const Field fields[] = {{"authorization", "Bearer x", FieldId::authorization},
                          {"accept", "a", FieldId::accept},
                          {"te", "trailers", FieldId::te}};
  const Field add[] = {{"impersonate-user", "ci", FieldId::impersonate_user}};
  RequestEdits edits;
  edits.strip_path_bytes = 5;
  edits.upstream_prefix = "/v1/teleport/a/b";
  edits.authority = "teleport.example.com";
  edits.add = add;
  const H2Request kept(request("/prod/api?x=1", fields), edits);
  EXPECT_EQ(kept.head().path, "/v1/teleport/a/b/api?x=1");
  std::string names;
  for (const Field& field : kept.head().fields) names += std::string(field.name) + " ";
  EXPECT_EQ(names, "accept te impersonate-user ");
}

TEST(H2Edits, ResponsesLoseWhatIsTheProxysOwn) {
  const Field fields[] = {{"content-length", "0", FieldId::content_length},
                          {"alt-svc", "h3", FieldId::alt_svc},
                          {"strict-transport-security", "1", FieldId::strict_transport_security},
                          {"x-a", "b", FieldId::other}};
  H2Head head;
  head.fields = fields;
  std::vector<Field> out;
  head.status = 200;
  edit_h2_response(head, out);
  EXPECT_EQ(out.size(), 2u);
  head.status = 204;
  edit_h2_response(head, out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].name, "x-a");
}

}  // namespace
}  // namespace kubelane::http
