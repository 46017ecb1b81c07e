// Answers that HTTP/2 forbids (RFC 9113), each by a name and with what must become of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/lab/h2_stream.hpp"
#include "tests/lab/proxy.hpp"

namespace lab {

struct BadAnswer {
  enum class Harm {
    stream,      // malformed: the stream must fail; the connection may go on or not
    connection,  // the whole connection is in error
    limit,       // legal but immense: refused by a limit, stream or connection
  };
  std::string name;
  Harm harm;
  std::function<void(H2Stream&)> send;
};
const std::vector<BadAnswer>& bad_answers();

// Answers so what ends with that target; all else is served as usual.
Script answer_badly(const BadAnswer& bad, std::string target_end);

}  // namespace lab
