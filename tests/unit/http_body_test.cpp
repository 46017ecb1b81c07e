#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/http/body.hpp"

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
      "0x5\r\nhello\r\n",
      "+5\r\nhello\r\n",
      "-1\r\n",
      " 5\r\nhello\r\n",
      "5 \r\nhello\r\n",
      "\r\nhello\r\n",
      "5_0\r\n",
      "g\r\n",
      "5\nhello\r\n",
      "5\r\nhello\n0\r\n",
      "5\r\nhelloX\r\n",
      "5\rhello\r\n",
      "5;a\nb\r\nhello",
      "5;a\x01\r\nhello",
      "11111111111111111\r\n",
      "ffffffffffffffff0\r\n",
      "5;" + std::string(400, 'x') + "\r\n",
      "5\r\nhello\r\r\n",
      "5\r\nhello0\r\n\r\n",
      "5\r\nhello\r0\r\n",
      "5\r\r\nhello\r\n",
      "\n5\r\nhello\r\n",
      "5;a\rb\r\nhello\r\n",
      "5;\ta\r\nhello\r\n",
      "5;\x7f\r\nhello\r\n",
      "5;\xc3\xa4\r\nhello\r\n",
      "0X5\r\nhello\r\n",
      "5\t\r\nhello\r\n",
      "5,\r\nhello\r\n",
      "5\x0b\r\nhello\r\n",
      "00000000000000005\r\nhello\r\n",
      "ffffffffffffffff\r\n",
      "8000000000000000\r\n",
      "0\n",
      "0\rX",
      "0 \r\n",
      ";x\r\n",
      "\xef\xbc\x95\r\nhello\r\n",
  };
  for (const std::string& text : bad) {
    for (std::size_t piece = 1; piece <= text.size(); ++piece) {
      BodyFramer framer(BodyKind::chunked, 0);
      EXPECT_EQ(feed(framer, text, piece), std::string_view::npos) << text << " by " << piece;
      EXPECT_NE(framer.scan("x").bad, nullptr);
    }
  }
}

TEST(BodyFramer, SizesAreHexadecimalInAnyCase) {
  for (const std::string size : {"1f", "1F", "001f", "000000000000001f"}) {
    BodyFramer framer(BodyKind::chunked, 0);
    const std::string body = size + "\r\n" + std::string(31, 'x') + "\r\n0\r\n";
    EXPECT_EQ(feed(framer, body + "\r\n", 7), body.size()) << size;
  }
}

TEST(BodyFramer, AChunkMayBeLargerThanMemory) {
  BodyFramer framer(BodyKind::chunked, 0);
  const std::string_view start = "fffffffffffffff\r\n";
  EXPECT_EQ(framer.scan(start).bytes, start.size());
  const std::string data(100'000, '\r');
  for (int i = 0; i < 10; ++i) EXPECT_EQ(framer.scan(data).bytes, data.size());
  EXPECT_FALSE(framer.done());
  EXPECT_FALSE(framer.end_of_stream());
}

TEST(BodyFramer, ExtensionsAreBoundedPerChunk) {
  BodyFramer framer(BodyKind::chunked, 0);
  const std::string chunk = "1;" + std::string(255, 'x') + "\r\na\r\n";
  for (int i = 0; i < 100; ++i) {
    const BodyFramer::Scan scan = framer.scan(chunk);
    EXPECT_EQ(scan.bad, nullptr);
    EXPECT_EQ(scan.bytes, chunk.size());
  }
}

TEST(BodyFramer, NoBodyTakesNothing) {
  for (BodyFramer framer : {BodyFramer(), BodyFramer(BodyKind::none, 0),
                            BodyFramer(BodyKind::none, 5), BodyFramer(BodyKind::length, 0)}) {
    EXPECT_TRUE(framer.done());
    EXPECT_EQ(framer.scan("GET").bytes, 0u);
    EXPECT_TRUE(framer.end_of_stream());
    EXPECT_FALSE(framer.at_event_boundary());
  }
}

TEST(BodyFramer, RemainingCountsDown) {
  BodyFramer framer(BodyKind::length, 10);
  EXPECT_EQ(framer.remaining(), 10u);
  framer.scan("abc");
  EXPECT_EQ(framer.remaining(), 7u);
  EXPECT_EQ(BodyFramer(BodyKind::until_close, 10).remaining(), 0u);
}

TEST(BodyFramer, NothingPassesAfterAFault) {
  BodyFramer framer(BodyKind::chunked, 0);
  EXPECT_EQ(framer.scan("1\r\na\r\nx").bytes, 0u);
  EXPECT_NE(framer.scan("1\r\na\r\n").bad, nullptr);
  framer.end_trailers();
  EXPECT_FALSE(framer.done());
  EXPECT_FALSE(framer.end_of_stream());
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
  EXPECT_EQ(trailer_section_bytes(""), 0u);
  EXPECT_EQ(trailer_section_bytes("\r"), 0u);
  EXPECT_EQ(trailer_section_bytes("A: b\n\r\n"), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes("\n"), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes("A: b\r\n\n"), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes("A: b\r"), 0u);
  EXPECT_EQ(trailer_section_bytes("A: b\rC"), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes("A: b\r\n\rX"), std::string_view::npos);
  const std::string largest = "A: " + std::string(16 * 1024 - 7, 'b') + "\r\n\r\n";
  EXPECT_EQ(trailer_section_bytes(largest + "GET"), largest.size());
  EXPECT_EQ(trailer_section_bytes("x" + largest), std::string_view::npos);
  EXPECT_EQ(trailer_section_bytes(std::string(20000, 'a')), std::string_view::npos);
}

}  // namespace
}  // namespace kubelane::http
