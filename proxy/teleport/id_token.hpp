// Where each join method takes the token that proves who this machine or job is
// (control-plane spec 1.8). Read anew for every join: these tokens live for minutes.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "config/config.hpp"
#include "config/result.hpp"

namespace kubelane::teleport {

using EnvironmentLookup = std::function<std::optional<std::string>(const std::string&)>;

// Empty for the methods that have none. A Failure is a sentence with cause and remedy; it never
// holds a token.
boost::asio::awaitable<Outcome<std::string>> fetch_id_token(const Onboarding& onboarding,
                                                            const EnvironmentLookup& environment);

// The content of a file of at most 64 KiB. wipe() it when it is a secret.
Outcome<std::string> read_small_file(const std::string& path, const std::string& what);
// The same, of one word without white space around it.
Outcome<std::string> read_secret_file(const std::string& path, const std::string& what);

// `onboarding.token`: itself, or what the file holds that it names.
Outcome<std::string> read_token(const Onboarding& onboarding);

}  // namespace kubelane::teleport
