// One HTTP/2 stream of a client and the stream upstream that serves it: admission, heads, bytes
// both ways, retry, or an answer of our own. Lives exactly as long as the client's stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "proxy/http/event_boundary.hpp"
#include "proxy/http/h2_edits.hpp"
#include "proxy/http/h2_session.hpp"
#include "proxy/relay/access_log.hpp"
#include "proxy/relay/listener.hpp"
#include "proxy/relay/request_meter.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/runtime/byte_queue.hpp"
#include "proxy/runtime/deadline.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::relay {

class H2Upstream;
class LocalHttp2;
class UpstreamLink;
class Worker;

// Owned by LocalHttp2, listed in the UpstreamLink that carries it or in the H2Upstream where it
// waits for one. Thread: its worker. Flow: what arrives on one side stands in a queue bounded by
// the stream's window until the other side's session takes it into a frame; only then does the
// sender get credit for more.
class H2Exchange final : public runtime::PooledFrame, private runtime::Deadline {
 public:
  H2Exchange(LocalHttp2& local, std::int32_t stream);
  H2Exchange(const H2Exchange&) = delete;
  H2Exchange& operator=(const H2Exchange&) = delete;
  ~H2Exchange() override;

  // Admits the request and sends it on its way, or answers it.
  void begin(const http::H2Head& head) noexcept;
  http::H2Stream& local_side() noexcept { return local_side_; }

  // --- from the upstream side
  // Sends the request on this link. False: it takes no stream any more.
  bool submit(UpstreamLink& link) noexcept;
  // There is no link and will be none: the client gets a Status.
  void fail(const Error& error) noexcept;
  void fail(const Error& error, std::string message) noexcept;
  // Nothing was done with it, the client may come again. `why`, for the log, is a literal.
  void refuse(std::string_view why) noexcept;
  // The link is gone.
  void link_lost(const Error& error) noexcept;
  bool awaits_head() const noexcept { return !response_started_; }

  // --- from the local side
  // Drain: a running watch ends, unless it stands in the middle of an event.
  void end_watch() noexcept;
  // The drain is over: what still runs ends, so that it does not look complete.
  void end_now() noexcept;
  bool is_running_watch() const noexcept { return watch_ && response_started_ && !down_ended_; }

 private:
  friend class LocalHttp2;
  friend class UpstreamLink;
  friend class H2Upstream;

  struct LocalSide final : http::H2Stream {
    explicit LocalSide(H2Exchange& exchange) noexcept : owner(exchange) {}
    void on_head(const http::H2Head&) noexcept override {}
    void on_data(std::string_view bytes) noexcept override { owner.request_data(bytes); }
    void on_trailers(http::Fields fields) noexcept override {
      owner.up_trailers_.set(fields, http::Direction::request);
    }
    void on_end() noexcept override { owner.request_ended(); }
    void on_sent() noexcept override { owner.response_sent(); }
    void on_closed(http::H2Code code) noexcept override { owner.local_closed(code); }
    Ready ready() noexcept override;
    void take(char* to, std::size_t bytes) noexcept override { owner.take_response(to, bytes); }
    http::Fields trailers() noexcept override { return owner.down_trailers_.fields(); }
    H2Exchange& owner;
  };
  struct UpstreamSide final : http::H2Stream {
    explicit UpstreamSide(H2Exchange& exchange) noexcept : owner(exchange) {}
    void on_head(const http::H2Head& head) noexcept override { owner.response_head(head); }
    void on_data(std::string_view bytes) noexcept override { owner.response_data(bytes); }
    void on_trailers(http::Fields fields) noexcept override {
      owner.down_trailers_.set(fields, http::Direction::response);
    }
    void on_end() noexcept override { owner.response_ended(); }
    void on_sent() noexcept override { owner.request_sent(); }
    void on_closed(http::H2Code code) noexcept override { owner.upstream_closed(code); }
    Ready ready() noexcept override;
    void take(char* to, std::size_t bytes) noexcept override { owner.take_request(to, bytes); }
    http::Fields trailers() noexcept override { return owner.up_trailers_.fields(); }
    H2Exchange& owner;
  };

  void request_data(std::string_view bytes) noexcept;
  void request_ended() noexcept;
  void response_sent() noexcept;
  void local_closed(http::H2Code code) noexcept;
  void take_response(char* to, std::size_t bytes) noexcept;
  void response_head(const http::H2Head& head) noexcept;
  void response_data(std::string_view bytes) noexcept;
  void response_ended() noexcept;
  void request_sent() noexcept;
  void upstream_closed(http::H2Code code) noexcept;
  void take_request(char* to, std::size_t bytes) noexcept;

  void answer(const Error& error, std::string message) noexcept;
  bool fits(const UpstreamLink& link) const;
  void look_at_window() noexcept;
  void give_way() noexcept;
  void end_unread_request() noexcept;
  void truncated() noexcept;
  bool may_go_again(bool surely_not_processed) const noexcept;
  void drop_request_body() noexcept;
  void detach(http::H2Code code) noexcept;
  void log_end(std::string_view failure) noexcept;
  void arm() noexcept;
  runtime::Clock::time_point due() const noexcept;
  void on_deadline() noexcept override;

  LocalHttp2& local_;
  Worker& worker_;
  const Worker::Running running_;
  const std::int32_t local_stream_;
  std::size_t index_in_local_ = 0;
  LocalSide local_side_;
  UpstreamSide upstream_side_;
  ListenerPtr listener_;          // keeps route_ alive
  const Route* route_ = nullptr;  // null: refused
  H2Upstream* upstream_ = nullptr;
  UpstreamLink* link_ = nullptr;
  std::size_t index_in_link_ = 0;
  std::int32_t upstream_stream_ = 0;
  bool waiting_ = false;  // in upstream_'s queue

  std::unique_ptr<http::H2Request> request_;  // until an answer comes
  std::string accept_;                        // the same
  std::string upstream_prefix_;               // the same; what the request was composed with
  std::uint64_t composed_epoch_ = 0;          // UpstreamPool::epoch() then
  runtime::ByteQueue up_;
  runtime::ByteQueue down_;
  std::string own_;  // the body of an answer of our own, in the place of down_
  std::size_t own_taken_bytes_ = 0;
  http::H2Trailers up_trailers_;
  http::H2Trailers down_trailers_;
  http::EventBoundary boundary_;
  AccessLog log_;
  RequestMeter meter_;
  std::uint64_t up_taken_bytes_ = 0;
  std::uint64_t down_taken_bytes_ = 0;
  std::uint32_t window_bytes_ = 0;       // of the stream upstream
  std::uint64_t window_mark_bytes_ = 0;  // taken when the window was looked at last
  runtime::Clock::time_point window_mark_{};
  runtime::Clock::time_point window_wish_{};  // zero: it is wide enough
  runtime::Clock::time_point progress_{};
  runtime::Clock::time_point watch_end_ = runtime::Clock::time_point::max();  // its turn in a drain
  std::string_view failure_;  // of an answer of our own, for the log; a literal
  int status_ = 0;
  http::H2Code down_reset_ = http::H2Code::no_error;
  bool head_method_ = false;
  bool safe_ = false;      // may be repeated although it may have been processed
  bool has_body_ = false;  // the request
  bool watch_ = false;
  bool answered_here_ = false;
  bool response_started_ = false;  // a final head, of the Proxy's or ours, was submitted
  bool up_ended_ = false;          // the client has sent all
  bool down_ended_ = false;        // nothing comes behind down_
  bool response_sent_ = false;     // to its end
  bool reused_ = false;            // the link had carried others before
  bool sent_again_ = false;
  bool logged_ = false;
};

}  // namespace kubelane::relay
