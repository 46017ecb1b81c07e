// A head that is read, edited, written and read again: it means the same to the next reader, no
// field appears that was not there, none is lost that should pass, no credential leaves.
// Input: flags (1: response, 2: close, 4: HEAD), bytes to strip from the path, the head.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/http/head_writer.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane::http;
using kubelane::fuzz::ExactCopy;
using kubelane::fuzz::require;
using Kind = HeadVerdict::Kind;

struct Line {
  std::string name;
  std::string value;
  bool operator==(const Line&) const = default;
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> names) {
  for (const std::string_view candidate : names)
    if (text == candidate) return true;
  return false;
}

bool nominated(Fields fields, std::string_view field_name) {
  for (const Field& field : fields)
    if (lower(field.name) == "connection" && list_contains(field.value, field_name)) return true;
  return false;
}

// The rules by name, written down a second time.
bool hop_by_hop(std::string_view field_name) {
  return field_name.starts_with("proxy-") ||
         is_one_of(field_name, {"connection", "keep-alive", "te", "upgrade", "http2-settings"});
}
bool stays_here(std::string_view field_name) {
  return field_name == "authorization" || field_name.starts_with("teleport-") ||
         field_name.starts_with("x-teleport-") || field_name.starts_with("x-forwarded-") ||
         is_one_of(field_name, {"x-real-ip", "forwarded"});
}

// Writes into a block of exactly `size` bytes, so that any overflow is seen.
template <class Write>
std::string write_exactly(Write write) {
  std::vector<char> large(64 * 1024);
  const auto written = write(std::span<char>(large));
  if (!written) return {};
  const std::size_t size = *written;
  std::unique_ptr<char[]> exact(new char[size]);
  const auto again = write(std::span<char>(exact.get(), size));
  require(again && *again == size, "an area of exactly the right size does");
  std::unique_ptr<char[]> small(new char[size - 1]);
  require(!write(std::span<char>(small.get(), size - 1)), "an area too small is refused");
  return {exact.get(), size};
}

std::vector<Line> lines_of(Fields fields) {
  std::vector<Line> lines;
  for (const Field& field : fields)
    lines.push_back({std::string(field.name), std::string(field.value)});
  return lines;
}

void request(std::string_view input, std::size_t strip) {
  const ExactCopy copy(input);
  const auto head = std::make_unique<RequestHead>();
  HeadParser parser;
  if (parser.request(copy.view(), *head).kind != Kind::done) return;
  RequestEdits edits;
  edits.strip_path_bytes = std::min(strip, head->path.size());
  // A route is stripped at a slash or at the end, as admission does.
  if (edits.strip_path_bytes < head->path.size() && head->path[edits.strip_path_bytes] != '/')
    edits.strip_path_bytes = 0;
  edits.upstream_prefix = "/v1/teleport/YQ/Yg";
  edits.authority = "teleport.example.com";
  const Field added{"Impersonate-Group", "added", FieldId::impersonate_group};
  edits.add = {&added, 1};
  const std::string text =
      write_exactly([&](std::span<char> out) { return write_request_head(*head, edits, out); });
  if (text.empty()) {
    bool meaningful = false;
    std::size_t connections = 0;
    for (const Field& field : head->fields()) {
      connections += lower(field.name) == "connection" ? 1 : 0;
      const std::string field_name = lower(field.name);
      if (is_one_of(field_name, {"host", "content-length", "content-type", "transfer-encoding"}) ||
          field_name.starts_with("impersonate-"))
        meaningful = meaningful || nominated(head->fields(), field_name);
    }
    require(meaningful || connections > 16, "only a nomination that matters is refused");
    return;
  }
  const auto next = std::make_unique<RequestHead>();
  HeadParser reader({64UL * 1024, max_fields});
  const HeadVerdict verdict = reader.request(text, *next);
  require(verdict.kind == Kind::done && verdict.bytes == text.size(),
          "the next reader sees a head");
  require(next->method == head->method, "same method");
  require(next->query == head->query, "same query");
  require(next->authority == edits.authority, "the Proxy's name");
  require(next->path.starts_with(edits.upstream_prefix), "inside the route");
  if (head->path != "*") {
    const std::string_view rest = head->path.substr(edits.strip_path_bytes);
    require(next->path.substr(edits.upstream_prefix.size()) == (rest.empty() ? "/" : rest),
            "the path's bytes");
  }
  require(next->body == head->body && next->content_length == head->content_length, "same framing");
  require(next->upgrade == head->upgrade, "same upgrade");
  require(next->expect_continue == head->expect_continue || nominated(head->fields(), "expect"),
          "same expectation");
  require(next->keep_alive, "the connection upstream is ours to keep");

  std::vector<Line> expected;
  for (const Field& field : head->fields()) {
    const std::string field_name = lower(field.name);
    if (field_name == "host")
      expected.push_back({std::string(field.name), std::string(edits.authority)});
    else if (field_name == "upgrade" && head->upgrade)
      expected.push_back({std::string(field.name), std::string(field.value)});
    else if (!hop_by_hop(field_name) && !stays_here(field_name) &&
             !nominated(head->fields(), field_name))
      expected.push_back({std::string(field.name), std::string(field.value)});
  }
  if (head->te_trailers) expected.push_back({"TE", "trailers"});
  if (head->upgrade) expected.push_back({"Connection", "Upgrade"});
  expected.push_back({"Impersonate-Group", "added"});
  require(lines_of(next->fields()) == expected, "exactly the fields that should pass");
}

void response(std::string_view input, bool close, std::string_view method) {
  const ExactCopy copy(input);
  const auto head = std::make_unique<ResponseHead>();
  HeadParser parser;
  if (parser.response(copy.view(), method, *head).kind != Kind::done) return;
  const std::string text =
      write_exactly([&](std::span<char> out) { return write_response_head(*head, {close}, out); });
  if (text.empty()) return;  // more Connection fields than anybody sends
  const auto next = std::make_unique<ResponseHead>();
  HeadParser reader({64UL * 1024, max_fields});
  const HeadVerdict verdict = reader.response(text, method, *next);
  require(verdict.kind == Kind::done && verdict.bytes == text.size(),
          "the next reader sees a head");
  require(next->status == head->status && next->reason == head->reason, "same status");
  require(next->body == head->body, "same framing");
  const bool never_body = head->status < 200 || head->status == 204;
  require(never_body || next->content_length == head->content_length, "same length");
  require(next->minor_version == 1, "our version");

  std::vector<Line> expected;
  for (const Field& field : head->fields()) {
    const std::string field_name = lower(field.name);
    const bool framing = is_one_of(field_name, {"content-length", "transfer-encoding"});
    const bool drop = hop_by_hop(field_name) ||
                      is_one_of(field_name, {"alt-svc", "strict-transport-security"}) ||
                      (framing ? never_body : nominated(head->fields(), field_name));
    if (head->status == 101 || !drop)
      expected.push_back({std::string(field.name), std::string(field.value)});
  }
  if (close) expected.push_back({"Connection", "close"});
  require(lines_of(next->fields()) == expected, "exactly the fields that should pass");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const unsigned flags = kubelane::fuzz::take_choice(input);
  const std::size_t strip = kubelane::fuzz::take_choice(input);
  input = input.substr(0, 8192);
  if ((flags & 1) != 0)
    response(input, (flags & 2) != 0, (flags & 4) != 0 ? "HEAD" : "GET");
  else
    request(input, strip);
  return 0;
}
