#include "tls/stream.hpp"

#include <algorithm>
#include <cerrno>

#include <openssl/err.h>
#include <sys/socket.h>

#include "tls/context.hpp"

namespace kubelane::tls {
namespace {

// The error queue of a data thread is empty between calls: whatever can fill it clears it. So the
// calls that move bytes need not clear it first.
void clear_errors() noexcept {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

}  // namespace

// The BIO under OpenSSL: receives straight into OpenSSL's buffer, gathers ciphertext in the batch.
struct SocketBio {
  static int write(BIO* bio, const char* bytes, int length) {
    BIO_clear_retry_flags(bio);
    auto* stream = static_cast<Stream*>(BIO_get_data(bio));
    const auto size = static_cast<std::size_t>(length);
    if (stream->batch_->free_bytes() < size) {
      BIO_set_retry_write(bio);
      return -1;
    }
    stream->batch_->append(bytes, size);
    return length;
  }

  static int read(BIO* bio, char* into, int length) {
    BIO_clear_retry_flags(bio);
    auto* stream = static_cast<Stream*>(BIO_get_data(bio));
    SocketState& state = stream->state_;
    if (!state.readable) {
      BIO_set_retry_read(bio);
      return -1;
    }
    for (;;) {
      const ssize_t got = ::recv(state.fd, into, static_cast<std::size_t>(length), 0);
      if (got > 0) {
        // Edge-triggered: a short receive emptied the socket, unless the end is behind it.
        if (got < length && !state.peer_ended) state.readable = false;
        return static_cast<int>(got);
      }
      if (got == 0) return 0;
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        state.readable = false;
        BIO_set_retry_read(bio);
        return -1;
      }
      stream->sys_ = errno;
      return -1;
    }
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static BIO_METHOD* method() {
    static BIO_METHOD* const instance = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
      BIO_meth_set_write(made, write);
      BIO_meth_set_read(made, read);
      BIO_meth_set_ctrl(made, control);
      BIO_meth_set_create(made, create);
      return made;
    }();
    return instance;
  }
};

namespace {

constexpr std::size_t record_bytes = 16384;

Step step(Step::Kind kind, std::size_t bytes = 0) noexcept { return {kind, bytes, {}}; }

bool attach_bio(SSL* ssl, Stream* stream) {
  BIO* bio = BIO_new(SocketBio::method());
  if (bio == nullptr) return false;
  BIO_set_data(bio, stream);
  SSL_set_bio(ssl, bio, bio);
  return true;
}

}  // namespace

Stream::~Stream() = default;

void Stream::open(UniqueFd fd, WriteBatch& batch) noexcept {
  fd_ = std::move(fd);
  WriteEdge* const edge = state_.write_edge;
  state_ = SocketState{};
  state_.write_edge = edge;
  state_.fd = fd_.get();
  batch_ = &batch;
}

bool Stream::serve_tls(SSL_CTX* context) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || !attach_bio(ssl_.get(), this)) {
    clear_errors();
    return false;
  }
  SSL_set_accept_state(ssl_.get());
  return true;
}

bool Stream::connect_tls(SSL_CTX* context, const std::string& server_name, SessionCache* sessions) {
  ssl_.reset(SSL_new(context));
  if (!ssl_ || !attach_bio(ssl_.get(), this) || !set_expected_peer(ssl_.get(), server_name)) {
    clear_errors();
    return false;
  }
  SSL_set_connect_state(ssl_.get());
  if (sessions != nullptr) {
    SessionCache::attach(ssl_.get(), sessions);
    if (SessionPtr session = sessions->take()) SSL_set_session(ssl_.get(), session.get());
  }
  clear_errors();
  return true;
}

void Stream::detach_sessions() noexcept {
  if (ssl_) SessionCache::attach(ssl_.get(), nullptr);
}

Step Stream::failure(const char* where, int ssl_error) noexcept {
  fatal_ = true;
  Error error{Code::reset, side_, Retry::no, sys_, where};
  if (ssl_error == SSL_ERROR_SSL) {
    const unsigned long code = ERR_peek_error();
    const int reason = ERR_GET_REASON(code);
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      error.code = Code::eof;
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
      error.code = Code::tls_untrusted;
    } else if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
      error.code = Code::tls_peer;  // an alert from the peer
      error.sys = reason - SSL_AD_REASON_OFFSET;
    } else if (SSL_get_verify_result(ssl_.get()) != X509_V_OK) {
      error.code = Code::tls_untrusted;
    } else {
      error.code = Code::tls_handshake;
    }
  } else if (sys_ == 0) {
    error.code = Code::eof;
  }
  clear_errors();
  return {Step::Kind::failed, 0, error};
}

Step Stream::send_batch() noexcept {
  if (output_pending()) {  // records leave in the order in which they were made
    leftover_.append(batch_->view());
    batch_->clear();
    return flush();
  }
  std::string_view bytes = batch_->view();
  while (!bytes.empty() && state_.writable) {
    const ssize_t sent = ::send(state_.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      state_.would_block_writing();
    } else if (errno != EINTR) {
      sys_ = errno;
      batch_->clear();
      return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "send"}};
    }
  }
  if (!bytes.empty()) leftover_.append(bytes);
  batch_->clear();
  return step(bytes.empty() ? Step::Kind::moved : Step::Kind::want_write);
}

Step Stream::flush() noexcept {
  while (output_pending()) {
    if (!state_.writable) return step(Step::Kind::want_write);
    const ssize_t sent = ::send(state_.fd, leftover_.data() + leftover_begin_,
                                leftover_.size() - leftover_begin_, MSG_NOSIGNAL);
    if (sent >= 0) {
      leftover_begin_ += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      state_.would_block_writing();
    } else if (errno != EINTR) {
      sys_ = errno;
      return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "send"}};
    }
  }
  if (!leftover_.empty()) {
    leftover_begin_ = 0;
    std::string().swap(leftover_);  // idle connections hold no buffer
  }
  return step(Step::Kind::moved);
}

void Stream::take_held() noexcept {
  if (held_.empty()) return;
  batch_->append(held_.data(), held_.size());
  std::string().swap(held_);
}

Step Stream::send_held() noexcept {
  if (held_.empty()) return step(Step::Kind::moved);
  if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  take_held();
  return send_batch();
}

// Sends what OpenSSL produced, then says how the OpenSSL call ended.
Step Stream::tls_outcome(int result, const char* where) noexcept {
  const int ssl_error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), result);
  Step sent = batch_->empty() ? step(Step::Kind::moved) : send_batch();
  if (sent.kind == Step::Kind::failed && result > 0) return sent;
  switch (ssl_error) {
    case SSL_ERROR_NONE:
      return step(Step::Kind::moved, static_cast<std::size_t>(result));
    case SSL_ERROR_WANT_READ:
      if (sent.kind == Step::Kind::failed) return sent;
      return step(Step::Kind::want_read);
    case SSL_ERROR_WANT_WRITE:
      return step(Step::Kind::want_write);
    case SSL_ERROR_ZERO_RETURN:
      return step(Step::Kind::eof);
    default:
      return failure(where, ssl_error);
  }
}

Step Stream::handshake() noexcept {
  if (!ssl_ || handshake_done_) return step(Step::Kind::moved);
  if (output_pending()) {
    if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  }
  sys_ = 0;
  const int result = SSL_do_handshake(ssl_.get());
  // TLS 1.3: what a server sends behind a complete handshake is its ticket, and nobody waits for
  // it.
  if (result == 1 && SSL_is_server(ssl_.get()) == 1 && SSL_version(ssl_.get()) == TLS1_3_VERSION) {
    held_.assign(batch_->view());
    batch_->clear();
  }
  const Step outcome = tls_outcome(result, "TLS handshake");
  if (outcome.kind == Step::Kind::moved) {
    clear_errors();  // verification leaves some behind even when it succeeds
    handshake_done_ = true;
  } else if (outcome.kind == Step::Kind::eof) {
    return {Step::Kind::failed, 0, {Code::eof, side_, Retry::no, 0, "TLS handshake"}};
  }
  return outcome;
}

Step Stream::read(std::span<char> into) noexcept {
  if (!ssl_) {
    if (!state_.readable) return step(Step::Kind::want_read);
    for (;;) {
      const ssize_t got = ::recv(state_.fd, into.data(), into.size(), 0);
      if (got > 0) {
        if (static_cast<std::size_t>(got) < into.size() && !state_.peer_ended)
          state_.readable = false;
        return step(Step::Kind::moved, static_cast<std::size_t>(got));
      }
      if (got == 0) return step(Step::Kind::eof);
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        state_.readable = false;
        return step(Step::Kind::want_read);
      }
      sys_ = errno;
      return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "receive"}};
    }
  }
  if (fatal_) return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, 0, "TLS read"}};
  std::size_t total = 0;
  while (total < into.size()) {
    sys_ = 0;
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), into.data() + total, into.size() - total, &got);
    if (result == 1) {
      total += got;
      // Nothing buffered and nothing to receive: asking OpenSSL again would only say so.
      if (!state_.readable && SSL_has_pending(ssl_.get()) == 0) break;
      continue;
    }
    const int ssl_error = SSL_get_error(ssl_.get(), result);
    if (!batch_->empty()) {  // key update or alert of OpenSSL's own, behind what is held
      const std::string own(batch_->view());
      batch_->clear();
      take_held();
      batch_->append(own.data(), own.size());
      send_batch();
    }
    if (ssl_error == SSL_ERROR_WANT_READ) {
      if (total > 0) break;
      return step(Step::Kind::want_read);
    }
    if (total > 0) {
      // Hand over what arrived before the end; the next read meets the same end again.
      if (ssl_error != SSL_ERROR_ZERO_RETURN) {
        state_.readable = true;
        state_.peer_ended = true;
      }
      clear_errors();
      break;
    }
    if (ssl_error == SSL_ERROR_ZERO_RETURN) return step(Step::Kind::eof);
    if (ssl_error == SSL_ERROR_SSL &&
        ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      clear_errors();
      fatal_ = true;
      return {Step::Kind::eof, 0, {Code::eof, side_, Retry::no, 0, "TLS read"}};
    }
    return failure("TLS read", ssl_error);
  }
  return step(Step::Kind::moved, total);
}

Step Stream::write(std::string_view bytes) noexcept {
  if (output_pending()) {
    if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  }
  if (!ssl_) {
    if (bytes.empty()) return step(Step::Kind::moved);
    while (state_.writable) {
      const ssize_t sent = ::send(state_.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) return step(Step::Kind::moved, static_cast<std::size_t>(sent));
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        state_.would_block_writing();
      } else if (errno != EINTR) {
        sys_ = errno;
        return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "send"}};
      }
    }
    return step(Step::Kind::want_write);
  }
  if (fatal_) return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, 0, "TLS write"}};
  take_held();
  std::size_t total = 0;
  while (total < bytes.size()) {
    if (batch_->free_bytes() < record_bytes + 512) {
      const Step sent = send_batch();
      if (sent.kind == Step::Kind::failed) return sent;
      if (sent.kind == Step::Kind::want_write) break;  // taken: the leftover is ours now
    }
    sys_ = 0;
    std::size_t taken = 0;
    const std::size_t length = std::min(bytes.size() - total, record_bytes);
    const int result = SSL_write_ex(ssl_.get(), bytes.data() + total, length, &taken);
    if (result != 1) {
      const int ssl_error = SSL_get_error(ssl_.get(), result);
      batch_->clear();
      return failure("TLS write", ssl_error);
    }
    total += taken;
  }
  const Step sent = send_batch();
  if (sent.kind == Step::Kind::failed) return sent;
  return step(Step::Kind::moved, total);
}

Step Stream::close_write() noexcept {
  if (fin_sent_) return step(Step::Kind::moved);
  if (ssl_ && handshake_done_ && !notify_sent_ && !fatal_) {
    if (output_pending()) {
      if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
    }
    take_held();
    SSL_shutdown(ssl_.get());  // 0: sent, the peer's is not awaited
    clear_errors();
    notify_sent_ = true;
    if (Step sent = send_batch(); sent.kind != Step::Kind::moved) return sent;
  }
  if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  ::shutdown(state_.fd, SHUT_WR);
  fin_sent_ = true;
  return step(Step::Kind::moved);
}

void Stream::abort() noexcept {
  if (!fd_) return;
  const linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fd_.reset();
  state_.fd = -1;
  fatal_ = true;
}

bool Stream::may_read() const noexcept {
  return state_.readable || (ssl_ && SSL_has_pending(ssl_.get()) != 0);
}

}  // namespace kubelane::tls
