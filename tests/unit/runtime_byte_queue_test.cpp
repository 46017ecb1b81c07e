// The queue of a stream's bytes: order, cuts, and that every block goes back.
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "proxy/runtime/byte_queue.hpp"

namespace kubelane::runtime {
namespace {

std::string take(ByteQueue& queue, std::size_t bytes) {
  std::string out(bytes, '\0');
  queue.take(out.data(), bytes);
  return out;
}

TEST(ByteQueue, BytesLeaveInTheirOrderWhateverThePieces) {
  BufferPool pool(64u << 20);
  std::minstd_rand random(7);
  {
    ByteQueue queue(pool);
    std::string expected;
    char next = 'a';
    for (int step = 0; step < 5000; ++step) {
      if (random() % 2 == 0) {
        std::string bytes(random() % 40'000, '\0');
        for (char& byte : bytes) byte = next = next == 'z' ? 'a' : static_cast<char>(next + 1);
        queue.append(bytes);
        expected += bytes;
      } else if (random() % 8 == 0) {
        const std::size_t kept = expected.empty() ? 0 : random() % expected.size();
        queue.truncate(kept);
        expected.resize(kept);
      } else {
        const std::size_t bytes = expected.empty() ? 0 : random() % (expected.size() + 1);
        ASSERT_EQ(take(queue, bytes), expected.substr(0, bytes));
        expected.erase(0, bytes);
      }
      ASSERT_EQ(queue.size(), expected.size());
      ASSERT_EQ(queue.empty(), expected.empty());
    }
  }
  EXPECT_EQ(pool.lent_bytes(), 0u);
}

TEST(ByteQueue, AnEmptyQueueHoldsNoBlock) {
  BufferPool pool(1u << 20);
  ByteQueue queue(pool);
  queue.append(std::string(50'000, 'x'));
  EXPECT_GT(pool.lent_bytes(), 50'000u);
  take(queue, 50'000);
  EXPECT_EQ(pool.lent_bytes(), 0u);
  queue.append("y");
  queue.truncate(0);
  EXPECT_EQ(pool.lent_bytes(), 0u);
  queue.append("z");
  EXPECT_EQ(take(queue, 1), "z");
}

}  // namespace
}  // namespace kubelane::runtime
