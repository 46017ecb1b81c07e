#include "proxy/relay/probe.hpp"

#include <algorithm>
#include <ctime>

#include "proxy/relay/flow.hpp"
#include "proxy/relay/impersonation.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane::relay {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

constexpr std::chrono::seconds answer_limit{5};
constexpr std::size_t kept_body_bytes = 4096;

Error lost(const char* where) { return {Code::eof, Side::upstream, Retry::if_reused, 0, where}; }

// RFC 9110 section 5.6.7, the one form that is sent today.
std::optional<std::chrono::system_clock::time_point> parse_date(std::string_view text) {
  std::tm parts{};
  const std::string copy(text.substr(0, 64));
  if (::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts) == nullptr) return std::nullopt;
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::optional<std::chrono::seconds> clock_ahead(http::Fields fields) {
  for (const http::Field& field : fields) {
    if (!http::iequals(field.name, "date")) continue;
    const auto date = parse_date(field.value);
    if (!date) return std::nullopt;
    return std::chrono::duration_cast<std::chrono::seconds>(*date -
                                                            std::chrono::system_clock::now());
  }
  return std::nullopt;
}

}  // namespace

Probe::Probe(Worker& worker, Route route)
    : worker_(worker), route_(std::move(route)), readiness_(worker.loop_) {
  worker.probes_.push_back(this);
}

Probe::~Probe() {
  discard();
  std::erase(worker_.probes_, this);
}

runtime::Detached Probe::run(Worker& worker, Route route, std::function<void(ProbeResult)> then) {
  Probe self(worker, std::move(route));
  self.frame_ = co_await runtime::OwnFrame{};
  ProbeResult result = co_await self.ask();
  then(std::move(result));
}

void Probe::discard() {
  if (!upstream_) return;
  upstream_->stream().close_write();
  upstream_.reset();
  worker_.upstreams_[route_.upstream]->closed();
}

std::string Probe::request() const {
  std::string own_prefix;
  const link::UpstreamTarget& target = upstream_->snapshot->target;
  std::string text = "GET ";
  text.append(upstream_prefix(route_, target, own_prefix)).append("/version HTTP/1.1\r\nHost: ");
  text.append(target.authority).append("\r\nAccept: application/json\r\n");
  text += "User-Agent: kubelane/" KUBELANE_VERSION " (readiness)\r\n";
  const DefaultImpersonation impersonation(route_.impersonation, {}, false);
  for (const http::Field& field : impersonation.fields())
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  return text + "\r\n";
}

// A connection into upstream_. True: it carried others before.
runtime::Task<Result<bool>> Probe::connect() {
  UpstreamPool& pool = *worker_.upstreams_[route_.upstream];
  const link::UpstreamSnapshotPtr snapshot = pool.snapshot();
  if (!snapshot->identity || snapshot->addresses.empty())
    co_return Error{Code::no_identity, Side::self, Retry::no, 0, "probe"};
  if (!pool.reserve()) co_return Error{Code::overloaded, Side::self, Retry::no, 0, "probe"};
  auto connecting = link::connect(readiness_, worker_.batch_, snapshot, pool.sessions(),
                                  worker_.config_.timeouts, pool.first_address());
  Result<link::UpstreamConnectionPtr> connected = co_await std::move(connecting);
  pool.dialled(connected);
  if (connected) {
    upstream_ = std::move(*connected);
    co_return false;
  }
  pool.closed();
  pool.address_failed();
  const Code code = connected.error().code;
  if (code == Code::tls_peer || code == Code::tls_untrusted)
    worker_.reports_.certificate_refused(route_.upstream);
  else
    worker_.reports_.connect_failed(route_.upstream);
  co_return connected.error();
}

runtime::Task<ProbeResult> Probe::ask() {
  ProbeResult result;
  UpstreamPool& pool = *worker_.upstreams_[route_.upstream];
  upstream_ = pool.take();
  const bool reused = upstream_ != nullptr;
  if (reused) upstream_->set_sink(&readiness_);
  for (int attempt = 0;; ++attempt) {
    if (!upstream_) {
      const Result<bool> connected = co_await connect();
      if (!connected) {
        result.error = connected.error();
        co_return result;
      }
    }
    const Result<bool> clean = co_await exchange(result);
    if (clean) {
      if (*clean)
        pool.give_back(std::move(upstream_));
      else
        discard();
      co_return result;
    }
    discard();
    result.error = clean.error();
    // One from the pool may have been closed by the Proxy meanwhile.
    const Code code = clean.error().code;
    const bool stale = reused && attempt == 0 && (code == Code::eof || code == Code::reset);
    if (stale) continue;
    // TLS 1.3: a refused client certificate shows at the first read (data-path spec 2.4).
    if (code == Code::tls_peer || code == Code::eof || code == Code::reset)
      worker_.reports_.certificate_refused(route_.upstream);
    co_return result;
  }
}

// Value: the connection is clean behind the answer.
runtime::Task<Result<bool>> Probe::exchange(ProbeResult& result) {
  tls::Stream& stream = upstream_->stream();
  const std::string text = request();
  ++upstream_->requests;
  const tls::Step written = stream.write(text);
  // An idle or a new connection takes some hundred bytes at once, or is dead.
  if (written.kind == Kind::failed) co_return written.error;
  if (written.kind != Kind::moved || written.bytes != text.size()) co_return lost("request head");
  result.sent = true;
  const Clock::time_point deadline = worker_.loop_.now() + answer_limit;
  http::HeadParser parser(
      http::HeadLimits{worker_.config_.limits.max_header_bytes, http::max_fields});
  Flow down(worker_.buffers_, http::Direction::response);
  bool keep_alive = false;
  for (;;) {
    if (result.status == 0 && !down.buffer.empty()) {
      http::ResponseHead& head = worker_.response_head_;
      const http::HeadVerdict verdict = parser.response(down.buffer.view(), "GET", head);
      using Verdict = http::HeadVerdict::Kind;
      if (verdict.kind == Verdict::done) {
        if (head.status >= 200) {
          result.status = head.status;
          result.clock_ahead = clock_ahead(head.fields());
          keep_alive = head.keep_alive && head.body != http::BodyKind::until_close;
          down.begin(head.body, head.content_length);
        }
        down.buffer.consume(verdict.bytes);
        parser.reset();
        continue;
      }
      if (verdict.kind != Verdict::need_more)
        co_return Error{Code::bad_head, Side::upstream, Retry::no, 0, "response head"};
    }
    if (result.status != 0) {
      if (!down.clear_more())
        co_return Error{Code::bad_body, Side::upstream, Retry::no, 0, down.bad()};
      const std::string_view body = down.buffer.view().substr(0, down.cleared);
      result.body.append(body.substr(0, kept_body_bytes - result.body.size()));
      down.buffer.consume(down.cleared);
      down.cleared = 0;
      const bool clean = keep_alive && down.buffer.empty();
      if (down.framer.done()) co_return clean;
      if (result.body.size() >= kept_body_bytes) co_return false;  // that is enough
    }
    const std::span<char> space = down.buffer.space();
    if (space.empty())
      co_return Error{Code::head_too_large, Side::upstream, Retry::no, 0, "response head"};
    const tls::Step step = stream.read(space);
    if (step.kind == Kind::moved) {
      down.buffer.commit(step.bytes);
      continue;
    }
    down.buffer.release_if_empty();
    if (step.kind == Kind::failed) co_return step.error;
    if (step.kind == Kind::eof) {
      if (result.status != 0) co_return false;  // its status says enough
      co_return lost("response");
    }
    const bool in_time = co_await readiness_.wait(deadline);
    if (in_time) continue;
    if (result.status != 0) co_return false;
    co_return Error{Code::timeout, Side::upstream, Retry::no, 0, "response head"};
  }
}

}  // namespace kubelane::relay
