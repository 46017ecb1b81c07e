// What the parser did not understand, said so that the next try succeeds.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace kubelane {

// Names the command, the word and what was probably meant. Values are not repeated: what follows a
// misspelt --token is a secret. Ends with a newline.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace kubelane
