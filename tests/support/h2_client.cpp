#include "tests/support/h2_client.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace support {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kOutput = std::size_t{64} * 1024;
constexpr std::size_t kHeaderBlock = 64 << 20;

std::vector<nghttp2_nv> views(const Fields& fields) {
  std::vector<nghttp2_nv> all;
  all.reserve(fields.size());
  for (const auto& [name, value] : fields) {
    // nghttp2 only reads them.
    all.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                   reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
                   value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  return all;
}

std::vector<nghttp2_settings_entry> entries(
    const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings) {
  std::vector<nghttp2_settings_entry> all;
  all.reserve(settings.size());
  for (const auto& [id, value] : settings) all.push_back({id, value});
  return all;
}

ClientOptions with_h2(ClientOptions tls) {
  if (tls.alpn.empty()) tls.alpn = {"h2"};
  return tls;
}

}  // namespace

std::string H2Response::header(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (field == name) return value;
  }
  return "";
}

// nghttp2's callbacks; they run under the lock.
struct H2Client::Callbacks {
  static H2Client& self(void* data) { return *static_cast<H2Client*>(data); }
  static Stream* find(void* data, StreamId id) {
    auto& streams = self(data).streams_;
    const auto found = streams.find(id);
    return found == streams.end() ? nullptr : &found->second;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_length, const std::uint8_t* value, std::size_t value_length,
                    std::uint8_t, void* data) {
    if (Stream* stream = find(data, frame->hd.stream_id)) {
      stream->fields.emplace_back(std::string(reinterpret_cast<const char*>(name), name_length),
                                  std::string(reinterpret_cast<const char*>(value), value_length));
    }
    return 0;
  }

  static int data_chunk(nghttp2_session* session, std::uint8_t, StreamId id,
                        const std::uint8_t* bytes, std::size_t length, void* data) {
    H2Client& client = self(data);
    if (client.hold_connection_) {
      client.connection_owed_ += length;
    } else {
      nghttp2_session_consume_connection(session, length);
    }
    Stream* stream = find(data, id);
    if (stream == nullptr) return 0;
    if (stream->paused) {
      stream->owed += length;
    } else {
      nghttp2_session_consume_stream(session, id, length);
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes), length);
    stream->response.body_bytes += length;
    stream->response.data_at = Clock::now();
    if (stream->sink) {
      stream->sink(text);
    } else {
      stream->response.body += text;
    }
    return 0;
  }

  static void head_received(Stream& stream) {
    Fields fields = std::exchange(stream.fields, {});
    H2Response& response = stream.response;
    if (response.status != 0) {
      response.trailers = std::move(fields);
      return;
    }
    const auto found = std::find_if(fields.begin(), fields.end(),
                                    [](const auto& field) { return field.first == ":status"; });
    const int status = found == fields.end() ? 0 : std::stoi(found->second);
    if (status < 200) {
      response.interim.push_back(std::move(fields));
      return;
    }
    response.status = status;
    response.head_at = Clock::now();
    fields.erase(found);
    response.fields = std::move(fields);
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    H2Client& client = self(data);
    Stream* stream = find(data, frame->hd.stream_id);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
        if (stream == nullptr) break;
        if (frame->hd.type == NGHTTP2_HEADERS) head_received(*stream);
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->response.ended = true;
        break;
      case NGHTTP2_RST_STREAM:
        if (stream != nullptr) stream->response.reset = frame->rst_stream.error_code;
        break;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
          std::memcpy(&client.pings_answered_, frame->ping.opaque_data, 8);
        } else {
          ++client.pings_;
        }
        break;
      case NGHTTP2_GOAWAY:
        client.goaway_ =
            H2GoAwayFrame{frame->goaway.last_stream_id, frame->goaway.error_code,
                          std::string(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                      frame->goaway.opaque_data_len)};
        break;
      default:
        break;
    }
    return 0;
  }

  static int stream_closed(nghttp2_session*, StreamId id, std::uint32_t code, void* data) {
    Stream* stream = find(data, id);
    if (stream != nullptr) close_stream(*stream, code);
    return 0;
  }

  // A request that waited for its turn and may not start any more.
  static int frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* data) {
    Stream* stream = find(data, frame->hd.stream_id);
    if (stream == nullptr || frame->hd.type != NGHTTP2_HEADERS || stream->response.closed) return 0;
    close_stream(*stream, lab::h2::error_code::refused_stream);
    return 0;
  }

  static ssize_t read_body(nghttp2_session* session, StreamId id, std::uint8_t* into,
                           std::size_t length, std::uint32_t* flags, nghttp2_data_source*,
                           void* data) {
    Stream* stream = find(data, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t taken = std::min(length, stream->unsent());
    if (taken == 0 && !stream->out_end) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(into, stream->out.data() + stream->out_at, taken);
    stream->out_at += taken;
    if (stream->unsent() == 0) {
      stream->out.clear();
      stream->out_at = 0;
    }
    if (stream->unsent() == 0 && stream->out_end) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (stream->out_trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const auto fields = views(*stream->out_trailers);
        nghttp2_submit_trailer(session, id, fields.data(), fields.size());
      }
    }
    return static_cast<ssize_t>(taken);
  }
};

H2Client::H2Client(const std::string& host, std::uint16_t port, ClientOptions tls,
                   const H2ClientOptions& options)
    : connection_(host, port, with_h2(std::move(tls))),
      authority_(options.authority.empty() ? host + ":" + std::to_string(port)
                                           : options.authority) {
  if (connection_.alpn() != "h2") throw std::runtime_error("h2 was not chosen");
  start(options);
}

H2Client::~H2Client() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  ::close(wake_fd_);
}

void H2Client::start(const H2ClientOptions& options) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data_chunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_closed);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, Callbacks::frame_not_sent);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_send_header_block_length(option, kHeaderBlock);
  nghttp2_session* session = nullptr;
  nghttp2_session_client_new2(&session, callbacks, this, option);
  session_.reset(session);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  auto settings = options.more_settings;
  settings.emplace_back(lab::h2::setting::enable_push, 0);
  settings.emplace_back(lab::h2::setting::initial_window_size, options.stream_window);
  const auto all = entries(settings);
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, all.data(), all.size());
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(options.connection_window));

  SSL_set_mode(connection_.ssl(),
               SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  fcntl(connection_.fd(), F_SETFL, fcntl(connection_.fd(), F_GETFL) | O_NONBLOCK);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  thread_ = std::thread([this] { run(); });
}

// ---------------------------------------------------------------- the thread

void H2Client::wake() const { eventfd_write(wake_fd_, 1); }

void H2Client::lost(const std::string& why) {
  open_ = false;
  if (error_.empty()) error_ = why;
  for (auto& [id, stream] : streams_) {
    if (!stream.response.closed) close_stream(stream, lab::h2::error_code::internal_error);
  }
}

void H2Client::close_stream(Stream& stream, std::uint32_t code) {
  stream.response.closed = true;
  stream.response.closed_at = Clock::now();
  stream.response.close_code = code;
  if (stream.on_closed) stream.on_closed();
}

// All that can be read and written now. False: the connection has ended.
bool H2Client::exchange_bytes() {
  SSL* ssl = connection_.ssl();
  std::array<char, 32'768> block;
  for (int i = 0; i < 8; ++i) {
    ERR_clear_error();
    const int got = SSL_read(ssl, block.data(), static_cast<int>(block.size()));
    if (got <= 0) {
      const int error = SSL_get_error(ssl, got);
      if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
      lost(error == SSL_ERROR_ZERO_RETURN ? "the peer closed" : "the connection broke");
      return false;
    }
    const ssize_t used = nghttp2_session_mem_recv(
        session_.get(), reinterpret_cast<const std::uint8_t*>(block.data()),
        static_cast<std::size_t>(got));
    if (used < 0) {
      lost(nghttp2_strerror(static_cast<int>(used)));
      return false;
    }
  }
  for (;;) {
    while (out_.size() < kOutput) {
      const std::uint8_t* bytes = nullptr;
      const ssize_t count = nghttp2_session_mem_send(session_.get(), &bytes);
      if (count <= 0) break;
      out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
    }
    if (out_.empty()) break;
    ERR_clear_error();
    const int sent = SSL_write(ssl, out_.data(), static_cast<int>(out_.size()));
    if (sent <= 0) {
      const int error = SSL_get_error(ssl, sent);
      if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
      lost("the connection broke");
      return false;
    }
    out_.erase(0, static_cast<std::size_t>(sent));
  }
  if (out_.empty() && nghttp2_session_want_read(session_.get()) == 0 &&
      nghttp2_session_want_write(session_.get()) == 0) {
    // Both sides have said GOAWAY, or the peer broke the protocol: nothing more will happen.
    lost("finished");
    return false;
  }
  return true;
}

void H2Client::run() {
  for (;;) {
    bool frozen = false;
    bool writing = false;
    bool ended = false;
    bool pending = false;
    {
      const std::scoped_lock lock(mutex_);
      if (stopping_) return;
      ended = !open_;
      frozen = frozen_;
      if (!frozen && !ended) {
        ended = !exchange_bytes();
        if (ended) shutdown(connection_.fd(), SHUT_WR);
        writing = !out_.empty();
        pending = !ended && SSL_pending(connection_.ssl()) > 0;
      }
      changed_.notify_all();
    }
    if (pending) continue;
    std::array<pollfd, 2> ready{pollfd{wake_fd_, POLLIN, 0},
                                pollfd{frozen || ended ? -1 : connection_.fd(),
                                       static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0}};
    poll(ready.data(), ready.size(), -1);
    eventfd_t count = 0;
    eventfd_read(wake_fd_, &count);
  }
}

// ---------------------------------------------------------------- requests

H2Client::Stream& H2Client::stream(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) throw std::out_of_range("no such stream");
  return found->second;
}

const H2Client::Stream& H2Client::stream(StreamId id) const {
  const auto found = streams_.find(id);
  if (found == streams_.end()) throw std::out_of_range("no such stream");
  return found->second;
}

H2Client::StreamId H2Client::send(const H2Request& request) {
  Fields fields{{":method", request.method},
                {":scheme", "https"},
                {":authority", authority_},
                {":path", request.path}};
  fields.insert(fields.end(), request.fields.begin(), request.fields.end());
  const auto all = views(fields);
  nghttp2_data_provider body{};
  body.read_callback = Callbacks::read_body;
  const bool has_body = request.keep_open || !request.body.empty();
  StreamId id = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (!open_) throw std::runtime_error("the connection has ended: " + error_);
    if (nghttp2_session_check_request_allowed(session_.get()) == 0) {
      throw std::runtime_error("no new stream after GOAWAY");
    }
    id = nghttp2_submit_request(session_.get(), nullptr, all.data(), all.size(),
                                has_body ? &body : nullptr, nullptr);
    if (id < 0) throw std::runtime_error(std::string("no new stream: ") + nghttp2_strerror(id));
    Stream& fresh = streams_[id];
    fresh.sink = request.sink;
    fresh.on_closed = request.on_closed;
    fresh.out = request.body;
    fresh.out_end = !request.keep_open;
    fresh.paused = request.paused;
  }
  wake();
  return id;
}

void H2Client::write(StreamId id, std::string_view bytes, bool end) {
  {
    const std::scoped_lock lock(mutex_);
    Stream& of = stream(id);
    of.out += bytes;
    of.out_end = end;
    nghttp2_session_resume_data(session_.get(), id);
  }
  wake();
}

void H2Client::write_trailers(StreamId id, Fields fields) {
  {
    const std::scoped_lock lock(mutex_);
    Stream& of = stream(id);
    of.out_trailers = std::move(fields);
    of.out_end = true;
    nghttp2_session_resume_data(session_.get(), id);
  }
  wake();
}

std::size_t H2Client::unsent(StreamId id) const {
  const std::scoped_lock lock(mutex_);
  return stream(id).unsent();
}

bool H2Client::wait_sent(StreamId id) {
  return wait_until([&] { return stream(id).unsent() == 0 && out_.empty(); }, patience());
}

void H2Client::cancel(StreamId id, std::uint32_t code) {
  {
    const std::scoped_lock lock(mutex_);
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, code);
  }
  wake();
}

// ---------------------------------------------------------------- answers

bool H2Client::wait_until(const std::function<bool()>& predicate,
                          std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, predicate);
}

H2Response H2Client::response(StreamId id) const {
  const std::scoped_lock lock(mutex_);
  return stream(id).response;
}

bool H2Client::wait(StreamId id, const std::function<bool(const H2Response&)>& predicate,
                    std::chrono::milliseconds limit) const {
  return wait_until([&] { return predicate(stream(id).response); }, limit);
}

bool H2Client::wait_head(StreamId id) const {
  return wait(id, [](const H2Response& response) { return response.status != 0; });
}

bool H2Client::wait_body(StreamId id, std::size_t bytes) const {
  return wait(id, [&](const H2Response& response) { return response.body_bytes >= bytes; });
}

H2Response H2Client::finish(StreamId id) const {
  if (!wait(id, [](const H2Response& response) { return response.closed; })) {
    throw PatienceOver("stream " + std::to_string(id) + " did not end");
  }
  return response(id);
}

H2Response H2Client::finish_and_forget(StreamId id) {
  H2Response done = finish(id);
  const std::scoped_lock lock(mutex_);
  streams_.erase(id);
  return done;
}

// ---------------------------------------------------------------- flow control

void H2Client::pause(StreamId id) {
  const std::scoped_lock lock(mutex_);
  stream(id).paused = true;
}

void H2Client::unpause(StreamId id) {
  {
    const std::scoped_lock lock(mutex_);
    Stream& of = stream(id);
    of.paused = false;
    nghttp2_session_consume_stream(session_.get(), id, std::exchange(of.owed, 0));
  }
  wake();
}

void H2Client::hold_connection_credit(bool on) {
  {
    const std::scoped_lock lock(mutex_);
    hold_connection_ = on;
    if (!on) {
      nghttp2_session_consume_connection(session_.get(), std::exchange(connection_owed_, 0));
    }
  }
  wake();
}

// ---------------------------------------------------------------- the connection

std::optional<std::chrono::milliseconds> H2Client::ping(std::chrono::milliseconds limit) {
  const auto start = Clock::now();
  std::uint64_t number = 0;
  {
    const std::scoped_lock lock(mutex_);
    number = ++pings_sent_;
    std::array<std::uint8_t, 8> opaque{};
    std::memcpy(opaque.data(), &number, opaque.size());
    nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, opaque.data());
  }
  wake();
  if (!wait_until([&] { return pings_answered_ >= number || !open_; }, limit)) return std::nullopt;
  const std::scoped_lock lock(mutex_);
  if (pings_answered_ < number) return std::nullopt;
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
}

std::size_t H2Client::pings_received() const {
  const std::scoped_lock lock(mutex_);
  return pings_;
}

void H2Client::submit_settings(
    const std::vector<std::pair<std::uint16_t, std::uint32_t>>& settings) {
  {
    const std::scoped_lock lock(mutex_);
    const auto all = entries(settings);
    nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, all.data(), all.size());
  }
  wake();
}

std::uint32_t H2Client::peer_setting(std::uint16_t id) const {
  const std::scoped_lock lock(mutex_);
  return nghttp2_session_get_remote_settings(session_.get(), static_cast<nghttp2_settings_id>(id));
}

bool H2Client::wait_peer_setting(std::uint16_t id, std::uint32_t value) const {
  return wait_until(
      [&] {
        return nghttp2_session_get_remote_settings(session_.get(),
                                                   static_cast<nghttp2_settings_id>(id)) == value;
      },
      patience());
}

std::optional<H2GoAwayFrame> H2Client::goaway() const {
  const std::scoped_lock lock(mutex_);
  return goaway_;
}

bool H2Client::wait_goaway() const {
  return wait_goaway([](const H2GoAwayFrame&) { return true; });
}

bool H2Client::wait_goaway(const std::function<bool(const H2GoAwayFrame&)>& predicate) const {
  return wait_until([&] { return goaway_ && predicate(*goaway_); }, patience());
}

bool H2Client::open() const {
  const std::scoped_lock lock(mutex_);
  return open_;
}

bool H2Client::wait_closed(std::chrono::milliseconds limit) const {
  return wait_until([&] { return !open_; }, limit);
}

std::string H2Client::error() const {
  const std::scoped_lock lock(mutex_);
  return error_;
}

void H2Client::send_goaway(std::uint32_t code) {
  {
    const std::scoped_lock lock(mutex_);
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, 0, code, nullptr, 0);
  }
  wake();
}

void H2Client::freeze(bool on) {
  {
    const std::scoped_lock lock(mutex_);
    frozen_ = on;
  }
  wake();
}

void H2Client::close() {
  {
    const std::scoped_lock lock(mutex_);
    if (open_) shutdown(connection_.fd(), SHUT_RDWR);
    lost("closed");
  }
  wake();
}

void H2Client::reset() {
  {
    const std::scoped_lock lock(mutex_);
    const linger at_once{1, 0};
    setsockopt(connection_.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    static_cast<void>(
        connect(connection_.fd(), &none, sizeof none));  // dissolved: the RST leaves now
    lost("reset");
  }
  wake();
}

}  // namespace support
