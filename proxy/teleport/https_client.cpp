#include "proxy/teleport/https_client.hpp"

#include <charconv>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include "config/text.hpp"
#include "proxy/http/body.hpp"
#include "proxy/http/head.hpp"
#include "tls/context.hpp"
#include "tls/key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

std::string resource(const HttpsRequest& request) {
  return request.path.substr(0, request.path.find('?'));
}

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

enum class Parsed : std::uint8_t { more, done, malformed };

// `ended`: no more bytes come. Whoever keeps the connection open in spite of `Connection: close`
// need not be waited for.
Parsed parse_answer(std::string_view bytes, bool ended, const std::string& method,
                    HttpsAnswer& answer) {
  auto head = std::make_unique<http::ResponseHead>();
  do {  // past interim answers
    http::HeadParser parser;
    const http::HeadVerdict verdict = parser.response(bytes, method, *head);
    if (verdict.kind == http::HeadVerdict::Kind::need_more && !ended) return Parsed::more;
    if (verdict.kind != http::HeadVerdict::Kind::done) return Parsed::malformed;
    bytes.remove_prefix(verdict.bytes);
  } while (head->status < 200 && head->status != 101);
  http::BodyFramer framer(head->body, head->content_length);
  const http::BodyFramer::Scan scan = framer.scan(bytes);
  if (scan.bad != nullptr) return Parsed::malformed;
  if (scan.trailers) framer.end_trailers();
  if (!framer.done() && !ended) return Parsed::more;
  if (!framer.done() && !framer.end_of_stream()) return Parsed::malformed;
  const std::string_view body = bytes.substr(0, scan.bytes);
  answer.status = head->status;
  answer.body = head->body == http::BodyKind::chunked ? join_chunks(body) : std::string(body);
  return Parsed::done;
}

std::string compose(const HttpsOrigin& origin, const HttpsRequest& request) {
  std::string text = request.method + " " + request.path +
                     " HTTP/1.1\r\nHost: " + to_string(origin.address, origin.plain ? 80 : 443) +
                     "\r\nUser-Agent: kubelane/" KUBELANE_VERSION "\r\n";
  bool accepts = false;
  for (const auto& [name, value] : request.fields) {
    text += name + ": " + value + "\r\n";
    accepts = accepts || http::iequals(name, "Accept");
  }
  if (!accepts) text += "Accept: application/json\r\n";
  if (!request.body.empty() || request.method == "POST")
    text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  return text + "Connection: close\r\n\r\n" + request.body;
}

// Tokens go there, and keys come back.
struct Wiped {
  std::string text;
  ~Wiped() { tls::wipe(text); }
};

template <class Stream>
asio::awaitable<void> talk(Stream& stream, const HttpsOrigin& origin, const HttpsRequest& request,
                           HttpsAnswer& answer) {
  const std::string where = to_string(origin.address, 0);
  Wiped sent{compose(origin, request)};
  Wiped received;
  const std::string& text = sent.text;
  std::string& bytes = received.text;
  answer.request_sent = true;
  auto [write_error, written] = co_await asio::async_write(stream, asio::buffer(text), as_result);
  error_code read_error = write_error;
  for (;;) {
    char block[8192];
    if (!read_error) {
      auto [error, got] = co_await stream.async_read_some(asio::buffer(block), as_result);
      read_error = error;
      bytes.append(block, got);
    }
    if (bytes.size() > request.most_answer_bytes) {
      answer.failure = {Code::bad_body, "the answer of " + where + " to " + resource(request) +
                                            " is too large; is it a Teleport Proxy?"};
      co_return;
    }
    if (read_error && bytes.empty()) {
      answer.failure = {Code::reset, origin.what + " " + where +
                                         " closed the connection without an answer to " +
                                         resource(request)};
      co_return;
    }
    const Parsed parsed = parse_answer(bytes, read_error.failed(), request.method, answer);
    if (parsed == Parsed::done) co_return;
    if (parsed == Parsed::malformed) {
      answer.failure = {Code::bad_head,
                        "the answer of " + where + " to " + resource(request) +
                            " is not proper HTTP; is " + origin.what +
                            (origin.what == "proxy_server" ? " a Teleport Proxy's web address?"
                                                           : " the right address?")};
      co_return;
    }
  }
}

asio::awaitable<void> exchange(const HttpsOrigin& origin, const HttpsRequest& request,
                               HttpsAnswer& answer) {
  const std::string where = to_string(origin.address, 0);
  auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [resolve_error, endpoints] = co_await resolver.async_resolve(
      origin.address.host, std::to_string(origin.address.port), as_result);
  if (resolve_error) {
    answer.failure = {Code::dns, "cannot resolve " + origin.what + " " + origin.address.host +
                                     ": " + resolve_error.message() +
                                     "; check the name and the DNS"};
    co_return;
  }
  tcp::socket socket(executor);
  auto [connect_error, endpoint] = co_await asio::async_connect(socket, endpoints, as_result);
  if (connect_error) {
    answer.failure = {Code::refused, "cannot connect to " + origin.what + " " + where + ": " +
                                         connect_error.message() +
                                         "; check that it is up and reachable from here"};
    co_return;
  }
  if (origin.plain) {
    co_await talk(socket, origin, request, answer);
    co_return;
  }
  Outcome<tls::ContextPtr> made = tls::make_web_context(origin.ca_file, origin.insecure);
  if (!made) {
    answer.failure = made.error();
    co_return;
  }
  ssl::context context(made->release());
  ssl::stream<tcp::socket> stream(std::move(socket), context);
  if (!tls::set_expected_peer(stream.native_handle(), origin.address.host)) {
    answer.failure = {Code::config, origin.what + " " + where + " is not a usable name"};
    co_return;
  }
  auto [handshake_error] = co_await stream.async_handshake(ssl::stream_base::client, as_result);
  if (handshake_error) {
    const long verify = SSL_get_verify_result(stream.native_handle());
    if (verify != X509_V_OK) {
      answer.failure = {Code::tls_untrusted,
                        "the web certificate of " + origin.what + " " + where +
                            " does not verify (" + X509_verify_cert_error_string(verify) +
                            "); if it is signed by a private CA, name its file in " +
                            origin.ca_field};
    } else {
      answer.failure = {Code::tls_handshake, "no TLS with " + origin.what + " " + where + ": " +
                                                 handshake_error.message()};
    }
    co_return;
  }
  co_await talk(stream, origin, request, answer);
}

}  // namespace

asio::awaitable<HttpsAnswer> https_exchange(const HttpsOrigin& origin,
                                            const HttpsRequest& request) {
  using namespace asio::experimental::awaitable_operators;
  HttpsAnswer answer;
  asio::steady_timer timer(co_await asio::this_coro::executor, request.deadline);
  auto finished = co_await (exchange(origin, request, answer) || timer.async_wait(as_result));
  if (finished.index() == 0) co_return answer;
  answer.status = 0;
  answer.failure = {
      Code::timeout,
      origin.what + " " + to_string(origin.address, 0) + " did not answer " + resource(request) +
          " within " +
          std::to_string(
              std::chrono::duration_cast<std::chrono::seconds>(request.deadline).count()) +
          " s; check that it is up and that no firewall drops packets"};
  co_return answer;
}

std::string trace_message(const std::string& body) {
  error_code error;
  boost::json::parse_options options;
  options.max_depth = 32;
  const boost::json::value value = boost::json::parse(body, error, {}, options);
  if (error || !value.is_object()) return {};
  const boost::json::object* object = &value.get_object();
  if (const boost::json::value* inner = object->if_contains("error"))
    if (inner->is_object()) object = &inner->get_object();
  const boost::json::value* message = object->if_contains("message");
  if (message == nullptr || !message->is_string()) return {};
  std::string text(message->get_string().subview(0, 300));
  for (char& c : text)
    if (is_control(c)) c = ' ';
  return text;
}

}  // namespace kubelane::teleport
