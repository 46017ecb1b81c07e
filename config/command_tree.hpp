// What the command line consists of, as plain values, read off the parser itself: `--help`, the man
// page and the completions of shells cannot tell different things.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kubelane {

struct OptionText {
  std::vector<std::string> names;    // "-c", "--config"; of an argument its name in capitals
  std::string value;                 // "FILE", "text|json"; empty: a switch
  std::vector<std::string> choices;  // all that may stand there; empty: anything
  std::string help;
  bool argument = false;  // has no dashes
};

struct CommandText {
  std::vector<std::string> words;  // from "kubelane" on
  std::vector<std::string> aliases;
  std::string help;
  std::vector<OptionText> options;  // those that --help shows
  std::vector<CommandText> commands;
  bool takes_parents_options = false;
};

CommandText describe(const CLI::App& app);

// Of `kubelane`, with everything below it.
CommandText describe_command_line();

}  // namespace kubelane
