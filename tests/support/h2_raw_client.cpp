#include "tests/support/h2_raw_client.hpp"

#include <stdexcept>

namespace support {
namespace {

namespace frame_type = lab::h2::frame_type;
namespace flag = lab::h2::flag;

ClientOptions with_h2(ClientOptions tls) {
  if (tls.alpn.empty()) tls.alpn = {"h2"};
  return tls;
}

std::uint8_t octet(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}

std::uint32_t u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | octet(bytes, at + i);
  return value;
}

nghttp2_hd_inflater* new_inflater() {
  nghttp2_hd_inflater* inflater = nullptr;
  nghttp2_hd_inflate_new(&inflater);
  return inflater;
}

}  // namespace

std::uint32_t H2Frame::number(std::size_t at) const {
  if (at + 4 > payload.size()) throw std::out_of_range("a frame shorter than that");
  return u32(payload, at);
}

H2RawClient::H2RawClient(const std::string& host, std::uint16_t port, ClientOptions tls)
    : connection_(host, port, with_h2(std::move(tls))),
      inflater_(new_inflater(), nghttp2_hd_inflate_del) {}

bool H2RawClient::write(std::string_view bytes) {
  try {
    connection_.write(bytes);
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

void H2RawClient::settle(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings) {
  write(std::string(lab::h2::kClientPreface) + lab::h2::settings_frame(settings));
  bool theirs = false;
  bool ours = false;
  while (!theirs || !ours) {
    const auto frame = next(frame_type::settings);
    if (!frame) throw std::runtime_error("the connection ended before the SETTINGS");
    (frame->has(flag::ack) ? ours : theirs) = true;
    answer(*frame);
  }
}

bool H2RawClient::headers(std::uint32_t stream, const lab::h2::Fields& fields, bool end_stream) {
  return write(lab::h2::headers_frame(stream, fields, end_stream));
}

bool H2RawClient::data(std::uint32_t stream, std::string_view bytes, bool end_stream) {
  return write(lab::h2::frame(frame_type::data, end_stream ? flag::end_stream : std::uint8_t{0},
                              stream, bytes));
}

lab::h2::Fields H2RawClient::request(const std::string& method, const std::string& path,
                                     const std::string& authority, lab::h2::Fields more) {
  lab::h2::Fields fields{
      {":method", method}, {":scheme", "https"}, {":authority", authority}, {":path", path}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::optional<H2Frame> H2RawClient::read_frame() {
  const auto fill = [this](std::size_t bytes) {
    while (buffer_.size() < bytes) {
      std::string more;
      try {
        more = connection_.read_some();
      } catch (const PatienceOver&) {
        throw;
      } catch (const std::runtime_error&) {
        return false;  // a reset
      }
      if (more.empty()) return false;
      buffer_ += more;
    }
    return true;
  };
  if (!fill(lab::h2::kFrameHead)) return std::nullopt;
  const std::size_t length = u32(buffer_, 0) >> 8;
  if (!fill(lab::h2::kFrameHead + length)) return std::nullopt;
  H2Frame frame;
  frame.type = octet(buffer_, 3);
  frame.flags = octet(buffer_, 4);
  frame.stream = u32(buffer_, 5) & 0x7fffffff;
  frame.payload = buffer_.substr(lab::h2::kFrameHead, length);
  buffer_.erase(0, lab::h2::kFrameHead + length);
  if (frame.type == frame_type::headers && frame.has(flag::end_headers)) {
    std::string_view block = frame.payload;
    if (frame.has(flag::padded)) {
      const std::size_t padding = octet(block, 0);
      block = block.substr(1, block.size() - 1 - padding);
    }
    if (frame.has(flag::priority)) block.remove_prefix(5);
    fields_ = decode(block);
  }
  return frame;
}

void H2RawClient::answer(const H2Frame& frame) {
  if (frame.has(flag::ack)) return;
  if (frame.type == frame_type::settings) {
    write(lab::h2::frame(frame_type::settings, flag::ack, 0));
  } else if (frame.type == frame_type::ping) {
    write(lab::h2::ping_frame(frame.payload, true));
  }
}

std::optional<H2Frame> H2RawClient::next(std::uint8_t type, std::int64_t stream) {
  for (;;) {
    auto frame = read_frame();
    if (!frame) return std::nullopt;
    if (frame->type == type && (stream < 0 || frame->stream == stream)) return frame;
    answer(*frame);
  }
}

lab::h2::Fields H2RawClient::decode(std::string_view block) {
  lab::h2::Fields fields;
  const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
  std::size_t left = block.size();
  for (;;) {
    nghttp2_nv field{};
    int flags = 0;
    const ssize_t used = nghttp2_hd_inflate_hd2(inflater_.get(), &field, &flags, at, left, 1);
    if (used < 0) throw std::runtime_error("a header block that cannot be read");
    at += used;
    left -= static_cast<std::size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      fields.emplace_back(std::string(reinterpret_cast<const char*>(field.name), field.namelen),
                          std::string(reinterpret_cast<const char*>(field.value), field.valuelen));
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_.get());
  return fields;
}

H2RawEnd H2RawClient::wait_end(std::uint32_t stream) {
  H2RawEnd end;
  for (;;) {
    const auto frame = read_frame();
    if (!frame) {
      end.closed = true;
      return end;
    }
    if (frame->type == frame_type::goaway) {
      end.last_stream = frame->number(0);
      end.goaway_code = frame->number(4);
      return end;
    }
    if (stream != 0 && frame->type == frame_type::rst_stream && frame->stream == stream) {
      end.reset_code = frame->number(0);
      return end;
    }
    answer(*frame);
  }
}

H2RawEnd H2RawClient::wait_closed() {
  H2RawEnd end;
  while (const auto frame = read_frame()) {
    if (frame->type == frame_type::goaway) {
      end.last_stream = frame->number(0);
      end.goaway_code = frame->number(4);
    }
    answer(*frame);
  }
  end.closed = true;
  return end;
}

bool H2RawClient::alive() {
  const std::string opaque = lab::h2::u32(0x70696e67) + lab::h2::u32(++pings_);
  if (!write(lab::h2::ping_frame(opaque))) return false;
  for (;;) {
    const auto frame = next(frame_type::ping);
    if (!frame) return false;
    if (frame->has(flag::ack) && frame->payload == opaque) return true;
    answer(*frame);
  }
}

}  // namespace support
