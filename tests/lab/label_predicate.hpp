// Teleport's predicate expressions over a resource's name and labels, as far as clients use them:
// == != && || ! (), equals(), name, labels["x"], labels.x, resource.metadata.name and strings as Go
// quotes them.
#pragma once

#include <map>
#include <string>

namespace lab {

// Throws CallError (InvalidArgument) when the text is no such expression.
bool matches_predicate(const std::string& text, const std::string& name,
                       const std::map<std::string, std::string>& labels);

}  // namespace lab
