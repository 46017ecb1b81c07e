// Status answers: whatever the message and Accept hold, the answer is one complete HTTP response
// with valid JSON (or the protobuf envelope) of the announced length.
// Input: error, side and flags (1: HEAD, 2: close), then Accept and message separated by a NUL.
#include <cstdint>
#include <memory>
#include <string>

#include <boost/json/src.hpp>

#include "proxy/http/head.hpp"
#include "proxy/http/status.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kubelane;
  using fuzz::require;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const unsigned choice = fuzz::take_choice(input);
  const unsigned flags = fuzz::take_choice(input);
  const Error error{static_cast<Code>(choice % (static_cast<unsigned>(Code::internal) + 1)),
                    static_cast<Side>(flags / 4 % 3), static_cast<Retry>(flags / 16 % 3), 0, ""};
  const std::size_t end = input.find('\0');
  const std::string_view accept = input.substr(0, end);
  const std::string_view message = end == input.npos ? std::string_view{} : input.substr(end + 1);
  const bool head_only = (flags & 1) != 0;
  const bool close = (flags & 2) != 0;

  const http::StatusAnswer answer = http::answer_for(error);
  const std::string text = http::render_status(answer, message, accept, head_only, close);
  const auto head = std::make_unique<http::ResponseHead>();
  http::HeadParser parser;
  const http::HeadVerdict verdict = parser.response(text, "GET", *head);
  require(verdict.kind == http::HeadVerdict::Kind::done, "the answer has a head");
  require(head->status == answer.code && answer.code >= 400, "the answer is an error");
  require(head->keep_alive == !(close || answer.close), "the connection's fate is said");
  const std::string_view body = std::string_view(text).substr(verdict.bytes);
  if (head_only) {
    require(body.empty(), "HEAD has no body");
    return 0;
  }
  require(head->content_length == body.size(), "the length is right");
  const http::Field* type = http::find(head->fields(), http::FieldId::content_type);
  require(type != nullptr, "the type is said");
  if (type->value != "application/json") {
    require(accept.find(type->value) != accept.npos, "protobuf only when it is accepted");
    require(body.starts_with(std::string_view("k8s\0", 4)), "the envelope is there");
    return 0;
  }
  boost::system::error_code failed;
  const boost::json::value status = boost::json::parse(body, failed);
  require(!failed, "the body is JSON");
  require(status.at("code").as_int64() == answer.code, "the code is repeated");
  require(status.at("reason").as_string() == answer.reason, "the reason is there");
  require(status.as_object().contains("message"), "the message is there");
  bool ascii = true;
  for (const char c : message) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
  if (ascii) require(status.at("message").as_string() == message, "the message is kept");
  return 0;
}
