#include "proxy/teleport/ping.hpp"

#include <charconv>
#include <optional>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include "proxy/http/body.hpp"
#include "proxy/http/head.hpp"
#include "tls/context.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::seconds total_deadline{10};
constexpr std::size_t max_answer_bytes = 256UL * 1024;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

// An answer with its body de-chunked.
struct Answer {
  int status = 0;
  std::string body;
};

// Reads chunks out of a body that BodyFramer has accepted.
std::string join_chunks(std::string_view body) {
  std::string out;
  for (;;) {
    const std::size_t line = body.find("\r\n");
    if (line == std::string_view::npos) return out;
    std::size_t size = 0;
    std::from_chars(body.data(), body.data() + line, size, 16);
    body.remove_prefix(line + 2);
    if (size == 0 || size > body.size()) return out;
    out += body.substr(0, size);
    body.remove_prefix(std::min(body.size(), size + 2));
  }
}

// Nothing: more bytes are needed, and `ended` is false. Whoever keeps the connection open in spite
// of `Connection: close` need not be waited for.
Outcome<std::optional<Answer>> parse_answer(std::string_view bytes, bool ended,
                                            const std::string& where) {
  const Failure malformed{Code::bad_head, "the answer of " + where +
                                              " to /webapi/ping is not proper HTTP; is "
                                              "proxy_server a Teleport Proxy's web address?"};
  auto head = std::make_unique<http::ResponseHead>();
  do {  // past interim answers
    http::HeadParser parser;
    const http::HeadVerdict verdict = parser.response(bytes, "GET", *head);
    if (verdict.kind == http::HeadVerdict::Kind::need_more && !ended) return std::nullopt;
    if (verdict.kind != http::HeadVerdict::Kind::done) return malformed;
    bytes.remove_prefix(verdict.bytes);
  } while (head->status < 200 && head->status != 101);
  Answer answer;
  answer.status = head->status;
  http::BodyFramer framer(head->body, head->content_length);
  const http::BodyFramer::Scan scan = framer.scan(bytes);
  if (scan.bad != nullptr) return malformed;
  if (scan.trailers) framer.end_trailers();
  if (!framer.done() && !ended) return std::nullopt;
  if (!framer.done() && !framer.end_of_stream()) return malformed;
  const std::string_view body = bytes.substr(0, scan.bytes);
  answer.body = head->body == http::BodyKind::chunked ? join_chunks(body) : std::string(body);
  return std::optional(std::move(answer));
}

// Text of Teleport's error JSON (DP 5.3), or nothing.
std::string trace_message(const std::string& body) {
  error_code error;
  const boost::json::value value = boost::json::parse(body, error);
  if (error || !value.is_object()) return {};
  const boost::json::value* inner = value.get_object().if_contains("error");
  if (inner == nullptr || !inner->is_object()) return {};
  const boost::json::value* message = inner->get_object().if_contains("message");
  if (message == nullptr || !message->is_string()) return {};
  return ": " + std::string(message->get_string().subview(0, 200));
}

asio::awaitable<Outcome<PingReply>> exchange(PingOptions options) {
  const std::string where = to_string(options.address, 0);
  auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [resolve_error, endpoints] = co_await resolver.async_resolve(
      options.address.host, std::to_string(options.address.port), as_result);
  if (resolve_error)
    co_return Failure{Code::dns, "cannot resolve proxy_server " + options.address.host + ": " +
                                     resolve_error.message() + "; check the name and the DNS"};
  tcp::socket socket(executor);
  auto [connect_error, endpoint] = co_await asio::async_connect(socket, endpoints, as_result);
  if (connect_error)
    co_return Failure{Code::refused, "cannot connect to proxy_server " + where + ": " +
                                         connect_error.message() +
                                         "; check that it is up and reachable from here"};
  Outcome<tls::ContextPtr> made = tls::make_web_context(options.ca_file, options.insecure);
  if (!made) co_return made.error();
  ssl::context context(made->release());
  ssl::stream<tcp::socket> stream(std::move(socket), context);
  if (!tls::set_expected_peer(stream.native_handle(), options.address.host))
    co_return Failure{Code::config, "proxy_server " + where + " is not a usable name"};
  auto [handshake_error] = co_await stream.async_handshake(ssl::stream_base::client, as_result);
  if (handshake_error) {
    const long verify = SSL_get_verify_result(stream.native_handle());
    if (verify != X509_V_OK)
      co_return Failure{Code::tls_untrusted,
                        "the web certificate of proxy_server " + where + " does not verify (" +
                            X509_verify_cert_error_string(verify) +
                            "); if it is signed by a private CA, name its file in proxy_ca"};
    co_return Failure{Code::tls_handshake,
                      "no TLS with proxy_server " + where + ": " + handshake_error.message()};
  }
  const std::string request =
      "GET /webapi/ping HTTP/1.1\r\nHost: " + to_string(options.address, 443) +
      "\r\nUser-Agent: kubelane/" KUBELANE_VERSION
      "\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
  auto [write_error, written] =
      co_await asio::async_write(stream, asio::buffer(request), as_result);
  std::string bytes;
  std::optional<Answer> answer;
  error_code read_error = write_error;
  while (!answer) {
    char block[8192];
    if (!read_error) {
      auto [error, got] = co_await stream.async_read_some(asio::buffer(block), as_result);
      read_error = error;
      bytes.append(block, got);
    }
    if (bytes.size() > max_answer_bytes)
      co_return Failure{Code::bad_body, "the answer of " + where +
                                            " to /webapi/ping is too large; is it a Teleport "
                                            "Proxy?"};
    if (read_error && bytes.empty())
      co_return Failure{
          Code::reset,
          "proxy_server " + where + " closed the connection without an answer to /webapi/ping"};
    Outcome<std::optional<Answer>> parsed = parse_answer(bytes, read_error.failed(), where);
    if (!parsed) co_return parsed.error();
    answer = std::move(*parsed);
  }
  if (answer->status != 200)
    co_return Failure{Code::refused, "proxy_server " + where + " answered /webapi/ping with " +
                                         std::to_string(answer->status) +
                                         trace_message(answer->body)};
  co_return parse_ping(answer->body);
}

asio::awaitable<Outcome<PingReply>> exchange_in_time(PingOptions options) {
  using namespace asio::experimental::awaitable_operators;
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, total_deadline);
  const std::string where = to_string(options.address, 0);
  auto finished = co_await (exchange(std::move(options)) || timer.async_wait(as_result));
  if (finished.index() == 0) co_return std::get<0>(std::move(finished));
  co_return Failure{Code::timeout, "proxy_server " + where +
                                       " did not answer /webapi/ping within 10 s; check that it "
                                       "is up and that no firewall drops packets"};
}

}  // namespace

void ping(asio::io_context& io, const PingOptions& options,
          std::function<void(Outcome<PingReply>)> done) {
  asio::co_spawn(
      io, exchange_in_time(options),
      [done = std::move(done)](const std::exception_ptr& failure, Outcome<PingReply> reply) {
        if (failure)
          done(Failure{Code::internal, "ping failed unexpectedly"});
        else
          done(std::move(reply));
      });
}

}  // namespace kubelane::teleport
