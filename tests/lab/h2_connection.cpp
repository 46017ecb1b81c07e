#include "tests/lab/h2_connection.hpp"

#include <algorithm>
#include <array>

#include <poll.h>
#include <sys/eventfd.h>

namespace lab {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kOutput = std::size_t{64} * 1024;  // collected before the socket takes it
constexpr std::size_t kHeaderBlock = 64 << 20;
constexpr std::array<std::uint8_t, 8> kNoticePing{'g', 'r', 'a', 'c', 'e', 'f', 'u', 'l'};

nghttp2_nv view(const std::pair<std::string, std::string>& field) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.first.data())),  // only read
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.second.data())),
          field.first.size(), field.second.size(), NGHTTP2_NV_FLAG_NONE};
}

std::vector<nghttp2_nv> views(const h2::Fields& fields) {
  std::vector<nghttp2_nv> all;
  all.reserve(fields.size());
  for (const auto& field : fields) all.push_back(view(field));
  return all;
}

std::string text(const std::uint8_t* bytes, std::size_t length) {
  return {reinterpret_cast<const char*>(bytes), length};
}

// The request as handlers know it.
Request to_request(const h2::Fields& fields, bool end_stream) {
  Request request;
  std::string authority;
  for (const auto& [name, value] : fields) {
    request.raw_head += name;
    request.raw_head += ": ";
    request.raw_head += value;
    request.raw_head += '\n';
    if (name == ":method") {
      request.method = value;
    } else if (name == ":path") {
      request.target = value;
    } else if (name == ":authority") {
      authority = value;
    } else if (!name.starts_with(':')) {
      request.headers.emplace_back(name, value);
    }
  }
  if (!authority.empty() && !request.has("host")) request.headers.emplace_back("host", authority);
  if (!end_stream && !request.has("content-length")) {
    request.headers.emplace_back("transfer-encoding", "chunked");
  }
  const std::size_t question = request.target.find('?');
  request.path = request.target.substr(0, question);
  request.query = question == std::string::npos ? "" : request.target.substr(question + 1);
  return request;
}

}  // namespace

// nghttp2's callbacks; they run inside run() only.
struct H2Connection::Callbacks {
  static H2Connection& self(void* data) { return *static_cast<H2Connection*>(data); }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    H2Connection& connection = self(data);
    Entry& entry = connection.entries_[frame->hd.stream_id];
    entry.fields.clear();
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto left = connection.parts_.faults.streams_to_refuse.load();
    while (left > 0 &&
           !connection.parts_.faults.streams_to_refuse.compare_exchange_weak(left, left - 1)) {
    }
    if (left > 0) {
      nghttp2_submit_rst_stream(connection.session_.get(), NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                connection.parts_.faults.refusal_code);
      connection.entries_.erase(frame->hd.stream_id);
      connection.note_connection([](H2ConnectionRecord& record) { ++record.streams_refused; });
    }
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_length, const std::uint8_t* value, std::size_t value_length,
                    std::uint8_t, void* data) {
    if (Entry* entry = self(data).entry(frame->hd.stream_id)) {
      entry->fields.emplace_back(text(name, name_length), text(value, value_length));
    }
    return 0;
  }

  static int data_chunk(nghttp2_session*, std::uint8_t, std::int32_t stream,
                        const std::uint8_t* bytes, std::size_t length, void* data) {
    H2Connection& connection = self(data);
    Entry* entry = connection.entry(stream);
    if (connection.parts_.faults.connection_credit_on_receipt) {
      connection.give_credit(0, length);
    }
    if (entry == nullptr || !entry->stream) return 0;
    connection.note_request(*entry, [&](H2RequestRecord& record) { record.body_bytes += length; });
    entry->stream->deliver({reinterpret_cast<const char*>(bytes), length});
    return 0;
  }

  static int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* data) {
    H2Connection& connection = self(data);
    Entry* entry = connection.entry(frame->hd.stream_id);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        if (entry == nullptr) break;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          connection.start_stream(frame->hd.stream_id, *entry, end);
        } else if (end && entry->stream) {
          connection.end_request(*entry, std::move(entry->fields));
        }
        break;
      case NGHTTP2_DATA:
        if (end && entry != nullptr && entry->stream) connection.end_request(*entry, {});
        break;
      case NGHTTP2_RST_STREAM:
        if (entry == nullptr) break;
        connection.note_request(*entry, [&](H2RequestRecord& record) {
          record.reset_code = frame->rst_stream.error_code;
          record.reset_at = Clock::now();
        });
        break;
      case NGHTTP2_SETTINGS:
        connection.note_connection([&](H2ConnectionRecord& record) {
          if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) ++record.settings_acked;
          for (std::size_t i = 0; i < frame->settings.niv; ++i) {
            const auto& each = frame->settings.iv[i];
            record.settings[static_cast<std::uint16_t>(each.settings_id)] = each.value;
          }
        });
        break;
      case NGHTTP2_PING:
        connection.ping_received(session, frame->ping);
        break;
      case NGHTTP2_GOAWAY:
        connection.note_connection(
            [&](H2ConnectionRecord& record) { record.goaway_code = frame->goaway.error_code; });
        break;
      case NGHTTP2_WINDOW_UPDATE:
        connection.note_connection(
            [window = frame->hd.stream_id == 0
                          ? 0
                          : nghttp2_session_get_stream_remote_window_size(
                                session, frame->hd.stream_id)](H2ConnectionRecord& record) {
              ++record.window_updates;
              record.stream_window_most = std::max(record.stream_window_most, window);
            });
        break;
      default:
        break;
    }
    return 0;
  }

  static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* data) {
    // Not before: nghttp2 lets a PING overtake the notice.
    if (frame->hd.type == NGHTTP2_GOAWAY && self(data).after_notice_) {
      nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, kNoticePing.data());
    }
    const bool stream_frame = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!stream_frame || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    H2Connection& connection = self(data);
    if (Entry* entry = connection.entry(frame->hd.stream_id)) {
      entry->end_sent = true;
      connection.reset_unread(frame->hd.stream_id, *entry);
    }
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t stream, std::uint32_t code, void* data) {
    H2Connection& connection = self(data);
    Entry* entry = connection.entry(stream);
    if (entry == nullptr) return 0;
    if (entry->request != 0) {
      connection.note_request(*entry,
                              [](H2RequestRecord& record) { record.closed_at = Clock::now(); });
    }
    const std::shared_ptr<H2Stream> ended = std::move(entry->stream);
    connection.entries_.erase(stream);
    connection.held_credit_.erase(stream);
    connection.count_streams();
    // Last: whoever sees that a handler has left shall see the count without it.
    if (ended) ended->die(std::string("closed, ") + nghttp2_http2_strerror(code));
    return 0;
  }

  static int error(nghttp2_session*, int, const char* message, std::size_t length, void* data) {
    self(data).note_connection(
        [&](H2ConnectionRecord& record) { record.violations.emplace_back(message, length); });
    return 0;
  }

  static int invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int code, void* data) {
    self(data).note_connection([&](H2ConnectionRecord& record) {
      record.violations.push_back("frame type " + std::to_string(frame->hd.type) + " on stream " +
                                  std::to_string(frame->hd.stream_id) + ": " +
                                  nghttp2_strerror(code));
    });
    return 0;
  }

  static ssize_t read_body(nghttp2_session* session, std::int32_t stream, std::uint8_t* into,
                           std::size_t length, std::uint32_t* flags, nghttp2_data_source*,
                           void* data) {
    Entry* entry = self(data).entry(stream);
    if (entry == nullptr || !entry->stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const auto taken = entry->stream->take(reinterpret_cast<char*>(into), length);
    if (taken.bytes == 0 && !taken.end) return NGHTTP2_ERR_DEFERRED;
    if (taken.end) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (taken.trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const auto fields = views(*taken.trailers);
        nghttp2_submit_trailer(session, stream, fields.data(), fields.size());
      }
    }
    return static_cast<ssize_t>(taken.bytes);
  }
};

H2Connection::H2Connection(Parts parts)
    : parts_(std::move(parts)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data_chunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::frame_sent);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_closed);
  nghttp2_session_callbacks_set_error_callback2(callbacks, Callbacks::error);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, Callbacks::invalid_frame);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_auto_ping_ack(option, 1);
  nghttp2_option_set_max_send_header_block_length(option, kHeaderBlock);
  // A test may cancel a thousand watches at once: that is no attack here.
  nghttp2_option_set_stream_reset_rate_limit(option, 1'000'000, 1'000'000);
  nghttp2_session* session = nullptr;
  nghttp2_session_server_new2(&session, callbacks, this, option);
  session_.reset(session);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  submit_preface();
}

H2Connection::~H2Connection() { reap(true); }

// ---------------------------------------------------------------- commands

void H2Connection::post(std::function<void()> task) {
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wake_.fd(), 1);
}

void H2Connection::run_tasks() {
  std::vector<std::function<void()>> tasks;
  {
    const std::scoped_lock lock(mutex_);
    tasks.swap(tasks_);
  }
  for (const auto& task : tasks) task();
}

void H2Connection::goaway(const H2GoAway& goaway) {
  post([this, goaway] {
    nghttp2_session* session = session_.get();
    if (goaway.kind == H2GoAway::Kind::graceful) {
      nghttp2_submit_shutdown_notice(session);
      after_notice_ = goaway;
      return;
    }
    send_goaway(goaway);
    if (goaway.kind == H2GoAway::Kind::terminate) finishing_ = true;
  });
}

void H2Connection::send_goaway(const H2GoAway& goaway) {
  nghttp2_session* session = session_.get();
  const std::int32_t last =
      goaway.last_stream.value_or(nghttp2_session_get_last_proc_stream_id(session));
  nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, last, goaway.code,
                        reinterpret_cast<const std::uint8_t*>(goaway.debug.data()),
                        goaway.debug.size());
}

void H2Connection::set_max_concurrent_streams(std::uint32_t streams) {
  post([this, streams] {
    const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, &entry, 1);
  });
}

void H2Connection::reset_all_streams(std::uint32_t code) {
  post([this, code] {
    for (const auto& [id, entry] : entries_) {
      nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, code);
    }
  });
}

void H2Connection::write_raw(std::string bytes) {
  post([this, bytes = std::move(bytes)] {
    collect_output(static_cast<std::size_t>(-1));
    put_out(bytes);
  });
}

void H2Connection::drop(bool by_reset) {
  post([this, by_reset] { end_ = by_reset ? End::reset : End::dropped; });
}

void H2Connection::faults_changed() {
  post([this] {
    if (!parts_.faults.giving_credit) return;
    for (const auto& [stream, bytes] : std::exchange(held_credit_, {})) give_credit(stream, bytes);
    give_credit(0, std::exchange(held_connection_credit_, 0));
  });
}

// ---------------------------------------------------------------- from the streams

void H2Connection::submit_interim(std::int32_t stream, h2::Fields fields) {
  post([this, stream, fields = std::move(fields)] {
    const auto all = views(fields);
    nghttp2_submit_headers(session_.get(), NGHTTP2_FLAG_NONE, stream, nullptr, all.data(),
                           all.size(), nullptr);
  });
}

void H2Connection::submit_head(std::int32_t stream, h2::Fields fields, bool end) {
  post([this, stream, fields = std::move(fields), end] {
    if (entry(stream) == nullptr) return;
    const auto all = views(fields);
    nghttp2_data_provider body{};
    body.read_callback = Callbacks::read_body;
    nghttp2_submit_response(session_.get(), stream, all.data(), all.size(), end ? nullptr : &body);
  });
}

void H2Connection::resume(std::int32_t stream) {
  post([this, stream] { nghttp2_session_resume_data(session_.get(), stream); });
}

void H2Connection::consumed(std::int32_t stream, std::size_t bytes) {
  post([this, stream, bytes] {
    give_credit(stream, bytes);
    if (!parts_.faults.connection_credit_on_receipt) give_credit(0, bytes);
  });
}

void H2Connection::reset_stream(std::int32_t stream, std::uint32_t code) {
  post([this, stream, code] {
    if (entry(stream) == nullptr) return;
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream, code);
  });
}

void H2Connection::handler_done(std::int32_t stream) {
  post([this, stream] {
    Entry* found = entry(stream);
    if (found == nullptr) return;
    found->handler_done = true;
    reset_unread(stream, *found);
  });
}

// As Go: who was answered before all of the body came is told to stop, without an error.
void H2Connection::reset_unread(std::int32_t id, const Entry& entry) {
  if (!entry.handler_done || !entry.end_sent || entry.request_ended) return;
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
}

// Stream 0: the connection.
void H2Connection::give_credit(std::int32_t stream, std::size_t bytes) {
  if (bytes == 0) return;
  if (!parts_.faults.giving_credit) {
    (stream == 0 ? held_connection_credit_ : held_credit_[stream]) += bytes;
  } else if (stream == 0) {
    nghttp2_session_consume_connection(session_.get(), bytes);
  } else {
    nghttp2_session_consume_stream(session_.get(), stream, bytes);
  }
}

// ---------------------------------------------------------------- what comes in

H2Connection::Entry* H2Connection::entry(std::int32_t stream) {
  const auto found = entries_.find(stream);
  return found == entries_.end() ? nullptr : &found->second;
}

void H2Connection::note_connection(const std::function<void(H2ConnectionRecord&)>& edit) {
  parts_.observer.change([&](Observations& seen) { edit(seen.connections[parts_.id].h2); });
}

void H2Connection::note_request(const Entry& entry,
                                const std::function<void(H2RequestRecord&)>& edit) {
  parts_.observer.change([&](Observations& seen) {
    if (RequestRecord* record = seen.request(entry.request)) edit(record->h2);
  });
}

void H2Connection::count_streams() {
  note_connection([&](H2ConnectionRecord& record) {
    record.streams_open = entries_.size();
    record.streams_most = std::max(record.streams_most, record.streams_open);
  });
}

void H2Connection::ping_received(nghttp2_session* session, const nghttp2_ping& ping) {
  const bool ack = (ping.hd.flags & NGHTTP2_FLAG_ACK) != 0;
  note_connection([&](H2ConnectionRecord& record) { ++(ack ? record.ping_acks : record.pings); });
  if (!ack) {
    if (parts_.faults.answering_pings) {
      nghttp2_submit_ping(session, NGHTTP2_FLAG_ACK, ping.opaque_data);
    }
  } else if (after_notice_ &&
             std::equal(kNoticePing.begin(), kNoticePing.end(), ping.opaque_data)) {
    send_goaway(*std::exchange(after_notice_, std::nullopt));
  }
}

void H2Connection::end_request(Entry& entry, h2::Fields trailers) {
  entry.request_ended = true;
  note_request(entry, [&](H2RequestRecord& record) {
    record.end_stream = true;
    record.trailers = trailers;
  });
  entry.stream->deliver_end(trailers);
}

void H2Connection::start_stream(std::int32_t id, Entry& entry, bool end_stream) {
  auto request = std::make_shared<Request>(to_request(entry.fields, end_stream));
  entry.fields.clear();
  const auto body = end_stream                       ? H2Stream::RequestBody::none
                    : request->has("content-length") ? H2Stream::RequestBody::exact
                                                     : H2Stream::RequestBody::chunked;
  entry.stream = std::make_shared<H2Stream>(static_cast<H2Output&>(*this), id,
                                            request->method == "HEAD", body);
  entry.request_ended = end_stream;
  entry.request = parts_.hooks.note(*request, id);
  if (end_stream) {
    note_request(entry, [](H2RequestRecord& record) { record.end_stream = true; });
  }
  count_streams();
  auto worker = std::make_unique<Worker>();
  Worker& raw = *worker;
  workers_.push_back(std::move(worker));
  raw.thread = std::thread([this, &raw, stream = entry.stream, request, number = entry.request] {
    try {
      if (!parts_.hooks.serve(*stream, *request, number)) drop(false);
    } catch (const ConnectionLost&) {
      // finish() aborts what is not complete.
    } catch (const std::exception&) {
      // The same: a broken handler shows as INTERNAL_ERROR.
    }
    stream->finish();
    raw.done = true;
    eventfd_write(wake_.fd(), 1);
  });
}

// ---------------------------------------------------------------- the loop

void H2Connection::submit_preface() {
  const H2Settings& own = parts_.settings;
  const std::array<nghttp2_settings_entry, 5> entries{{
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, own.max_frame_size},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, own.max_concurrent_streams},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, own.max_header_list_size},
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, own.header_table_size},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, own.stream_window},
  }};
  nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(own.connection_window.load()));
}

void H2Connection::collect_output(std::size_t limit) {
  while (out_.size() < limit) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t count = nghttp2_session_mem_send(session_.get(), &bytes);
    if (count < 0) throw ConnectionLost{nghttp2_strerror(static_cast<int>(count))};
    if (count == 0) return;
    put_out({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count)});
  }
}

void H2Connection::put_out(std::string_view bytes) {
  const std::chrono::milliseconds delay(parts_.faults.delay_ms.load());
  if (delay.count() == 0 && travelling_out_.empty()) {
    out_ += bytes;
  } else {
    travelling_out_.push_back({Clock::now() + delay, std::string(bytes)});
  }
}

void H2Connection::arrive() {
  const auto now = Clock::now();
  for (; !travelling_out_.empty() && travelling_out_.front().due <= now;
       travelling_out_.pop_front()) {
    out_ += travelling_out_.front().bytes;
  }
  for (; !travelling_in_.empty() && travelling_in_.front().due <= now; travelling_in_.pop_front()) {
    take_in(travelling_in_.front().bytes);
  }
}

void H2Connection::take_in(std::string_view bytes) {
  const ssize_t used = nghttp2_session_mem_recv(
      session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (used < 0) throw ConnectionLost{nghttp2_strerror(static_cast<int>(used))};
}

void H2Connection::flush() {
  for (;;) {
    collect_output(kOutput);
    if (out_.empty()) return;
    const std::size_t sent = parts_.stream.try_write(out_);
    if (sent == 0) return;
    out_.erase(0, sent);
  }
}

bool H2Connection::read_available() {
  std::array<char, 32'768> block;
  // Not for ever: what is to be written must have its turn.
  for (int i = 0; i < 8; ++i) {
    const auto got = parts_.stream.try_read(block.data(), block.size());
    if (!got) return true;
    if (*got == 0) return false;
    const std::chrono::milliseconds delay(parts_.faults.delay_ms.load());
    if (delay.count() == 0 && travelling_in_.empty()) {
      take_in({block.data(), *got});
    } else {
      travelling_in_.push_back({Clock::now() + delay, std::string(block.data(), *got)});
    }
  }
  return true;
}

void H2Connection::wait() {
  const bool reading = parts_.faults.reading;
  const bool writing = parts_.faults.writing && begun_ && !out_.empty();
  if (reading && SSL_pending(parts_.stream.ssl()) > 0) return;
  std::array<pollfd, 3> ready{
      pollfd{wake_.fd(), POLLIN, 0},
      pollfd{parts_.stream.fd(),
             static_cast<short>((reading ? POLLIN : 0) | (writing ? POLLOUT : 0)), 0},
      pollfd{idle_ ? parts_.wake_fd : -1, POLLIN, 0}};
  int limit = -1;
  if (idle_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        idle_since_ + parts_.idle_limit - Clock::now());
    limit = static_cast<int>(std::max<std::chrono::milliseconds::rep>(0, left.count() + 1));
  }
  for (const auto* link : {&travelling_in_, &travelling_out_}) {
    if (link->empty()) continue;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(link->front().due - Clock::now());
    const int due = static_cast<int>(std::max<std::chrono::milliseconds::rep>(0, left.count() + 1));
    limit = limit < 0 ? due : std::min(limit, due);
  }
  poll(ready.data(), ready.size(), limit);
  eventfd_t count = 0;
  eventfd_read(wake_.fd(), &count);
  if (ready[2].revents != 0) end_ = End::woken;
  if (!reading && (ready[1].revents & (POLLHUP | POLLERR)) != 0) {
    throw ConnectionLost{"ended while nothing was read"};
  }
}

void H2Connection::reap(bool all) {
  if (all) {
    for (const auto& [id, entry] : entries_) {
      if (entry.stream) entry.stream->die("the connection has ended");
    }
  }
  for (auto at = workers_.begin(); at != workers_.end();) {
    if (!all && !(*at)->done) {
      ++at;
      continue;
    }
    (*at)->thread.join();
    at = workers_.erase(at);
  }
}

H2Connection::End H2Connection::run() {
  struct Leaving {
    H2Connection& of;
    ~Leaving() {
      of.reap(true);
      of.entries_.clear();
      of.count_streams();
      of.parts_.hooks.set_idle(false);
    }
  } const leaving{*this};
  for (;;) {
    begun_ = begun_ || parts_.faults.sending_preface;
    run_tasks();
    if (end_) return *end_;
    reap(false);
    arrive();
    if (begun_ && parts_.faults.writing) flush();
    const bool idle = entries_.empty();
    if (idle != idle_) {
      idle_ = idle;
      idle_since_ = Clock::now();
      parts_.hooks.set_idle(idle);
    }
    if (begun_ && nothing_to_write()) {
      if (finishing_) return End::finished;
      if (nghttp2_session_want_read(session_.get()) == 0 &&
          nghttp2_session_want_write(session_.get()) == 0) {
        return End::finished;
      }
    }
    if (idle_ && !finishing_ && Clock::now() >= idle_since_ + parts_.idle_limit) {
      nghttp2_session_terminate_session(session_.get(), NGHTTP2_NO_ERROR);
      finishing_ = true;
      continue;
    }
    wait();
    if (end_) return *end_;
    if (parts_.faults.reading && !read_available()) return End::finished;
  }
}

}  // namespace lab
