#include "config/configure.hpp"

#include "config/write_config.hpp"

namespace kubelane {

Configured configure(const LoadResult& loaded) {
  Configured out;
  out.yaml = write_config(loaded.config, {"Made by `kubelane configure`.",
                                          "Every key is explained in kubelane's README."});
  if (holds_join_secret(loaded.config))
    out.warnings.push_back(
        {"", 0, 0,
         "the file holds the join secret itself: keep it readable for its user only (--output FILE "
         "makes it so), or give the absolute path of a file with the secret (--token, "
         "--registration-secret-path)"});
  return out;
}

}  // namespace kubelane
