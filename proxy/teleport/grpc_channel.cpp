#include "proxy/teleport/grpc_channel.hpp"

#include <algorithm>
#include <cstring>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "proxy/link/h2_link.hpp"
#include "tls/context.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

constexpr seconds ping_interval{15};

http::H2Limits limits() {
  http::H2Limits limits;
  limits.stream_window_bytes = 1U << 20;
  limits.connection_window_bytes = 4U << 20;
  return limits;
}

bool is_alert(const error_code& error) {
  if (error.category() != asio::error::get_ssl_category()) return false;
  const int reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
  return reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
}

GrpcStatus lost_status(const std::string& why) {
  GrpcStatus status;
  status.code = GrpcCode::unavailable;
  status.message = why;
  status.transport = true;
  return status;
}

}  // namespace

// ---------------------------------------------------------------- the connection

GrpcChannel::GrpcChannel(Private, const asio::any_io_executor& executor, const GrpcTarget& target)
    : executor_(executor),
      what_(target.what),
      context_([&] {
        SSL_CTX_up_ref(target.context.get());
        return asio::ssl::context(target.context.get());
      }()),
      socket_(executor, context_),
      ping_timer_(executor),
      session_(http::H2Session::Role::client, limits(), *this, link::h2_memory),
      out_(in_.size() + http::H2Session::most_fill_overrun_bytes) {}

GrpcChannel::~GrpcChannel() = default;

asio::awaitable<Outcome<GrpcChannel::Ptr>> GrpcChannel::connect(const GrpcTarget& target,
                                                                milliseconds limit) {
  using namespace asio::experimental::awaitable_operators;
  const auto executor = co_await asio::this_coro::executor;
  const Ptr channel = std::make_shared<GrpcChannel>(Private{}, executor, target);
  asio::steady_timer timer(executor, limit);
  auto finished = co_await (channel->dial(target) || timer.async_wait(as_result));
  if (finished.index() != 0)
    co_return Failure{Code::timeout, target.what + " at " + to_string(target.address, 0) +
                                         " did not answer in time; check that it is up and that "
                                         "no firewall drops packets"};
  if (Outcome<void>& dialled = std::get<0>(finished); !dialled) co_return dialled.error();
  asio::co_spawn(executor, read(channel), asio::detached);
  asio::co_spawn(executor, keep_alive(channel), asio::detached);
  channel->kick();
  co_return channel;
}

asio::awaitable<Outcome<void>> GrpcChannel::dial(const GrpcTarget& target) {
  const std::string where = target.what + " at " + to_string(target.address, 0);
  tcp::resolver resolver(executor_);
  auto [resolve_error, endpoints] = co_await resolver.async_resolve(
      target.address.host, std::to_string(target.address.port), as_result);
  if (resolve_error)
    co_return Failure{Code::dns, "cannot resolve " + target.address.host + ": " +
                                     resolve_error.message() + "; check the name and the DNS"};
  auto [connect_error, endpoint] =
      co_await asio::async_connect(socket_.next_layer(), endpoints, as_result);
  if (connect_error)
    co_return Failure{Code::refused, "cannot connect to " + where + ": " + connect_error.message() +
                                         "; check that it is up and reachable from here"};
  error_code ignored;
  socket_.next_layer().set_option(tcp::no_delay(true), ignored);
  socket_.next_layer().set_option(asio::socket_base::keep_alive(true), ignored);
  if (!tls::set_expected_peer(socket_.native_handle(), target.server_name) ||
      !tls::offer_names(socket_.native_handle(), target.protocols))
    co_return Failure{Code::config, where + " cannot be called by the name " + target.server_name};
  auto [handshake_error] =
      co_await socket_.async_handshake(asio::ssl::stream_base::client, as_result);
  if (handshake_error) {
    const long verify = SSL_get_verify_result(socket_.native_handle());
    if (verify != X509_V_OK)
      co_return Failure{Code::tls_untrusted,
                        where +
                            " has a certificate that the cluster's host CA does not vouch for (" +
                            X509_verify_cert_error_string(verify) + ")"};
    if (is_alert(handshake_error))
      co_return Failure{Code::tls_peer,
                        where + " refused the TLS handshake (" + handshake_error.message() + ")"};
    co_return Failure{Code::tls_handshake, "no TLS with " + where + ": " +
                                               handshake_error.message() +
                                               "; is Teleport's Auth Service up, and no load "
                                               "balancer that terminates TLS in between?"};
  }
  const unsigned char* chosen = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(socket_.native_handle(), &chosen, &length);
  if (std::string_view(reinterpret_cast<const char*>(chosen), length) != "h2")
    co_return Failure{Code::tls_handshake,
                      where +
                          " does not offer Teleport's route to it (TLS routing); is there a "
                          "load balancer that terminates TLS in between?"};
  co_return boost::system::in_place_value;
}

// Runs until the connection ends.
asio::awaitable<void> GrpcChannel::read(Ptr self) {
  for (;;) {
    auto [error, got] = co_await self->socket_.async_read_some(asio::buffer(self->in_), as_result);
    if (error) {
      self->lose(self->what_ + " closed the connection" +
                     (is_alert(error) ? " (" + error.message() + ")" : std::string()),
                 is_alert(error));
      break;
    }
    const bool good =
        self->session_.receive({self->in_.data(), got}, http::H2Session::Clock::now());
    self->kick();
    if (!good || self->session_.finished()) {
      self->lose(self->what_ + " ended the HTTP/2 session", false);
      break;
    }
  }
  self->close();
}

void GrpcChannel::kick() {
  if (writing_ || lost_) return;
  writing_ = true;
  // Never inline: the session may be in the middle of receiving.
  asio::post(executor_, [self = shared_from_this()] {
    asio::co_spawn(self->executor_, write(self), asio::detached);
  });
}

// A stream that waits for news (a watch) would not notice a peer that is gone.
asio::awaitable<void> GrpcChannel::keep_alive(Ptr self) {
  for (;;) {
    self->ping_timer_.expires_after(ping_interval);
    auto [error] = co_await self->ping_timer_.async_wait(as_result);
    if (error || self->lost_) co_return;
    if (self->ping_out_) {
      self->lose(self->what_ + " does not answer any more", false);
      self->close();
      co_return;
    }
    if (self->streams_.empty()) continue;
    self->ping_out_ = true;
    self->session_.ping();
    self->kick();
  }
}

asio::awaitable<void> GrpcChannel::write(Ptr self) {
  while (!self->lost_) {
    const std::size_t filled = self->session_.fill(self->out_, self->in_.size());
    if (filled == http::H2Session::npos) {
      self->lose("the HTTP/2 session broke", false);
      break;
    }
    if (filled == 0) break;
    auto [error, written] = co_await asio::async_write(
        self->socket_, asio::buffer(self->out_.data(), filled), as_result);
    if (error) break;  // the reader learns why
  }
  self->writing_ = false;
}

void GrpcChannel::lose(const std::string& why, bool refused_by_tls) {
  if (lost_) return;
  lost_ = true;
  const std::vector<GrpcStream*> streams = std::move(streams_);
  streams_.clear();
  for (GrpcStream* stream : streams) {
    GrpcStatus status = lost_status(why);
    status.refused_by_tls = refused_by_tls;
    status.outcome_unknown = !refused_by_tls;
    stream->fail(std::move(status));
  }
}

void GrpcChannel::close() {
  lose("the connection to " + what_ + " was given up", false);
  ping_timer_.cancel();
  error_code ignored;
  socket_.next_layer().close(ignored);
}

std::shared_ptr<GrpcStream> GrpcChannel::open(const std::string& path) {
  auto stream = std::make_shared<GrpcStream>(shared_from_this());
  if (!usable()) {
    stream->fail(lost_status("the connection to " + what_ + " is closed"));
    return stream;
  }
  http::H2Head head;
  head.method = "POST";
  head.scheme = "https";
  head.authority = "teleport.cluster.local";
  head.path = path;
  const std::array<http::Field, 3> fields{{{"content-type", "application/grpc", {}},
                                           {"te", "trailers", {}},
                                           {"user-agent", "kubelane/" KUBELANE_VERSION, {}}}};
  stream->id_ = session_.submit_request(head, fields, true, *stream);
  if (stream->id_ == 0) {
    going_away_ = true;
    stream->fail(lost_status("the connection to " + what_ + " takes no more calls"));
    return stream;
  }
  streams_.push_back(stream.get());
  kick();
  return stream;
}

asio::awaitable<GrpcReply> GrpcChannel::call(const std::string& path, const std::string& request,
                                             milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const std::shared_ptr<GrpcStream> stream = open(path);
  stream->send(request);
  stream->half_close();
  GrpcReply reply;
  std::optional<std::string> message = co_await stream->receive(limit);
  if (message) {
    reply.message = std::move(*message);
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    if (co_await stream->receive(std::max(left, milliseconds(1)))) {
      reply.status.code = GrpcCode::internal;
      reply.status.message = what_ + " answered a call twice";
      co_return reply;
    }
  }
  reply.status = stream->status();
  if (reply.status.ok() && !message) {
    reply.status.code = GrpcCode::internal;
    reply.status.message = what_ + " answered without a message";
  }
  co_return reply;
}

// ---------------------------------------------------------------- one call

GrpcStream::GrpcStream(GrpcChannel::Ptr channel)
    : channel_(std::move(channel)),
      news_(channel_->executor_),
      answer_(channel_->what_, GrpcChannel::most_message_bytes) {}

GrpcStream::~GrpcStream() {
  std::erase(channel_->streams_, this);
  if (id_ == 0) return;
  channel_->session_.disown(id_);
  if (over() || channel_->lost_) return;
  channel_->session_.reset(id_, http::H2Code::cancel);
  channel_->kick();
}

void GrpcStream::send(std::string_view message) {
  if (over() || half_closed_) return;
  unsent_ += frame_message(message);
  channel_->session_.resume(id_);
  channel_->kick();
}

void GrpcStream::half_close() {
  if (over() || half_closed_) return;
  half_closed_ = true;
  channel_->session_.resume(id_);
  channel_->kick();
}

asio::awaitable<std::optional<std::string>> GrpcStream::receive(milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (!answer_.empty()) co_return answer_.take();
    if (over()) co_return std::nullopt;
    news_.expires_at(deadline);
    auto [error] = co_await news_.async_wait(as_result);
    if (error || !answer_.empty() || over()) continue;
    GrpcStatus late = lost_status(channel_->what_ + " did not answer in time");
    late.code = GrpcCode::deadline_exceeded;
    late.outcome_unknown = true;
    fail(std::move(late));
    cancel(http::H2Code::cancel);
    co_return std::nullopt;
  }
}

void GrpcStream::fail(GrpcStatus status) {
  answer_.fail(std::move(status));
  wake();
}

void GrpcStream::wake() {
  if (over() || !answer_.empty()) news_.cancel();
}

void GrpcStream::cancel(http::H2Code code) {
  if (id_ == 0 || channel_->lost_) return;
  channel_->session_.reset(id_, code);
  channel_->kick();
}

void GrpcStream::on_head(const http::H2Head& head) noexcept {
  answer_.on_head(head.status, head.fields, head.end);
  wake();
}

void GrpcStream::on_data(std::string_view bytes) noexcept {
  channel_->session_.consumed(id_, bytes.size());
  const bool good = answer_.on_data(bytes);
  wake();
  if (!good) cancel(http::H2Code::cancel);
}

void GrpcStream::on_trailers(http::Fields fields) noexcept { answer_.on_trailers(fields); }

void GrpcStream::on_end() noexcept {
  answer_.on_end();
  wake();
}

void GrpcStream::on_closed(http::H2Code code) noexcept {
  std::erase(channel_->streams_, this);
  id_ = 0;
  GrpcStatus status = lost_status(channel_->what_ + " broke the call off");
  status.outcome_unknown = code != http::H2Code::refused_stream;
  fail(std::move(status));
}

GrpcStream::Ready GrpcStream::ready() noexcept {
  Ready now;
  now.bytes = unsent_.size();
  now.end = half_closed_;
  return now;
}

void GrpcStream::take(char* to, std::size_t bytes) noexcept {
  std::memcpy(to, unsent_.data(), bytes);
  unsent_.erase(0, bytes);
}

}  // namespace kubelane::teleport
