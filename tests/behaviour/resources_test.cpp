// What kubelane costs and what it gives away: memory, descriptors, and secrets where they could be
// seen from outside.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Response;
using support::TlsClient;

std::string file_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class Resources : public support::KubelaneFixture {
 protected:
  Resources() { proxy_protocol = "http1"; }  // connections are counted
  std::string proc(const std::string& name) {
    return "/proc/" + std::to_string(kubelane().pid()) + "/" + name;
  }
};

// Sanitizers and unoptimized builds cost many times as much.
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(Resources, idle_it_takes_less_than_ten_megabytes) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  // Below what it has before it gives back what only starting needed.
  EXPECT_TRUE(eventually([&] { return kubelane().resident_bytes() < (8u << 20); }))
      << kubelane().resident_bytes();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(get("/bytes/1000").status, 200);
  EXPECT_LT(kubelane().resident_bytes(), 10u << 20);
}
#endif

TEST_F(Resources, descriptors_return_after_two_hundred_connections) {
  more_yaml = "timeouts: {upstream_idle: 200ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  const auto kube_connections = [&] {
    std::size_t open = 0;
    for (const auto& [id, connection] : proxy().seen().connections)
      if (connection.kube && connection.open) ++open;
    return open;
  };
  ASSERT_TRUE(eventually([&] { return kube_connections() == 0; }));
  const std::size_t idle = kubelane().open_descriptors();
  {
    std::vector<TlsClient> clients;
    for (int i = 0; i < 200; ++i) {
      clients.push_back(connect());
      clients.back().write(request("GET", i % 2 == 0 ? "/bytes/100" : "/watch?events=1"));
    }
    for (std::size_t i = 0; i < clients.size(); i += 2)
      EXPECT_EQ(clients[i].read_response().status, 200);
    for (std::size_t i = 1; i < clients.size(); i += 2)
      EXPECT_EQ(clients[i].read_response_head().status, 200);
    EXPECT_GE(kubelane().open_descriptors(), idle + 300) << "200 local ones, 100 watches upstream";
    // They go in all the ways that there are.
    for (std::size_t i = 0; i < clients.size(); i += 4) clients[i].close();
    for (std::size_t i = 1; i < clients.size(); i += 4) clients[i].reset();
    for (std::size_t i = 2; i < clients.size(); i += 4) clients[i].finish();
  }
  EXPECT_TRUE(eventually([&] { return kubelane().open_descriptors() <= idle; }))
      << kubelane().open_descriptors() << " instead of " << idle;
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(Resources, connections_that_never_say_a_word_are_given_up) {
  more_yaml = "timeouts: {local_handshake: 300ms, request_head: 300ms, local_idle: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::size_t idle = kubelane().open_descriptors();
  support::ClientOptions plain;
  plain.tls = false;
  std::vector<TlsClient> silent;
  for (int i = 0; i < 50; ++i) {
    silent.emplace_back(endpoint().host, endpoint().port, plain);
    silent.push_back(connect());
  }
  EXPECT_TRUE(eventually([&] { return kubelane().open_descriptors() <= idle; }))
      << kubelane().open_descriptors() << " instead of " << idle;
}

// Four clients stop in the middle of 100 MB each, and go on later: the bytes wait in the Proxy.
TEST_F(Resources, clients_that_stop_reading_hold_no_list_in_memory) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/chunked/1000000").status, 200);
  const std::size_t before = kubelane().resident_bytes();
  constexpr std::size_t bound = 8u << 20;
  constexpr std::size_t size = 100'000'000;
  std::vector<TlsClient> clients;
  std::vector<Response> heads;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(connect());
    clients.back().write(request("GET", "/chunked/" + std::to_string(size) + "?chunk=65536"));
    heads.push_back(clients.back().read_response_head());
  }
  // All of one is read while the others stand still: had they been taken in, there was time.
  clients.front().read_response_body(heads.front());
  EXPECT_TRUE(heads.front().complete);
  EXPECT_EQ(heads.front().body.size(), size);
  if (!kubelane().sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), before + bound);
  }
  clients.back().read_response_body(heads.back());
  EXPECT_TRUE(heads.back().complete);
  if (!kubelane().sanitized) {
    EXPECT_LT(kubelane().resident_bytes(), before + bound);
  }
}

TEST_F(Resources, no_secret_stands_in_the_command_line_or_the_environment) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_FALSE(endpoint().token.empty());
  for (const char* name : {"cmdline", "environ"}) {
    const std::string text = file_text(proc(name));
    EXPECT_FALSE(text.empty()) << name;
    EXPECT_EQ(text.find(endpoint().token), std::string::npos) << name;
    EXPECT_EQ(text.find("PRIVATE KEY"), std::string::npos) << name;
  }
}

TEST_F(Resources, no_secret_stands_in_the_log) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  TlsClient stranger = connect();
  stranger.write("GET / HTTP/1.1\r\nHost: " + endpoint().host_header() +
                 "\r\nAuthorization: Bearer wrong-" + endpoint().token + "\r\n\r\n");
  EXPECT_EQ(stranger.read_response().status, 401);
  EXPECT_EQ(stop_kubelane(), 0);
  for (const std::string& line : kubelane().error_lines()) {
    EXPECT_EQ(line.find(endpoint().token), std::string::npos) << line;
    EXPECT_EQ(line.find("PRIVATE KEY"), std::string::npos);
  }
}

// Memory full of keys must not be written to a disk, whatever the limits allow.
TEST_F(Resources, a_crash_leaves_no_core) {
  start_lab();
  write_credentials();
  const std::string config = (directory() / "kubelane.yaml").string();
  std::ofstream(config) << default_config();
  const std::string where = directory().string();
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_CORE, &limit);
    if (::chdir(where.c_str()) == 0)
      ::execl(KUBELANE_BINARY, KUBELANE_BINARY, "start", "-c", config.c_str(),
              static_cast<char*>(nullptr));
    ::_exit(127);
  }
  EXPECT_TRUE(
      eventually([&] { return std::filesystem::exists(destination_path() / "kubeconfig.yaml"); }));
  ::kill(child, SIGQUIT);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << status;
  EXPECT_FALSE(WCOREDUMP(status));
  for (const auto& entry : std::filesystem::directory_iterator(directory()))
    EXPECT_FALSE(entry.path().filename().string().starts_with("core")) << entry.path();
}

}  // namespace
