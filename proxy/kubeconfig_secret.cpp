#include "proxy/kubeconfig_secret.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>

#include "proxy/observe/log.hpp"
#include "tls/base64.hpp"

namespace kubelane {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using teleport::ApiError;
using teleport::ApiResult;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr const char* data_key = "kubeconfig.yaml";
constexpr std::chrono::milliseconds first_back_off{1'000};
constexpr std::chrono::milliseconds last_back_off{60'000};
// How often it is looked at when all is well: somebody may delete or change it.
constexpr std::chrono::minutes look_interval{5};
constexpr int most_conflicts = 5;

const json::object* object_at(const json::object& parent, const char* key) {
  const json::value* value = parent.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

// Whose the key is by the object's managed fields, when it is not kubelane's, tbot's or nobody's.
std::string foreign_manager(const json::object& secret) {
  const json::object* metadata = object_at(secret, "metadata");
  const json::value* fields =
      metadata != nullptr ? metadata->if_contains("managedFields") : nullptr;
  if (fields == nullptr || !fields->is_array()) return {};
  for (const json::value& entry : fields->get_array()) {
    if (!entry.is_object()) continue;
    const json::value* manager = entry.get_object().if_contains("manager");
    const json::object* owned = object_at(entry.get_object(), "fieldsV1");
    const json::object* data = owned != nullptr ? object_at(*owned, "f:data") : nullptr;
    if (data == nullptr || !data->contains(std::string("f:") + data_key)) continue;
    if (manager == nullptr || !manager->is_string()) continue;
    const std::string name(manager->get_string());
    if (name != teleport::field_manager && name != "tbot") return name;
  }
  return {};
}

}  // namespace

// Outlives the KubeconfigSecret while a coroutine still waits for an answer.
struct KubeconfigSecret::State {
  State(asio::io_context& io, const teleport::ApiServer& api, teleport::ApiObject of, SecretName as,
        std::function<void()> callback)
      : server(api),
        secret(std::move(of)),
        name(std::move(as)),
        on_written(std::move(callback)),
        timer(io) {}

  bool holds(const json::object& found, const std::string& text) const {
    if (teleport::secret_value(found, data_key) != text) return false;
    const json::object* metadata = object_at(found, "metadata");
    const json::object* labels = metadata != nullptr ? object_at(*metadata, "labels") : nullptr;
    return std::all_of(name.labels.begin(), name.labels.end(), [&](const auto& label) {
      const json::value* value = labels != nullptr ? labels->if_contains(label.first) : nullptr;
      return value != nullptr && value->is_string() && value->get_string() == label.second;
    });
  }

  json::object content(const std::string& version, const std::string& text) const {
    json::object object = teleport::new_object(secret, version);
    if (!name.labels.empty()) {
      json::object labels;
      for (const auto& [label, value] : name.labels) labels[label] = value;
      object["metadata"].get_object()["labels"] = std::move(labels);
    }
    object["data"] = json::object{{data_key, tls::base64(text)}};
    return object;
  }

  static asio::awaitable<ApiResult<bool>> write(std::shared_ptr<State> state,
                                                const std::string& text);
  static asio::awaitable<void> keep_written(std::shared_ptr<State> state);

  const teleport::ApiServer& server;
  teleport::ApiObject secret;
  SecretName name;
  std::function<void()> on_written;
  asio::steady_timer timer;
  std::optional<std::string> wanted;
  bool news = false;
  bool ended = false;
  std::string told;  // the problem in the log
};

// True: it had to be written.
asio::awaitable<ApiResult<bool>> KubeconfigSecret::State::write(std::shared_ptr<State> state,
                                                                const std::string& text) {
  for (int i = 0; i < most_conflicts; ++i) {
    const ApiResult<json::object> found = co_await state->server.get(state->secret);
    if (!found && found.error().kind != ApiError::Kind::not_found) co_return found.error();
    if (found && state->holds(*found, text)) co_return false;
    if (const std::string other = found ? foreign_manager(*found) : ""; !other.empty())
      co_return ApiError{ApiError::Kind::refused,
                         "the key kubeconfig.yaml of " + state->secret.text() + " belongs to \"" +
                             other + "\"; choose another name for the destination"};
    const std::string version = found ? teleport::resource_version(*found) : std::string();
    const json::object wanted = state->content(version, text);
    const ApiResult<json::object> done = co_await state->server.apply(state->secret, wanted);
    if (done) co_return true;
    if (done.error().kind != ApiError::Kind::conflict &&
        done.error().kind != ApiError::Kind::not_found)
      co_return done.error();
  }
  co_return ApiError{ApiError::Kind::unreachable,
                     state->secret.text() + " is changed by others all the time"};
}

asio::awaitable<void> KubeconfigSecret::State::keep_written(std::shared_ptr<State> state) {
  std::chrono::milliseconds back_off = first_back_off;
  while (!state->ended) {
    std::chrono::milliseconds pause = look_interval;
    if (state->wanted) {
      state->news = false;
      const std::string text = *state->wanted;
      const ApiResult<bool> done = co_await write(state, text);
      if (state->ended) co_return;
      if (done && *done) log::info("kubeconfig written", {{"path", state->secret.text()}});
      if (done) {
        state->told.clear();
        back_off = first_back_off;
        if (!state->news) state->on_written();
      } else {
        if (state->told != done.error().message)
          log::error("cannot write the kubeconfig; trying again",
                     {{"secret", state->secret.text()}, {"cause", done.error().message}});
        state->told = done.error().message;
        pause = back_off;
        back_off = std::min(back_off * 2, last_back_off);
      }
    }
    if (state->news) continue;
    state->timer.expires_after(pause);
    co_await state->timer.async_wait(as_result);
  }
}

KubeconfigSecret::KubeconfigSecret(asio::io_context& io, const teleport::ApiServer& server,
                                   teleport::ApiObject secret, const SecretName& name,
                                   std::function<void()> on_written)
    : state_(std::make_shared<State>(io, server, std::move(secret), name, std::move(on_written))) {
  asio::co_spawn(io, State::keep_written(state_), asio::detached);
}

KubeconfigSecret::~KubeconfigSecret() {
  state_->ended = true;
  state_->timer.cancel();
}

void KubeconfigSecret::put(std::string text) {
  state_->wanted = std::move(text);
  state_->news = true;
  state_->timer.cancel();
}

std::string KubeconfigSecret::path() const { return state_->secret.text(); }

}  // namespace kubelane
