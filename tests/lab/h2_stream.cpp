#include "tests/lab/h2_stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>

namespace lab {
namespace {

constexpr std::size_t kQueued = std::size_t{256} * 1024;  // beyond that a writer waits

}  // namespace

H2Stream::H2Stream(H2Output& connection, std::int32_t id, bool head_request, RequestBody body)
    : connection_(connection),
      id_(id),
      body_(body),
      answer_(*this, head_request),
      in_ended_(body == RequestBody::none) {}

// ---------------------------------------------------------------- request

void H2Stream::deliver(std::string_view data) {
  if (data.empty()) return;
  Piece piece;
  if (body_ == RequestBody::chunked) {
    char size[20];
    const int digits = std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    piece.text.assign(size, static_cast<std::size_t>(digits));
  }
  piece.text += data;
  if (body_ == RequestBody::chunked) piece.text += "\r\n";
  piece.credit = data.size();
  const std::scoped_lock lock(mutex_);
  in_.push_back(std::move(piece));
  changed_.notify_all();
}

void H2Stream::deliver_end(const h2::Fields& trailers) {
  const std::scoped_lock lock(mutex_);
  if (in_ended_) return;
  in_ended_ = true;
  if (body_ == RequestBody::chunked) {
    Piece piece;
    piece.text = "0\r\n";
    for (const auto& [name, value] : trailers) {
      piece.text.append(name).append(": ").append(value).append("\r\n");
    }
    piece.text += "\r\n";
    in_.push_back(std::move(piece));
  }
  changed_.notify_all();
}

void H2Stream::die(const std::string& why) {
  std::function<void()> notify;
  {
    const std::scoped_lock lock(mutex_);
    if (!dead_) dead_ = why;
    notify = std::exchange(on_end_, nullptr);
    changed_.notify_all();
  }
  if (notify) notify();
}

bool H2Stream::on_peer_end(std::function<void()> notify) {
  {
    const std::scoped_lock lock(mutex_);
    if (!dead_) {
      on_end_ = std::move(notify);
      return true;
    }
  }
  notify();
  return true;
}

std::size_t H2Stream::read_some(char* into, std::size_t bytes) {
  std::size_t taken = 0;
  std::size_t credit = 0;
  {
    std::unique_lock lock(mutex_);
    // After the body a reader waits for the end, as on a connection of HTTP/1.1.
    changed_.wait(lock, [this] { return !in_.empty() || dead_; });
    if (in_.empty()) {
      if (!in_ended_) throw ConnectionLost{"stream: " + *dead_};
      return 0;
    }
    Piece& piece = in_.front();
    taken = std::min(bytes, piece.text.size() - piece.at);
    std::memcpy(into, piece.text.data() + piece.at, taken);
    piece.at += taken;
    if (piece.at == piece.text.size()) {
      credit = piece.credit;
      in_.pop_front();
    }
  }
  if (credit > 0) connection_.consumed(id_, credit);
  return taken;
}

bool H2Stream::wait_readable(int milliseconds) {
  if (buffered()) return true;
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                           [this] { return !in_.empty() || dead_; });
}

bool H2Stream::peer_ended() const {
  const std::scoped_lock lock(mutex_);
  return dead_.has_value();
}

// ---------------------------------------------------------------- answer

void H2Stream::send_interim(h2::Fields fields) {
  connection_.submit_interim(id_, std::move(fields));
}

void H2Stream::send_head(h2::Fields fields, bool end) {
  if (end) end_sent_ = true;
  connection_.submit_head(id_, std::move(fields), end);
}

void H2Stream::send_data(std::string_view bytes, bool end) {
  if (end) end_sent_ = true;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queued() < kQueued || dead_; });
    if (dead_) throw ConnectionLost{"stream: " + *dead_};
    out_ += bytes;
    out_ended_ = end;
  }
  connection_.resume(id_);
}

void H2Stream::send_trailers(h2::Fields fields) {
  end_sent_ = true;
  {
    const std::scoped_lock lock(mutex_);
    out_trailers_ = std::move(fields);
    out_ended_ = true;
  }
  connection_.resume(id_);
}

bool H2Stream::wait_sent(int milliseconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                           [this] { return queued() == 0 || dead_; });
}

void H2Stream::send_reset(std::uint32_t code, bool at_once) {
  end_sent_ = true;
  if (!at_once) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queued() == 0 || dead_; });
    if (dead_) return;
  }
  connection_.reset_stream(id_, code);
}

void H2Stream::send_raw(std::string bytes) { connection_.write_raw(std::move(bytes)); }

H2Stream::Taken H2Stream::take(char* into, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  Taken taken;
  taken.bytes = std::min(bytes, queued());
  std::memcpy(into, out_.data() + out_at_, taken.bytes);
  out_at_ += taken.bytes;
  if (out_at_ >= kQueued || queued() == 0) {
    out_.erase(0, out_at_);
    out_at_ = 0;
  }
  taken.end = queued() == 0 && out_ended_;
  if (taken.end) taken.trailers = out_trailers_;
  changed_.notify_all();
  return taken;
}

void H2Stream::write_all(std::string_view bytes) {
  if (peer_ended()) throw ConnectionLost{"write: the stream has ended"};
  answer_.feed(bytes);
}

void H2Stream::on_interim(int status, AnswerReader::Fields fields) {
  fields.insert(fields.begin(), {":status", std::to_string(status)});
  send_interim(std::move(fields));
}

void H2Stream::on_head(int status, AnswerReader::Fields fields, bool end) {
  fields.insert(fields.begin(), {":status", std::to_string(status)});
  send_head(std::move(fields), end);
}

void H2Stream::on_data(std::string_view bytes, bool end) { send_data(bytes, end); }

void H2Stream::on_end(AnswerReader::Fields trailers) {
  if (trailers.empty()) {
    send_data({}, true);
  } else {
    send_trailers(std::move(trailers));
  }
}

void H2Stream::close_write() { answer_.close(); }

void H2Stream::reset() { send_reset(h2::error_code::internal_error, true); }

void H2Stream::finish() {
  if (!peer_ended()) {
    try {
      answer_.close();
      if (!end_sent_) send_reset(h2::error_code::internal_error);
    } catch (const ConnectionLost&) {
      // It has gone meanwhile: nobody is left to tell.
    }
  }
  connection_.handler_done(id_);
}

}  // namespace lab
