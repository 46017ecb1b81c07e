#include "tests/lab/answer_reader.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "tests/lab/body_reader.hpp"
#include "tests/lab/http.hpp"

namespace lab {
namespace {

[[noreturn]] void malformed(const char* what) {
  throw ConnectionLost{std::string("malformed answer of a handler: ") + what};
}

std::uint64_t number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) malformed("a bad number");
  return value;
}

std::pair<std::string, std::string> lower_field(std::string_view line) {
  auto field = parse_field(line);
  for (char& c : field.first) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return field;
}

}  // namespace

void AnswerReader::feed(std::string_view bytes) {
  while (!bytes.empty() && state_ != State::done) {
    if (state_ == State::until_close) {
      sink_.on_data(bytes, false);
      return;
    }
    if (state_ == State::exact || state_ == State::chunk) {
      const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      left_ -= taken;
      const bool end = state_ == State::exact && left_ == 0;
      if (end) state_ = State::done;
      if (state_ == State::chunk && left_ == 0) state_ = State::chunk_end;
      sink_.on_data(bytes.substr(0, taken), end);
      bytes.remove_prefix(taken);
      continue;
    }
    // Line by line; a head is as many lines as there are before the empty one.
    const std::size_t end = bytes.find('\n');
    const std::size_t taken = end == std::string_view::npos ? bytes.size() : end + 1;
    pending_ += bytes.substr(0, taken);
    bytes.remove_prefix(taken);
    if (!pending_.ends_with("\r\n")) continue;
    if (state_ == State::head) {
      if (pending_.ends_with("\r\n\r\n")) read_head();
      continue;
    }
    const std::string line = std::exchange(pending_, {});
    read_line(std::string_view(line).substr(0, line.size() - 2));
  }
}

void AnswerReader::read_line(std::string_view line) {
  if (state_ == State::chunk_end) {
    if (!line.empty()) malformed("a chunk longer than its size");
    state_ = State::size_line;
  } else if (state_ == State::size_line) {
    left_ = number(line, 16);
    state_ = left_ == 0 ? State::trailers : State::chunk;
  } else if (!line.empty()) {
    trailers_.push_back(lower_field(line));
  } else {
    state_ = State::done;
    sink_.on_end(std::exchange(trailers_, {}));
  }
}

void AnswerReader::read_head() {
  const std::string head = std::exchange(pending_, {});
  if (!head.starts_with("HTTP/1.1 ") || head.size() < 16) malformed("no status line");
  const int status = static_cast<int>(number(std::string_view(head).substr(9, 3), 10));
  Fields fields;
  bool chunked = false;
  bool has_length = false;
  for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const std::size_t end = head.find("\r\n", at);
    auto field = lower_field(std::string_view(head).substr(at, end - at));
    at = end + 2;
    if (field.first == "transfer-encoding") {
      chunked = same_text(field.second, "chunked");
      continue;
    }
    if (field.first == "connection" || field.first == "keep-alive") continue;
    if (field.first == "content-length") {
      has_length = true;
      left_ = number(field.second, 10);
    }
    fields.push_back(std::move(field));
  }
  if (status < 200) {
    if (status == 101) malformed("101 where nothing can be upgraded");
    sink_.on_interim(status, std::move(fields));
    return;
  }
  const bool empty =
      head_request_ || status == 204 || status == 304 || (has_length && !chunked && left_ == 0);
  if (empty) {
    state_ = State::done;
  } else if (chunked) {
    state_ = State::size_line;
  } else {
    state_ = has_length ? State::exact : State::until_close;
  }
  sink_.on_head(status, std::move(fields), empty);
}

void AnswerReader::close() {
  if (state_ != State::until_close) return;
  state_ = State::done;
  sink_.on_data({}, true);
}

}  // namespace lab
