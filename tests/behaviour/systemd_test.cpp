// As a service of systemd: notification and watchdog over a socket of the test's, sockets that were
// passed, credentials, and the files that are out of reach after the start.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include <arpa/inet.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/services_fixture.hpp"

namespace {

using support::eventually;
using support::LocalEndpoint;

// What NOTIFY_SOCKET names.
class NotifySocket {
 public:
  explicit NotifySocket(const std::filesystem::path& path)
      : path_(path), fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("bind");
  }
  ~NotifySocket() { ::close(fd_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  std::string path() const { return path_.string(); }
  // The next message that begins so; others before it are passed over. Empty: none came.
  std::string wait(const std::string& beginning,
                   std::chrono::milliseconds limit = support::patience()) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      pollfd ready{fd_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) != 1) return {};
      char text[4096];
      const ssize_t got = ::recv(fd_, text, sizeof text, 0);
      if (got <= 0) return {};
      std::string message(text, static_cast<std::size_t>(got));
      if (message.starts_with(beginning)) return message;
    }
  }

 private:
  std::filesystem::path path_;
  int fd_;
};

class Systemd : public support::ServicesFixture {
 protected:
  // A socket that listens, for the child to inherit.
  static int listening_socket() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd, 16) != 0)
      throw std::runtime_error("listen");
    return fd;
  }
  static std::uint16_t port_of(int fd) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    return ntohs(address.sin_port);
  }
  // As systemd does: descriptors from 3 on, and the number of the process that they are for.
  void pass(const std::vector<int>& sockets, const std::string& names,
            const std::string& pid = "$$") {
    std::string command = "exec";
    for (std::size_t i = 0; i < sockets.size(); ++i)
      command += " " + std::to_string(100 + i) + "<&" + std::to_string(sockets[i]);
    command += "; exec";
    for (std::size_t i = 0; i < sockets.size(); ++i)
      command += " " + std::to_string(3 + i) + "<&" + std::to_string(100 + i);
    command += "; LISTEN_PID=" + pid + " exec \"$@\"";
    wrapper = {"/bin/bash", "-c", command, "bash"};
    environment["LISTEN_FDS"] = std::to_string(sockets.size());
    environment["LISTEN_FDNAMES"] = names;
  }
  static bool has_landlock() {
    return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
  }
};

TEST_F(Systemd, is_told_of_start_reload_and_stop) {
  const NotifySocket manager(directory() / "notify");
  environment["NOTIFY_SOCKET"] = manager.path();
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}, {"one"}));
  EXPECT_EQ(manager.wait("READY"), "READY=1");
  EXPECT_EQ(manager.wait("STATUS=1 of"), "STATUS=1 of 1 services are ready");
  ASSERT_TRUE(reload(config_of({"one", "two"})));
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::string reloading = manager.wait("RELOADING=1\nMONOTONIC_USEC=");
  ASSERT_FALSE(reloading.empty());
  const long long usec = std::stoll(reloading.substr(reloading.rfind('=') + 1));
  EXPECT_LE(usec, now.tv_sec * 1'000'000LL + now.tv_nsec / 1000);
  EXPECT_EQ(manager.wait("READY"), "READY=1");
  EXPECT_EQ(manager.wait("STATUS=2 of"), "STATUS=2 of 2 services are ready");
  ASSERT_TRUE(reload("broken: yes\n", "the one of before stays"));
  EXPECT_FALSE(manager.wait("RELOADING=1").empty());
  EXPECT_EQ(manager.wait("READY"), "READY=1") << "it serves on";
  EXPECT_EQ(manager.wait("WATCHDOG", std::chrono::milliseconds(1)), "") << "nobody asked for it";
  kubelane().signal(SIGTERM);
  EXPECT_EQ(manager.wait("STOPPING"), "STOPPING=1");
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Systemd, the_watchdog_is_fed) {
  const NotifySocket manager(directory() / "notify");
  environment["NOTIFY_SOCKET"] = manager.path();
  environment["WATCHDOG_USEC"] = "200000";
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(manager.wait("WATCHDOG"), "WATCHDOG=1");
}

TEST_F(Systemd, another_process_watchdog_is_not_ours) {
  const NotifySocket manager(directory() / "notify");
  environment["NOTIFY_SOCKET"] = manager.path();
  environment["WATCHDOG_USEC"] = "1000";
  environment["WATCHDOG_PID"] = "1";
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  EXPECT_EQ(get("/bytes/1", "one").status, 200);
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 0);
  EXPECT_EQ(manager.wait("WATCHDOG", std::chrono::milliseconds(1)), "");
}

TEST_F(Systemd, passed_sockets_are_taken_by_their_names) {
  const int shared = listening_socket();
  const int own = listening_socket();
  pass({own, shared}, "edge:kubelane.socket");
  listen = "systemd:kubelane.socket";
  more_of["two"] = "    listen: systemd:edge\n";
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}, {"one", "two"}));
  EXPECT_EQ(endpoint("one").port, port_of(shared));
  EXPECT_EQ(endpoint("two").port, port_of(own));
  EXPECT_EQ(get("/bytes/1", "one").status, 200);
  EXPECT_EQ(get("/bytes/1", "two").status, 200);
  // Another configuration names it for another service.
  more_of["one"] = more_of["two"];
  more_of.erase("two");
  ASSERT_TRUE(reload(config_of({"one", "two"})));
  EXPECT_EQ(endpoint_of("one").port, port_of(own));
  EXPECT_EQ(get_at(endpoint_of("one"), "/bytes/1").status, 200);
  EXPECT_EQ(get_at(endpoint_of("two"), "/bytes/1").status, 200);
  ::close(shared);
  ::close(own);
}

// A connection that came before the start waits for it.
TEST_F(Systemd, who_came_before_the_start_is_served) {
  const int socket = listening_socket();
  pass({socket}, "early");
  listen = "systemd:early";
  more_yaml = "local_tls: false\nlocal_auth: none\n";
  proxy_options.clusters.push_back({"one", lab::standard_paths(gate())});
  LocalEndpoint early;
  early.tls = false;
  early.host = "127.0.0.1";
  early.port = port_of(socket);
  early.prefix = "/one";
  support::TlsClient caller = connect(early);
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  caller.write(request_at(early, "/bytes/1"));
  EXPECT_EQ(caller.read_response().status, 200);
  ::close(socket);
}

TEST_F(Systemd, a_socket_that_was_not_passed_is_told) {
  const int socket = listening_socket();
  listen = "systemd:other";
  for (const std::string pid : {"$$", "1"}) {
    pass({socket}, "kubelane.socket", pid);
    if (pid == "$$") {
      start_lab();
      write_credentials();
    }
    start_kubelane(default_config());
    EXPECT_EQ(kubelane().wait_exit(), 1);
    EXPECT_TRUE(kubelane().wait_for_line("systemd:other was not passed"));
    EXPECT_EQ(kubelane().wait_for_line("passed: kubelane.socket").has_value(), pid == "$$")
        << "those of another process are left alone";
  }
  ::close(socket);
}

class SystemdBot : public support::BotFixture {};

TEST_F(SystemdBot, the_token_comes_as_a_credential) {
  const auto credentials = directory() / "credentials.d";
  std::filesystem::create_directory(credentials);
  std::ofstream(credentials / "join") << "join-by-pod\n";
  environment["CREDENTIALS_DIRECTORY"] = credentials.string();
  start_teleport();
  std::string config = bot_config();
  const std::string token = "token: \"join-by-pod\"";
  config.replace(config.find(token), token.size(), "token: credential:join");
  start_kubelane(config);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
  environment.erase("CREDENTIALS_DIRECTORY");
  start_kubelane(config);
  EXPECT_TRUE(kubelane().wait_for_line("LoadCredential=join:"));
}

// ---------------------------------------------------------------- files out of reach

TEST_F(Systemd, other_files_are_out_of_reach_after_the_start) {
  if (!has_landlock()) GTEST_SKIP() << "this kernel has no Landlock";
  const support::TempDirectory elsewhere;
  ASSERT_NO_FATAL_FAILURE(start_services({"one", "two"}, {"one"}));
  // Its own file, made a link to one that it was not said to need.
  std::ofstream(elsewhere.path() / "kubelane.yaml") << config_of({"one", "two"});
  std::filesystem::remove(config_path());
  std::filesystem::create_symlink(elsewhere.path() / "kubelane.yaml", config_path());
  const std::size_t from = kubelane().error_lines().size();
  kubelane().signal(SIGHUP);
  EXPECT_TRUE(kubelane().wait_for_line("cannot be read: Permission denied", from));
  EXPECT_EQ(get("/bytes/1", "one").status, 200);
  std::filesystem::remove(config_path());
  EXPECT_TRUE(reload(config_of({"one", "two"})));
}

TEST_F(Systemd, a_configuration_with_files_out_of_reach_is_refused_with_the_way_out) {
  if (!has_landlock()) GTEST_SKIP() << "this kernel has no Landlock";
  const support::TempDirectory elsewhere;
  ASSERT_NO_FATAL_FAILURE(start_services({"one"}, {"one"}));
  std::string config = config_of({"one"});
  const std::string old = kubeconfig_of("one").parent_path().string();
  config.replace(config.find(old), old.size(), (elsewhere.path() / "out").string());
  ASSERT_TRUE(reload(config, "is beyond the files"));
  EXPECT_TRUE(kubelane().wait_for_line("sandbox: false"));
  EXPECT_EQ(get("/bytes/1", "one").status, 200);
  EXPECT_EQ(stop_kubelane(), 0);

  environment["KUBELANE_SANDBOX"] = "false";
  start_kubelane(config_of({"one"}));
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  ASSERT_TRUE(reload(config));
  EXPECT_TRUE(std::filesystem::exists(elsewhere.path() / "out" / "kubeconfig.yaml"));
}

}  // namespace
