// One request and its response: lease, heads, bodies both ways, retry. The two-way byte mover of
// HTTP/1.1. Bodies pass verbatim and are never held beyond one buffer each way.
#pragma once

#include <string>
#include <string_view>

#include "proxy/relay/access_log.hpp"
#include "proxy/relay/local_http1.hpp"
#include "proxy/relay/request_meter.hpp"
#include "proxy/relay/upstream_pool.hpp"

namespace kubelane::relay {

// Lives on the frame of LocalHttp1::serve_request(). Thread: its worker.
class Exchange {
 public:
  // The request head stands parsed in the worker's scratch; `admission` has a route.
  Exchange(LocalHttp1& local, const Admission& admission);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  runtime::Task<After> run();

 private:
  enum class Turn : std::uint8_t { blocked, done, failed, again };

  runtime::Task<Result<bool>> lease(bool fresh);  // value: the connection was used before
  runtime::Task<Result<>> rest(runtime::Clock::time_point until);
  runtime::Task<Result<>> send_request();
  runtime::Task<Result<>> relay();  // until the response is complete
  runtime::Task<After> finish();
  runtime::Task<After> fail(Error error);

  Turn move_request();
  Turn move_response();
  bool take_response_head();
  bool end_watch();
  bool may_replay(const Error& error) const;
  void discard_upstream(bool reset);
  Result<std::size_t> compose_head();
  // What is left to say about the request, once it is over.
  void tell_end(int status, bool reused, std::string_view failure);
  runtime::Clock::time_point deadline() const;
  Turn failed(const Error& error) noexcept;

  LocalHttp1& local_;
  Worker& worker_;
  const Route& route_;
  UpstreamPool& pool_;
  ListenerPtr listener_;  // keeps route_ alive
  link::UpstreamConnectionPtr upstream_;
  Flow down_;
  http::HeadParser parser_;
  AccessLog log_;
  RequestMeter meter_;

  std::size_t strip_bytes_;
  http::BodyKind request_body_;
  std::uint64_t request_length_;
  bool replayable_;  // no body, safe method: can be sent again
  bool head_method_;
  bool upgrade_;
  bool watch_;
  bool client_keeps_alive_;

  int status_ = 0;               // of the response, 0: none yet
  Error error_{};                // of the turn that failed
  bool local_failed_ = false;    // the failure is the client's: there is nobody to answer
  bool request_broken_ = false;  // the Proxy takes no more of the request; an answer may still come
  bool head_in_buffer_ = true;   // the request head still stands at the front of up_.buffer
  bool response_started_ = false;  // a final response head was taken
  bool response_bytes_ = false;    // any byte of an answer came
  bool response_done_ = false;
  bool upstream_keeps_alive_ = false;
  bool close_local_ = false;
  bool local_ended_ = false;  // the client ended its direction, and so did we upstream
  bool tunnel_ = false;       // 101
  runtime::Clock::time_point request_sent_{};
  runtime::Clock::time_point progress_{};
};

}  // namespace kubelane::relay
