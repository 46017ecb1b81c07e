#include "proxy/teleport/pod_lease.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>

#include "proxy/observe/log.hpp"
#include "proxy/observe/utc.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

constexpr seconds duration{30};  // how long others wait after our last sign of life
constexpr seconds keep_interval{10};
constexpr std::int64_t longest_duration = 3600;
constexpr seconds release_deadline{2};

std::string text_of(const json::object& spec, const char* field) {
  const json::value* value = spec.if_contains(field);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// MicroTime wants its six digits.
std::string micro_now() {
  std::string text = utc(std::chrono::system_clock::now());
  text.insert(text.size() - 1, ".000000");
  return text;
}

}  // namespace

// Outlives the PodLease while a coroutine still waits for an answer.
struct PodLease::State {
  State(asio::io_context& context, const ApiServer& api, ApiObject of)
      : io(context), server(api), object(std::move(of)), timer(context) {
    object.kind = ApiObject::Kind::lease;
  }

  json::object content(const std::string& holder) const {
    json::object lease = new_object(object, version);
    const std::string now = micro_now();
    lease["spec"] = json::object{{"holderIdentity", holder},
                                 {"leaseDurationSeconds", holder.empty() ? 1 : duration.count()},
                                 {"acquireTime", acquired.empty() ? now : acquired},
                                 {"renewTime", now}};
    return lease;
  }

  asio::io_context& io;
  const ApiServer& server;
  ApiObject object;
  asio::steady_timer timer;
  std::string version;   // of the Lease when we saw it last
  std::string acquired;  // since when it is ours; empty: it is not
  // A foreign holder, and since when it has given no sign of life. Only our own clock counts.
  std::string seen_version;
  Clock::time_point seen_at{};
  bool keeping = false;
  bool lost_told = false;
  bool ended = false;
};

PodLease::PodLease(asio::io_context& io, const ApiServer& server, ApiObject secret)
    : state_(std::make_shared<State>(io, server, std::move(secret))) {}

PodLease::~PodLease() {
  state_->ended = true;
  state_->timer.cancel();
}

asio::awaitable<Outcome<void>> PodLease::hold() {
  const Outcome<void> held = co_await acquire(state_);
  if (held && !state_->keeping) {
    state_->keeping = true;
    asio::co_spawn(state_->io, keep(state_), asio::detached);
  }
  co_return held;
}

// One try.
asio::awaitable<Outcome<void>> PodLease::acquire(std::shared_ptr<State> state) {
  const auto failed = [](const ApiError& error) {
    const bool gone = error.kind == ApiError::Kind::unreachable;
    return Failure{gone ? Code::refused : Code::denied, error.message};
  };
  const std::string& own = state->server.pod();
  const ApiResult<json::object> there = co_await state->server.get(state->object);
  if (!there && there.error().kind != ApiError::Kind::not_found) co_return failed(there.error());
  state->version = there ? resource_version(*there) : std::string();
  if (there) {
    const json::value* found = there->if_contains("spec");
    const json::object spec =
        found != nullptr && found->is_object() ? found->get_object() : json::object();
    const std::string holder = text_of(spec, "holderIdentity");
    if (!holder.empty() && holder != own) {
      state->acquired.clear();
      const json::value* length = spec.if_contains("leaseDurationSeconds");
      const std::int64_t lasts =
          length != nullptr && length->is_int64() ? length->get_int64() : duration.count();
      if (state->seen_version != state->version) {
        state->seen_version = state->version;
        state->seen_at = Clock::now();
      }
      if (Clock::now() - state->seen_at < seconds(std::min(lasts, longest_duration)))
        co_return Failure{Code::denied,
                          "the bot's storage is in use by pod \"" + holder + "\" (" +
                              state->object.text() +
                              "); two that renew one identity lock the bot out of Teleport: run "
                              "one replica (strategy Recreate), or give each its own Secret"};
      log::warn("the bot's storage is taken over from a pod that gives no sign of life",
                {{"pod", holder}, {"lease", state->object.text()}});
    }
  }
  const bool fresh = state->acquired.empty();
  const json::object wanted = state->content(own);
  ApiResult<json::object> done = ApiError{};
  if (there)
    done = co_await state->server.replace(state->object, wanted);
  else
    done = co_await state->server.create(state->object, wanted);
  if (!done) co_return failed(done.error());
  state->version = resource_version(*done);
  if (fresh) state->acquired = micro_now();
  co_return boost::system::in_place_value;
}

asio::awaitable<void> PodLease::keep(std::shared_ptr<State> state) {
  while (!state->ended) {
    state->timer.expires_after(keep_interval);
    auto [error] = co_await state->timer.async_wait(as_result);
    if (error || state->ended) co_return;
    const Outcome<void> held = co_await acquire(state);
    if (held) {
      if (state->lost_told) log::info("the bot's storage is ours again");
      state->lost_told = false;
    } else if (held.error().code == Code::denied && !state->lost_told) {
      state->lost_told = true;
      log::error("the bot's storage is not ours any more; its identity is not renewed meanwhile",
                 {{"cause", held.error().message}});
    }
  }
}

asio::awaitable<void> PodLease::release() {
  const std::shared_ptr<State> state = state_;
  state->ended = true;
  state->timer.cancel();
  if (state->acquired.empty()) co_return;
  const json::object free = state->content("");
  // Whoever has changed it since then has it.
  co_await state->server.replace(state->object, free, release_deadline);
}

}  // namespace kubelane::teleport
