// Where a stream of events may be cut, however its bytes arrive.
#include <string>

#include <gtest/gtest.h>

#include "proxy/http/event_boundary.hpp"

namespace kubelane::http {
namespace {

// Passes `bytes` in pieces of `piece` and returns what is open after each byte count.
std::uint64_t open_after(std::string_view type, const std::string& bytes, std::size_t piece) {
  EventBoundary boundary = EventBoundary::of(type, "");
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    boundary.pass(std::string_view(bytes).substr(at, piece));
  return boundary.open_bytes();
}

TEST(EventBoundary, LinesOfJsonEndWithANewline) {
  const std::string text = "{\"a\":1}\n{\"b\":2}\n{\"c\"";
  for (std::size_t end = 0; end <= text.size(); ++end) {
    const std::string part = text.substr(0, end);
    const std::size_t newline = part.rfind('\n');
    const std::size_t open = newline == std::string::npos ? end : end - newline - 1;
    for (std::size_t piece = 1; piece < 7; ++piece)
      EXPECT_EQ(open_after("application/json;stream=watch", part, piece), open) << end;
  }
}

TEST(EventBoundary, ProtobufEventsCarryTheirLength) {
  const auto event = [](std::size_t size) {
    return std::string("\0\0", 2) + static_cast<char>(size >> 8) + static_cast<char>(size & 0xff) +
           std::string(size, '\n');
  };
  const std::string bytes = event(3) + event(0) + event(300) + event(1);
  const std::size_t ends[] = {0, 7, 11, 315, 320};
  for (std::size_t end = 0; end <= bytes.size(); ++end) {
    std::size_t last = 0;
    for (const std::size_t boundary : ends)
      if (boundary <= end) last = boundary;
    for (const std::size_t piece : {1u, 3u, 5u, 64u, 1000u})
      EXPECT_EQ(open_after("application/vnd.kubernetes.protobuf;stream=watch", bytes.substr(0, end),
                           piece),
                end - last)
          << end;
  }
}

TEST(EventBoundary, WhatItDoesNotKnowHasNone) {
  EXPECT_EQ(open_after("application/cbor-seq", "a\nb\n", 4), 4u);
  EventBoundary packed = EventBoundary::of("application/json", "gzip");
  packed.pass("a\n");
  EXPECT_EQ(packed.open_bytes(), 2u);
}

TEST(EventBoundary, OnlyEventsAreResumedByTheirClients) {
  EXPECT_TRUE(EventBoundary::of("application/json", "").resumable());
  EXPECT_TRUE(EventBoundary::of("application/vnd.kubernetes.protobuf", "").resumable());
  EXPECT_FALSE(EventBoundary::of("text/plain", "").resumable()) << "a log is not watched again";
  EXPECT_FALSE(EventBoundary::of("application/cbor-seq", "").resumable());
}

}  // namespace
}  // namespace kubelane::http
