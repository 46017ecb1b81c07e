// An HTTP/2 client that sends exactly the bytes it is told, right or wrong, and reads frame by
// frame: for playing attackers and broken clients.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "tests/lab/h2_frames.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

struct H2Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
  std::string payload;

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  std::uint32_t number(std::size_t at) const;  // 32 bits of the payload
};

// How a connection or a stream ended.
struct H2RawEnd {
  std::optional<std::uint32_t> goaway_code;
  std::uint32_t last_stream = 0;
  std::optional<std::uint32_t> reset_code;  // of the stream in question
  bool closed = false;                      // the connection, by FIN or RST
};

class H2RawClient {
 public:
  // Offers h2 unless `tls.alpn` says otherwise; a connection without TLS is fine as well.
  H2RawClient(const std::string& host, std::uint16_t port, ClientOptions tls);

  // --- Writing. False when the peer has gone or takes nothing more.
  // -------------------------------
  bool write(std::string_view bytes);
  // The preface and SETTINGS, then reads until the peer's SETTINGS came, acknowledges them, and has
  // ours acknowledged. Throws std::runtime_error when that does not happen.
  void settle(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings = {});
  bool headers(std::uint32_t stream, const lab::h2::Fields& fields, bool end_stream = true);
  bool data(std::uint32_t stream, std::string_view bytes, bool end_stream = false);
  // The four pseudo-header fields of a request.
  static lab::h2::Fields request(const std::string& method, const std::string& path,
                                 const std::string& authority, lab::h2::Fields more = {});

  // --- Reading
  // ------------------------------------------------------------------------------------ Nothing at
  // the end of the connection. Throws PatienceOver when none comes.
  std::optional<H2Frame> read_frame();
  // The next frame of that type (and stream, unless -1), skipping others; SETTINGS and PING that
  // are skipped are acknowledged. Nothing when the connection ended first.
  std::optional<H2Frame> next(std::uint8_t type, std::int64_t stream = -1);
  // The fields of a header block. All blocks must pass through here in their order, since they
  // share the peer's compression state; read_frame() sees to it for whole HEADERS frames.
  lab::h2::Fields decode(std::string_view block);
  // Fields of the newest whole HEADERS frame that was read.
  const lab::h2::Fields& fields() const { return fields_; }
  // Reads until GOAWAY, RST_STREAM of that stream (0: none wanted) or the end.
  H2RawEnd wait_end(std::uint32_t stream = 0);
  // Reads until the connection ends; a GOAWAY on the way is noted.
  H2RawEnd wait_closed();
  // Still in order: a PING is answered.
  bool alive();

  TlsClient& tls() { return connection_; }

 private:
  void answer(const H2Frame& frame);

  TlsClient connection_;
  std::string buffer_;
  std::unique_ptr<nghttp2_hd_inflater, decltype(&nghttp2_hd_inflate_del)> inflater_;
  lab::h2::Fields fields_;
  std::uint32_t pings_ = 0;
};

}  // namespace support
