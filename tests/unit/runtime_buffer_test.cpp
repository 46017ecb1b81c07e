// Read buffers: bounds, the room in front, and what the pool counts.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy/runtime/buffer.hpp"

namespace kubelane::runtime {
namespace {

constexpr std::size_t block = Buffer::headroom_bytes + Buffer::capacity_bytes;

std::size_t put(Buffer& buffer, std::string_view bytes) {
  const std::span<char> space = buffer.space();
  const std::size_t taken = std::min(space.size(), bytes.size());
  std::memcpy(space.data(), bytes.data(), taken);
  buffer.commit(taken);
  return taken;
}

TEST(Buffer, holds_nothing_until_it_is_filled) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  EXPECT_TRUE(buffer.empty());
  EXPECT_FALSE(buffer.held());
  EXPECT_EQ(buffer.view(), "");
  EXPECT_EQ(pool.lent_bytes(), 0u);
  buffer.release();  // of nothing
  buffer.release_if_empty();
  EXPECT_EQ(pool.lent_bytes(), 0u);
  EXPECT_EQ(buffer.space().size(), Buffer::capacity_bytes);
  EXPECT_EQ(pool.lent_bytes(), block);
}

TEST(Buffer, is_bounded) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  const std::string many(2 * Buffer::capacity_bytes, 'x');
  EXPECT_EQ(put(buffer, many), Buffer::capacity_bytes);
  EXPECT_EQ(put(buffer, many), 0u);
  EXPECT_EQ(buffer.size(), Buffer::capacity_bytes);
  EXPECT_EQ(pool.lent_bytes(), block);
}

TEST(Buffer, consuming_makes_room_without_losing_a_byte) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  std::string expected;
  std::size_t number = 0;
  // Odd sizes, so that the window stands everywhere and is moved to the front at all fills.
  for (int round = 0; round < 2000; ++round) {
    std::string piece;
    while (piece.size() < 997) piece += std::to_string(number++) + ",";
    expected += piece.substr(0, put(buffer, piece));
    const std::size_t eaten = std::min<std::size_t>(buffer.size(), 991);
    ASSERT_EQ(buffer.view().substr(0, eaten), expected.substr(0, eaten)) << round;
    buffer.consume(eaten);
    expected.erase(0, eaten);
    ASSERT_LE(buffer.size(), Buffer::capacity_bytes);
    ASSERT_EQ(buffer.view(), expected) << round;
  }
}

TEST(Buffer, an_emptied_one_offers_all_its_room_again) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  put(buffer, std::string(60'000, 'x'));
  buffer.consume(60'000);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.space().size(), Buffer::capacity_bytes);
}

TEST(Buffer, a_head_goes_in_front_of_the_body_that_is_there) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  EXPECT_FALSE(buffer.prepend("head")) << "there is no block to put it into";
  put(buffer, "old head, body");
  buffer.consume(10);
  EXPECT_TRUE(buffer.prepend("new, longer head, "));
  EXPECT_EQ(buffer.view(), "new, longer head, body");
}

TEST(Buffer, what_does_not_fit_in_front_is_refused_and_harms_nothing) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  put(buffer, "body");
  EXPECT_FALSE(buffer.prepend(std::string(Buffer::headroom_bytes + 1, 'h')));
  EXPECT_EQ(buffer.view(), "body");
  EXPECT_TRUE(buffer.prepend(std::string(Buffer::headroom_bytes, 'h')));
  EXPECT_FALSE(buffer.prepend("h"));
  EXPECT_EQ(buffer.view(), std::string(Buffer::headroom_bytes, 'h') + "body");
  // Filled up behind, with the front taken too: still within the block.
  put(buffer, std::string(2 * Buffer::capacity_bytes, 'x'));
  EXPECT_EQ(buffer.size(), block);
  EXPECT_TRUE(buffer.space().empty());
}

TEST(Buffer, releasing_forgets_what_was_in_it) {
  BufferPool pool(1 << 20);
  Buffer buffer(pool);
  put(buffer, "secret");
  buffer.release_if_empty();
  EXPECT_TRUE(buffer.held()) << "there are bytes in it";
  buffer.release();
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.view(), "");
  EXPECT_EQ(pool.lent_bytes(), 0u);
  put(buffer, "next");
  EXPECT_EQ(buffer.view(), "next");
  buffer.consume(4);
  buffer.release_if_empty();
  EXPECT_FALSE(buffer.held());
}

TEST(BufferPool, counts_what_is_lent_and_says_when_it_gets_scarce) {
  BufferPool pool(8 * block);
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(pool.scarce()) << i;
    buffers.push_back(std::make_unique<Buffer>(pool));
    put(*buffers.back(), "x");
  }
  EXPECT_FALSE(pool.scarce());
  buffers.push_back(std::make_unique<Buffer>(pool));
  put(*buffers.back(), "x");
  EXPECT_TRUE(pool.scarce());
  EXPECT_EQ(pool.lent_bytes(), 7 * block);
  // Those who have work keep getting room: only new work is refused.
  buffers.push_back(std::make_unique<Buffer>(pool));
  EXPECT_FALSE(buffers.back()->space().empty());
  buffers.clear();
  EXPECT_FALSE(pool.scarce());
  EXPECT_EQ(pool.lent_bytes(), 0u);
}

TEST(BufferPool, lends_the_same_blocks_again) {
  BufferPool pool(1 << 20);
  Buffer first(pool);
  const char* const at = first.space().data();
  first.release();
  Buffer second(pool);
  EXPECT_EQ(second.space().data(), at);
}

TEST(BufferPool, many_at_once_come_and_go) {
  BufferPool pool(1 << 20);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Buffer>> buffers;
    for (int i = 0; i < 40; ++i) {
      buffers.push_back(std::make_unique<Buffer>(pool));
      put(*buffers.back(), std::to_string(i));
    }
    for (int i = 0; i < 40; ++i)
      EXPECT_EQ(buffers[static_cast<std::size_t>(i)]->view(), std::to_string(i));
    EXPECT_EQ(pool.lent_bytes(), 40 * block);
    buffers.clear();
    EXPECT_EQ(pool.lent_bytes(), 0u);
  }
}

}  // namespace
}  // namespace kubelane::runtime
