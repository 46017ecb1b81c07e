// What the fuzzers share: taking choices from the front of an input, and failing loudly.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

namespace kubelane::fuzz {

// Ends the process, which libFuzzer reports with the input, when an expectation does not hold.
inline void require(bool holds, const char* expectation) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", expectation);
  std::abort();
}

// Takes the first byte as a choice, 0 when there is none.
inline unsigned take_choice(std::string_view& input) {
  if (input.empty()) return 0;
  const auto choice = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return choice;
}

// A copy in a heap block of exactly its size, so that AddressSanitizer sees one byte too many.
class ExactCopy {
 public:
  explicit ExactCopy(std::string_view text) : bytes_(new char[text.size()]), size_(text.size()) {
    if (size_ > 0) std::memcpy(bytes_.get(), text.data(), size_);
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

}  // namespace kubelane::fuzz
