// Heads of requests and responses: the verdict and every slice are the same however the bytes
// arrive, and what is accepted is strictly well-formed by a second, slower reading. A response that
// we accept is one for llhttp too.
// Input: flags (1: response, 2: small limits, 4: HEAD), size of the pieces, then the bytes.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include <llhttp.h>

#include "proxy/http/head.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane::http;
using kubelane::fuzz::ExactCopy;
using kubelane::fuzz::require;
using Kind = HeadVerdict::Kind;

bool same_fields(Fields left, Fields right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const Field& a, const Field& b) {
                      return a.name == b.name && a.value == b.value && a.id == b.id;
                    });
}

bool same(const RequestHead& a, const RequestHead& b) {
  return a.method == b.method && a.target == b.target && a.path == b.path && a.query == b.query &&
         a.authority == b.authority && same_fields(a.fields(), b.fields()) && a.body == b.body &&
         a.content_length == b.content_length && a.keep_alive == b.keep_alive &&
         a.upgrade == b.upgrade && a.expect_continue == b.expect_continue &&
         a.te_trailers == b.te_trailers;
}

bool same(const ResponseHead& a, const ResponseHead& b) {
  return a.status == b.status && a.reason == b.reason && same_fields(a.fields(), b.fields()) &&
         a.body == b.body && a.content_length == b.content_length && a.keep_alive == b.keep_alive &&
         a.minor_version == b.minor_version;
}

void check_fields(std::string_view head, Fields fields) {
  require(head.ends_with("\r\n\r\n"), "a head ends with an empty line");
  require(head.find('\0') == head.npos, "no NUL");
  for (std::size_t i = 0; i < head.size(); ++i) {
    if (head[i] == '\n') require(i > 0 && head[i - 1] == '\r', "LF only after CR");
    if (head[i] == '\r') require(i + 1 < head.size() && head[i + 1] == '\n', "CR only before LF");
  }
  std::size_t lengths = 0;
  std::size_t codings = 0;
  for (const Field& field : fields) {
    require(field.name.data() >= head.data() &&
                field.value.data() + field.value.size() <= head.data() + head.size(),
            "slices lie in the head");
    require(!field.name.empty() && field.name.find_first_of(" \t\r\n:") == field.name.npos,
            "a name is a token");
    require(field.value.find_first_of("\r\n") == field.value.npos, "a value is one line");
    require(field.value.empty() || (field.value.front() != ' ' && field.value.front() != '\t' &&
                                    field.value.back() != ' ' && field.value.back() != '\t'),
            "a value is trimmed");
    lengths += iequals(field.name, "content-length") ? 1 : 0;
    codings += iequals(field.name, "transfer-encoding") ? 1 : 0;
  }
  require(lengths + codings <= 1, "one framing");
}

void check(std::string_view head_bytes, const RequestHead& head) {
  check_fields(head_bytes, head.fields());
  std::size_t hosts = 0;
  for (const Field& field : head.fields()) hosts += iequals(field.name, "host") ? 1 : 0;
  require(hosts == 1, "one Host");
  require(!head.authority.empty(), "Host is not empty");
  require(head.path.starts_with('/') || (head.path == "*" && head.method == "OPTIONS"),
          "the path is a path");
  require(head.query.empty() || head.query.front() == '?', "the query begins with a question mark");
  for (const char c : head.target)
    require(c > ' ' && c < 0x7f && c != '#', "the target is printable ASCII");
  require(head.body != BodyKind::until_close, "a request's body has an end");
  require((head.body == BodyKind::length) == (head.content_length > 0), "a length is a body");
}

void check(std::string_view head_bytes, const ResponseHead& head) {
  check_fields(head_bytes, head.fields());
  require(head.status >= 100 && head.status <= 999, "a status has three digits");
  require(head.body != BodyKind::until_close || !head.keep_alive, "no reuse without an end");
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_headers_complete = [](llhttp_t*) -> int { return HPE_PAUSED; };
  llhttp_t parser;
  llhttp_init(&parser, HTTP_RESPONSE, &settings);
  require(llhttp_execute(&parser, head_bytes.data(), head_bytes.size()) == HPE_PAUSED,
          "llhttp takes the response");
  require(parser.status_code == head.status, "llhttp reads the same status");
}

template <class Head, class Parse>
void compare(std::string_view input, std::size_t piece, HeadLimits limits, Parse parse) {
  const ExactCopy whole(input);
  const auto head = std::make_unique<Head>();
  HeadParser at_once(limits);
  const HeadVerdict verdict = parse(at_once, whole.view(), *head);

  const auto other = std::make_unique<Head>();
  HeadParser by_pieces(limits);
  HeadVerdict pieces;
  for (std::size_t size = std::min(piece, input.size());;
       size = std::min(size + piece, input.size())) {
    const ExactCopy part(input.substr(0, size));
    pieces = parse(by_pieces, part.view(), *other);
    if (pieces.kind == Kind::done) {
      require(verdict.kind == Kind::done, "pieces and whole agree");
      require(same(*head, *other), "pieces and whole give the same head");
    }
    if (pieces.kind != Kind::need_more || size == input.size()) break;
  }
  require(pieces.kind == verdict.kind, "pieces and whole give the same verdict");
  require(pieces.bytes == verdict.bytes, "pieces and whole end at the same byte");
  if (verdict.kind != Kind::done) return;

  require(verdict.bytes <= input.size(), "the head lies in the input");
  check(whole.view().substr(0, verdict.bytes), *head);
  const ExactCopy alone(input.substr(0, verdict.bytes));
  HeadParser again(limits);
  require(parse(again, alone.view(), *other).bytes == verdict.bytes, "the rest plays no part");
  require(same(*head, *other), "the rest plays no part in the head");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const unsigned flags = kubelane::fuzz::take_choice(input);
  const std::size_t piece = kubelane::fuzz::take_choice(input) % 64 + 1;
  input = input.substr(0, 8192);
  HeadLimits limits;
  if ((flags & 2) != 0) limits = {200, 6};
  if ((flags & 1) != 0) {
    const std::string_view method = (flags & 4) != 0 ? "HEAD" : "GET";
    compare<ResponseHead>(input, piece, limits,
                          [method](HeadParser& parser, std::string_view text, ResponseHead& head) {
                            return parser.response(text, method, head);
                          });
  } else {
    compare<RequestHead>(input, piece, limits,
                         [](HeadParser& parser, std::string_view text, RequestHead& head) {
                           return parser.request(text, head);
                         });
  }
  return 0;
}
