#include "proxy/teleport/ping.hpp"

#include <boost/asio/co_spawn.hpp>

#include "proxy/teleport/https_client.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;

asio::awaitable<Outcome<PingReply>> exchange(PingOptions options) {
  HttpsOrigin origin;
  origin.address = options.address;
  origin.ca_file = options.ca_file;
  origin.insecure = options.insecure;
  HttpsRequest request;
  request.path = "/webapi/ping";
  const HttpsAnswer answer = co_await https_exchange(origin, request);
  if (answer.status == 0) co_return answer.failure;
  if (!answer.ok()) {
    const std::string message = trace_message(answer.body);
    co_return Failure{Code::refused, "proxy_server " + to_string(options.address, 0) +
                                         " answered /webapi/ping with " +
                                         std::to_string(answer.status) +
                                         (message.empty() ? "" : ": " + message)};
  }
  co_return parse_ping(answer.body);
}

}  // namespace

void ping(asio::io_context& io, const PingOptions& options,
          std::function<void(Outcome<PingReply>)> done) {
  asio::co_spawn(
      io, exchange(options),
      [done = std::move(done)](const std::exception_ptr& failure, Outcome<PingReply> reply) {
        if (failure)
          done(Failure{Code::internal, "ping failed unexpectedly"});
        else
          done(std::move(reply));
      });
}

}  // namespace kubelane::teleport
