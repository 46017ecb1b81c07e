// Takes the HTTP/1.1 answer of a handler apart while it is written, so that a handler can serve a
// protocol that has no HTTP/1.1 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lab {

class AnswerReader {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;
  class Sink {
   public:
    virtual void on_interim(int status, Fields fields) = 0;
    // `end`: nothing follows.
    virtual void on_head(int status, Fields fields, bool end) = 0;
    virtual void on_data(std::string_view bytes, bool end) = 0;
    virtual void on_end(Fields trailers) = 0;  // of a chunked body

   protected:
    ~Sink() = default;
  };

  // `head_request`: the answer has no body, whatever its head says. `sink` must outlive this.
  AnswerReader(Sink& sink, bool head_request) : sink_(sink), head_request_(head_request) {}

  // Throws ConnectionLost for an answer that is no HTTP/1.1. Framing fields (Connection,
  // Keep-Alive, Transfer-Encoding) are not given on; names are, in lower case.
  void feed(std::string_view bytes);
  // The handler writes nothing more: ends a body that the end of the connection ends.
  void close();
  bool complete() const { return state_ == State::done; }

 private:
  enum class State { head, exact, until_close, size_line, chunk, chunk_end, trailers, done };
  void read_head();
  void read_line(std::string_view line);

  Sink& sink_;
  bool head_request_;
  State state_ = State::head;
  std::string pending_;  // of a head or a line
  std::uint64_t left_ = 0;
  Fields trailers_;
};

}  // namespace lab
