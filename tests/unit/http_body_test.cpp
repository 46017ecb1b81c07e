#include "proxy/http/body.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kubelane::http {
namespace {

// Feeds the text in pieces of `piece` bytes. Returns the bytes that belong to the message up to and
// including the last-chunk line, npos when malformed.
std::size_t feed(BodyFramer& framer, std::string_view text, std::size_t piece) {
  std::size_t total = 0;
  while (!text.empty() && !framer.done()) {
    const BodyFramer::Scan scan = framer.scan(text.substr(0, piece));
    if (scan.bad != nullptr) return std::string_view::npos;
    total += scan.bytes;
    if (scan.trailers) return total;
    text.remove_prefix(std::min(piece, text.size()));
  }
  return total;
}

TEST(BodyFramer, ChunkedEndsAtTheLastChunkAtEverySplit) {
  const std::string body = "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n";
  const std::string text = body + "\r\nGET /next";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    BodyFramer framer(BodyKind::chunked, 0);
    EXPECT_EQ(feed(framer, text, piece), body.size()) << piece;
    EXPECT_FALSE(framer.done());
    framer.end_trailers();
    EXPECT_TRUE(framer.done());
  }
}

TEST(BodyFramer, LengthEndsExactly) {
  BodyFramer framer(BodyKind::length, 5);
  EXPECT_EQ(framer.scan("hel").bytes, 3u);
  EXPECT_FALSE(framer.done());
  EXPECT_FALSE(framer.end_of_stream());
  EXPECT_EQ(framer.scan("loGET").bytes, 2u);
  EXPECT_TRUE(framer.done());
  EXPECT_EQ(framer.scan("GET").bytes, 0u);
}

TEST(BodyFramer, UntilCloseEndsWithTheStream) {
  BodyFramer framer(BodyKind::until_close, 0);
  EXPECT_EQ(framer.scan("anything").bytes, 8u);
  EXPECT_FALSE(framer.done());
  EXPECT_TRUE(framer.end_of_stream());
  EXPECT_TRUE(framer.done());
}

TEST(BodyFramer, RefusesMalformedChunksAtEverySplit) {
  const std::vector<std::string> bad = {
      "0x5\r\nhello\r\n", "+5\r\nhello\r\n",  "-1\r\n",         " 5\r\nhello\r\n",
      "5 \r\nhello\r\n",  "\r\nhello\r\n",    "5_0\r\n",        "g\r\n",
      "5\nhello\r\n",     "5\r\nhello\n0\r\n", "5\r\nhelloX\r\n", "5\rhello\r\n",
      "5;a\nb\r\nhello",  "5;a\x01\r\nhello", "11111111111111111\r\n",
      "ffffffffffffffff0\r\n", "5;" + std::string(400, 'x') + "\r\n",
      "5\r\nhello\r\r\n",
  };
  for (const std::string& text : bad) {
    for (std::size_t piece = 1; piece <= text.size(); ++piece) {
      BodyFramer framer(BodyKind::chunked, 0);
      EXPECT_EQ(feed(framer, text, piece), std::string_view::npos) << text << " by " << piece;
      EXPECT_NE(framer.scan("x").bad, nullptr);
    }
  }
}

TEST(BodyFramer, KnowsEventBoundaries) {
  BodyFramer framer(BodyKind::chunked, 0);
  EXPECT_TRUE(framer.at_event_boundary());  // nothing was sent yet
  framer.scan("4\r\n{}a");
  EXPECT_FALSE(framer.at_event_boundary());
  framer.scan("\n");
  EXPECT_FALSE(framer.at_event_boundary());  // the chunk's own line end is missing
  framer.scan("\r\n");
  EXPECT_TRUE(framer.at_event_boundary());
  framer.scan("3\r\nabc\r\n");
  EXPECT_FALSE(framer.at_event_boundary());  // in the middle of a line
  framer.scan("1\r\n\n\r\n");
  EXPECT_TRUE(framer.at_event_boundary());
}

TEST(TrailerSection, IsFoundWhole) {
  EXPECT_EQ(trailer_section_bytes("\r\nGET"), 2u);
  EXPECT_EQ(trailer_section_bytes("A: b\r\n\r\nGET"), 8u);
  EXPECT_EQ(trailer_section_bytes("A: b\r\n"), 0u);
  EXPECT_EQ(trailer_section_bytes("A: b\n\r\n"), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes(std::string(20000, 'a')), std::string_view::npos);
}

}  // namespace
}  // namespace kubelane::http
