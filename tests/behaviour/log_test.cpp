// The log as an operator reads it, through the binary: its two formats, its levels, one access line
// per request, no secrets; and the signals that it tells of.
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "tests/support/kubelane_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;
using support::Response;
using support::TlsClient;

class Log : public support::KubelaneFixture {
 protected:
  std::vector<boost::json::object> json_lines() {
    std::vector<boost::json::object> all;
    for (const std::string& line : kubelane().error_lines()) {
      boost::json::error_code failed;
      const boost::json::value value = boost::json::parse(line, failed);
      EXPECT_FALSE(failed) << line;
      if (!failed) all.push_back(value.as_object());
    }
    return all;
  }
  // The access lines once there are at least that many.
  std::vector<boost::json::object> access_lines(std::size_t count) {
    std::vector<boost::json::object> found;
    eventually([&] {
      found.clear();
      for (boost::json::object& line : json_lines())
        if (line["message"] == "request") found.push_back(std::move(line));
      return found.size() >= count;
    });
    return found;
  }
  // Verb, resource, namespace, name and status of the only access line since the last call.
  std::string access_line() {
    const auto lines = access_lines(seen_ + 1);
    EXPECT_EQ(lines.size(), seen_ + 1);
    seen_ = lines.size();
    if (lines.empty()) return {};
    const boost::json::object& line = lines.back();
    const auto text = [&](const char* key) { return std::string(line.at(key).as_string()); };
    EXPECT_EQ(text("level"), "debug");
    EXPECT_GE(line.at("total_us").as_int64(), line.at("first_byte_us").as_int64());
    return text("cluster") + "|" + text("verb") + "|" + text("resource") + "|" + text("namespace") +
           "|" + text("name") + "|" + std::to_string(line.at("status").as_int64());
  }
  // Answers that the lab does not know with 404, which is an answer of the cluster like any other.
  void call(const std::string& method, const std::string& target, int status = 404) {
    EXPECT_EQ(exchange(method, target).status, status) << target;
  }
  std::string last_serial() {
    const auto seen = proxy().seen();
    for (auto at = seen.requests.rbegin(); at != seen.requests.rend(); ++at)
      if (at->kube) return at->client_serial;
    return {};
  }

  std::size_t seen_ = 0;
};

TEST_F(Log, json_is_json_from_the_first_line_to_the_last) {
  more_yaml = "oneshot: true\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  EXPECT_EQ(stop_kubelane(), 0);
  const auto lines = json_lines();
  EXPECT_GT(lines.size(), 5u);
  for (const boost::json::object& line : lines)
    for (const char* key : {"time", "level", "message"})
      EXPECT_TRUE(line.contains(key) && line.at(key).is_string()) << boost::json::serialize(line);
}

TEST_F(Log, text_is_a_time_a_level_and_words) {
  start_lab();
  write_credentials();
  std::string config = default_config();
  const std::string json = "log: {format: json, level: debug}\n";
  config.erase(config.find(json), json.size());
  start_kubelane(config);
  ASSERT_TRUE(kubelane().wait_for_line("kubelane is ready"));
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 0);
  for (const std::string& line : kubelane().error_lines()) {
    ASSERT_GT(line.size(), 31u) << line;
    EXPECT_EQ(line[10], 'T') << line;
    EXPECT_EQ(line[23], 'Z') << line;
    const std::string level = line.substr(24, 7);
    EXPECT_TRUE(level == " INFO  " || level == " WARN  ") << line;
  }
  EXPECT_TRUE(
      kubelane().wait_for_line("ready service=demo cluster=demo server=https://127.0.0.1:"));
  EXPECT_EQ(kubelane().output(), "") << "the log is on standard error";
}

TEST_F(Log, every_request_has_one_line_that_says_what_it_was) {
  ASSERT_NO_FATAL_FAILURE(start());
  call("GET", "/api/v1/namespaces/web/pods?limit=500");
  EXPECT_EQ(access_line(), "demo|list|pods|web||404");
  call("GET", "/api/v1/namespaces/web/pods/a");
  EXPECT_EQ(access_line(), "demo|get|pods|web|a|404");
  call("GET", "/api/v1/namespaces/web/pods/a/log");
  EXPECT_EQ(access_line(), "demo|get|pods/log|web|a|404");
  call("GET", "/apis/apps/v1/deployments?watch=true");
  EXPECT_EQ(access_line(), "demo|watch|deployments|||404");
  call("DELETE", "/apis/apps/v1/namespaces/web/deployments/d");
  EXPECT_EQ(access_line(), "demo|delete|deployments|web|d|404");
  call("DELETE", "/api/v1/namespaces/web/configmaps");
  EXPECT_EQ(access_line(), "demo|deletecollection|configmaps|web||404");
  for (const auto& [method, verb] : std::vector<std::pair<std::string, std::string>>{
           {"POST", "create"}, {"PUT", "update"}, {"PATCH", "patch"}}) {
    call(method, "/api/v1/namespaces/web/pods/a");
    EXPECT_EQ(access_line(), "demo|" + verb + "|pods|web|a|404");
  }
  call("GET", "/bytes/1", 200);
  EXPECT_EQ(access_line(), "demo|GET|/bytes/1|||200");
  call("GET", "/status/503", 503);
  EXPECT_EQ(access_line(), "demo|GET|/status/503|||503");
}

TEST_F(Log, requests_that_get_no_further_have_their_line_too) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto raw = [&](const std::string& head) {
    TlsClient caller = connect();
    caller.write(head + "\r\n\r\n");
    return caller.read_response().status;
  };
  const std::string host = "\r\nHost: " + endpoint().host_header();
  const std::string token = "\r\nAuthorization: Bearer " + endpoint().token;
  EXPECT_EQ(raw("GET /demo/api/v1/pods HTTP/1.1" + host), 401);
  EXPECT_EQ(access_line(), "|GET|/demo/api/v1/pods|||401");
  EXPECT_EQ(raw("GET /api/v1/pods HTTP/1.1\r\nHost: evil.example.com" + token), 403);
  EXPECT_EQ(access_line(), "|list|pods|||403");
  proxy().stop();
  proxy().close_all();
  call("GET", "/api/v1/namespaces/web/pods", 503);
  EXPECT_EQ(access_line(), "demo|list|pods|web||503");
}

TEST_F(Log, heads_that_cannot_be_read_have_their_line_too) {
  more_yaml = "limits: {max_header_bytes: 4096}\ntimeouts: {request_head: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const auto raw = [&](const std::string& head) {
    TlsClient caller = connect();
    caller.write(head);
    return caller.read_response().status;
  };
  const std::string host = "Host: " + endpoint().host_header() + "\r\n";
  EXPECT_EQ(raw("GET /a b HTTP/1.1\r\n" + host + "\r\n"), 400);
  EXPECT_EQ(access_line(), "|||||400");
  EXPECT_EQ(raw("GET / HTTP/1.1\r\n" + host + "Host: other\r\n\r\n"), 400);
  EXPECT_EQ(access_line(), "|||||400");
  EXPECT_EQ(raw("GET / HTTP/1.1\r\n" + host + "X: " + std::string(5000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(access_line(), "|||||431");
  EXPECT_EQ(raw("GET / HTTP/3.0\r\n" + host + "\r\n"), 505);
  EXPECT_EQ(access_line(), "|||||505");
  EXPECT_EQ(raw("GET / HTTP/1.1\r\nHo"), 408);
  EXPECT_EQ(access_line(), "|||||408");
  EXPECT_EQ(access_lines(5).back().at("failure").as_string(), "timeout");
}

TEST_F(Log, requests_without_credentials_have_their_line_too) {
  client.valid_until = 3;
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(eventually([&] { return get("/api/v1/namespaces/web/pods").status == 503; }));
  bool found = false;
  eventually([&] {
    for (const boost::json::object& line : access_lines(1))
      found =
          found ||
          (line.at("status").as_int64() == 503 && line.at("failure").as_string() == "no_identity" &&
           line.at("cluster").as_string() == "demo" && line.at("namespace").as_string() == "web");
    return found;
  });
  EXPECT_TRUE(found);
}

TEST_F(Log, times_are_those_of_the_request) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient watcher = connect();
  watcher.write(request("GET", "/watch?events=2"));
  Response watch = watcher.read_response_head();
  gate().release(1);
  watcher.read_until("\n\r\n");
  EXPECT_TRUE(access_lines(0).empty()) << "the request goes on";
  gate().release(1);
  watcher.read_response_body(watch);
  const auto lines = access_lines(1);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_GT(lines[0].at("first_byte_us").as_int64(), 0);
  EXPECT_GT(lines[0].at("total_us").as_int64(), lines[0].at("first_byte_us").as_int64());
  EXPECT_GT(lines[0].at("response_bytes").as_int64(), 0);
}

TEST_F(Log, at_level_info_requests_are_silent) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::size_t before = kubelane().error_lines().size();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("/bytes/1").status, 200);
  kubelane().signal(SIGHUP);
  ASSERT_TRUE(kubelane().wait_for_line("reading the credentials again"));
  const auto lines = kubelane().error_lines();
  for (std::size_t i = before; i < lines.size(); ++i)
    EXPECT_EQ(lines[i].find("\"message\":\"request\""), std::string::npos) << lines[i];
}

// What users type and clients send stays theirs, at the most talkative level.
TEST_F(Log, nothing_that_clients_send_as_a_secret_is_logged) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string secrets =
      "X-Custom: hunter2\r\nCookie: hunter2\r\nImpersonate-User: hunter2\r\n"
      "Impersonate-Extra-Hunter2: x\r\nSec-WebSocket-Protocol: base64url.bearer.hunter2\r\n";
  exchange("GET", "/bytes/1?token=hunter2", secrets);
  exchange("POST", "/echo", secrets + "Content-Length: 7\r\n", "hunter2");
  exchange("GET", "/api/v1/namespaces/web/pods/a/exec?command=hunter2", secrets);
  TlsClient stranger = connect();
  stranger.write("GET /demo/x HTTP/1.1\r\nHost: " + endpoint().host_header() +
                 "\r\nAuthorization: Bearer hunter2\r\n\r\n");
  EXPECT_EQ(stranger.read_response().status, 401);
  TlsClient malformed = connect();
  malformed.write("GET /demo/x HTTP/1.1\r\nHost : hunter2\r\nhunter2\r\n\r\n");
  EXPECT_EQ(malformed.read_response().status, 400);
  EXPECT_EQ(stop_kubelane(), 0);
  EXPECT_GE(access_lines(4).size(), 4u);
  for (const std::string& line : kubelane().error_lines())
    EXPECT_EQ(line.find("unter2"), std::string::npos) << line;
}

TEST_F(Log, bytes_of_a_client_cannot_forge_a_line) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write("GET /demo/x\xff\xc2\x9b\"} HTTP/1.1\r\nHost: " + endpoint().host_header() +
               "\r\nAuthorization: Bearer " + endpoint().token + "\r\n\r\n");
  caller.read_response();
  TlsClient other = connect();
  other.write("GET /demo/x HTTP/1.1\r\nHost: \xff\"}\r\nAuthorization: Bearer " + endpoint().token +
              "\r\n\r\n");
  other.read_response();
  EXPECT_EQ(stop_kubelane(), 0);
  EXPECT_FALSE(json_lines().empty());
}

// A new certificate that no event tells of: the directory is a link, and the link is exchanged.
TEST_F(Log, sighup_and_sigusr1_read_the_credentials_again) {
  more_yaml = "timeouts: {credentials_poll: 24h}\n";
  start_lab();
  const auto fill = [&](const std::string& name) {
    const lab::TbotMaterial material = proxy().renew(kind, client);
    lab::TbotDirectory(directory() / name).write(material);
    return material.client.serial;
  };
  const auto link_to = [&](const std::string& name) {
    fs::create_directory_symlink(name, directory() / "next");
    fs::rename(directory() / "next", credentials_path());
  };
  std::string serial = fill("a");
  link_to("a");
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  std::string name = "b";
  for (const int signal : {SIGHUP, SIGUSR1}) {
    const std::string next = fill(name);
    link_to(name);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(get("/bytes/1").status, 200);
    EXPECT_EQ(last_serial(), serial) << "it was found without the signal";
    kubelane().signal(signal);
    EXPECT_TRUE(eventually([&] {
      EXPECT_EQ(get("/bytes/1").status, 200);
      return last_serial() == next;
    })) << signal;
    EXPECT_TRUE(kubelane().wait_for_line("\"reading the credentials again\",\"signal\":" +
                                         std::to_string(signal)));
    serial = next;
    name = "c";
  }
  EXPECT_EQ(stop_kubelane(), 0);
}

}  // namespace
