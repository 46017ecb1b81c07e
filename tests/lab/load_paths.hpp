// Paths for long runs under load, whose answers prove that nothing was lost, doubled or changed.
//   /events?from=<n>&count=<m>  m JSON lines, numbered from n on, one at each beat; then the end
//   /digest                     SHA-256 of the request's body in hexadecimal, text/plain
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <openssl/evp.h>

#include "tests/lab/http.hpp"

namespace lab {

// Paces everything that runs for long: each beat lets every watch send one event.
class Beat {
 public:
  void strike();
  std::uint64_t count() const;
  // Waits until more than `known` have come; the new count, or `known` when the time was over.
  std::uint64_t wait_after(std::uint64_t known, std::chrono::milliseconds limit) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable struck_;
  std::uint64_t count_ = 0;
};

// `beat` must outlive the connections. Other paths go to `otherwise`.
Handler load_paths(const Beat& beat, Handler otherwise);

// The line of an event, newline included.
std::string event_line(std::uint64_t number);

// SHA-256 in hexadecimal of what is added piece by piece.
class Digest {
 public:
  Digest();
  void add(std::string_view bytes);
  std::string hex();  // ends it

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace lab
