#include "proxy/admin/diagnostics_routes.hpp"

#include <chrono>
#include <optional>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace kubelane::admin {
namespace {

constexpr std::size_t most_waiters = 32;  // half of the connections: probes need theirs
constexpr std::chrono::milliseconds look_again{500};
constexpr std::string_view json_type = "application/json";

Answer json_answer(int status, std::string body) {
  Answer answer;
  answer.status = status;
  answer.content_type = json_type;
  answer.body = std::move(body);
  return answer;
}

Answer text_answer(int status, std::string body) {
  Answer answer;
  answer.status = status;
  answer.body = std::move(body);
  return answer;
}

// The names of clusters hold whatever AWS puts into an ARN.
std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
        digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Answer not_found(const std::string& what) {
  const boost::json::value value{{"error", what + " not found"}};
  return json_answer(404, boost::json::serialize(value) + "\n");
}

// `rest`: service, or service/cluster.
Answer readiness(const Health& health, std::string_view rest) {
  if (rest.empty()) return json_answer(http_status(health.status), to_json(health));
  const std::size_t slash = rest.find('/');
  const std::string name = percent_decoded(rest.substr(0, slash));
  const ServiceHealth* const service = health.find(name);
  if (service == nullptr) return not_found("service \"" + name + "\"");
  const bool draining = health.cause == Cause::draining;
  if (slash == std::string_view::npos)
    return json_answer(draining ? 503 : http_status(service->status), to_json(*service));
  const std::string wanted = percent_decoded(rest.substr(slash + 1));
  for (const ClusterHealth& cluster : service->clusters)
    if (cluster.name == wanted)
      return json_answer(draining ? 503 : http_status(cluster.status), to_json(cluster));
  return not_found("cluster \"" + wanted + "\" of service \"" + name + "\"");
}

// What stands behind `/name/`; nothing: another path.
std::optional<std::string_view> below(std::string_view path, std::string_view name) {
  if (!path.starts_with(name)) return std::nullopt;
  path.remove_prefix(name.size());
  if (path.empty() || path == "/") return std::string_view();
  if (path.front() != '/') return std::nullopt;
  return path.substr(1);
}

}  // namespace

DiagnosticsRoutes::DiagnosticsRoutes(boost::asio::io_context& io, Sources sources)
    : timer_(io), sources_(std::move(sources)), waiters_(std::make_shared<std::list<Waiter>>()) {}

void DiagnosticsRoutes::handle(const Request& request, const Reply& reply) {
  if (request.method != "GET" && request.method != "HEAD") {
    Answer answer = text_answer(405, "this listener answers GET and HEAD\n");
    answer.allow = "GET, HEAD";
    return reply(std::move(answer));
  }
  const std::string& path = request.path;
  if (path == "/livez") {
    const std::string stuck = sources_.stuck();
    return reply(text_answer(stuck.empty() ? 200 : 503, stuck.empty() ? "ok\n" : stuck + "\n"));
  }
  if (path == "/startup") {
    const std::string missing = sources_.not_started();
    return reply(
        text_answer(missing.empty() ? 200 : 503, missing.empty() ? "ok\n" : missing + "\n"));
  }
  if (path == "/metrics") {
    return sources_.metrics([reply](std::string text) {
      Answer answer = text_answer(200, std::move(text));
      answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
      reply(std::move(answer));
    });
  }
  if (const auto service = below(path, "/readyz")) {
    return sources_.health([reply, rest = std::string(*service)](const Health& health) {
      reply(readiness(health, rest));
    });
  }
  if (const auto service = below(path, "/wait")) return wait(std::string(*service), reply);
  reply(text_answer(404, "there are /startup, /livez, /readyz, /wait and /metrics\n"));
}

void DiagnosticsRoutes::wait(const std::string& service, const Reply& reply) {
  if (waiters_->size() >= most_waiters)
    return reply(text_answer(503, "too many clients wait already\n"));
  const auto added = waiters_->insert(waiters_->end(), Waiter{service, reply});
  reply.on_gone([weak = std::weak_ptr(waiters_), added] {
    if (const auto all = weak.lock()) all->erase(added);
  });
  look_for_waiters();
}

void DiagnosticsRoutes::look_for_waiters() {
  if (looking_ || waiters_->empty()) return;
  looking_ = true;
  sources_.health([this](const Health& health) {
    looking_ = false;
    for (auto each = waiters_->begin(); each != waiters_->end();) {
      Answer answer = readiness(health, each->service);
      if (answer.status == 503) {
        ++each;
        continue;
      }
      const Reply reply = each->reply;
      each = waiters_->erase(each);
      reply(std::move(answer));
    }
    timer_.expires_after(look_again);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) look_for_waiters();
    });
  });
}

}  // namespace kubelane::admin
