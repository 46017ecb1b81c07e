// `kubelane configure`: the flags of `start` and the environment as a commented file.
#pragma once

#include <string>
#include <vector>

#include "config/load.hpp"

namespace kubelane {

struct Configured {
  std::string yaml;
  std::vector<Problem> warnings;  // what to know of the file, such as that it holds a secret
};

// As in tbot's configure, a join token that was given by flag or variable stands in the file, which
// would not work without; a warning says so.
Configured configure(const LoadResult& loaded);

}  // namespace kubelane
