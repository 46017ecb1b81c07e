// Logging: one line per event, text or JSON, message plus named fields. Thread-safe.
// Never pass a secret: no token, key, Authorization value or kubeconfig content.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "config/config.hpp"

namespace kubelane::log {

// A named value. Numbers stay numbers in JSON.
struct Field {
  Field(std::string_view name, std::string_view value) : key(name), text(value) {}
  Field(std::string_view name, const std::string& value) : key(name), text(value) {}
  Field(std::string_view name, const char* value) : key(name), text(value) {}
  template <class Integer>
  requires std::is_integral_v<Integer> Field(std::string_view name, Integer value)
      : key(name), number(static_cast<std::int64_t>(value)), is_number(true) {}
  std::string_view key;
  std::string_view text;
  std::int64_t number = 0;
  bool is_number = false;
};
using Fields = std::initializer_list<Field>;

// Writes to standard error. Call once at start, before other threads run.
// Text: `2026-11-24T13:00:00.123Z INFO  message key=value key="va lue"`.
// JSON: {"time":"…","level":"info","message":"…","key":"value"}. Control characters and bytes that
// are no UTF-8 are escaped in both. Text leaves out empty values.
void init(LogFormat format, LogLevel level);
void set_format(LogFormat format);
void set_level(LogLevel level);
LogLevel level() noexcept;
std::string_view name(LogLevel level) noexcept;  // "debug", "info", "warn", "error"
bool enabled(LogLevel level) noexcept;
void flush();

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warn(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

}  // namespace kubelane::log
