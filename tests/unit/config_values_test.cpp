// Text to durations, sizes, addresses and paths, and what is refused.
#include <filesystem>

#include <gtest/gtest.h>

#include "config/values.hpp"

namespace kubelane {
namespace {

using std::chrono::milliseconds;

TEST(ParseDuration, reads_what_tbot_reads) {
  EXPECT_EQ(parse_duration("1h"), milliseconds(3'600'000));
  EXPECT_EQ(parse_duration("20m"), milliseconds(1'200'000));
  EXPECT_EQ(parse_duration("1h30m"), milliseconds(5'400'000));
  EXPECT_EQ(parse_duration("1.5s"), milliseconds(1500));
  EXPECT_EQ(parse_duration(".5s"), milliseconds(500));
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("2000us"), milliseconds(2));
  EXPECT_EQ(parse_duration("2000µs"), milliseconds(2));
  EXPECT_EQ(parse_duration("3000000ns"), milliseconds(3));
  EXPECT_EQ(parse_duration("0"), milliseconds(0));
  EXPECT_EQ(parse_duration("87599h"), milliseconds(87599LL * 3'600'000));
}

TEST(ParseDuration, refuses_everything_else) {
  for (const char* bad : {"",
                          "1",
                          "h",
                          "-1s",
                          "+1s",
                          " 1s",
                          "1s ",
                          "1 s",
                          "1d",
                          "1w",
                          "1e3s",
                          "infs",
                          "nans",
                          "nanms",
                          "nan(1)s",
                          "-nans",
                          "0x1s",
                          "1s2",
                          "1.2.3s",
                          "..s",
                          "87601h",
                          "9e999h",
                          "99999999999999999999999999h"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(ParseSize, reads_bytes_and_binary_units) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("1048576"), 1u << 20);
  EXPECT_EQ(parse_size("64KiB"), 64u << 10);
  EXPECT_EQ(parse_size("16MiB"), 16u << 20);
  EXPECT_EQ(parse_size("1GiB"), 1u << 30);
  EXPECT_EQ(parse_size("1024GiB"), std::size_t{1} << 40);
}

TEST(ParseSize, refuses_what_is_ambiguous_or_too_large) {
  for (const char* bad : {"", "KiB", "-1", "+1", "1K", "1KB", "1kib", "1 KiB", "1.5MiB", "0x10",
                          "1025GiB", "18446744073709551615", "18446744073709551616"})
    EXPECT_FALSE(parse_size(bad)) << bad;
}

void expect_listen(const std::string& text, const std::string& host, std::uint16_t port) {
  const auto address = parse_listen(text);
  ASSERT_TRUE(address) << text;
  EXPECT_EQ(address->host, host) << text;
  EXPECT_EQ(address->port, port) << text;
}

TEST(ParseListen, takes_addresses_with_a_port) {
  expect_listen("127.0.0.1:7443", "127.0.0.1", 7443);
  expect_listen("0.0.0.0:65535", "0.0.0.0", 65535);
  expect_listen("localhost:0", "localhost", 0);
  expect_listen("[::1]:7443", "::1", 7443);
  expect_listen(":7443", "127.0.0.1", 7443);
  expect_listen("7443", "127.0.0.1", 7443);
}

TEST(ParseListen, refuses_names_and_ambiguity) {
  for (const char* bad : {"",
                          ":",
                          "127.0.0.1",
                          "127.0.0.1:",
                          "127.0.0.1:65536",
                          "127.0.0.1:-1",
                          "127.0.0.1:+1",
                          "127.0.0.1:http",
                          "127.0.0.1:7443 ",
                          "127.1:7443",
                          "example.com:7443",
                          "::1:7443",
                          "::1",
                          "[::1]",
                          "[::1]7443",
                          "[127.0.0.1]:7443",
                          "[]:7443",
                          "[::1:7443",
                          "tcp://127.0.0.1:7443",
                          "unix:///run/x",
                          "127.0.0.1:7443:7443",
                          "*:7443"})
    EXPECT_FALSE(parse_listen(bad)) << bad;
}

TEST(IsLoopback, knows_all_ways_to_write_it) {
  for (const char* loopback :
       {"127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "[0:0:0:0:0:0:0:1]:1", ":1"})
    EXPECT_TRUE(is_loopback(*parse_listen(loopback))) << loopback;
  for (const char* remote : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "128.0.0.1:1", "[fe80::1]:1",
                             "[::2]:1", "[2001:db8::127]:1"})
    EXPECT_FALSE(is_loopback(*parse_listen(remote))) << remote;
}

TEST(ParseBool, is_yamls) {
  for (const char* yes : {"true", "True", "TRUE", "yes", "on", "y", "1"})
    EXPECT_EQ(parse_bool(yes), true) << yes;
  for (const char* no : {"false", "False", "FALSE", "no", "off", "n", "0"})
    EXPECT_EQ(parse_bool(no), false) << no;
  for (const char* bad : {"", "2", "tru", "enabled", " true", "nope"})
    EXPECT_FALSE(parse_bool(bad)) << bad;
}

TEST(ParseProxyServer, adds_the_default_port) {
  EXPECT_EQ(parse_proxy_server("teleport.example.com:443"), "teleport.example.com:443");
  EXPECT_EQ(parse_proxy_server("teleport.example.com"), "teleport.example.com:443");
  EXPECT_EQ(parse_proxy_server("https://teleport.example.com"), "teleport.example.com:443");
  EXPECT_EQ(parse_proxy_server("https://teleport.example.com:3080/"), "teleport.example.com:3080");
  EXPECT_EQ(parse_proxy_server("10.0.0.1:03080"), "10.0.0.1:3080");
  EXPECT_EQ(parse_proxy_server("[2001:db8::1]"), "[2001:db8::1]:443");
  EXPECT_EQ(parse_proxy_server("[2001:db8::1]:3080"), "[2001:db8::1]:3080");
}

TEST(ParseProxyServer, refuses_what_is_no_web_address) {
  for (const char* bad : {"",
                          ":443",
                          "host:",
                          "host:0",
                          "host:65536",
                          "host:x",
                          "host:443:443",
                          "http://host",
                          "https://",
                          "https://host/path",
                          "user@host",
                          "host?x",
                          "host#x",
                          "ho st",
                          "host\n",
                          "host\r\nX: y",
                          "[::1",
                          "[]",
                          "[::1]443",
                          "[::1]:",
                          "[host]:443",
                          "::1",
                          "hö.example",
                          "host/"})
    EXPECT_FALSE(parse_proxy_server(bad)) << bad;
}

TEST(IsHostName, goes_by_the_letters) {
  EXPECT_TRUE(is_host_name("kubelane.my-ns_1.svc"));
  EXPECT_TRUE(is_host_name("10.0.0.1"));
  for (const char* bad : {"", "*.example.com", "a:1", "a/b", "a b", "::1", "ö"})
    EXPECT_FALSE(is_host_name(bad)) << bad;
}

TEST(AbsolutePath, is_lexically_normal) {
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(absolute_path("/opt/machine-id"), "/opt/machine-id");
  EXPECT_EQ(absolute_path("/opt//machine-id/"), "/opt/machine-id");
  EXPECT_EQ(absolute_path("/opt/./a/../machine-id"), "/opt/machine-id");
  EXPECT_EQ(absolute_path("/"), "/");
  EXPECT_EQ(absolute_path("///"), "/");
  EXPECT_EQ(absolute_path("x/y"), here + "/x/y");
  EXPECT_EQ(absolute_path("./x/"), here + "/x");
}

TEST(ParseDestination, knows_tbots_short_forms) {
  Destination memory;
  EXPECT_EQ(parse_destination("memory://", memory), "");
  EXPECT_EQ(memory.type, Destination::Type::memory);
  for (const char* path : {"/opt/machine-id", "file:///opt/machine-id", "/opt/machine-id/"}) {
    Destination directory;
    EXPECT_EQ(parse_destination(path, directory), "");
    EXPECT_EQ(directory.type, Destination::Type::directory);
    EXPECT_EQ(directory.path, "/opt/machine-id");
  }
  Destination secret;
  EXPECT_EQ(parse_destination("kubernetes-secret:///a.b-1", secret), "");
  EXPECT_EQ(secret.type, Destination::Type::kubernetes_secret);
  EXPECT_EQ(secret.secret.name, "a.b-1");
  Destination odd;
  EXPECT_EQ(parse_destination("/opt/a://b", odd), "") << "a path may hold anything";
  EXPECT_EQ(odd.path, "/opt/a:/b");
}

TEST(ParseDestination, never_takes_an_address_for_a_directory) {
  for (const char* bad :
       {"kubernetes-secret:///Name", "kubernetes-secret://name", "kubernetes-secret:///",
        "s3://bucket/x", "file://relative", "file://", "memory://x", "https://example.com"}) {
    Destination out;
    EXPECT_NE(parse_destination(bad, out), "") << bad;
    EXPECT_EQ(out.type, Destination::Type::none) << bad;
  }
}

}  // namespace
}  // namespace kubelane
