#include "proxy/relay/request_meter.hpp"

#include <algorithm>

namespace kubelane::relay {
namespace {

using observe::Stream;
using observe::Verb;

// The cluster, or the Proxy for it, served us as whom we are. What was refused to us alone may be
// a rule of the cluster's about this one resource, and is no proof either way.
bool proves_service(int status) noexcept {
  return status == 101 || (status >= 200 && status < 500 && status != 401 && status != 403);
}

std::size_t code_class(int status) noexcept {
  return static_cast<std::size_t>(std::clamp(status / 100, 0, 5));
}

}  // namespace

Verb verb_of(std::string_view method, bool watch, bool upgrade) noexcept {
  if (upgrade) return Verb::connect;
  if (watch) return Verb::watch;
  if (method == "GET" || method == "HEAD") return Verb::get;
  if (method == "POST") return Verb::create;
  if (method == "PUT") return Verb::update;
  if (method == "PATCH") return Verb::patch;
  if (method == "DELETE") return Verb::remove;
  return Verb::other;
}

Stream stream_of(std::string_view path, bool watch, bool upgrade) noexcept {
  if (upgrade) return path.ends_with("/portforward") ? Stream::port_forward : Stream::exec;
  return watch ? Stream::watch : Stream::none;
}

void RequestMeter::begin(observe::RouteMeter& route, Verb verb, Stream stream,
                         Clock::time_point now) noexcept {
  route_ = &route;
  verb_ = verb;
  stream_ = stream;
  began_ = now;
  ++worker_.in_flight;
}

void RequestMeter::sent() noexcept { ours_ = Clock::now() - began_; }

void RequestMeter::answered(int status, Clock::time_point now) noexcept {
  if (route_ == nullptr) return;
  answered_at_ = now;
  if (proves_service(status)) route_->answered = now;
  if (stream_ == Stream::none || streams_) return;
  // A refused upgrade is an ordinary answer.
  const bool upgrade = stream_ != Stream::watch;
  if (upgrade ? status != 101 : status != 200) return;
  streams_ = true;
  ++worker_.active[static_cast<std::size_t>(stream_)];
}

void RequestMeter::record_delivery() noexcept {
  worker_.added.record(ours_ + (Clock::now() - answered_at_));
  answered_at_ = {};
}

void RequestMeter::failed(const Error& error, Clock::time_point now) noexcept {
  if (route_ == nullptr) return;
  route_->failed = now;
  route_->failure = error;
}

void RequestMeter::end(int status, std::uint64_t up_bytes, std::uint64_t down_bytes,
                       Clock::time_point now) noexcept {
  if (route_ == nullptr) return;
  ++route_->requests[static_cast<std::size_t>(verb_)][code_class(status)];
  if (stream_ == Stream::none && now > began_) route_->duration.record(now - began_);
  if (streams_) --worker_.active[static_cast<std::size_t>(stream_)];
  --worker_.in_flight;
  worker_.up_bytes += up_bytes;
  worker_.down_bytes += down_bytes;
  route_ = nullptr;
}

void count_own_answer(observe::WorkerMeter& worker, const Error& error) noexcept {
  observe::CountByCode& counts = error.side == Side::local ? worker.rejected : worker.own_errors;
  ++counts[static_cast<std::size_t>(error.code)];
}

}  // namespace kubelane::relay
