// The configuration file: tbot's `version: v2` file plus our keys, as Config. Reports all problems
// at once, each with its place and, for a misspelt name, the nearest valid one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace YAML {
class Node;
}

namespace kubelane {

struct Problem {
  std::string file;  // empty: command line or environment
  int line = 0;      // from 1; 0: no place in a file
  int column = 0;
  std::string message;

  // file:line:column: message, on one line whatever the message quotes.
  std::string text() const;
};

struct LoadResult {
  Config config;
  std::vector<Problem> errors;
  std::vector<Problem> warnings;
  // What `start` needs beyond a valid file: an address to connect to, and per service credentials
  // and a destination. Not among the errors, because tbot's own examples are valid without. What is
  // there but wrong is an error, and not missing.
  std::vector<Problem> missing;
};

// Looks up an environment variable.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// One value from the command line or the environment: stronger than the file.
struct Override {
  std::string key;  // as in the file, e.g. "proxy_server" or "log.format"
  std::string value;
  std::string origin;  // what to call it in messages: "--proxy-server", "TELEPORT_PROXY"
};

// A service given on the command line (`kubelane start kubernetes …`).
struct CommandService {
  Service::Type type = Service::Type::kubernetes;
  std::vector<std::string> clusters;
  std::vector<std::string> labels;  // each "name=value,name=value"
  std::string credentials;
  std::string destination;
  std::vector<std::string> reader_users;
  std::vector<std::string> reader_groups;
};

// `yaml` may be empty. Overrides win over the file, and later overrides over earlier ones with the
// same key. `spare_destination`: a directory below which services without one get theirs; empty:
// that is `missing`.
LoadResult load_config(const std::string& yaml, const std::string& file,
                       const std::vector<Override>& overrides,
                       const std::optional<CommandService>& service,
                       const std::string& spare_destination = {});

// The same of a document that has been read already; problems stand where its nodes say.
LoadResult load_config(const YAML::Node& root, const std::string& file);

// A file larger than this is refused, and need not be read to its end.
constexpr std::size_t max_config_bytes = 1 << 20;

}  // namespace kubelane
