// Words for messages about what somebody wrote: quoted, cut to a readable length, and with the
// valid name that was probably meant.
#pragma once

#include <string>
#include <vector>

namespace kubelane {

using Names = std::vector<std::string>;

// At most `limit` bytes of it, not ending within a UTF-8 character; "…" stands for the rest.
std::string shorten(const std::string& text, std::size_t limit);

// Shortened, in quotation marks.
std::string quote(const std::string& text);

// The valid name nearest to a misspelt one, or empty when none is near.
std::string nearest_name(const std::string& name, const Names& valid);

// ` (did you mean "…"?)`, or empty when no valid name is near.
std::string did_you_mean(const std::string& name, const Names& valid);

// `"x" is not one of a, b`, with the nearest.
std::string not_one_of(const std::string& text, const Names& valid);

}  // namespace kubelane
