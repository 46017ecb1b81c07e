#include "tls/stream.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/sockios.h>
#include <openssl/err.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tls/context.hpp"

namespace kubelane::tls {
namespace {

constexpr std::size_t receive_bytes = 64UL * 1024;
constexpr std::size_t least_receive_bytes = 4096;
// Tickets, key updates and empty records that a peer may send without any data in between.
constexpr unsigned most_idle_records = 32;
constexpr std::size_t most_message_bytes = 64UL * 1024;

// Ciphertext between the socket and the opening of its records: never used across calls.
using ReceiveArea = std::array<char, receive_bytes + RecordLayer::most_record_bytes>;
ReceiveArea& receive_area() noexcept {
  thread_local ReceiveArea area;
  return area;
}

// The error queue of a data thread is empty between calls: whatever can fill it clears it. So the
// calls that move bytes need not clear it first.
void clear_errors() noexcept {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

// A string's memory is given back: idle connections hold none.
void release(std::string& bytes, std::size_t& begin) noexcept {
  std::string().swap(bytes);
  begin = 0;
}

Step step(Step::Kind kind, std::size_t bytes = 0) noexcept { return {kind, bytes, {}}; }

// Whole records in what OpenSSL produced.
std::uint64_t count_records(std::string_view bytes) noexcept {
  std::uint64_t count = 0;
  for (std::size_t length = 0; (length = RecordLayer::record_bytes(bytes)) != 0; ++count)
    bytes.remove_prefix(std::min(length, bytes.size()));
  return count;
}

}  // namespace

// The BIO under OpenSSL. Ciphertext out is gathered in the batch. In: while the handshake lasts
// OpenSSL gets no byte that it does not ask for, because what is behind belongs to our record
// layer; later it receives straight into its own buffer.
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
    const auto room = static_cast<std::size_t>(length);
    if (stream->records_) {
      if (stream->feed_.empty()) {
        BIO_set_retry_read(bio);
        return -1;
      }
      const std::size_t given = stream->feed_.copy(into, room);
      stream->feed_.remove_prefix(given);
      return static_cast<int>(given);
    }
    std::size_t got = 0;
    if (stream->raw().empty()) {
      const bool direct = stream->handshake_done_;
      ReceiveArea& area = receive_area();
      const Stream::Receive received = direct ? stream->receive(into, room, got)
                                              : stream->receive(area.data(), receive_bytes, got);
      if (received == Stream::Receive::would_block) BIO_set_retry_read(bio);
      if (received == Stream::Receive::end) return 0;
      if (received != Stream::Receive::bytes) return -1;
      if (direct) return static_cast<int>(got);
      stream->raw_.assign(area.data(), got);
      stream->raw_begin_ = 0;
    }
    got = stream->raw().copy(into, room);
    stream->raw_begin_ += got;
    if (stream->raw().empty()) release(stream->raw_, stream->raw_begin_);
    return static_cast<int>(got);
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

bool attach_bio(SSL* ssl, Stream* stream) {
  BIO* bio = BIO_new(SocketBio::method());
  if (bio == nullptr) return false;
  BIO_set_data(bio, stream);
  SSL_set_bio(ssl, bio, bio);
  return true;
}

}  // namespace

Stream::~Stream() { drop_openssl(); }

void Stream::open(UniqueFd fd, WriteBatch& batch) noexcept {
  fd_ = std::move(fd);
  WriteEdge* const edge = state_.write_edge;
  state_ = SocketState{};
  state_.write_edge = edge;
  state_.fd = fd_.get();
  batch_ = &batch;
}

bool Stream::serve_tls(SSL_CTX* context, Alpn alpn) {
  tls_ = server_ = true;
  ssl_.reset(SSL_new(context));
  if (!ssl_ || !attach_bio(ssl_.get(), this)) {
    clear_errors();
    return false;
  }
  secrets_ = std::make_unique<TrafficSecrets>();
  allow_http2(ssl_.get(), alpn != Alpn::http1);
  SSL_set_accept_state(ssl_.get());
  return true;
}

bool Stream::connect_tls(SSL_CTX* context, const std::string& server_name, SessionCache* sessions,
                         Alpn alpn) {
  tls_ = true;
  ssl_.reset(SSL_new(context));
  if (!ssl_ || !attach_bio(ssl_.get(), this) || !set_expected_peer(ssl_.get(), server_name) ||
      !offer_protocols(ssl_.get(), alpn != Alpn::http1, alpn != Alpn::http2)) {
    clear_errors();
    return false;
  }
  secrets_ = std::make_unique<TrafficSecrets>();
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

// OpenSSL gives up the session of a connection that was not shut down; ours is, by our own records.
void Stream::drop_openssl() noexcept {
  if (!ssl_) return;
  if (records_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ssl_.reset();
}

// ---------------------------------------------------------------- the socket

Stream::Receive Stream::receive(char* into, std::size_t room, std::size_t& got) noexcept {
  while (state_.readable) {
    const ssize_t result = ::recv(state_.fd, into, room, 0);
    if (result > 0) {
      got = static_cast<std::size_t>(result);
      // Edge-triggered: a short receive emptied the socket, unless the end is behind it.
      if (got < room && !state_.peer_ended) state_.readable = false;
      return Receive::bytes;
    }
    if (result == 0) return Receive::end;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      state_.readable = false;
    } else if (errno != EINTR) {
      sys_ = errno;
      return Receive::failed;
    }
  }
  return Receive::would_block;
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

std::size_t Stream::unacknowledged_bytes() const noexcept {
  int queued = 0;
  if (!is_open() || ::ioctl(state_.fd, SIOCOUTQ, &queued) != 0) queued = 0;
  return leftover_.size() - leftover_begin_ + static_cast<std::size_t>(queued);
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
  if (!leftover_.empty()) release(leftover_, leftover_begin_);
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

// ---------------------------------------------------------------- the handshake

Step Stream::failure(const char* where, int ssl_error) noexcept {
  fatal_ = true;
  Error error{Code::reset, side_, Retry::no, sys_, where};
  if (ssl_error == SSL_ERROR_SSL) {
    const unsigned long code = ERR_peek_error();
    const int reason = ERR_GET_REASON(code);
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      error.code = Code::eof;
    } else if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
      error.code = Code::tls_peer;  // an alert from the peer
      error.sys = reason - SSL_AD_REASON_OFFSET;
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
               SSL_get_verify_result(ssl_.get()) != X509_V_OK) {
      error.code = Code::tls_untrusted;
      error.sys = static_cast<int>(SSL_get_verify_result(ssl_.get()));
    } else {
      error.code = Code::tls_handshake;
    }
  } else if (sys_ == 0) {
    error.code = Code::eof;
  }
  clear_errors();
  return {Step::Kind::failed, 0, error};
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
  if (!tls_ || handshake_done_) return step(Step::Kind::moved);
  if (output_pending()) {
    if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  }
  sys_ = 0;
  const int result = [this] {
    const TrafficSecrets::Taking taking(*secrets_);
    return SSL_do_handshake(ssl_.get());
  }();
  if (result == 1) return finish_handshake();
  const Step outcome = tls_outcome(result, "TLS handshake");
  if (outcome.kind == Step::Kind::eof)
    return {Step::Kind::failed, 0, {Code::eof, side_, Retry::no, 0, "TLS handshake"}};
  return outcome;
}

Step Stream::finish_handshake() noexcept {
  handshake_done_ = true;
  resumed_ = SSL_session_reused(ssl_.get()) == 1;
  http2_ = chose_http2(ssl_.get());
  const bool tls13 = SSL_version(ssl_.get()) == TLS1_3_VERSION;
  // What a TLS 1.3 server sends behind a complete handshake is its ticket, sealed with the traffic
  // keys; nobody waits for it.
  std::uint64_t tickets = 0;
  if (server_ && tls13) {
    tickets = count_records(batch_->view());
    held_.assign(batch_->view());
    batch_->clear();
  }
  if (tls13 && secrets_->complete() &&
      SSL_CIPHER_get_id(SSL_get_current_cipher(ssl_.get())) == TLS1_3_CK_AES_128_GCM_SHA256) {
    records_ = server_ ? RecordLayer::make(secrets_->client(), secrets_->server(), tickets)
                       : RecordLayer::make(secrets_->server(), secrets_->client(), 0);
    if (!records_) return failure("TLS keys", SSL_ERROR_SSL);
  } else {
    SSL_set_default_read_buffer_len(ssl_.get(), receive_bytes);
    SSL_set_read_ahead(ssl_.get(), 1);
  }
  secrets_.reset();
  const Step sent = send_batch();  // a client's last flight
  // A client keeps it for the server's tickets, which come before anything else.
  if (server_ && records_) drop_openssl();
  clear_errors();  // verification leaves some behind even when it succeeds
  if (sent.kind == Step::Kind::failed) return sent;
  return step(Step::Kind::moved);
}

// ---------------------------------------------------------------- reading

Step Stream::read(std::span<char> into) noexcept {
  if (!tls_) return read_plain(into);
  if (has_later_) {
    has_later_ = false;
    return later_;
  }
  if (fatal_) return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, 0, "TLS read"}};
  return records_ ? read_records(into) : read_openssl(into);
}

Step Stream::read_plain(std::span<char> into) noexcept {
  std::size_t got = 0;
  switch (receive(into.data(), into.size(), got)) {
    case Receive::bytes:
      return step(Step::Kind::moved, got);
    case Receive::would_block:
      return step(Step::Kind::want_read);
    case Receive::end:
      return step(Step::Kind::eof);
    default:
      return {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "receive"}};
  }
}

Step Stream::read_openssl(std::span<char> into) noexcept {
  std::size_t total = 0;
  while (total < into.size()) {
    sys_ = 0;
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), into.data() + total, into.size() - total, &got);
    if (result == 1) {
      total += got;
      // Nothing buffered and nothing to receive: asking OpenSSL again would only say so.
      if (!state_.readable && raw().empty() && SSL_has_pending(ssl_.get()) == 0) break;
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
    Step end = step(Step::Kind::eof);
    if (ssl_error == SSL_ERROR_SYSCALL && sys_ == 0) {  // the end of the socket
      clear_errors();
      fatal_ = true;
      end.error = {Code::eof, side_, Retry::no, 0, "TLS read"};
    } else if (ssl_error != SSL_ERROR_ZERO_RETURN) {
      end = failure("TLS read", ssl_error);
    }
    if (total == 0) return end;
    later_ = end;  // first what arrived before the end
    has_later_ = true;
    break;
  }
  return step(Step::Kind::moved, total);
}

bool Stream::whole_record_waits() const noexcept {
  const std::size_t length = RecordLayer::record_bytes(raw());
  return length != 0 && raw().size() >= length;
}

Step Stream::read_records(std::span<char> into) noexcept {
  std::size_t total = 0;
  if (!text_.empty()) {
    total = std::string_view(text_).substr(text_begin_).copy(into.data(), into.size());
    text_begin_ += total;
    if (text_begin_ < text_.size()) return step(Step::Kind::moved, total);
    release(text_, text_begin_);
  }
  ReceiveArea& area = receive_area();
  Step end = step(Step::Kind::moved);
  while (total < into.size() && text_.empty() && end.kind == Step::Kind::moved) {
    if (notify_received_) {
      end = step(Step::Kind::eof);
      break;
    }
    std::size_t have = raw().copy(area.data(), area.size());
    release(raw_, raw_begin_);
    const std::size_t first = RecordLayer::record_bytes({area.data(), have});
    bool waits = false;
    if (first == 0 || have < first) {
      // What is received fits into the reader's room once it is opened.
      const std::size_t room = into.size() - total;
      const std::size_t want = std::clamp(room > have ? room - have : 0, least_receive_bytes,
                                          std::min(receive_bytes, area.size() - have));
      std::size_t got = 0;
      switch (receive(area.data() + have, want, got)) {
        case Receive::bytes:
          have += got;
          break;
        case Receive::would_block:
          waits = true;
          break;
        case Receive::end:
          end = {Step::Kind::eof, 0, {Code::eof, side_, Retry::no, 0, "TLS read"}};
          break;
        default:
          end = {Step::Kind::failed, 0, {Code::reset, side_, Retry::no, sys_, "receive"}};
      }
    }
    std::string_view rest(area.data(), have);
    while (end.kind == Step::Kind::moved && text_.empty() && !notify_received_) {
      const std::size_t length = RecordLayer::record_bytes(rest);
      if (length > RecordLayer::most_record_bytes) {
        end = protocol_failure(RecordLayer::Alert::record_overflow);
        break;
      }
      if (length == 0 || rest.size() < length) break;
      end = take_record(rest.substr(0, length), into, total);
      rest.remove_prefix(length);
    }
    if (!rest.empty()) raw_.assign(rest);
    if (waits) break;
    if (total > 0 && end.kind == Step::Kind::moved && !notify_received_) break;
  }
  if (end.kind == Step::Kind::moved)
    return total > 0 ? step(Step::Kind::moved, total) : step(Step::Kind::want_read);
  if (end.kind == Step::Kind::failed) fatal_ = true;
  if (total == 0) return end;
  later_ = end;  // first what arrived before the end
  has_later_ = true;
  return step(Step::Kind::moved, total);
}

// Opens a record that lies in the receive area. Text goes to `into` behind `total`, what has no
// room there to text_. moved, or how the direction ends.
Step Stream::take_record(std::string_view record, std::span<char> into,
                         std::size_t& total) noexcept {
  const std::size_t room = into.size() - total;
  const bool direct = record.size() - RecordLayer::header_bytes <= room;
  // In place: the area is ours to write.
  char* const in_place = const_cast<char*>(record.data()) + RecordLayer::header_bytes;
  char* const out = direct ? into.data() + total : in_place;
  std::string ciphertext;
  if (ssl_) ciphertext = record;  // perhaps a ticket, which OpenSSL must open itself
  const RecordLayer::Opened opened = records_->open(record, out);
  if (!opened.good) return protocol_failure(opened.alert);
  const std::string_view text(out, opened.bytes);
  if (opened.type != RecordLayer::Type::application || text.empty()) {
    if (++idle_records_ > most_idle_records)
      return protocol_failure(RecordLayer::Alert::unexpected_message);
  } else {
    idle_records_ = 0;
  }
  switch (opened.type) {
    case RecordLayer::Type::alert:
      return take_alert(text);
    case RecordLayer::Type::handshake:
      return take_message(text, ciphertext);
    default:
      break;
  }
  if (!messages_.empty()) return protocol_failure(RecordLayer::Alert::unexpected_message);
  drop_openssl();
  if (direct) {
    total += text.size();
  } else {
    const std::size_t taken = text.copy(into.data() + total, room);
    total += taken;
    text_.assign(text.substr(taken));
  }
  return step(Step::Kind::moved);
}

Step Stream::take_alert(std::string_view alert) noexcept {
  if (alert.size() != 2) return protocol_failure(RecordLayer::Alert::decode_error);
  const auto description = static_cast<unsigned char>(alert[1]);
  if (description == static_cast<unsigned char>(RecordLayer::Alert::user_canceled))
    return step(Step::Kind::moved);
  if (description == static_cast<unsigned char>(RecordLayer::Alert::close_notify)) {
    notify_received_ = true;
    return step(Step::Kind::moved);
  }
  fatal_ = true;
  return {Step::Kind::failed, 0, {Code::tls_peer, side_, Retry::no, description, "TLS read"}};
}

// Handshake messages after the handshake (RFC 8446 section 4.6): tickets and key updates.
Step Stream::take_message(std::string_view text, std::string_view record) noexcept {
  constexpr unsigned char new_session_ticket = 4;
  constexpr unsigned char key_update = 24;
  constexpr std::size_t message_header_bytes = 4;
  messages_.append(text);
  bool tickets_only = true;
  while (messages_.size() >= message_header_bytes) {
    const auto byte = [this](std::size_t i) {
      return static_cast<std::size_t>(static_cast<unsigned char>(messages_[i]));
    };
    const std::size_t length = byte(1) << 16 | byte(2) << 8 | byte(3);
    if (length > most_message_bytes) return protocol_failure(RecordLayer::Alert::decode_error);
    if (messages_.size() < message_header_bytes + length) break;
    if (byte(0) == key_update) {
      tickets_only = false;
      const std::size_t request = length == 1 ? byte(message_header_bytes) : 2;
      // The old keys end with this message: nothing may stand behind it.
      if (request > 1 || messages_.size() != message_header_bytes + length)
        return protocol_failure(RecordLayer::Alert::unexpected_message);
      if (!records_->update_read_key() || (request == 1 && !answer_key_update()))
        return protocol_failure(RecordLayer::Alert::decode_error);
    } else if (byte(0) != new_session_ticket || server_) {
      return protocol_failure(RecordLayer::Alert::unexpected_message);
    }
    messages_.erase(0, message_header_bytes + length);
  }
  if (messages_.empty()) std::string().swap(messages_);
  if (!tickets_only)
    drop_openssl();
  else if (ssl_)
    feed_openssl(record);
  return step(Step::Kind::moved);
}

// One answer serves many requests (RFC 8446 section 4.6.3): while the peer takes nothing, none is
// piled on another.
bool Stream::answer_key_update() noexcept {
  key_update_due_ = output_pending();
  return key_update_due_ || send_key_update();
}

bool Stream::send_key_update() noexcept {
  constexpr std::string_view not_requested("\x18\x00\x00\x01\x00", 5);
  take_held();
  const std::size_t sealed =
      records_->seal(RecordLayer::Type::handshake, not_requested, batch_->end());
  if (sealed == 0) return false;
  batch_->commit(sealed);
  send_batch();  // a failure shows at the next write
  return records_->update_write_key();
}

// OpenSSL opens the ticket once more and hands the session to its cache. When it cannot, there is
// no resumption; the connection is none of its business any more.
void Stream::feed_openssl(std::string_view record) noexcept {
  feed_ = record;
  char none = 0;
  std::size_t got = 0;
  const int result = SSL_read_ex(ssl_.get(), &none, sizeof none, &got);
  const bool good = result == 0 && SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ;
  feed_ = {};
  batch_->clear();
  if (!good) drop_openssl();
  clear_errors();
}

// Tells the peer why, as well as that can be done now.
Step Stream::protocol_failure(RecordLayer::Alert alert) noexcept {
  fatal_ = true;
  const char fatal[] = {2, static_cast<char>(alert)};
  take_held();
  batch_->commit(records_->seal(RecordLayer::Type::alert, {fatal, sizeof fatal}, batch_->end()));
  send_batch();
  return {Step::Kind::failed, 0, {Code::tls_handshake, side_, Retry::no, 0, "TLS records"}};
}

// ---------------------------------------------------------------- writing

Step Stream::write(std::string_view bytes) noexcept {
  if (output_pending()) {
    if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
  }
  if (!tls_) {
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
    if (batch_->free_bytes() < RecordLayer::most_record_bytes + 256) {
      const Step sent = send_batch();
      if (sent.kind == Step::Kind::failed) return sent;
      if (sent.kind == Step::Kind::want_write) break;  // taken: the leftover is ours now
    }
    sys_ = 0;
    const std::string_view text = bytes.substr(total, RecordLayer::most_text_bytes);
    if (records_) {
      if ((std::exchange(key_update_due_, false) || records_->write_key_used_up()) &&
          !send_key_update())
        return {Step::Kind::failed, 0, {Code::internal, side_, Retry::no, 0, "TLS keys"}};
      const std::size_t sealed =
          records_->seal(RecordLayer::Type::application, text, batch_->end());
      if (sealed == 0)
        return {Step::Kind::failed, 0, {Code::internal, side_, Retry::no, 0, "TLS write"}};
      batch_->commit(sealed);
      total += text.size();
      continue;
    }
    std::size_t taken = 0;
    const int result = SSL_write_ex(ssl_.get(), text.data(), text.size(), &taken);
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
  if (tls_ && handshake_done_ && !notify_sent_ && !fatal_) {
    if (output_pending()) {
      if (Step flushed = flush(); flushed.kind != Step::Kind::moved) return flushed;
    }
    take_held();
    if (records_) {
      constexpr char close_notify[] = {1, 0};
      batch_->commit(records_->seal(RecordLayer::Type::alert, {close_notify, sizeof close_notify},
                                    batch_->end()));
    } else {
      SSL_shutdown(ssl_.get());  // 0: sent, the peer's is not awaited
      clear_errors();
    }
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
  if (state_.readable || !text_.empty() || has_later_) return true;
  if (records_) return whole_record_waits();
  return ssl_ && (!raw().empty() || SSL_has_pending(ssl_.get()) != 0);
}

}  // namespace kubelane::tls
