// Requests and frames that HTTP/2 forbids to a client (RFC 9113), each by a name and with what must
// become of it. The other direction is tests/lab/h2_bad_answers.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/h2_frames.hpp"
#include "tests/support/h2_raw_client.hpp"

namespace support {

struct BadRequest {
  enum class Harm {
    stream,      // the stream must be refused; the connection may go on or not
    connection,  // the whole connection is in error
  };
  std::string name;
  Harm harm;
  // The bytes to send for a new stream; `good` are the fields of a request that would be served.
  std::function<std::string(std::uint32_t stream, const lab::h2::Fields& good)> make;
};
const std::vector<BadRequest>& bad_requests();

// What the peer did.
struct Refusal {
  std::optional<std::uint32_t> reset_code;
  std::optional<std::uint32_t> goaway_code;
  bool closed = false;  // the connection, with or without a GOAWAY
  int status = 0;       // of an answer

  // By a reset, by the end of the connection, or by an answer that says 4xx.
  bool refused() const { return reset_code || goaway_code || closed || status / 100 == 4; }
  bool connection_ended() const { return goaway_code || closed; }
};
// Sends it as stream 1 of a settled connection. All empty when the peer did nothing about it.
Refusal provoke(H2RawClient& client, const BadRequest& bad, const lab::h2::Fields& good);

}  // namespace support
