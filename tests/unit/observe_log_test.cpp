// The log's lines: one per event, parsable as JSON or by eye, whatever the values hold.
#include <algorithm>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "proxy/observe/log.hpp"

namespace kubelane::log {
namespace {

// What the body writes to standard error.
std::string written(LogFormat format, LogLevel level, const std::function<void()>& body) {
  init(format, level);
  ::testing::internal::CaptureStderr();
  body();
  flush();
  return ::testing::internal::GetCapturedStderr();
}

std::string text_of(const std::string& message, Fields fields = {}) {
  return written(LogFormat::text, LogLevel::debug, [&] { info(message, fields); });
}
std::string json_of(const std::string& message, Fields fields = {}) {
  return written(LogFormat::json, LogLevel::debug, [&] { info(message, fields); });
}

// `2026-11-24T13:00:00.123Z`
void expect_timestamp(const std::string& text) {
  const std::string shape = "dddd-dd-ddTdd:dd:dd.dddZ";
  ASSERT_EQ(text.size(), shape.size()) << text;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 'd')
      EXPECT_TRUE(text[i] >= '0' && text[i] <= '9') << text;
    else
      EXPECT_EQ(text[i], shape[i]) << text;
  }
}

constexpr std::size_t time_bytes = 24;

// Without the time and the line's end.
std::string rest_of(const std::string& line) {
  EXPECT_TRUE(line.ends_with('\n'));
  expect_timestamp(line.substr(0, time_bytes));
  return line.substr(time_bytes, line.size() - time_bytes - 1);
}

TEST(TextLog, is_time_level_message_and_fields) {
  EXPECT_EQ(rest_of(text_of("ready")), " INFO  ready");
  EXPECT_EQ(rest_of(text_of("ready", {{"cluster", "prod"}, {"port", 7443}})),
            " INFO  ready cluster=prod port=7443");
}

TEST(TextLog, levels_have_the_same_width) {
  const std::string lines = written(LogFormat::text, LogLevel::debug, [] {
    debug("x");
    info("x");
    warn("x");
    error("x");
  });
  std::vector<std::string> all;
  for (std::size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1)
    all.push_back(lines.substr(at + time_bytes, lines.find('\n', at) - at - time_bytes));
  EXPECT_EQ(all, (std::vector<std::string>{" DEBUG x", " INFO  x", " WARN  x", " ERROR x"}));
}

TEST(TextLog, quotes_values_that_would_be_misread) {
  EXPECT_EQ(rest_of(text_of("m", {{"a", "two words"},
                                  {"b", "x=y"},
                                  {"c", "say \"hi\""},
                                  {"d", "back\\slash"},
                                  {"e", "plain/path:1"}})),
            " INFO  m a=\"two words\" b=\"x=y\" c=\"say \\\"hi\\\"\" d=\"back\\\\slash\" "
            "e=plain/path:1");
}

TEST(TextLog, leaves_out_what_is_empty_but_not_zero) {
  EXPECT_EQ(rest_of(text_of("m", {{"a", ""}, {"n", 0}})), " INFO  m n=0");
}

// A client must not be able to write lines of its own, or to a terminal.
TEST(TextLog, stays_on_one_line_without_control_characters) {
  const std::string line = text_of("m\nforged", {{"a", "x\ny"}, {"b", "\x1b[31m\r\t\x7f"}});
  EXPECT_EQ(rest_of(line), " INFO  m\\nforged a=\"x\\ny\" b=\"\\u001b[31m\\u000d\\u0009\\u007f\"");
  EXPECT_EQ(rest_of(text_of("m", {{"a",
                                   "\xc2\x9b"
                                   "31m"}})),
            " INFO  m a=\"\\u009b31m\"")
      << "the one-character form of ESC [";
}

TEST(JsonLog, is_an_object_per_line) {
  const std::string line =
      json_of("ready", {{"cluster", "prod"}, {"port", 7443}, {"empty", ""}, {"minus", -1}});
  ASSERT_TRUE(line.starts_with("{\"time\":\"")) << line;
  expect_timestamp(line.substr(9, time_bytes));
  EXPECT_EQ(line.substr(9 + time_bytes),
            "\",\"level\":\"info\",\"message\":\"ready\",\"cluster\":\"prod\",\"port\":7443,"
            "\"empty\":\"\",\"minus\":-1}\n");
}

TEST(JsonLog, says_the_level) {
  const std::string lines = written(LogFormat::json, LogLevel::debug, [] {
    debug("x");
    warn("x");
    error("x");
  });
  EXPECT_NE(lines.find("\"level\":\"debug\""), std::string::npos);
  EXPECT_NE(lines.find("\"level\":\"warn\""), std::string::npos);
  EXPECT_NE(lines.find("\"level\":\"error\""), std::string::npos);
}

TEST(JsonLog, escapes_every_ascii_byte_so_that_it_reads_back) {
  std::string all;
  for (char c = 1; c < 0x7f; ++c) all += c;
  const std::string line = json_of(all, {{"field", all}});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  for (const char c : line.substr(0, line.size() - 1))
    EXPECT_GE(static_cast<unsigned char>(c), 0x20u);
  // JSON is YAML.
  const YAML::Node read = YAML::Load(line);
  EXPECT_EQ(read["message"].as<std::string>(), all);
  EXPECT_EQ(read["field"].as<std::string>(), all);
}

TEST(JsonLog, a_nul_is_escaped_too) {
  EXPECT_NE(json_of(std::string("a\0b", 3)).find("\"a\\u0000b\""), std::string::npos);
}

TEST(JsonLog, keeps_utf8_and_replaces_what_is_none) {
  for (const std::string good : {"ö", "€", "𝄞", "\xc2\xa0", "\xed\x9f\xbf", "\xee\x80\x80",
                                 "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbd"})
    EXPECT_NE(json_of("<" + good + ">").find("\"<" + good + ">\""), std::string::npos) << good;
  struct Bad {
    std::string bytes;
    int replaced;  // how many of them are no part of a character
  };
  for (const Bad& bad : {Bad{"\x80", 1},
                         {"\xff", 1},
                         {"\xc3", 1},
                         {"\xc3(", 1},
                         {"\xc0\xaf", 2},
                         {"\xc1\xbf", 2},
                         {"\xe2\x82", 2},
                         {"\xe0\x9f\xbf", 3},
                         {"\xed\xa0\x80", 3},
                         {"\xf0\x8f\xbf\xbf", 4},
                         {"\xf4\x90\x80\x80", 4},
                         {"\xf5\x80\x80\x80", 4}}) {
    const std::string line = json_of(bad.bytes);
    std::string expected = "\"message\":\"";
    for (int i = 0; i < bad.replaced; ++i) expected += "\\ufffd";
    expected += bad.bytes.substr(static_cast<std::size_t>(bad.replaced)) + "\"";
    EXPECT_NE(line.find(expected), std::string::npos) << line;
  }
}

TEST(LogLevelOf, decides_what_is_written) {
  const auto count = [](LogLevel level) {
    const std::string lines = written(LogFormat::text, level, [] {
      debug("x");
      info("x");
      warn("x");
      error("x");
    });
    return std::count(lines.begin(), lines.end(), '\n');
  };
  EXPECT_EQ(count(LogLevel::debug), 4);
  EXPECT_EQ(count(LogLevel::info), 3);
  EXPECT_EQ(count(LogLevel::warn), 2);
  EXPECT_EQ(count(LogLevel::error), 1);
}

TEST(LogLevelOf, can_be_asked_and_changed) {
  init(LogFormat::text, LogLevel::info);
  EXPECT_FALSE(enabled(LogLevel::debug));
  EXPECT_TRUE(enabled(LogLevel::info));
  set_level(LogLevel::debug);
  EXPECT_TRUE(enabled(LogLevel::debug));
  set_level(LogLevel::error);
  EXPECT_FALSE(enabled(LogLevel::warn));
}

TEST(Log, lines_of_several_threads_stay_whole) {
  constexpr int each = 200;
  const std::string value(300, 'v');
  const std::string lines = written(LogFormat::text, LogLevel::info, [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        for (int j = 0; j < each; ++j) info("line", {{"thread", i}, {"value", value}});
      });
    for (std::thread& thread : threads) thread.join();
  });
  int whole = 0;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = lines.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    const std::string line = lines.substr(at, end - at);
    EXPECT_EQ(line.size(), time_bytes + std::string(" INFO  line thread=0 value=").size() + 300)
        << line;
    EXPECT_TRUE(line.ends_with("value=" + value));
    ++whole;
    at = end + 1;
  }
  EXPECT_EQ(whole, 4 * each);
}

}  // namespace
}  // namespace kubelane::log
