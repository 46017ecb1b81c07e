#include "proxy/admin/admin_routes.hpp"

#include <initializer_list>

#include "proxy/admin/browser_guard.hpp"
#include "proxy/observe/log.hpp"

namespace kubelane::admin {
namespace {

Answer text_answer(int status, std::string body) {
  Answer answer;
  answer.status = status;
  answer.body = std::move(body);
  return answer;
}

Answer json_answer(std::string body) {
  Answer answer;
  answer.content_type = "application/json";
  answer.body = std::move(body);
  return answer;
}

Answer wrong_method(const std::string& allow) {
  Answer answer = text_answer(405, "this path answers " + allow + "\n");
  answer.allow = allow;
  return answer;
}

Answer set_log_level(std::string_view word) {
  while (!word.empty() && (word.back() == '\n' || word.back() == '\r' || word.back() == ' '))
    word.remove_suffix(1);
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error}) {
    if (word != log::name(level)) continue;
    const LogLevel before = log::level();
    log::set_level(level);
    log::warn("the log level was changed", {{"from", log::name(before)}, {"to", word}});
    return text_answer(200, std::string(word) + "\n");
  }
  return text_answer(400, "the body must be one of debug, info, warn, error\n");
}

}  // namespace

void AdminRoutes::handle(const Request& request, const Reply& reply) {
  const std::string& path = request.path;
  const std::string& method = request.method;
  if (std::string refused = refuse_browser(request); !refused.empty())
    return reply(text_answer(403, std::move(refused)));
  const bool reads = method == "GET" || method == "HEAD";
  if (path == "/log-level") {
    if (reads) return reply(text_answer(200, std::string(log::name(log::level())) + "\n"));
    return reply(method == "PUT" ? set_log_level(request.body) : wrong_method("GET, HEAD, PUT"));
  }
  if (path == "/quitquitquit") {
    if (method != "POST") return reply(wrong_method("POST"));
    log::info("asked to stop by the admin listener");
    Answer answer = text_answer(200, "draining\n");
    answer.after = sources_.quit;
    return reply(std::move(answer));
  }
  if (path != "/config" && path != "/certificates" && path != "/connections")
    return reply(text_answer(
        404, "there are /log-level, /config, /connections, /certificates and /quitquitquit\n"));
  if (!reads) return reply(wrong_method("GET, HEAD"));
  if (path == "/config") return reply(json_answer(sources_.config()));
  if (path == "/certificates") return reply(json_answer(sources_.certificates()));
  sources_.connections([reply](std::string body) { reply(json_answer(std::move(body))); });
}

}  // namespace kubelane::admin
