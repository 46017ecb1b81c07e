// The kubeconfig as users meet it: its file, its repetition over restarts, its healing, and what
// kubectl makes of it.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/lab/kube_api.hpp"
#include "tests/support/kubectl.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;
using support::LocalEndpoint;
using support::Response;
using support::TlsClient;

struct stat status_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status;
}
unsigned mode_of(const fs::path& path) { return status_of(path).st_mode & 07777u; }

// A port that nothing listens on and that the kernel gives to nobody by itself.
std::uint16_t quiet_port() {
  std::random_device random;
  for (;;) {
    const auto port = static_cast<std::uint16_t>(20'000 + random() % 10'000);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    if (free) return port;
  }
}

// Whether that user, in no group, can read the file. For root to ask.
bool readable_by(uid_t uid, const fs::path& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::syscall(SYS_setgroups, 0, nullptr);
    ::syscall(SYS_setresgid, uid, uid, uid);
    ::syscall(SYS_setresuid, uid, uid, uid);
    ::_exit(::open(path.c_str(), O_RDONLY | O_CLOEXEC) >= 0 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class KubeconfigFile : public support::KubelaneFixture {
 protected:
  fs::path file() const { return destination_path() / "kubeconfig.yaml"; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file()).rdbuf();
    return out.str();
  }
  std::string config_with(const std::string& from, const std::string& to) const {
    std::string config = default_config();
    const std::size_t at = config.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return config.replace(at, from.size(), to);
  }
  std::string config_with_storage() const {
    return config_with("storage:\n  type: memory\n",
                       "storage: {type: directory, path: " + storage().string() + "}\n");
  }
  std::string config_with_destination(const std::string& more) const {
    const std::string path = "path: " + destination_path().string();
    return config_with(path, path + ", " + more);
  }
  fs::path storage() const { return directory() / "storage"; }
  void restart(const std::string& config) {
    ASSERT_EQ(stop_kubelane(), 0);
    start_kubelane(config);
    ASSERT_NO_FATAL_FAILURE(wait_ready());
  }
  int get_status(const LocalEndpoint& to) {
    TlsClient caller = connect(to);
    caller.write("GET " + to.prefix + "/bytes/1 HTTP/1.1\r\nHost: " + to.host_header() +
                 "\r\nAuthorization: Bearer " + to.token + "\r\n\r\n");
    return caller.read_response().status;
  }
};

TEST_F(KubeconfigFile, is_for_its_owner_only_whatever_the_umask) {
  start_lab();
  write_credentials();
  const mode_t before = ::umask(0);
  start_kubelane(default_config());
  ::umask(before);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(mode_of(file()), 0600u);
  EXPECT_EQ(mode_of(destination_path()), 0700u);
  EXPECT_TRUE(S_ISREG(status_of(file()).st_mode));
  EXPECT_EQ(std::distance(fs::directory_iterator(destination_path()), {}), 1)
      << "a temporary was left";
}

TEST_F(KubeconfigFile, is_boring) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string yaml = text();
  for (const char* word : {"exec", "tls-server-name", "proxy-url", "insecure-skip-tls-verify",
                           "client-key", "client-certificate", "auth-provider", "username",
                           "password", "impersonat", "extensions", "disable-compression"})
    EXPECT_EQ(yaml.find(word), std::string::npos) << word;
  EXPECT_NE(yaml.find("name: root.example.com-demo"), std::string::npos) << yaml;
  EXPECT_EQ(yaml.find("namespace"), std::string::npos);
}

TEST_F(KubeconfigFile, stands_before_readiness_is_told) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::size_t written = 0;
  std::size_t ready = 0;
  const auto lines = kubelane().error_lines();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find("\"kubeconfig written\"") != std::string::npos) written = i + 1;
    if (lines[i].find("\"ready\"") != std::string::npos) ready = i + 1;
  }
  EXPECT_GT(written, 0u);
  EXPECT_GT(ready, written);
}

TEST_F(KubeconfigFile, readers_may_read_it_and_nobody_else) {
  start_lab();
  write_credentials();
  start_kubelane(config_with_destination("acls: required, readers: [{user: \"4711\"}]"));
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(mode_of(file()), 0640u) << "the ACL's mask stands in place of the group";
  EXPECT_EQ(mode_of(destination_path()), 0750u);
  EXPECT_EQ(get("/bytes/1").status, 200);
  if (::geteuid() == 0) {
    fs::permissions(directory(), fs::perms::others_exec, fs::perm_options::add);
    EXPECT_TRUE(readable_by(4711, file()));
    EXPECT_FALSE(readable_by(4712, file()));
  }
}

TEST_F(KubeconfigFile, is_not_touched_by_renewals_and_restarts_that_change_nothing) {
  listen = "127.0.0.1:" + std::to_string(quiet_port());
  start_lab();
  write_credentials();
  start_kubelane(config_with_storage());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  const struct stat first = status_of(file());
  for (int i = 0; i < 2; ++i) {
    const lab::TbotMaterial next = proxy().renew(kind, client);
    credentials().write(next);
    ASSERT_TRUE(eventually([&] {
      EXPECT_EQ(get("/bytes/1").status, 200);
      return proxy().seen().requests.back().client_serial == next.client.serial;
    }));
  }
  ASSERT_NO_FATAL_FAILURE(restart(config_with_storage()));
  const struct stat last = status_of(file());
  EXPECT_EQ(first.st_ino, last.st_ino);
  EXPECT_EQ(first.st_mtim.tv_sec, last.st_mtim.tv_sec);
  EXPECT_EQ(first.st_mtim.tv_nsec, last.st_mtim.tv_nsec);
  EXPECT_EQ(first.st_ctim.tv_nsec, last.st_ctim.tv_nsec);
  for (const std::string& line : kubelane().error_lines())
    EXPECT_EQ(line.find("\"kubeconfig written\""), std::string::npos);
}

TEST_F(KubeconfigFile, a_client_of_before_goes_on_after_a_restart_with_storage) {
  listen = "127.0.0.1:" + std::to_string(quiet_port());
  start_lab();
  write_credentials();
  start_kubelane(config_with_storage());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  const LocalEndpoint before = endpoint();
  ASSERT_EQ(get_status(before), 200);
  ASSERT_NO_FATAL_FAILURE(restart(config_with_storage()));
  EXPECT_EQ(get_status(before), 200);
  EXPECT_EQ(endpoint().token, before.token);
  EXPECT_EQ(endpoint().ca_pem, before.ca_pem);
  EXPECT_EQ(mode_of(storage()), 0700u);
  for (const auto& entry : fs::directory_iterator(storage()))
    EXPECT_EQ(mode_of(entry.path()), 0600u) << entry.path();
}

TEST_F(KubeconfigFile, in_memory_storage_everything_is_new_after_a_restart) {
  listen = "127.0.0.1:" + std::to_string(quiet_port());
  ASSERT_NO_FATAL_FAILURE(start());
  const LocalEndpoint before = endpoint();
  ASSERT_NO_FATAL_FAILURE(restart(default_config()));
  EXPECT_NE(endpoint().token, before.token);
  EXPECT_NE(endpoint().ca_pem, before.ca_pem);
  EXPECT_EQ(get("/bytes/1").status, 200);
  LocalEndpoint stale = before;
  EXPECT_THROW(get_status(stale), std::runtime_error) << "the old CA verifies the new certificate";
  stale.ca_pem = endpoint().ca_pem;
  EXPECT_EQ(get_status(stale), 401);
}

// Who reads while it is replaced gets one whole file or the other.
TEST_F(KubeconfigFile, is_never_seen_half_written) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::thread reader([&] {
    while (!stop) {
      const std::string now = text();
      if (!now.starts_with("# Written by kubelane") || !now.ends_with("\n") ||
          now.find("\n    token: ") == std::string::npos)
        ++torn;
    }
  });
  for (int i = 0; i < 3; ++i) {
    const std::string before = text();
    restart(default_config());
    EXPECT_NE(text(), before);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(destination_path()), {}), 1);
}

TEST_F(KubeconfigFile, a_destination_that_cannot_be_written_is_told_and_heals) {
  start_lab();
  write_credentials();
  std::ofstream(destination_path()) << "in the way";
  start_kubelane(default_config());
  const auto line = kubelane().wait_for_line("cannot write the kubeconfig; trying again");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find(destination_path().string()), std::string::npos) << *line;
  // Nothing else happens from here on that could have it written.
  ASSERT_TRUE(kubelane().wait_for_line("\"cluster available\""));
  EXPECT_TRUE(kubelane().running());
  for (const std::string& each : kubelane().error_lines())
    EXPECT_EQ(each.find("\"ready\""), std::string::npos) << "ready without a kubeconfig";
  fs::remove(destination_path());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
}

// A disk that is full in the middle of the file (here: a limit that lets only its beginning be
// written): the old file stays whole, nothing is left beside it, and space is enough to heal.
TEST_F(KubeconfigFile, a_full_disk_costs_neither_the_old_file_nor_the_process) {
  start_lab();
  write_credentials();
  fs::create_directory(destination_path());
  std::ofstream(file()) << "of before";
  wrapper = {"/usr/bin/prlimit", "--fsize=64:unlimited"};
  start_kubelane(default_config());
  ASSERT_TRUE(kubelane().wait_for_line("cannot write the kubeconfig; trying again"));
  EXPECT_EQ(text(), "of before");
  EXPECT_EQ(std::distance(fs::directory_iterator(destination_path()), {}), 1);
  const rlimit plenty{RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_EQ(::prlimit(kubelane().pid(), RLIMIT_FSIZE, &plenty, nullptr), 0);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(KubeconfigFile, a_link_on_the_way_is_refused_until_it_goes_or_is_wanted) {
  start_lab();
  write_credentials();
  const fs::path elsewhere = directory() / "elsewhere";
  fs::create_directory(elsewhere);
  fs::create_directory_symlink(elsewhere, destination_path());
  start_kubelane(default_config());
  const auto line = kubelane().wait_for_line("is a symbolic link");
  ASSERT_TRUE(line);
  EXPECT_NE(line->find(destination_path().string()), std::string::npos) << *line;
  EXPECT_NE(line->find("symlinks: insecure"), std::string::npos) << *line;
  EXPECT_TRUE(fs::is_empty(elsewhere));
  stop_kubelane();
  start_kubelane(config_with_destination("symlinks: insecure"));
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_TRUE(fs::exists(elsewhere / "kubeconfig.yaml"));
  fs::remove_all(elsewhere);
  stop_kubelane();
  start_kubelane(default_config());
  ASSERT_TRUE(kubelane().wait_for_line("is a symbolic link"));
  fs::remove(destination_path());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_TRUE(fs::is_regular_file(file()));
}

TEST_F(KubeconfigFile, is_there_while_the_proxy_cannot_be_reached) {
  start_lab();
  kind = lab::TbotKind::identity;
  write_credentials();
  proxy().stop();
  start_kubelane(default_config());
  ASSERT_TRUE(kubelane().wait_for_line("\"kubeconfig written\""));
  const LocalEndpoint local = support::read_endpoint(file());
  EXPECT_EQ(get_status(local), 503);
  proxy().start();
  EXPECT_TRUE(eventually([&] {
    kubelane().signal(SIGHUP);
    return get_status(local) == 200;
  }));
}

// --- kubectl
// --------------------------------------------------------------------------------------

class Kubectl : public KubeconfigFile {
 protected:
  void SetUp() override {
    if (!support::kubectl_program()) GTEST_SKIP() << "kubectl is not installed";
  }
  lab::Handler api() { return lab::standard_paths(gate(), api_.handler()); }
  support::KubectlResult kubectl(std::vector<std::string> arguments) {
    return support::run_kubectl(file().string(), directory(), std::move(arguments));
  }
  std::string output(std::vector<std::string> arguments) {
    const support::KubectlResult result = kubectl(std::move(arguments));
    EXPECT_EQ(result.status, 0) << result.errors;
    return result.output;
  }

  lab::KubeApi api_;
};

TEST_F(Kubectl, several_clusters_are_contexts_of_one_file) {
  proxy_options.clusters = {{"prod", api()}, {"staging", api()}, {"dev", api()}};
  start_lab();
  write_credentials();
  std::string config = config_with("      - name: \"staging\"\n",
                                   "      - name: staging\n        default_namespace: web\n");
  config += "    context_name_template: \"{{.KubeName}}@{{ .ClusterName }}\"\n";
  start_kubelane(config);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(output({"config", "get-contexts", "-o", "name"}),
            "dev@root.example.com\nprod@root.example.com\nstaging@root.example.com\n");
  EXPECT_EQ(output({"config", "current-context"}), "prod@root.example.com\n");
  const auto value = [&](const std::string& path) {
    return output({"config", "view", "--raw", "-o", "jsonpath={" + path + "}"});
  };
  EXPECT_EQ(value(".contexts[?(@.name==\"staging@root.example.com\")].context.namespace"), "web");
  EXPECT_EQ(value(".contexts[?(@.name==\"prod@root.example.com\")].context.namespace"), "");
  EXPECT_EQ(value(".users[*].name"), "root.example.com") << "one user for all";
  for (const std::string cluster : {"prod", "staging", "dev"}) {
    EXPECT_NE(
        output({"--context", cluster + "@root.example.com", "get", "namespaces", "-o", "name"})
            .find("namespace/default"),
        std::string::npos);
    const auto seen = proxy().seen();
    EXPECT_TRUE(seen.requests.back().raw_head.find(upstream_prefix(cluster) + "/") !=
                std::string::npos)
        << seen.requests.back().raw_head;
  }
}

TEST_F(Kubectl, names_that_are_no_path_segments_work) {
  const std::vector<std::string> names = {"arn:aws:eks:eu-west-1:123456789012:cluster/prod",
                                          "gke_project_europe-west1_main",
                                          "a/b/../c%2Fd",
                                          "100%",
                                          "true",
                                          "-dash",
                                          "with space: and # \"quotes\"",
                                          "~tilde"};
  for (const std::string& name : names) proxy_options.clusters.push_back({name, api()});
  start_lab();
  write_credentials();
  std::string config = default_config();
  const std::string quoted = "\"with space: and # \"quotes\"\"";
  config.replace(config.find(quoted), quoted.size(), "'with space: and # \"quotes\"'");
  start_kubelane(config);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  for (const std::string& name : names) {
    const std::string out = output(
        {"--context", "root.example.com-" + name, "get", "pods", "-n", "default", "-o", "name"});
    EXPECT_NE(out.find("pod/demo"), std::string::npos) << name;
    const auto seen = proxy().seen();
    EXPECT_NE(seen.requests.back().raw_head.find(upstream_prefix(name) + "/api"), std::string::npos)
        << name << "\n"
        << seen.requests.back().raw_head;
  }
}

TEST_F(Kubectl, a_client_certificate_of_ours_is_enough) {
  proxy_options.clusters = {{"demo", api()}};
  more_yaml = "local_auth: mtls\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_NE(output({"get", "namespaces", "-o", "name"}).find("namespace/default"),
            std::string::npos);
  EXPECT_EQ(text().find("token:"), std::string::npos);
}

}  // namespace
