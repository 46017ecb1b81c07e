#include "proxy/teleport/grpc_answer.hpp"

#include <utility>

namespace kubelane::teleport {

void GrpcAnswer::fail(GrpcStatus status) {
  if (over_) return;
  over_ = true;
  if (!has_status_) status_ = std::move(status);
  has_status_ = true;
}

void GrpcAnswer::on_head(int status, http::Fields fields, bool end) {
  if (status < 200) return;
  if (status == 200) {
    if (end) on_trailers(fields);
    return;
  }
  GrpcStatus refused;
  // The table of gRPC's own document for answers of intermediaries.
  refused.code = status == 404   ? GrpcCode::unimplemented
                 : status == 401 ? GrpcCode::unauthenticated
                 : status == 403 ? GrpcCode::permission_denied
                                 : GrpcCode::unavailable;
  refused.message = peer_ + " answered with HTTP status " + std::to_string(status);
  refused.outcome_unknown = status >= 500;
  fail(std::move(refused));
}

bool GrpcAnswer::on_data(std::string_view bytes) {
  if (over_) return true;
  const bool good = reader_.feed(bytes);
  if (good && reader_.waiting_bytes() <= 2 * most_) return true;
  const bool large = good || reader_.too_large();
  GrpcStatus broken;
  broken.code = large ? GrpcCode::resource_exhausted : GrpcCode::internal;
  broken.message =
      large ? "the answer of " + peer_ + " is too large" : peer_ + " does not answer in gRPC";
  fail(std::move(broken));
  return false;
}

void GrpcAnswer::on_trailers(http::Fields fields) {
  if (has_status_) return;
  has_status_ = read_status(fields, status_.code, status_.message);
  if (!has_status_) return;
  // Said by the transport underneath a server as well as by a server.
  status_.outcome_unknown = status_.code == GrpcCode::unavailable ||
                            status_.code == GrpcCode::deadline_exceeded ||
                            status_.code == GrpcCode::cancelled;
}

void GrpcAnswer::on_end() {
  if (has_status_) {
    over_ = true;
    return;
  }
  GrpcStatus silent;
  silent.code = GrpcCode::internal;
  silent.message = peer_ + " ended a call without a status";
  silent.outcome_unknown = true;
  fail(std::move(silent));
}

}  // namespace kubelane::teleport
