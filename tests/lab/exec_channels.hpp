// What exec and attach are to a session, whatever carries them: input and sizes from the client,
// two outputs and a final Status to it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tests/lab/exec_process.hpp"

namespace lab {

struct ExecInput {
  enum class Kind {
    data,
    end,  // of the input; outputs and sizes go on
    resize,
    gone,  // the client, or the server wants to end
  };
  Kind kind = Kind::gone;
  std::string data;
  TerminalSize size;
};

class ExecChannels {
 public:
  virtual ~ExecChannels() = default;
  // Blocks. For one thread.
  virtual ExecInput next() = 0;
  // Whether the client is known to have gone although its bytes are not all read.
  virtual bool gone() = 0;
  // For any thread. Throw ConnectionLost.
  virtual void write_output(std::string_view bytes) = 0;
  virtual void write_error(std::string_view bytes) = 0;
  // Sends the Status of the session and ends all channels.
  virtual void finish(std::string_view status) = 0;
};

// {"Width": 80, "Height": 24}; nothing when it is not that.
std::optional<TerminalSize> parse_terminal_size(std::string_view text);

}  // namespace lab
