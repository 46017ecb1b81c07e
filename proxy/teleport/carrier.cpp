#include "proxy/teleport/carrier.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/field.hpp>

#include "tls/context.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
// Bytes as they are. Its twin, alpn-ping, is for streams that stay silent; ours has its own PINGs.
constexpr const char* subprotocol = "alpn";

}  // namespace

asio::awaitable<Outcome<void>> Carrier::upgrade(const HttpsOrigin& web) {
  const std::string where = to_string(web.address, 0);
  Outcome<tls::ContextPtr> context = tls::make_web_context(web.ca_file, web.insecure);
  if (!context) co_return context.error();
  web_ = std::make_unique<Web>(tcp_, context->release());
  asio::ssl::stream<Tcp&>& outer = web_->socket.next_layer();
  if (!tls::set_expected_peer(outer.native_handle(), web.address.host))
    co_return Failure{Code::config, where + " is not a usable name"};
  auto [handshake_error] =
      co_await outer.async_handshake(asio::ssl::stream_base::client, as_result);
  if (handshake_error)
    co_return Failure{SSL_get_verify_result(outer.native_handle()) == X509_V_OK
                          ? Code::tls_handshake
                          : Code::tls_untrusted,
                      "no TLS with " + where + ": " + handshake_error.message()};
  web_->socket.binary(true);
  web_->socket.auto_fragment(false);
  web_->socket.set_option(
      beast::websocket::stream_base::decorator([](beast::websocket::request_type& request) {
        request.set(beast::http::field::sec_websocket_protocol, subprotocol);
        request.set(beast::http::field::user_agent, "kubelane/" KUBELANE_VERSION);
      }));
  beast::websocket::response_type answer;
  const std::string host = to_string(web.address, 443);
  const std::string path = "/webapi/connectionupgrade";
  auto [error] = co_await web_->socket.async_handshake(answer, host, path, as_result);
  if (error && answer.result_int() != 101 && answer.result_int() >= 200)
    co_return Failure{Code::refused, where + " answered the connection upgrade with HTTP status " +
                                         std::to_string(answer.result_int())};
  if (error)
    co_return Failure{Code::reset,
                      where + " did not take the connection upgrade: " + error.message()};
  if (answer[beast::http::field::sec_websocket_protocol] != subprotocol)
    co_return Failure{Code::bad_head,
                      where + " took the connection upgrade for another protocol than asked for"};
  co_return boost::system::in_place_value;
}

}  // namespace kubelane::teleport
