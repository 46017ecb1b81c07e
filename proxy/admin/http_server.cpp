#include "proxy/admin/http_server.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <sys/socket.h>

#include "proxy/observe/log.hpp"

namespace kubelane::admin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::chrono::milliseconds descriptor_pause{100};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// What to tell a client whose request cannot be read; nothing: there is no one to tell.
std::optional<Answer> refusal(error_code error) {
  if (error == http::error::end_of_stream || error == beast::error::timeout) return std::nullopt;
  Answer answer;
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    answer.status = 431;
    answer.body = "the request head is too large\n";
  } else if (error == http::error::body_limit) {
    answer.status = 413;
    answer.body = "the request body is too large\n";
  } else if (error.category() == make_error_code(http::error::bad_method).category() &&
             error != http::error::partial_message) {
    answer.status = 400;
    answer.body = "malformed request\n";
  } else {
    return std::nullopt;
  }
  return answer;
}

}  // namespace

const std::string* Request::field(std::string_view name) const {
  const std::string* found = nullptr;
  for (const auto& [key, value] : fields) {
    if (key != name) continue;
    if (found != nullptr) return nullptr;
    found = &value;
  }
  return found;
}

bool Request::has(std::string_view name) const {
  return std::any_of(fields.begin(), fields.end(),
                     [name](const auto& field) { return field.first == name; });
}

// One connection: request, answer, again. Kept alive by its pending operation and by the server.
class HttpServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(HttpServer& server, asio::generic::stream_protocol::socket socket)
      : server_(&server), stream_(std::move(socket)) {}

  void read() {
    waiting_ = true;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(server_->limits_.head_bytes));
    parser_->body_limit(server_->limits_.body_bytes);
    stream_.expires_after(server_->limits_.request_time);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->have_read(error); });
  }

  // The server ends, or needs the room.
  void close() {
    server_ = nullptr;
    on_gone_.reset();
    stream_.close();
  }
  bool waiting() const noexcept { return waiting_; }

 private:
  void have_read(error_code error) {
    waiting_ = false;
    if (server_ == nullptr) return;
    keep_alive_ = !error && parser_->get().keep_alive();
    head_ = !error && parser_->get().method() == http::verb::head;
    if (error) {
      std::optional<Answer> answer = refusal(error);
      if (!answer) return end();
      return write(std::move(*answer));
    }
    const auto& message = parser_->get();
    Request request;
    request.method = message.method_string();
    const std::string_view target(message.target().data(), message.target().size());
    request.path = target.substr(0, target.find('?'));
    request.body = message.body();
    for (const auto& field : message)
      request.fields.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                  std::string(field.value()));
    request.by_unix_socket = !server_->socket_.unix_path.empty();
    on_gone_ = std::make_shared<std::function<void()>>();
    stream_.expires_never();
    const Reply reply(
        [weak = weak_from_this()](Answer answer) {
          if (const auto self = weak.lock()) self->answered(std::move(answer));
        },
        on_gone_);
    answered_ = false;
    server_->handler_(request, reply);
    if (!answered_) watch();
  }

  // A client that waits for its answer has nothing to say: what can be read is its end.
  void watch() {
    stream_.socket().async_wait(
        asio::socket_base::wait_read, [self = shared_from_this()](error_code error) {
          if (error || self->answered_ || self->server_ == nullptr) return;
          char byte;
          const ssize_t got =
              ::recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          if (got > 0) return;  // its next request
          if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return self->watch();
          self->answered_ = true;
          const auto on_gone = std::move(self->on_gone_);
          self->end();
          if (on_gone && *on_gone) (*on_gone)();
        });
  }

  void answered(Answer answer) {
    if (answered_ || server_ == nullptr) return;
    answered_ = true;
    on_gone_.reset();
    write(std::move(answer));
  }

  void write(Answer answer) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    if (!answer.allow.empty()) response_.set(http::field::allow, answer.allow);
    response_.keep_alive(keep_alive_);
    response_.content_length(answer.body.size());
    if (!head_) response_.body() = std::move(answer.body);
    after_ = std::move(answer.after);
    stream_.expires_after(server_->limits_.answer_time);
    serializer_.emplace(response_);
    if (head_) {
      http::async_write_header(stream_, *serializer_,
                               [self = shared_from_this()](error_code error, std::size_t) {
                                 self->have_written(error);
                               });
    } else {
      http::async_write(stream_, *serializer_,
                        [self = shared_from_this()](error_code error, std::size_t) {
                          self->have_written(error);
                        });
    }
  }

  void have_written(error_code error) {
    if (const auto after = std::exchange(after_, nullptr)) after();
    if (server_ == nullptr) return;
    if (error || !keep_alive_) return end();
    move_to_back();
    read();
  }

  // Whoever has been answered last gives way last.
  void move_to_back() {
    auto& all = server_->sessions_;
    const auto own = std::find(all.begin(), all.end(), shared_from_this());
    if (own != all.end()) all.splice(all.end(), all, own);
  }

  // Without a reset for what the client is still sending: a closed direction first.
  void end() {
    if (server_ == nullptr) return;
    error_code ignored;
    stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    server_->sessions_.remove(shared_from_this());
    close();
  }

  HttpServer* server_;  // null: the connection is over
  beast::basic_stream<asio::generic::stream_protocol> stream_;
  beast::flat_buffer buffer_{16UL * 1024};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::shared_ptr<std::function<void()>> on_gone_;
  std::function<void()> after_;
  bool waiting_ = false;
  bool answered_ = true;
  bool keep_alive_ = false;
  bool head_ = false;
};

HttpServer::HttpServer(asio::io_context& io, ControlSocket socket, Handler handler,
                       ServerLimits limits)
    : io_(io),
      socket_(std::move(socket)),
      handler_(std::move(handler)),
      limits_(limits),
      listener_(io, socket_.fd.release()),
      pause_(io) {
  accept();
}

HttpServer::~HttpServer() {
  for (const auto& session : sessions_) session->close();
  if (!socket_.unix_path.empty()) ::unlink(socket_.unix_path.c_str());
}

void HttpServer::accept() {
  listener_.async_wait(asio::posix::descriptor_base::wait_read, [this](error_code error) {
    if (error) return;
    tls::UniqueFd fd(
        ::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      take(std::move(fd));
      return accept();
    }
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return accept();
    pause_.expires_after(descriptor_pause);  // instead of spinning
    pause_.async_wait([this](error_code cancelled) {
      if (!cancelled) accept();
    });
  });
}

void HttpServer::take(tls::UniqueFd fd) {
  if (sessions_.size() >= limits_.connections) {
    const auto idle = std::find_if(sessions_.begin(), sessions_.end(),
                                   [](const auto& session) { return session->waiting(); });
    if (idle == sessions_.end()) return;  // all are being answered
    (*idle)->close();
    sessions_.erase(idle);
  }
  const int family = socket_.unix_path.empty() ? AF_INET : AF_UNIX;
  asio::generic::stream_protocol::socket socket(io_);
  error_code failed;
  socket.assign(asio::generic::stream_protocol(family, 0), fd.get(), failed);
  if (failed) return;
  static_cast<void>(fd.release());
  sessions_.push_back(std::make_shared<Session>(*this, std::move(socket)));
  sessions_.back()->read();
}

}  // namespace kubelane::admin
