// Body framing held to llhttp's: a chunked body that we accept ends for llhttp at the same byte,
// what we pass on is complete for llhttp, and a body ended by us at an event boundary is too.
// Input: kind (0-4: chunked, 5: length, 6: until close, 7: none), size of the pieces, the body.
#include <algorithm>
#include <cstdint>
#include <string>

#include <llhttp.h>

#include "proxy/http/body.hpp"
#include "proxy/http/head_writer.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane::http;
using kubelane::fuzz::require;

enum class End { none, refused, complete };

struct Opinion {
  End end = End::none;
  std::size_t bytes = 0;       // complete: length of the body
  char last_data_byte = '\n';  // as if it were one when there is no data
};

Opinion ask_llhttp(std::string_view body) {
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_message_complete = [](llhttp_t*) -> int { return HPE_PAUSED; };
  settings.on_body = [](llhttp_t* reader, const char* at, std::size_t length) -> int {
    static_cast<Opinion*>(reader->data)->last_data_byte = at[length - 1];
    return 0;
  };
  Opinion opinion;
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  parser.data = &opinion;
  const std::string_view head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  require(llhttp_execute(&parser, head.data(), head.size()) == HPE_OK, "llhttp takes the head");
  const llhttp_errno_t error = llhttp_execute(&parser, body.data(), body.size());
  if (error == HPE_PAUSED) {
    opinion.end = End::complete;
    opinion.bytes = static_cast<std::size_t>(llhttp_get_error_pos(&parser) - body.data());
  } else if (error != HPE_OK) {
    opinion.end = End::refused;
  }
  return opinion;
}

struct Outcome {
  End end = End::none;
  std::size_t bytes = 0;    // of the input: the whole body with its trailer section
  std::string passed;       // what would be sent on
  bool boundary = false;    // not complete: it could be ended here
  bool extensions = false;  // a size line had one: llhttp reads their inside, we bound it
  bool trailers = false;
};

// Looks at the input as a connection does: a piece more at a time, what is admitted leaves.
Outcome run(BodyKind kind, std::uint64_t length, std::string_view input, std::size_t piece) {
  Outcome outcome;
  BodyFramer framer(kind, length);
  bool in_trailers = false;
  std::size_t have = 0;
  while (!framer.done()) {
    if (in_trailers) {
      const std::string_view rest = input.substr(outcome.bytes, have - outcome.bytes);
      const std::size_t bytes = trailer_section_bytes(rest);
      if (bytes == rest.npos ||
          (bytes > 0 && !write_trailers(rest.substr(0, bytes), Direction::request, outcome.passed)))
        return {End::refused, outcome.bytes, {}, false, outcome.extensions, false};
      if (bytes > 0) {
        outcome.bytes += bytes;
        outcome.trailers = bytes > 2;
        framer.end_trailers();
        break;
      }
    } else {
      const kubelane::fuzz::ExactCopy rest(input.substr(outcome.bytes, have - outcome.bytes));
      const BodyFramer::Scan scan = framer.scan(rest.view());
      if (scan.bad != nullptr) {
        require(framer.scan("0\r\n").bad != nullptr, "a refusal is final");
        return {End::refused, outcome.bytes, {}, false, outcome.extensions, false};
      }
      require(scan.bytes <= rest.view().size(), "no more than there is");
      require(framer.done() || scan.trailers || scan.bytes == rest.view().size(),
              "everything before the end belongs to the body");
      outcome.passed.append(rest.view().substr(0, scan.bytes));
      outcome.bytes += scan.bytes;
      if (scan.trailers) {
        in_trailers = true;
        continue;
      }
    }
    if (framer.done() || have == input.size()) break;
    have = std::min(have + piece, input.size());
  }
  if (framer.done()) outcome.end = End::complete;
  outcome.boundary = framer.at_event_boundary();
  outcome.extensions = outcome.passed.find(';') != std::string::npos;
  return outcome;
}

void check_chunked(std::string_view input, const Outcome& ours) {
  const Opinion theirs = ask_llhttp(input);
  switch (ours.end) {
    case End::refused:
      break;  // stricter is fine
    case End::none:
      require(theirs.end != End::complete, "llhttp sees no end that we do not see");
      require(theirs.end != End::refused || ours.extensions || !ours.boundary,
              "llhttp takes what we have passed");
      break;
    case End::complete:
      if (theirs.end == End::complete)
        require(theirs.bytes == ours.bytes, "the body ends at the same byte");
      else
        require(ours.extensions || ours.trailers, "llhttp sees the end that we see");
      break;
  }
  if (ours.end == End::refused || ours.extensions) return;
  std::string passed = ours.passed;
  if (ours.end == End::none) {
    if (!ours.boundary) return;
    passed += "0\r\n\r\n";  // how a watch is ended
  }
  const Opinion downstream = ask_llhttp(passed);
  require(downstream.end == End::complete, "what we pass on is complete");
  require(downstream.bytes == passed.size(), "what we pass on is one body and nothing else");
  require(!ours.boundary || downstream.last_data_byte == '\n', "a boundary ends a line");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const unsigned choice = kubelane::fuzz::take_choice(input) % 8;
  const std::size_t piece = kubelane::fuzz::take_choice(input) % 64 + 1;
  input = input.substr(0, 8192);
  const BodyKind kind = choice == 5   ? BodyKind::length
                        : choice == 6 ? BodyKind::until_close
                        : choice == 7 ? BodyKind::none
                                      : BodyKind::chunked;
  const std::uint64_t length = piece * 3;
  const Outcome whole = run(kind, length, input, input.size() + 1);
  const Outcome pieces = run(kind, length, input, piece);
  require(whole.end == pieces.end, "pieces and whole end alike");
  if (whole.end != End::refused) {
    require(whole.bytes == pieces.bytes, "pieces and whole end at the same byte");
    require(whole.passed == pieces.passed, "pieces and whole pass the same bytes");
    require(whole.boundary == pieces.boundary, "pieces and whole see the same boundary");
  }
  switch (kind) {
    case BodyKind::chunked:
      check_chunked(input, whole);
      break;
    case BodyKind::length:
      require(whole.bytes == std::min<std::uint64_t>(length, input.size()), "exactly its length");
      break;
    case BodyKind::until_close:
      require(whole.bytes == input.size() && whole.end == End::none, "everything");
      break;
    case BodyKind::none:
      require(whole.bytes == 0 && whole.end == End::complete, "nothing");
      break;
  }
  return 0;
}
