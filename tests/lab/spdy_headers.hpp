// Header blocks of SPDY/3: name and value pairs through a zlib stream with a preset dictionary
// (SPDY/3 draft, 2.6.10).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <zlib.h>

namespace lab {

using SpdyHeaders = std::vector<std::pair<std::string, std::string>>;

// One direction each; a connection has one of both because the zlib state spans all blocks.
class SpdyHeaderWriter {
 public:
  SpdyHeaderWriter();
  ~SpdyHeaderWriter();
  SpdyHeaderWriter(const SpdyHeaderWriter&) = delete;
  SpdyHeaderWriter& operator=(const SpdyHeaderWriter&) = delete;
  std::string write(const SpdyHeaders& headers);

 private:
  z_stream zlib_{};
};

class SpdyHeaderReader {
 public:
  SpdyHeaderReader();
  ~SpdyHeaderReader();
  SpdyHeaderReader(const SpdyHeaderReader&) = delete;
  SpdyHeaderReader& operator=(const SpdyHeaderReader&) = delete;
  // Throws ConnectionLost for a block that is not valid.
  SpdyHeaders read(std::string_view block);

 private:
  z_stream zlib_{};
};

}  // namespace lab
