// The bot's own identity in a Secret of the cluster that kubelane runs in, in tbot's layout: one
// object, replaced whole (control-plane spec 7). Control thread.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "proxy/teleport/api_server.hpp"
#include "proxy/teleport/bot_storage.hpp"

namespace kubelane::teleport {

// `server` must outlive it. One pod at a time, by a Lease of the same name; and whatever is written
// names the version that it replaces, so that an identity which somebody else has put there is
// seen, and never overwritten unless ours follows it.
std::unique_ptr<BotStorage> make_secret_storage(boost::asio::io_context& io,
                                                const ApiServer& server, const ApiObject& secret,
                                                const SecretName& name);

}  // namespace kubelane::teleport
