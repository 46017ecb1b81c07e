#include "tests/lab/h2_bad_answers.hpp"

#include <utility>

namespace lab {
namespace {

namespace frame_type = h2::frame_type;
namespace flag = h2::flag;
using Harm = BadAnswer::Harm;

constexpr std::uint8_t kNone = 0;

std::uint32_t number(const H2Stream& stream) { return static_cast<std::uint32_t>(stream.id()); }

// One HEADERS frame with END_STREAM.
BadAnswer fields(std::string name, h2::Fields all) {
  return {std::move(name), Harm::stream, [all = std::move(all)](H2Stream& stream) {
            stream.send_raw(h2::headers_frame(number(stream), all, true));
          }};
}

// Frames made for the stream's number.
BadAnswer frames(std::string name, Harm harm, std::function<std::string(std::uint32_t)> make) {
  return {std::move(name), harm,
          [make = std::move(make)](H2Stream& stream) { stream.send_raw(make(number(stream))); }};
}

// Frames that belong to no stream.
BadAnswer bytes(std::string name, const std::string& all) {
  return frames(std::move(name), Harm::connection, [all](std::uint32_t) { return all; });
}

std::string head(std::uint32_t stream, h2::Fields more = {}) {
  more.insert(more.begin(), {":status", "200"});
  return h2::headers_frame(stream, more, false);
}

std::string data(std::uint32_t stream, std::string_view text, bool end) {
  return h2::frame(frame_type::data, end ? flag::end_stream : kNone, stream, text);
}

std::vector<BadAnswer> malformed_heads() {
  using namespace std::string_literals;
  return {
      fields("connection field", {{":status", "200"}, {"connection", "close"}}),
      fields("transfer-encoding", {{":status", "200"}, {"transfer-encoding", "chunked"}}),
      fields("keep-alive", {{":status", "200"}, {"keep-alive", "timeout=5"}}),
      fields("upgrade", {{":status", "200"}, {"upgrade", "websocket"}}),
      fields("name in upper case", {{":status", "200"}, {"X-Upper", "1"}}),
      fields("name with a space", {{":status", "200"}, {"x upper", "1"}}),
      fields("empty name", {{":status", "200"}, {"", "1"}}),
      fields("no status", {{"x-field", "1"}}),
      fields("two statuses", {{":status", "200"}, {":status", "204"}}),
      fields("status after a field", {{"x-field", "1"}, {":status", "200"}}),
      fields("status that is no number", {{":status", "2x0"}}),
      fields("status of two digits", {{":status", "20"}}),
      fields("status 101", {{":status", "101"}}),
      fields("unknown pseudo-header field", {{":status", "200"}, {":what", "1"}}),
      fields("pseudo-header field of requests", {{":status", "200"}, {":path", "/"}}),
      fields("CR LF in a value", {{":status", "200"}, {"x-field", "a\r\nx-smuggled: b"}}),
      fields("LF in a value", {{":status", "200"}, {"x-field", "a\nb"}}),
      fields("NUL in a value", {{":status", "200"}, {"x-field", "a\0b"s}}),
      fields("interim head that ends the stream", {{":status", "103"}}),
      fields("two lengths", {{":status", "200"}, {"content-length", "0"}, {"content-length", "1"}}),
      fields("length that is no number", {{":status", "200"}, {"content-length", "0x0"}}),
      fields("negative length", {{":status", "200"}, {"content-length", "-1"}}),
  };
}

std::vector<BadAnswer> malformed_streams() {
  return {
      frames("body shorter than its length", Harm::stream,
             [](std::uint32_t id) {
               return head(id, {{"content-length", "10"}}) + data(id, "abc", true);
             }),
      frames("body longer than its length", Harm::stream,
             [](std::uint32_t id) {
               return head(id, {{"content-length", "3"}}) + data(id, "abcdefghij", true);
             }),
      frames("length without a body", Harm::stream,
             [](std::uint32_t id) {
               return h2::headers_frame(id, {{":status", "200"}, {"content-length", "5"}}, true);
             }),
      frames("data before the head", Harm::stream,
             [](std::uint32_t id) { return data(id, "abc", true); }),
      frames("pseudo-header field in trailers", Harm::stream,
             [](std::uint32_t id) {
               return head(id) + data(id, "abc", false) +
                      h2::headers_frame(id, {{":status", "200"}}, true);
             }),
      frames("trailers that do not end the stream", Harm::stream,
             [](std::uint32_t id) {
               return head(id) + data(id, "abc", false) +
                      h2::headers_frame(id, {{"x-sum", "1"}}, false);
             }),
      frames("window of the stream opened by nothing", Harm::stream,
             [](std::uint32_t id) { return head(id) + h2::window_update_frame(id, 0); }),
      frames("window of the stream beyond its limit", Harm::stream,
             [](std::uint32_t id) { return head(id) + h2::window_update_frame(id, 0x7fffffff); }),
  };
}

std::vector<BadAnswer> broken_connections() {
  return {
      bytes("HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
      frames("frame beyond the size limit", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame_of_length(0xffffff, frame_type::headers, flag::end_headers, id,
                                          std::string(1000, 'x'));
             }),
      frames("index outside the header table", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(frame_type::headers, flag::end_headers | flag::end_stream, id,
                                h2::hpack_integer(0x80, 7, 1000));
             }),
      frames("header table beyond its size", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(
                   frame_type::headers, flag::end_headers | flag::end_stream, id,
                   h2::hpack_integer(0x20, 5, 1 << 20) + h2::header_block({{":status", "200"}}));
             }),
      frames("padding longer than the frame", Harm::connection,
             [](std::uint32_t id) {
               return head(id) + h2::frame(frame_type::data, flag::padded, id,
                                           "\xff"
                                           "abc");
             }),
      frames("header block interrupted by data", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(frame_type::headers, kNone, id,
                                h2::header_block({{":status", "200"}})) +
                      data(id, "abc", true);
             }),
      frames("continuation of nothing", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(frame_type::continuation, flag::end_headers, id,
                                h2::header_block({{":status", "200"}}));
             }),
      bytes("ping of seven bytes", h2::ping_frame("1234567")),
      frames("ping on a stream", Harm::connection,
             [](std::uint32_t id) { return h2::frame(frame_type::ping, kNone, id, "12345678"); }),
      bytes("settings of five bytes", h2::frame(frame_type::settings, kNone, 0, "12345")),
      frames("settings on a stream", Harm::connection,
             [](std::uint32_t id) { return h2::frame(frame_type::settings, kNone, id); }),
      bytes("settings acknowledged with a payload",
            h2::frame(frame_type::settings, flag::ack, 0, std::string(6, '\0'))),
      bytes("immense initial window",
            h2::settings_frame({{h2::setting::initial_window_size, 0x80000000}})),
      bytes("tiny frame size", h2::settings_frame({{h2::setting::max_frame_size, 1}})),
      bytes("push asked for by a server", h2::settings_frame({{h2::setting::enable_push, 1}})),
      bytes("window of the connection opened by nothing", h2::window_update_frame(0, 0)),
      bytes("window of the connection beyond its limit", h2::window_update_frame(0, 0x7fffffff)),
      bytes("window update of three bytes", h2::frame(frame_type::window_update, kNone, 0, "123")),
      frames("goaway on a stream", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(frame_type::goaway, kNone, id, std::string(8, '\0'));
             }),
      frames("push promise", Harm::connection,
             [](std::uint32_t id) {
               return h2::frame(frame_type::push_promise, flag::end_headers, id,
                                h2::u32(2) + h2::header_block({{":method", "GET"},
                                                               {":scheme", "https"},
                                                               {":authority", "kube"},
                                                               {":path", "/pushed"}}));
             }),
      bytes("head on a stream of the server", h2::headers_frame(2, {{":status", "200"}}, true)),
      bytes("data on no stream", data(0, "abc", false)),
      bytes("head on no stream", h2::headers_frame(0, {{":status", "200"}}, true)),
      frames("data on a stream never opened", Harm::connection,
             [](std::uint32_t id) { return data(id + 1000, "abc", false); }),
      frames("reset of a stream never opened", Harm::connection,
             [](std::uint32_t id) { return h2::rst_stream_frame(id + 1000, 0); }),
      frames("reset of three bytes", Harm::connection,
             [](std::uint32_t id) { return h2::frame(frame_type::rst_stream, kNone, id, "123"); }),
  };
}

// A block cut into frames of 16 KiB.
std::string long_block(std::uint32_t stream, std::string_view block) {
  constexpr std::size_t kPiece = 16'384;
  std::string all;
  for (std::size_t at = 0; at < block.size(); at += kPiece) {
    const bool last = at + kPiece >= block.size();
    const std::uint8_t flags = static_cast<std::uint8_t>((at == 0 ? flag::end_stream : kNone) |
                                                         (last ? flag::end_headers : kNone));
    all += h2::frame(at == 0 ? frame_type::headers : frame_type::continuation, flags, stream,
                     block.substr(at, kPiece));
  }
  return all;
}

std::vector<BadAnswer> immense() {
  return {
      frames("head of 2 MiB", Harm::limit,
             [](std::uint32_t id) {
               return long_block(id, h2::header_block({{":status", "200"},
                                                       {"x-long", std::string(2 << 20, 'x')}}));
             }),
      frames("head of 20,000 fields", Harm::limit,
             [](std::uint32_t id) {
               h2::Fields all{{":status", "200"}};
               for (int i = 0; i < 20'000; ++i) all.emplace_back("x-" + std::to_string(i), "1");
               return long_block(id, h2::header_block(all));
             }),
      frames("header table bomb", Harm::limit,
             [](std::uint32_t id) {
               return long_block(id, h2::table_bomb({{":status", "200"}}, 4000, 16'000));
             }),
      frames("endless continuation", Harm::limit,
             [](std::uint32_t id) {
               std::string all = h2::frame(frame_type::headers, kNone, id,
                                           h2::header_block({{":status", "200"}}));
               for (int i = 0; i < 2'000; ++i) {
                 all += h2::frame(frame_type::continuation, kNone, id,
                                  h2::header_block({{"x-more", std::string(500, 'x')}}));
               }
               return all;
             }),
      frames("endless empty continuation", Harm::limit,
             [](std::uint32_t id) {
               std::string all = h2::frame(frame_type::headers, kNone, id,
                                           h2::header_block({{":status", "200"}}));
               for (int i = 0; i < 20'000; ++i) {
                 all += h2::frame(frame_type::continuation, kNone, id);
               }
               return all;
             }),
  };
}

}  // namespace

const std::vector<BadAnswer>& bad_answers() {
  static const std::vector<BadAnswer> all = [] {
    std::vector<BadAnswer> joined;
    for (auto* group : {&malformed_heads, &malformed_streams, &broken_connections, &immense}) {
      for (auto& each : group()) joined.push_back(std::move(each));
    }
    return joined;
  }();
  return all;
}

Script answer_badly(const BadAnswer& bad, std::string target_end) {
  return [bad, target_end = std::move(target_end)](Exchange& exchange) {
    if (exchange.h2 == nullptr || !exchange.request.target.ends_with(target_end)) {
      return Verdict::pass;
    }
    bad.send(*exchange.h2);
    exchange.h2->leave();
    return Verdict::keep;
  };
}

}  // namespace lab
