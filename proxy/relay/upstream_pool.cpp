#include "proxy/relay/upstream_pool.hpp"

#include "proxy/observe/utc.hpp"

namespace kubelane::relay {
namespace {

constexpr std::chrono::milliseconds redial_pause{100};

bool same_way(const link::UpstreamSnapshot& left, const link::UpstreamSnapshot& right) {
  return left.identity == right.identity && left.target.host == right.target.host &&
         left.target.port == right.target.port &&
         left.target.server_name == right.target.server_name;
}

}  // namespace

UpstreamPool::UpstreamPool(runtime::EventLoop& loop, const Settings& config)
    : loop_(loop),
      config_(config),
      sessions_(std::make_shared<tls::SessionCache>()),
      sweeper_(*this),
      timer_(*this) {
  auto waiting = std::make_shared<link::UpstreamSnapshot>();
  waiting->problem = "kubelane has just started and is still reading its credentials";
  waiting->trouble = link::Trouble::starting;
  waiting->problem_since = std::chrono::system_clock::now();
  snapshot_ = std::move(waiting);
}

UpstreamPool::~UpstreamPool() { close_idle(); }

void UpstreamPool::adopt(link::UpstreamSnapshotPtr snapshot) {
  const bool keep = same_way(*snapshot_, *snapshot);
  snapshot_ = std::move(snapshot);
  if (!keep) {
    ++epoch_;
    close_idle();
    sessions_->clear();
    sessions_ = std::make_shared<tls::SessionCache>();
    first_address_ = 0;
    down_since_ = {};
  }
}

std::string UpstreamPool::problem(const std::string& cluster) const {
  const link::UpstreamSnapshot& now = *snapshot_;
  std::string why = now.problem;
  if (why.empty()) {
    if (!now.identity) {
      why = "no usable credentials";
    } else if (now.identity->not_after <= std::chrono::system_clock::now()) {
      why = "the credentials expired at " + utc(now.identity->not_after) +
            " and have not been renewed" + (now.remedy.empty() ? "" : ": " + now.remedy);
    } else if (now.addresses.empty()) {
      why = "the Teleport Proxy's address is not known yet";
    } else {
      return {};
    }
  }
  std::string text = "Kubernetes cluster \"" + cluster + "\" cannot be reached through kubelane";
  if (now.problem_since.time_since_epoch().count() != 0) text += " since " + utc(now.problem_since);
  return text + ": " + why;
}

bool UpstreamPool::usable_now() const noexcept {
  return snapshot_->problem.empty() && snapshot_->identity && !snapshot_->addresses.empty() &&
         snapshot_->identity->not_after > std::chrono::system_clock::now();
}

bool UpstreamPool::usable(link::UpstreamConnection& connection) const {
  if (connection.snapshot != snapshot_ && !same_way(*connection.snapshot, *snapshot_)) return false;
  if (loop_.now() - connection.idle_since >= config_.timeouts.upstream_idle) return false;
  tls::Stream& stream = connection.stream();
  if (!stream.may_read()) return true;
  // News on an idle connection: a session ticket is fine, anything else ends it.
  char byte;
  return stream.read({&byte, 1}).kind == tls::Step::Kind::want_read;
}

link::UpstreamConnectionPtr UpstreamPool::take() {
  while (!idle_.empty()) {
    link::UpstreamConnectionPtr connection = std::move(idle_.back());
    idle_.pop_back();
    if (usable(*connection)) return connection;
    closed();
  }
  return nullptr;
}

void UpstreamPool::give_back(link::UpstreamConnectionPtr connection) {
  connection->idle_since = loop_.now();
  connection->set_sink(&sweeper_);
  if (idle_.size() >= config_.limits.max_idle_upstream_connections || !usable(*connection)) {
    closed();
    return;
  }
  idle_.push_back(std::move(connection));
  if (!timer_.armed()) loop_.deadlines().arm(timer_, loop_.now() + config_.timeouts.upstream_idle);
}

std::optional<runtime::Clock::time_point> UpstreamPool::dial_again(const Error& failure) noexcept {
  const runtime::Clock::time_point now = loop_.now();
  if (down_since_ == runtime::Clock::time_point{}) down_since_ = now;
  const bool away =
      failure.code == Code::refused || failure.code == Code::eof || failure.code == Code::reset;
  const runtime::Clock::time_point next = now + redial_pause;
  if (!away || next > down_since_ + config_.timeouts.connect) return std::nullopt;
  return next;
}

bool UpstreamPool::reserve() noexcept {
  if (connections_ >= config_.limits.max_upstream_connections) return false;
  ++connections_;
  return true;
}

void UpstreamPool::dialled(const Result<link::UpstreamConnectionPtr>& outcome) noexcept {
  if (outcome) {
    down_since_ = {};
    ++meter_.handshakes[(*outcome)->stream().resumed() ? 1 : 0];
  } else {
    ++meter_.dial_failures[static_cast<std::size_t>(outcome.error().code)];
  }
}

void UpstreamPool::sweep() {
  std::erase_if(idle_, [this](const link::UpstreamConnectionPtr& connection) {
    if (usable(*connection)) return false;
    connection->stream().close_write();
    closed();
    return true;
  });
  if (!idle_.empty())
    loop_.deadlines().arm(timer_, idle_.front()->idle_since + config_.timeouts.upstream_idle);
}

void UpstreamPool::close_idle() {
  for (const link::UpstreamConnectionPtr& connection : idle_) {
    connection->stream().close_write();
    closed();
  }
  idle_.clear();
}

}  // namespace kubelane::relay
