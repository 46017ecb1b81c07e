// What a bot keeps, as files by tbot's names (control-plane spec 7): what bot_storage reads and
// writes without knowing what it means.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tls/key.hpp"

namespace kubelane::teleport {

// Names and contents. Keys among them are wiped at the end.
struct Artifacts {
  std::vector<std::pair<std::string, std::string>> files;

  Artifacts() = default;
  Artifacts(Artifacts&&) = default;
  Artifacts& operator=(Artifacts&& other) noexcept {
    wipe();
    files = std::move(other.files);
    return *this;
  }
  Artifacts(const Artifacts&) = delete;
  Artifacts& operator=(const Artifacts&) = delete;
  ~Artifacts() { wipe(); }

  // The file's content; empty when there is none.
  const std::string& at(std::string_view name) const {
    static const std::string none;
    for (const auto& [file, text] : files)
      if (file == name) return text;
    return none;
  }

 private:
  void wipe() noexcept {
    for (auto& [name, text] : files) tls::wipe(text);
    files.clear();
  }
};

}  // namespace kubelane::teleport
