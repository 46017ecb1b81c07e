// `kubelane keypair create`: the key of join method bound_keypair, made before the first start so
// that an administrator can register it.
#pragma once

#include "config/command_line.hpp"

namespace kubelane {

// Prints the public half (authorized_keys), of a key that is there or a new one; returns the exit
// code.
int create_keypair(const Command& command);

}  // namespace kubelane
