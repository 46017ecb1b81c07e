#include "proxy/observe/log.hpp"

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <string>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "config/utf8.hpp"

namespace kubelane::log {
namespace {

std::atomic<LogFormat> format_{LogFormat::text};
std::atomic<LogLevel> level_{LogLevel::info};

// spdlog owns the sink and its lock; the line itself is composed here, so that every byte of a
// value is escaped.
spdlog::logger& sink() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("kubelane",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// RFC 3339 in UTC with milliseconds.
std::string timestamp() {
  using std::chrono::system_clock;
  const system_clock::time_point now = system_clock::now();
  const std::time_t seconds = system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(text, length);
  const std::string digits = std::to_string(milliseconds);
  out += '.';
  out.append(3 - digits.size(), '0');
  return out + digits + "Z";
}

// Control characters, the C1 ones of terminals included, become JSON's escapes in both formats;
// bytes that are no UTF-8 the replacement character.
void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const auto byte = static_cast<unsigned char>(c);
    const std::size_t length = utf8_length(text.substr(at));
    const auto second = length == 2 ? static_cast<unsigned char>(text[at + 1]) : 0u;
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && second < 0xa0)) {
      const unsigned code = length == 2 ? second : byte;
      out += "\\u00";
      out += digits[code >> 4];
      out += digits[code & 15u];
    } else {
      out += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text);
  out += '"';
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '=' || c == '\\') return true;
  }
  return false;
}

std::string compose(LogLevel level, std::string_view message, Fields fields) {
  std::string line;
  if (format_.load(std::memory_order_relaxed) == LogFormat::json) {
    line = "{\"time\":\"" + timestamp() + "\",\"level\":\"";
    line += name(level);
    line += "\",\"message\":";
    append_quoted(line, message);
    for (const Field& field : fields) {
      line += ',';
      append_quoted(line, field.key);
      line += ':';
      if (field.is_number) {
        line += std::to_string(field.number);
      } else {
        append_quoted(line, field.text);
      }
    }
    return line + "}";
  }
  line = timestamp() + " ";
  std::string label(name(level));
  for (char& c : label) c = static_cast<char>(c - 'a' + 'A');
  label.resize(5, ' ');
  line += label + " ";
  append_escaped(line, message);
  for (const Field& field : fields) {
    if (!field.is_number && field.text.empty()) continue;
    line += ' ';
    line += field.key;
    line += '=';
    if (field.is_number) {
      line += std::to_string(field.number);
    } else if (needs_quotes(field.text)) {
      append_quoted(line, field.text);
    } else {
      line += field.text;
    }
  }
  return line;
}

void write(LogLevel level, std::string_view message, Fields fields) {
  if (!enabled(level)) return;
  const std::string line = compose(level, message, fields);
  sink().log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void init(LogFormat format, LogLevel level) {
  format_ = format;
  level_ = level;
  sink();
}

void set_format(LogFormat format) { format_ = format; }

void set_level(LogLevel level) { level_ = level; }

LogLevel level() noexcept { return level_.load(std::memory_order_relaxed); }

std::string_view name(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warn:
      return "warn";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

bool enabled(LogLevel level) noexcept { return level >= level_.load(std::memory_order_relaxed); }

void flush() { sink().flush(); }

void debug(std::string_view message, Fields fields) { write(LogLevel::debug, message, fields); }
void info(std::string_view message, Fields fields) { write(LogLevel::info, message, fields); }
void warn(std::string_view message, Fields fields) { write(LogLevel::warn, message, fields); }
void error(std::string_view message, Fields fields) { write(LogLevel::error, message, fields); }

}  // namespace kubelane::log
