// How the bot joins: tbot's `onboarding` section and `join_uri`, as Onboarding.
#pragma once

#include <string>

#include "config/config.hpp"
#include "config/yaml_reader.hpp"

namespace kubelane {

// Sets the method; returns why it cannot, or an empty string. Methods of tbot's that kubelane does
// not have are named as such.
std::string set_join_method(Onboarding& onboarding, const std::string& text);
// sha256:<64 hex digits>, several with commas between them. The same.
std::string set_ca_pins(Onboarding& onboarding, const std::string& text);

// The `onboarding` map of the file.
void read_onboarding(YamlReader& reader, const YAML::Node& node, Onboarding& onboarding);

// tbot+{proxy|auth}+<method>://<token>[:<parameter>]@<host>[:port] into onboarding and
// proxy_server or auth_server. Returns why it cannot, or an empty string; never repeats the token.
std::string apply_join_uri(const std::string& uri, Config& config);

// What fits together only as a whole: returns why it does not, or an empty string.
std::string check_onboarding(const Config& config);

}  // namespace kubelane
