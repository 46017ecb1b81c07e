// The admin listener: what it shows and changes, who may use it, and what it never tells.
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/control_client.hpp"

namespace {

namespace fs = std::filesystem;
using support::ControlClient;
using support::eventually;
using support::Response;
using support::TlsClient;

class Admin : public support::KubelaneFixture {
 protected:
  Admin() { more_yaml = "admin_addr: 127.0.0.1:0\ndiag_addr: 127.0.0.1:0\n"; }
  ControlClient admin() { return {kubelane(), "administration"}; }
  boost::json::value json(const std::string& path) {
    return boost::json::parse(admin().get(path).body);
  }
  bool logged_since(std::size_t from, const std::string& text) {
    const auto lines = kubelane().error_lines();
    for (std::size_t i = from; i < lines.size(); ++i)
      if (lines[i].find(text) != std::string::npos) return true;
    return false;
  }
};

TEST_F(Admin, the_log_level_changes_at_run_time) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient client_of_admin = admin();
  EXPECT_EQ(client_of_admin.get("/log-level").body, "info\n");
  std::size_t from = kubelane().error_lines().size();
  EXPECT_EQ(get("/bytes/1").status, 200);
  const auto put = [&](const std::string& level) {
    return client_of_admin.send(ControlClient::request("PUT", "/log-level", "", level)).status;
  };
  EXPECT_EQ(put("debug\n"), 200);
  EXPECT_FALSE(logged_since(from, "\"level\":\"debug\""));
  EXPECT_EQ(get("/bytes/1").status, 200);
  EXPECT_TRUE(eventually([&] { return logged_since(from, "\"message\":\"request\""); }));
  EXPECT_EQ(put("error"), 200);
  EXPECT_EQ(client_of_admin.get("/log-level").body, "error\n");
  EXPECT_EQ(put("loud"), 400);
  EXPECT_EQ(put(""), 400);
  EXPECT_EQ(client_of_admin.get("/log-level").body, "error\n");
  EXPECT_EQ(client_of_admin.send(ControlClient::request("POST", "/log-level", "", "info")).status,
            405);
}

TEST_F(Admin, the_configuration_in_force_is_shown_by_the_names_of_the_file) {
  more_yaml += "limits: {max_connections: 77}\ntimeouts: {drain: 7s}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const boost::json::value config = json("/config");
  EXPECT_EQ(config.at("proxy_server").as_string(), proxy().address());
  EXPECT_EQ(config.at("limits").at("max_connections"), 77);
  EXPECT_EQ(config.at("timeouts").at("drain"), "7s");
  EXPECT_EQ(config.at("log").at("level"), "debug");
  const auto& service = config.at("services").as_array().at(0);
  EXPECT_EQ(service.at("type"), "kubernetes/v2");
  EXPECT_EQ(service.at("name"), "kubernetes-v2-1");
  EXPECT_EQ(service.at("credentials").as_string(), credentials_path().string());
}

TEST_F(Admin, connections_and_certificates_are_listed) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient kept = connect();
  kept.write(request("GET", "/watch?events=1"));
  kept.read_response_head();
  const boost::json::value connections = json("/connections");
  ASSERT_EQ(connections.as_array().size(), 1u);
  const auto& only = connections.as_array()[0];
  EXPECT_EQ(only.at("protocol"), "HTTP/1.1");
  EXPECT_EQ(only.at("tls"), true);
  EXPECT_EQ(only.at("requests"), 1);
  EXPECT_EQ(only.at("active"), 1);
  EXPECT_TRUE(only.at("peer").as_string().starts_with("127.0.0.1:"));

  const boost::json::value certificates = json("/certificates");
  ASSERT_EQ(certificates.as_array().size(), 2u);
  EXPECT_EQ(certificates.as_array()[0].at("kind"), "upstream");
  EXPECT_EQ(certificates.as_array()[0].at("user"), "bot-ci");
  EXPECT_EQ(certificates.as_array()[1].at("kind"), "local");
}

TEST_F(Admin, quitquitquit_drains_and_ends_with_0) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  caller.write(request("POST", "/echo", "Content-Length: 6\r\n", "abc"));
  ASSERT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.last_request("/echo") != nullptr; }));
  EXPECT_EQ(admin().get("/quitquitquit").status, 405);
  const Response told = admin().send(ControlClient::request("POST", "/quitquitquit"));
  EXPECT_EQ(told.status, 200);
  caller.write("def");
  EXPECT_EQ(caller.read_response().body, "abcdef");
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Admin, quitquitquit_is_answered_even_when_nothing_is_left_to_drain) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(admin().send(ControlClient::request("POST", "/quitquitquit")).status, 200);
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

// A web page can make a browser on this machine send any of these.
TEST_F(Admin, a_web_page_gets_nothing_and_changes_nothing) {
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient page = admin();
  const auto by = [&](const std::string& method, const std::string& path, const std::string& host,
                      const std::string& fields) {
    return page.send(method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n");
  };
  const std::string here = page.address();
  for (const std::string& fields : std::vector<std::string>{
           "Origin: https://evil.example.com\r\n", "Origin: null\r\n",
           "Origin: http://" + here + "\r\n", "Referer: https://evil.example.com/x\r\n",
           "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Mode: no-cors\r\n"}) {
    for (const char* path : {"/quitquitquit", "/log-level", "/config"}) {
      const Response refused = by("POST", path, here, fields);
      EXPECT_EQ(refused.status, 403) << fields << path;
      EXPECT_EQ(refused.header("Access-Control-Allow-Origin"), "");
      EXPECT_EQ(by("GET", path, here, fields).status, 403) << fields << path;
      EXPECT_EQ(by("OPTIONS", path, here, fields).status, 403) << fields << path;
    }
  }
  // DNS rebinding: a name of the page's that leads here.
  for (const char* host : {"evil.example.com", "evil.example.com:80", "localhost.example.com",
                           "10.0.0.1", "127.0.0.1.example.com", "", "[::2]"})
    for (const char* method : {"GET", "POST"})
      EXPECT_EQ(by(method, "/quitquitquit", host, "").status, 403) << host;
  for (const char* host : {"localhost", "127.0.0.1:1", "[::1]", "127.1.2.3"})
    EXPECT_EQ(by("GET", "/config", host, "").status, 200) << host;
  EXPECT_TRUE(kubelane().running());
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(Admin, an_address_that_others_reach_is_refused_at_the_start) {
  start_lab();
  write_credentials();
  more_yaml = "admin_addr: 0.0.0.0:0\n";
  start_kubelane(default_config());
  EXPECT_EQ(kubelane().wait_exit(), 2);
  EXPECT_TRUE(kubelane().wait_for_line("can be reached from other machines"));
}

// ---- by unix socket

class AdminSocket : public support::KubelaneFixture {
 protected:
  fs::path socket_path() { return directory() / "admin.sock"; }
  void use_socket() { more_yaml = "admin_addr: unix://" + socket_path().string() + "\n"; }
  std::string ask(const std::string& request) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().string().copy(address.sun_path, sizeof address.sun_path - 1);
    std::string answer;
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
        ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      char block[4096];
      for (ssize_t got; (got = ::recv(fd, block, sizeof block, 0)) > 0;)
        answer.append(block, static_cast<std::size_t>(got));
    }
    ::close(fd);
    return answer;
  }
};

TEST_F(AdminSocket, only_its_owner_may_use_it_and_it_goes_with_the_process) {
  use_socket();
  ASSERT_NO_FATAL_FAILURE(start());
  struct stat found {};
  ASSERT_EQ(::lstat(socket_path().c_str(), &found), 0);
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_mode & 0777u, 0600u);
  const std::string answer =
      ask("GET /log-level HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_TRUE(ask("POST /quitquitquit HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nConnection: "
                  "close\r\n\r\n")
                  .starts_with("HTTP/1.1 403"));
  EXPECT_TRUE(ask("POST /quitquitquit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                  .starts_with("HTTP/1.1 200"));
  EXPECT_EQ(kubelane().wait_exit(), 0);
  EXPECT_FALSE(fs::exists(socket_path()));
}

TEST_F(AdminSocket, one_that_a_dead_process_left_is_replaced_and_a_live_one_is_not) {
  use_socket();
  ASSERT_NO_FATAL_FAILURE(start());
  const auto status = [&] { return kubelane().wait_exit(); };
  {
    const std::string config = (directory() / "second.yaml").string();
    std::ofstream(config) << default_config();
    support::Process second(KUBELANE_BINARY, {"start", "-c", config});
    EXPECT_EQ(second.wait_exit(), 1);
    EXPECT_TRUE(second.wait_for_line("another process listens there"));
  }
  kubelane().signal(SIGKILL);
  EXPECT_EQ(status(), -SIGKILL);
  ASSERT_TRUE(fs::exists(socket_path()));
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_TRUE(ask("GET /config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                  .starts_with("HTTP/1.1 200"));
}

TEST_F(AdminSocket, something_else_at_its_path_is_left_alone) {
  use_socket();
  std::ofstream(socket_path()) << "precious";
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  EXPECT_EQ(kubelane().wait_exit(), 1);
  EXPECT_TRUE(kubelane().wait_for_line("something else than a socket"));
  std::string left;
  std::ifstream(socket_path()) >> left;
  EXPECT_EQ(left, "precious");
}

// ---- secrets

std::string file_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class Secrets : public support::BotFixture {};

TEST_F(Secrets, no_endpoint_tells_any) {
  method = "token";
  join_token = "s3cr3t-for-one-join";
  storage = "{type: directory, path: " + (directory() / "storage").string() + "}";
  more_yaml = "admin_addr: 127.0.0.1:0\ndiag_addr: 127.0.0.1:0\n";
  ASSERT_NO_FATAL_FAILURE(start_bot());
  EXPECT_EQ(get("/bytes/10").status, 200);
  std::vector<std::string> secrets = {join_token, endpoint().token, "PRIVATE KEY"};
  // Every line of every key that stands in the storage.
  for (const auto& entry : fs::recursive_directory_iterator(directory() / "storage")) {
    const std::string text = entry.is_regular_file() ? file_text(entry.path()) : std::string();
    if (text.find("PRIVATE KEY") == std::string::npos) continue;
    std::istringstream lines(text);
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
      if (line.find("PRIVATE KEY") != std::string::npos)
        inside = line.find("BEGIN") != std::string::npos;
      else if (inside && line.size() > 20)
        secrets.push_back(line);
    }
  }
  EXPECT_GT(secrets.size(), 5u);
  const ControlClient probe(kubelane(), "diagnostics");
  const ControlClient admin(kubelane(), "administration");
  std::string all;
  for (const char* path : {"/startup", "/livez", "/readyz", "/readyz/identity", "/wait",
                           "/readyz/kubernetes-v2-1", "/metrics", "/"})
    all += probe.get(path).raw_head + probe.get(path).body;
  for (const char* path : {"/log-level", "/config", "/connections", "/certificates", "/"})
    all += admin.get(path).raw_head + admin.get(path).body;
  EXPECT_NE(all.find("(masked)"), std::string::npos);
  for (const std::string& secret : secrets)
    EXPECT_EQ(all.find(secret), std::string::npos) << secret;
}

}  // namespace
