// When the watches of a worker end in a drain: never many in one instant, since their clients come
// back at once, all together, to whoever serves them next.
#pragma once

#include <chrono>
#include <cmath>
#include <cstddef>

namespace kubelane::relay {

// How long after the drain's beginning the watch with that number, from 0, has its turn: one after
// the other while they fit in the window; more than that fill the window again, evenly at any
// number (multiples of the golden ratio, modulo 1).
inline std::chrono::nanoseconds watch_turn(std::size_t number, std::chrono::nanoseconds window) {
  constexpr std::chrono::milliseconds spacing{20};
  const std::chrono::nanoseconds in_line = spacing * static_cast<long>(number);
  if (in_line < window) return in_line;
  constexpr double golden = 0.6180339887498949;
  double whole = 0;
  const double part = std::modf(static_cast<double>(number) * golden, &whole);
  return std::chrono::nanoseconds(
      static_cast<std::chrono::nanoseconds::rep>(part * static_cast<double>(window.count())));
}

}  // namespace kubelane::relay
