#include "tests/lab/kube_api_patch.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "tests/lab/kube_api_resources.hpp"

namespace lab {
namespace {

namespace json = boost::json;

[[noreturn]] void does_not_apply(const std::string& why) {
  throw ApiError{
      422, "Invalid", "the server rejected our request due to an error in our request: " + why, {}};
}

// --- RFC 6902 ----------------------------------------------------------------------------------

std::vector<std::string> pointer_tokens(std::string_view pointer) {
  std::vector<std::string> tokens;
  if (!pointer.empty() && pointer.front() != '/') throw bad_request("bad JSON pointer");
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::string_view raw = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(raw.size());
    std::string token;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const bool escape = raw[i] == '~' && i + 1 < raw.size();
      token += escape ? (raw[i + 1] == '1' ? '/' : '~') : raw[i];
      i += escape ? 1 : 0;
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::size_t index_of(const json::array& array, const std::string& token, bool may_append) {
  if (token == "-" && may_append) return array.size();
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
  const std::size_t limit = array.size() + (may_append ? 1 : 0);
  if (error != std::errc{} || end != token.data() + token.size() || index >= limit) {
    does_not_apply("no index " + token);
  }
  return index;
}

json::value& step(json::value& from, const std::string& token) {
  if (auto* const object = from.if_object()) {
    if (auto* const value = object->if_contains(token)) return *value;
  } else if (auto* const array = from.if_array()) {
    return (*array)[index_of(*array, token, false)];
  }
  does_not_apply("no member " + token);
}

json::value& locate(json::value& root, const std::vector<std::string>& tokens, std::size_t count) {
  json::value* at = &root;
  for (std::size_t i = 0; i < count; ++i) at = &step(*at, tokens[i]);
  return *at;
}

void add(json::value& root, const std::vector<std::string>& tokens, json::value value) {
  if (tokens.empty()) {
    root = std::move(value);
    return;
  }
  json::value& parent = locate(root, tokens, tokens.size() - 1);
  if (auto* const object = parent.if_object()) {
    (*object)[tokens.back()] = std::move(value);
  } else if (auto* const array = parent.if_array()) {
    const std::size_t index = index_of(*array, tokens.back(), true);
    array->insert(array->begin() + static_cast<std::ptrdiff_t>(index), std::move(value));
  } else {
    does_not_apply("no container for " + tokens.back());
  }
}

json::value remove(json::value& root, const std::vector<std::string>& tokens) {
  if (tokens.empty()) does_not_apply("the whole document cannot be removed");
  json::value& parent = locate(root, tokens, tokens.size() - 1);
  json::value removed = step(parent, tokens.back());
  if (auto* const object = parent.if_object()) {
    object->erase(tokens.back());
  } else {
    auto& array = parent.get_array();
    array.erase(array.begin() + static_cast<std::ptrdiff_t>(index_of(array, tokens.back(), false)));
  }
  return removed;
}

// --- Strategic merge ---------------------------------------------------------------------------

// The key by which elements of the list `field` are told apart; "" when it is replaced whole.
std::string_view merge_key(std::string_view field, const json::object& element) {
  constexpr std::string_view kByName[] = {
      "containers",       "initContainers", "ephemeralContainers", "volumes", "env",
      "imagePullSecrets", "secrets"};
  if (std::find(std::begin(kByName), std::end(kByName), field) != std::end(kByName)) return "name";
  if (field == "volumeMounts") return "mountPath";
  if (field == "volumeDevices") return "devicePath";
  if (field == "ports") return element.contains("containerPort") ? "containerPort" : "port";
  if (field == "conditions" || field == "addresses") return "type";
  if (field == "ownerReferences") return "uid";
  if (field == "hostAliases") return "ip";
  if (field == "topologySpreadConstraints") return "topologyKey";
  return "";
}

bool directive(const json::object& patch, std::string_view which) {
  const auto* const found = patch.if_contains("$patch");
  return found != nullptr && found->is_string() && found->get_string() == which;
}

void merge_lists(json::array& target, const json::array& patch, std::string_view key) {
  for (const auto& each : patch) {
    const auto* const element = each.if_object();
    if (element == nullptr) throw bad_request("a list of objects was expected in the patch");
    if (directive(*element, "replace")) {
      target.clear();
      continue;
    }
    const auto* const wanted = element->if_contains(key);
    const auto same = [&](const json::value& other) {
      const auto* const object = other.if_object();
      const auto* const value = object == nullptr ? nullptr : object->if_contains(key);
      return wanted != nullptr && value != nullptr && *value == *wanted;
    };
    const auto found = std::find_if(target.begin(), target.end(), same);
    if (directive(*element, "delete")) {
      if (found != target.end()) target.erase(found);
    } else if (found != target.end()) {
      strategic_merge_patch(found->get_object(), *element);
    } else {
      json::object fresh;
      strategic_merge_patch(fresh, *element);
      target.push_back(std::move(fresh));
    }
  }
}

void merge_field(json::object& target, std::string_view name, const json::value& patch) {
  if (patch.is_null()) {
    target.erase(name);
    return;
  }
  json::value& value = target[name];
  if (const auto* const object = patch.if_object()) {
    if (directive(*object, "delete")) {
      target.erase(name);
      return;
    }
    if (!value.is_object()) value.emplace_object();
    strategic_merge_patch(value.get_object(), *object);
    return;
  }
  const auto* const list = patch.if_array();
  if (list == nullptr) {
    value = patch;
    return;
  }
  if (name == "finalizers" && value.is_array()) {
    for (const auto& each : *list) {
      auto& have = value.get_array();
      if (std::find(have.begin(), have.end(), each) == have.end()) have.push_back(each);
    }
    return;
  }
  const auto* const first = list->empty() ? nullptr : list->front().if_object();
  const std::string_view key = first == nullptr ? "" : merge_key(name, *first);
  if (key.empty()) {
    value = patch;
    return;
  }
  if (!value.is_array()) value.emplace_array();
  merge_lists(value.get_array(), *list, key);
}

// The value of a "$name/field" directive.
void obey(json::object& target, std::string_view name, const json::value& argument) {
  constexpr std::string_view kRemove = "$deleteFromPrimitiveList/";
  if (name.starts_with(kRemove) && argument.is_array()) {
    auto* const list = target.if_contains(name.substr(kRemove.size()));
    if (list == nullptr || !list->is_array()) return;
    for (const auto& each : argument.get_array()) {
      auto& have = list->get_array();
      have.erase(std::remove(have.begin(), have.end(), each), have.end());
    }
  } else if (name == "$retainKeys" && argument.is_array()) {
    const auto& kept = argument.get_array();
    json::object rest;
    for (const auto& [key, value] : target) {
      if (std::find(kept.begin(), kept.end(), json::value(key)) != kept.end()) rest[key] = value;
    }
    target = std::move(rest);
  }
  // $setElementOrder tells only the order of elements, which nothing here depends on.
}

}  // namespace

void merge_patch(json::value& target, const json::value& patch) {
  const auto* const object = patch.if_object();
  if (object == nullptr) {
    target = patch;
    return;
  }
  if (!target.is_object()) target.emplace_object();
  for (const auto& [name, value] : *object) {
    if (value.is_null()) {
      target.get_object().erase(name);
    } else {
      merge_patch(target.get_object()[name], value);
    }
  }
}

void json_patch(json::value& target, const json::value& patch) {
  if (!patch.is_array()) throw bad_request("a JSON patch is a list of operations");
  for (const auto& each : patch.get_array()) {
    const auto* const operation = each.if_object();
    if (operation == nullptr) throw bad_request("an operation of a JSON patch is an object");
    const auto text = [&](std::string_view name) {
      const auto* const found = operation->if_contains(name);
      if (found == nullptr || !found->is_string()) {
        throw bad_request("an operation of a JSON patch lacks " + std::string(name));
      }
      return std::string(found->get_string());
    };
    const auto value = [&]() -> const json::value& {
      const auto* const found = operation->if_contains("value");
      if (found == nullptr) throw bad_request("an operation of a JSON patch lacks value");
      return *found;
    };
    const std::string name = text("op");
    const auto path = pointer_tokens(text("path"));
    if (name == "add") {
      add(target, path, value());
    } else if (name == "remove") {
      remove(target, path);
    } else if (name == "replace") {
      locate(target, path, path.size()) = value();
    } else if (name == "test") {
      if (locate(target, path, path.size()) != value()) does_not_apply("the test failed");
    } else if (name == "copy" || name == "move") {
      const auto from = pointer_tokens(text("from"));
      json::value moved = name == "move" ? remove(target, from) : locate(target, from, from.size());
      add(target, path, std::move(moved));
    } else {
      throw bad_request("unknown operation of a JSON patch: " + name);
    }
  }
}

void strategic_merge_patch(json::object& target, const json::object& patch) {
  if (directive(patch, "replace")) target.clear();
  for (const auto& [name, value] : patch) {
    if (name.starts_with("$")) obey(target, name, value);
  }
  for (const auto& [name, value] : patch) {
    if (!name.starts_with("$")) merge_field(target, name, value);
  }
}

}  // namespace lab
