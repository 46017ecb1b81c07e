#include "tests/lab/load_paths.hpp"

#include <array>
#include <charconv>
#include <optional>

#include "tests/lab/body_reader.hpp"

namespace lab {
namespace {

// How long a watch may take to see that its client has gone.
constexpr std::chrono::milliseconds kLook{500};

std::uint64_t query_number(std::string_view query, std::string_view name) {
  const std::string wanted = std::string(name) + "=";
  for (std::size_t at = query.find(wanted); at != query.npos; at = query.find(wanted, at + 1)) {
    if (at != 0 && query[at - 1] != '&') continue;
    std::uint64_t value = 0;
    const char* digits = query.data() + at + wanted.size();
    std::from_chars(digits, query.data() + query.size(), value);
    return value;
  }
  return 0;
}

bool events(Stream& stream, const Request& request, const Beat& beat) {
  const std::uint64_t from = query_number(request.query, "from");
  const std::uint64_t count = query_number(request.query, "count");
  begin_chunked(stream, 200, "application/json");
  std::uint64_t beats = beat.count();
  for (std::uint64_t number = from; number < from + count;) {
    const std::uint64_t now = beat.wait_after(beats, kLook);
    if (stream.peer_ended()) throw ConnectionLost{"the client left a watch"};
    if (now == beats) continue;
    beats = now;
    write_chunk(stream, event_line(number++));
  }
  end_chunked(stream);
  return true;
}

bool digest(Stream& stream, const Request& request) {
  BodyReader body(stream, request);
  Digest sum;
  while (const auto piece = body.next()) sum.add(*piece);
  answer(stream, 200, "text/plain", sum.hex());
  return true;
}

}  // namespace

void Beat::strike() {
  {
    const std::scoped_lock lock(mutex_);
    ++count_;
  }
  struck_.notify_all();
}

std::uint64_t Beat::count() const {
  const std::scoped_lock lock(mutex_);
  return count_;
}

std::uint64_t Beat::wait_after(std::uint64_t known, std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  struck_.wait_for(lock, limit, [&] { return count_ > known; });
  return count_;
}

Handler load_paths(const Beat& beat, Handler otherwise) {
  return [&beat, otherwise = std::move(otherwise)](Stream& stream, Request& request) {
    if (request.path == "/events") return events(stream, request, beat);
    if (request.path == "/digest") return digest(stream, request);
    return otherwise(stream, request);
  };
}

std::string event_line(std::uint64_t number) {
  return R"({"type":"ADDED","object":{"kind":"Event","number":)" + std::to_string(number) + "}}\n";
}

Digest::Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
}

void Digest::add(std::string_view bytes) {
  EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned length = 0;
  EVP_DigestFinal_ex(context_.get(), sum.data(), &length);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += digits[sum[i] >> 4];
    text += digits[sum[i] & 15];
  }
  return text;
}

}  // namespace lab
