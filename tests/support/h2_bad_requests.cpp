#include "tests/support/h2_bad_requests.hpp"

#include <algorithm>
#include <utility>

namespace support {
namespace {

namespace h2 = lab::h2;
namespace frame_type = lab::h2::frame_type;
namespace flag = lab::h2::flag;
using h2::Fields;
using Harm = BadRequest::Harm;
using namespace std::string_literals;

constexpr std::uint8_t kNone = 0;
constexpr std::uint8_t kWhole = flag::end_headers | flag::end_stream;

Fields with(Fields good, const Fields& more) {
  good.insert(good.end(), more.begin(), more.end());
  return good;
}

Fields without(Fields good, const std::string& name) {
  std::erase_if(good, [&](const auto& field) { return field.first == name; });
  return good;
}

Fields changed(Fields good, const std::string& name, const std::string& value) {
  for (auto& field : good) {
    if (field.first == name) field.second = value;
  }
  return good;
}

std::string data(std::uint32_t stream, std::string_view text, bool end) {
  return h2::frame(frame_type::data, end ? flag::end_stream : kNone, stream, text);
}

// A GET with its fields made wrong.
BadRequest fields(std::string name, std::function<Fields(const Fields&)> spoil) {
  return {std::move(name), Harm::stream,
          [spoil = std::move(spoil)](std::uint32_t id, const Fields& good) {
            return h2::headers_frame(id, spoil(good), true);
          }};
}

// A good GET with one more field.
BadRequest field(std::string name, std::string field_name, std::string value) {
  return fields(std::move(name), [field = std::pair{std::move(field_name), std::move(value)}](
                                     const Fields& good) { return with(good, {field}); });
}

BadRequest frames(std::string name, Harm harm,
                  std::function<std::string(std::uint32_t, const Fields&)> make) {
  return {std::move(name), harm, std::move(make)};
}

BadRequest bytes(std::string name, const std::string& all) {
  return {std::move(name), Harm::connection, [all](std::uint32_t, const Fields&) { return all; }};
}

std::vector<BadRequest> malformed_fields() {
  return {
      field("connection field", "connection", "close"),
      field("proxy-connection field", "proxy-connection", "keep-alive"),
      field("keep-alive field", "keep-alive", "timeout=5"),
      field("transfer-encoding field", "transfer-encoding", "chunked"),
      field("upgrade field", "upgrade", "websocket"),
      field("te that is not trailers", "te", "gzip"),
      field("name in upper case", "X-Upper", "1"),
      field("name with a space", "x field", "1"),
      field("name with a colon", "x:field", "1"),
      field("name with a line break", "x\r\nfield", "1"),
      field("empty name", "", "1"),
      field("CR LF in a value", "x-field", "a\r\nx-smuggled: b"),
      field("CR in a value", "x-field", "a\rb"),
      field("LF in a value", "x-field", "a\nb"),
      field("NUL in a value", "x-field", "a\0b"s),
      field("unknown pseudo-header field", ":what", "1"),
      field("pseudo-header field of answers", ":status", "200"),
      field("second method", ":method", "GET"),
      field("second path", ":path", "/"),
      field("second scheme", ":scheme", "https"),
      field("second authority", ":authority", "other"),
      field("host that is not the authority", "host", "evil.example.com"),
      field("content-length without a body", "content-length", "5"),
      field("content-length that is no number", "content-length", "0x0"),
      field("negative content-length", "content-length", "-1"),
      fields("two content-lengths",
             [](const Fields& good) {
               return with(good, {{"content-length", "0"}, {"content-length", "5"}});
             }),
      fields("pseudo-header field after others",
             [](const Fields& good) {
               Fields all = with({{"x-field", "1"}}, good);
               return all;
             }),
      fields("no method", [](const Fields& good) { return without(good, ":method"); }),
      fields("no scheme", [](const Fields& good) { return without(good, ":scheme"); }),
      fields("no path", [](const Fields& good) { return without(good, ":path"); }),
      fields("empty path", [](const Fields& good) { return changed(good, ":path", ""); }),
      fields("path that is not absolute",
             [](const Fields& good) { return changed(good, ":path", "api"); }),
      fields("path with a space",
             [](const Fields& good) { return changed(good, ":path", "/a b HTTP/1.1"); }),
      fields("path with a line break",
             [](const Fields& good) {
               return changed(good, ":path", "/ HTTP/1.1\r\nx-smuggled: 1\r\n\r\n");
             }),
      fields("method with a line break",
             [](const Fields& good) {
               return changed(good, ":method", "GET / HTTP/1.1\r\nx-smuggled: 1\r\n\r\n");
             }),
      fields("method with a space",
             [](const Fields& good) { return changed(good, ":method", "GET /x"); }),
      fields("authority with a line break",
             [](const Fields& good) { return changed(good, ":authority", "a\r\nx-smuggled: 1"); }),
      fields("CONNECT with a path",
             [](const Fields& good) { return changed(good, ":method", "CONNECT"); }),
  };
}

std::vector<BadRequest> malformed_streams() {
  const auto post = [](const Fields& good) { return changed(good, ":method", "POST"); };
  return {
      frames("body shorter than its content-length", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, with(post(good), {{"content-length", "10"}}), false) +
                      data(id, "abc", true);
             }),
      frames("body longer than its content-length", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, with(post(good), {{"content-length", "3"}}), false) +
                      data(id, "abcdefghij", true);
             }),
      frames("pseudo-header field in trailers", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, post(good), false) + data(id, "abc", false) +
                      h2::headers_frame(id, {{":path", "/"}}, true);
             }),
      frames("trailers that do not end the stream", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, post(good), false) + data(id, "abc", false) +
                      h2::headers_frame(id, {{"x-sum", "1"}}, false);
             }),
      frames("window of the stream opened by nothing", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, post(good), false) + h2::window_update_frame(id, 0);
             }),
      frames("window of the stream beyond its limit", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, post(good), false) +
                      h2::window_update_frame(id, 0x7fffffff);
             }),
      frames("data after the end of the stream", Harm::stream,
             [post](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, post(good), true) + data(id, "abc", true);
             }),
  };
}

std::vector<BadRequest> broken_frames() {
  return {
      frames("frame beyond the size limit", Harm::connection,
             [](std::uint32_t id, const Fields&) {
               return h2::frame_of_length(0xffffff, frame_type::headers, kWhole, id,
                                          std::string(1000, 'x'));
             }),
      frames("index outside the header table", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kWhole, id,
                                h2::header_block(good) + h2::hpack_integer(0x80, 7, 1000));
             }),
      frames("index zero", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kWhole, id, h2::header_block(good) + "\x80");
             }),
      frames("endless integer in a header block", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kWhole, id,
                                h2::header_block(good) + "\xff" + std::string(100, '\xff'));
             }),
      frames("header table beyond its size", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kWhole, id,
                                h2::hpack_integer(0x20, 5, 1 << 20) + h2::header_block(good));
             }),
      frames("header block that breaks off", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               std::string block = h2::header_block(good);
               block.pop_back();
               return h2::frame(frame_type::headers, kWhole, id, block);
             }),
      frames("padding longer than the frame", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kWhole | flag::padded, id,
                                "\xff" + h2::header_block(good).substr(0, 20));
             }),
      frames("header block interrupted by data", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kNone, id, h2::header_block(good)) +
                      data(id, "abc", true);
             }),
      frames("header block interrupted by another stream", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, kNone, id, h2::header_block(good)) +
                      h2::headers_frame(id + 2, good, true);
             }),
      frames("header block interrupted by an unknown frame", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::headers, flag::end_stream, id, h2::header_block(good)) +
                      h2::frame(0xbe, kNone, 0, "x");
             }),
      frames("continuation of nothing", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::frame(frame_type::continuation, flag::end_headers, id,
                                h2::header_block(good));
             }),
      frames("stream with an even number", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id + 1, good, true);
             }),
      frames("stream with a number below the last", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id + 4, changed(good, ":method", "POST"), false) +
                      h2::headers_frame(id + 2, good, true);
             }),
      frames("head on no stream", Harm::connection,
             [](std::uint32_t, const Fields& good) { return h2::headers_frame(0, good, true); }),
      bytes("data on no stream", data(0, "abc", false)),
      frames("data on a stream never opened", Harm::connection,
             [](std::uint32_t id, const Fields&) { return data(id + 1000, "abc", false); }),
      frames("reset of a stream never opened", Harm::connection,
             [](std::uint32_t id, const Fields&) { return h2::rst_stream_frame(id + 1000, 0); }),
      frames("window of a stream never opened", Harm::connection,
             [](std::uint32_t id, const Fields&) { return h2::window_update_frame(id + 1000, 1); }),
      bytes("reset of no stream", h2::rst_stream_frame(0, 0)),
      frames("reset of three bytes", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, changed(good, ":method", "POST"), false) +
                      h2::frame(frame_type::rst_stream, kNone, id, "123");
             }),
      bytes("ping of seven bytes", h2::ping_frame("1234567")),
      frames("ping on a stream", Harm::connection,
             [](std::uint32_t id, const Fields&) {
               return h2::frame(frame_type::ping, kNone, id, "12345678");
             }),
      bytes("settings of five bytes", h2::frame(frame_type::settings, kNone, 0, "12345")),
      frames("settings on a stream", Harm::connection,
             [](std::uint32_t id, const Fields&) {
               return h2::frame(frame_type::settings, kNone, id);
             }),
      bytes("settings acknowledged with a payload",
            h2::frame(frame_type::settings, flag::ack, 0, std::string(6, '\0'))),
      bytes("immense initial window",
            h2::settings_frame({{h2::setting::initial_window_size, 0x80000000}})),
      bytes("tiny frame size", h2::settings_frame({{h2::setting::max_frame_size, 1}})),
      bytes("immense frame size", h2::settings_frame({{h2::setting::max_frame_size, 1 << 24}})),
      bytes("push that is neither on nor off", h2::settings_frame({{h2::setting::enable_push, 2}})),
      bytes("window of the connection opened by nothing", h2::window_update_frame(0, 0)),
      bytes("window of the connection beyond its limit", h2::window_update_frame(0, 0x7fffffff)),
      bytes("window update of three bytes", h2::frame(frame_type::window_update, kNone, 0, "123")),
      frames("goaway on a stream", Harm::connection,
             [](std::uint32_t id, const Fields&) {
               return h2::frame(frame_type::goaway, kNone, id, std::string(8, '\0'));
             }),
      frames("push promise of a client", Harm::connection,
             [](std::uint32_t id, const Fields& good) {
               return h2::headers_frame(id, changed(good, ":method", "POST"), false) +
                      h2::frame(frame_type::push_promise, flag::end_headers, id,
                                h2::u32(id + 2) + h2::header_block(good));
             }),
      bytes("HTTP/1.1 in the middle", "GET / HTTP/1.1\r\nHost: kube\r\n\r\n"),
  };
}

}  // namespace

const std::vector<BadRequest>& bad_requests() {
  static const std::vector<BadRequest> all = [] {
    std::vector<BadRequest> joined;
    for (auto* group : {&malformed_fields, &malformed_streams, &broken_frames}) {
      for (auto& each : group()) joined.push_back(std::move(each));
    }
    return joined;
  }();
  return all;
}

Refusal provoke(H2RawClient& client, const BadRequest& bad, const Fields& good) {
  Refusal refusal;
  constexpr std::uint32_t kStream = 1;
  constexpr std::string_view kAfter = "harmless";
  client.write(bad.make(kStream, good));
  // Frames are looked at in their order: an answer to this one says that nothing seemed wrong.
  if (bad.harm == Harm::connection) client.write(h2::ping_frame(kAfter));
  for (;;) {
    std::optional<H2Frame> frame;
    try {
      frame = client.read_frame();
    } catch (const PatienceOver&) {
      return refusal;
    }
    if (!frame) {
      refusal.closed = true;
      return refusal;
    }
    if (frame->type == frame_type::goaway) {
      refusal.goaway_code = frame->number(4);
      return refusal;
    }
    if (frame->type == frame_type::ping && frame->payload == kAfter) return refusal;
    if (frame->stream != kStream) continue;
    if (frame->type == frame_type::rst_stream) {
      refusal.reset_code = frame->number(0);
      return refusal;
    }
    if (frame->type == frame_type::headers) {
      for (const auto& [name, value] : client.fields()) {
        if (name == ":status") refusal.status = std::stoi(value);
      }
      if (bad.harm == Harm::stream) return refusal;
    }
  }
}

}  // namespace support
