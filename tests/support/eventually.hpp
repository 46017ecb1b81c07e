// Waiting for a fact in tests: poll it, with one patience for all tests.
#pragma once

#include <chrono>
#include <cstdlib>
#include <thread>

namespace support {

// 20 s, or KUBELANE_TEST_PATIENCE in seconds. Only failing tests ever wait that long.
inline std::chrono::milliseconds patience() {
  const char* text = std::getenv("KUBELANE_TEST_PATIENCE");
  const long seconds = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  return std::chrono::seconds(seconds > 0 ? seconds : 20);
}

// True as soon as the predicate holds; false when the patience ran out.
template <class Predicate>
bool eventually(Predicate&& predicate, std::chrono::milliseconds limit = patience()) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace support
