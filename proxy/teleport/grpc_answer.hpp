// The answer to one gRPC call as its HTTP/2 stream brings it: messages, then a status from the
// trailers, from the head, or of ours when the peer does not keep to gRPC. Sans I/O (control-plane
// spec 3.2, 11).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proxy/http/field.hpp"
#include "proxy/teleport/grpc_frame.hpp"

namespace kubelane::teleport {

struct GrpcStatus {
  GrpcCode code = GrpcCode::ok;
  std::string message;  // the server's words, or ours; no secret
  // The server did not say that the call failed: it may have been carried out all the same.
  bool outcome_unknown = false;
  bool transport = false;       // ours: the connection failed, or the deadline passed
  bool refused_by_tls = false;  // the peer refused our certificate (alert)

  bool ok() const noexcept { return code == GrpcCode::ok; }
};

class GrpcAnswer {
 public:
  // `peer`: what messages call it.
  GrpcAnswer(std::string peer, std::size_t most_message_bytes)
      : peer_(std::move(peer)), most_(most_message_bytes), reader_(most_message_bytes) {}

  // The stream's events, in HTTP/2's order.
  void on_head(int status, http::Fields fields, bool end);
  // False: the stream is to be reset, status() says why.
  bool on_data(std::string_view bytes);
  void on_trailers(http::Fields fields);
  void on_end();
  // Ends it, unless it is over(); a status that has come already stays.
  void fail(GrpcStatus status);

  // Nothing more comes. What has come can still be taken.
  bool over() const noexcept { return over_; }
  const GrpcStatus& status() const noexcept { return status_; }
  bool empty() const noexcept { return reader_.empty(); }
  std::string take() { return reader_.take(); }

 private:
  std::string peer_;
  std::size_t most_;
  GrpcReader reader_;
  GrpcStatus status_;
  bool has_status_ = false;
  bool over_ = false;
};

}  // namespace kubelane::teleport
