// One HTTP/2 request as a handler sees it: the Stream that all handlers know, where the request's
// body and the answer are HTTP/1.1 text, and beside it the frames themselves for scripts.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "tests/lab/answer_reader.hpp"
#include "tests/lab/h2_frames.hpp"
#include "tests/lab/http.hpp"

namespace lab {

// What a stream asks of its connection. Called from the thread of the stream, never under its lock.
class H2Output {
 public:
  virtual void submit_interim(std::int32_t stream, h2::Fields fields) = 0;
  virtual void submit_head(std::int32_t stream, h2::Fields fields, bool end) = 0;
  virtual void resume(std::int32_t stream) = 0;  // there is more in its queue
  virtual void consumed(std::int32_t stream, std::size_t bytes) = 0;
  virtual void reset_stream(std::int32_t stream, std::uint32_t code) = 0;
  virtual void handler_done(std::int32_t stream) = 0;
  virtual void write_raw(std::string bytes) = 0;

 protected:
  ~H2Output() = default;
};

class H2Stream final : public Stream, private AnswerReader::Sink {
 public:
  enum class RequestBody { none, exact, chunked };
  H2Stream(H2Output& connection, std::int32_t id, bool head_request, RequestBody body);

  std::int32_t id() const { return id_; }

  // --- For scripts: answer by frames instead of write(). -----------------------------------------
  // Sent as given, whatever HTTP/2 says about such fields; ":status" is one of them.
  void send_interim(h2::Fields fields);
  void send_head(h2::Fields fields, bool end = false);
  void send_data(std::string_view bytes, bool end = false);  // waits while much is queued
  void send_trailers(h2::Fields fields);
  // RST_STREAM once all queued data has left, or at once.
  void send_reset(std::uint32_t code, bool at_once = false);
  // Bytes into the connection, after the frames submitted so far and between frames.
  void send_raw(std::string bytes);
  // The script has said everything by raw frames: its return sends nothing.
  void leave() { end_sent_ = true; }
  // True when everything queued has left within the time.
  bool wait_sent(int milliseconds);

  // --- Stream
  // -------------------------------------------------------------------------------------
  void close_write() override;  // ends a body that has no framing
  void reset() override;        // RST_STREAM(INTERNAL_ERROR), as Go for a handler that aborts
  bool wait_readable(int milliseconds) override;
  bool on_peer_end(std::function<void()> notify) override;
  bool peer_ended() const override;  // reset by the peer, or its connection is lost

  // --- For the connection
  // -------------------------------------------------------------------------
  void deliver(std::string_view data);
  void deliver_end(const h2::Fields& trailers);
  void die(const std::string& why);
  // Takes what is queued. `trailers` come with the end, if there are any.
  struct Taken {
    std::size_t bytes = 0;
    bool end = false;
    std::optional<h2::Fields> trailers;
  };
  Taken take(char* into, std::size_t bytes);
  // The handler has returned: an answer that is not complete is aborted.
  void finish();

 protected:
  std::size_t read_some(char* into, std::size_t bytes) override;
  void write_all(std::string_view bytes) override;

 private:
  void on_interim(int status, AnswerReader::Fields fields) override;
  void on_head(int status, AnswerReader::Fields fields, bool end) override;
  void on_data(std::string_view bytes, bool end) override;
  void on_end(AnswerReader::Fields trailers) override;

  struct Piece {
    std::string text;
    std::size_t at = 0;
    std::size_t credit = 0;  // to give back once read
  };

  H2Output& connection_;
  const std::int32_t id_;
  const RequestBody body_;
  AnswerReader answer_;    // the handler's thread only
  bool end_sent_ = false;  // or at least queued; the handler's thread only
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> in_;
  bool in_ended_ = false;
  std::optional<std::string> dead_;
  std::function<void()> on_end_;
  std::string out_;
  std::size_t out_at_ = 0;  // what of it has left
  bool out_ended_ = false;
  std::size_t queued() const { return out_.size() - out_at_; }
  std::optional<h2::Fields> out_trailers_;
};

}  // namespace lab
