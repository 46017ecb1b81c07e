// A gRPC answer from a peer that says anything: trailers end it, as the HTTP/2 session sees to (it
// has a fuzzer of its own); all else comes in any order. The messages are those that a plain
// reading of the same bytes gives, however they were cut; what waits is bounded; once it is over
// its status stays; a status text is short and free of control characters. Input: steps, each a
// byte that says which (and how much is taken meanwhile), a length, and that many bytes.
#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "proxy/teleport/grpc_answer.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane;
using namespace kubelane::teleport;
using fuzz::require;
using fuzz::take_choice;

constexpr std::size_t most_message_bytes = 40;

// All at once, without state.
std::deque<std::string> plainly_read(std::string_view bytes) {
  std::deque<std::string> messages;
  while (bytes.size() >= 5 && bytes[0] == '\0') {
    std::size_t length = 0;
    for (int i = 1; i < 5; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    if (length > most_message_bytes || length > bytes.size() - 5) break;
    messages.emplace_back(bytes.substr(5, length));
    bytes.remove_prefix(5 + length);
  }
  return messages;
}

// "name:value" by name:value, separated by LF. Views into `text`.
std::vector<http::Field> fields_of(std::string_view text) {
  std::vector<http::Field> fields;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::size_t colon = line.find(':');
    if (colon != line.npos) fields.push_back({line.substr(0, colon), line.substr(colon + 1), {}});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return fields;
}

void check_text(const GrpcStatus& status) {
  require(status.message.size() <= 600, "a status text is short");
  for (const char c : status.message)
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "no control characters");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  GrpcAnswer answer("the peer", most_message_bytes);
  constexpr std::array<int, 8> statuses{200, 200, 100, 404, 401, 403, 503, 302};
  std::string all;
  std::deque<std::string> taken;
  while (!input.empty()) {
    const unsigned choice = take_choice(input);
    const unsigned length = take_choice(input);
    const fuzz::ExactCopy bytes(input.substr(0, length));
    input.remove_prefix(std::min<std::size_t>(length, input.size()));
    const bool over = answer.over();
    const GrpcStatus before = answer.status();
    const std::vector<http::Field> fields =
        choice % 8 == 6 || choice % 8 == 5 ? fields_of(bytes.view()) : std::vector<http::Field>();
    switch (choice % 8) {
      case 7:
        answer.on_end();
        require(answer.over(), "an end is one");
        break;
      case 6:
        answer.on_trailers(fields);
        answer.on_end();
        break;
      case 5: {
        const bool end = (choice & 0x80u) != 0;
        answer.on_head(statuses.at(choice / 8 % statuses.size()), fields, end);
        if (end) answer.on_end();
        break;
      }
      case 4: {
        GrpcStatus lost;
        lost.code = GrpcCode::unavailable;
        lost.message = "lost";
        answer.fail(lost);
        require(answer.over(), "a failure ends it");
        break;
      }
      default:
        if (!over) all += bytes.view();
        require(answer.on_data(bytes.view()) || (answer.over() && !answer.status().ok()),
                "what is refused has a status");
        break;
    }
    if (over) {
      require(answer.over(), "over is over");
      if (!before.message.empty())
        require(answer.status().message == before.message, "a status stays");
    }
    check_text(answer.status());
    for (unsigned i = choice / 8 % 4; i > 0 && !answer.empty(); --i) taken.push_back(answer.take());
  }
  while (!answer.empty()) taken.push_back(answer.take());
  const std::deque<std::string> expected = plainly_read(all);
  require(taken.size() <= expected.size(), "no message of nothing");
  for (std::size_t i = 0; i < taken.size(); ++i)
    require(taken[i] == expected[i], "messages come whole and in order");
  // Those of a feed that was refused in its middle count, too.
  require(taken.size() == expected.size(), "no message is lost");
  return 0;
}
