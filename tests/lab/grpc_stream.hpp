// One gRPC call on one stream of HTTP/2: messages in their frames, status in the trailers
// (control-plane spec 3.2). Blocking; its stream's thread only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/lab/body_reader.hpp"
#include "tests/lab/h2_stream.hpp"
#include "tests/lab/http.hpp"

namespace lab {

class GrpcStream {
 public:
  GrpcStream(H2Stream& stream, const Request& request) : stream_(stream), body_(stream, request) {}

  // Nothing once the client has ended its direction. Throws CallError on a frame that is none.
  std::optional<std::string> read_message();
  void write_message(std::string_view message);
  // Trailers; alone, when nothing was written before, as Go sends them. Once.
  void finish(int code, std::string_view message = {});
  H2Stream& stream() { return stream_; }

 private:
  bool fill(std::size_t bytes);
  void begin();

  H2Stream& stream_;
  BodyReader body_;
  std::string buffer_;
  bool begun_ = false;
};

// The numbers of a message's fields, in order of appearance, each once. Empty for what is none.
std::vector<int> field_numbers(std::string_view message);

}  // namespace lab
