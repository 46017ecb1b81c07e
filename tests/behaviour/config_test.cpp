// Configuration as its author meets it, through the binary: what `check` and `start` say about
// files, variables and flags, and where it listens as a result.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/kubelane_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using support::eventually;
using support::Process;
using support::TlsClient;

using Variables = std::map<std::string, std::string>;

// Whatever the environment of the tests holds.
const Variables no_variables = {
    {"TELEPORT_PROXY", ""},        {"TELEPORT_AUTH_SERVER", ""}, {"TELEPORT_BOT_TOKEN", ""},
    {"TBOT_CONFIG_PATH", ""},      {"TBOT_DEBUG", ""},           {"TBOT_REGISTRATION_SECRET", ""},
    {"KUBELANE_LISTEN", ""},       {"KUBELANE_STORAGE", ""},     {"KUBELANE_CREDENTIALS", ""},
    {"KUBELANE_DESTINATION", ""},  {"KUBELANE_LOG_LEVEL", ""},   {"KUBELANE_LOG_FORMAT", ""},
    {"KUBELANE_ALLOW_REMOTE", ""}, {"KUBELANE_LOCAL_AUTH", ""},  {"KUBELANE_LOCAL_TLS", ""},
    {"KUBELANE_PROXY_CA", ""},     {"KUBELANE_WORKERS", ""},     {"KUBELANE_INSECURE", ""}};

Variables with(const Variables& more) {
  Variables all = more;
  all.insert(no_variables.begin(), no_variables.end());
  return all;
}

// A program that ended.
struct Ended {
  int status = -1;
  std::string output;
  std::vector<std::string> errors;

  std::string all() const {
    std::string text = "exit " + std::to_string(status) + "\n" + output;
    for (const std::string& line : errors) text += line + "\n";
    return text;
  }
};

class Config : public support::KubelaneFixture {
 protected:
  std::string file() const { return (directory() / "kubelane.yaml").string(); }
  void write_file(const std::string& yaml) const { std::ofstream(file()) << yaml; }
  static Ended run(const std::vector<std::string>& arguments, const Variables& variables = {}) {
    Process process(KUBELANE_BINARY, arguments, with(variables));
    Ended ended;
    const auto status = process.wait_exit();
    EXPECT_TRUE(status) << "it did not end";
    ended.status = status.value_or(-1);
    ended.output = process.output();
    ended.errors = process.error_lines();
    return ended;
  }
  Ended check(const std::string& yaml, const Variables& variables = {}) const {
    write_file(yaml);
    return run({"check", "-c", file()}, variables);
  }
  // Lines of standard error that begin with `kubelane: <kind>: <file>:<place>: `, without that.
  void expect_lines(const Ended& ended, const std::vector<std::string>& beginnings) const {
    ASSERT_EQ(ended.errors.size(), beginnings.size()) << ended.all();
    for (std::size_t i = 0; i < beginnings.size(); ++i) {
      std::string wanted = "kubelane: " + beginnings[i];
      if (const std::size_t at = wanted.find("FILE"); at != std::string::npos)
        wanted.replace(at, 4, file());
      EXPECT_TRUE(ended.errors[i].starts_with(wanted)) << wanted << "\nin " << ended.all();
    }
  }
  // The address of its listener number `index`.
  static std::string listening(const Process& process, std::size_t index = 0) {
    std::optional<std::string> line;
    std::size_t from = 0;
    for (std::size_t i = 0; i <= index; ++i) {
      line = process.wait_for_line("listening", from);
      if (!line) return "nowhere";
      const auto lines = process.error_lines();
      from = static_cast<std::size_t>(
                 std::find(lines.begin() + static_cast<std::ptrdiff_t>(from), lines.end(), *line) -
                 lines.begin()) +
             1;
    }
    const std::size_t begin = line->find("address=") + 8;
    return line->substr(begin, line->find(' ', begin) - begin);
  }
  // A valid file that starts without a Proxy and without credentials.
  std::string waiting_yaml() const {
    return "proxy_server: 127.0.0.1:1\nservices:\n  - type: kubernetes\n    kubernetes_cluster: "
           "demo\n"
           "    credentials: {type: directory, path: " +
           credentials_path().string() +
           "}\n    destination: {type: directory, path: " + destination_path().string() + "}\n";
  }
};

const std::string guide =
    "services:\n"
    "  - type: kubernetes\n"
    "    # Specify the name of the Kubernetes cluster you wish the credentials to\n"
    "    # grant access to.\n"
    "    kubernetes_cluster: example-k8s-cluster\n"
    "    destination:\n"
    "      type: directory\n"
    "          # For this guide, /opt/machine-id is used as the destination directory.\n"
    "          # You may wish to customize this. Multiple output services cannot\n"
    "          # share the same destination.\n"
    "      path: /opt/machine-id\n";

TEST_F(Config, the_guides_example_is_valid_and_check_says_what_start_needs) {
  const Ended ended = check(guide);
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.output, file() + " is valid\n");
  expect_lines(ended, {"warning: FILE: proxy_server is missing: set it in the file, with "
                       "--proxy-server or in TELEPORT_PROXY",
                       "warning: FILE:2:5: service \"example-k8s-cluster\" has no credentials"});
}

TEST_F(Config, start_refuses_at_once_what_check_only_warns_about) {
  write_file(guide);
  const Ended ended = run({"start", "-c", file()});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.output, "");
  expect_lines(ended, {"error: FILE: proxy_server is missing",
                       "error: FILE:2:5: service \"example-k8s-cluster\" has no credentials"});
}

TEST_F(Config, check_leaves_no_trace) {
  const Ended ended = check(waiting_yaml() + "storage: " + (directory() / "storage").string());
  EXPECT_EQ(ended.status, 0) << ended.all();
  EXPECT_TRUE(ended.errors.empty()) << ended.all();
  EXPECT_FALSE(fs::exists(destination_path()));
  EXPECT_FALSE(fs::exists(directory() / "storage"));
}

TEST_F(Config, all_problems_come_at_once_with_their_places_and_exit_code_2) {
  const std::string yaml =
      "proxy_sever: teleport.example.com\n"
      "listen: 0.0.0.0:7443\n"
      "oneshot: true\n"
      "services:\n"
      "  - type: kubernets\n"
      "  - type: kubernetes\n"
      "    kubernetes_cluster: prod\n"
      "    destination: {type: directory, path: /run/kubelane, acls: required}\n"
      "    local_auth: tokn\n";
  for (const std::string command : {"check", "start"}) {
    write_file(yaml);
    const Ended ended = run({command, "-c", file()});
    EXPECT_EQ(ended.status, 2);
    EXPECT_EQ(ended.output, "");
    const std::string missing = command == "check" ? "warning: " : "error: ";
    expect_lines(ended,
                 {"error: FILE:1:1: unknown field \"proxy_sever\" (did you mean \"proxy_server\"?)",
                  "error: FILE:2:9: listen address 0.0.0.0 can be reached from other machines",
                  "error: FILE:5:11: unknown service type \"kubernets\" (did you mean "
                  "\"kubernetes\"?)",
                  "error: FILE:9:17: local_auth: \"tokn\" is not one of token, mtls, none (did you "
                  "mean \"token\"?)",
                  "error: FILE:9:17: local_auth and local_tls belong to a listener",
                  missing + "FILE: proxy_server is missing",
                  missing + "FILE:6:5: service \"prod\" has no credentials"});
  }
}

TEST_F(Config, hostile_files_end_in_one_line) {
  std::string laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string name = "a" + std::to_string(i);
    const std::string alias = "*a" + std::to_string(i - 1);
    laughs += name + ": &" + name + " [" + alias;
    for (int j = 0; j < 9; ++j) laughs += ", " + alias;
    laughs += "]\n";
  }
  for (const std::string& yaml :
       {laughs, "listen: " + std::string(900'000, '['), "listen: " + std::string(900'000, 'x'),
        std::string(2 << 20, '#'), std::string(",]<"), std::string("services: &a [*a]\n")}) {
    const Ended ended = check(yaml);
    EXPECT_EQ(ended.status, 2) << yaml.substr(0, 20);
    std::size_t errors = 0;
    for (const std::string& line : ended.errors) {
      if (line.starts_with("kubelane: error: ")) ++errors;
      EXPECT_LT(line.size(), 2000u);
    }
    EXPECT_EQ(errors, 1u) << ended.all().substr(0, 2000);
  }
}

TEST_F(Config, a_file_that_is_none_is_told) {
  const Ended gone = run({"start", "-c", file()});
  EXPECT_EQ(gone.status, 2);
  expect_lines(gone, {"error: FILE: cannot be read: No such file or directory"});
  const Ended folder = run({"check", "-c", directory().string()});
  EXPECT_EQ(folder.status, 2);
  ASSERT_EQ(folder.errors.size(), 1u);
  EXPECT_TRUE(folder.errors[0].ends_with("cannot be read: Is a directory")) << folder.all();
}

TEST_F(Config, usage_errors_have_exit_code_2_and_a_remedy) {
  const Ended slip = run({"start", "--proxy-sever", "x"});
  EXPECT_EQ(slip.status, 2);
  EXPECT_EQ(slip.output, "");
  EXPECT_EQ(slip.errors,
            (std::vector<std::string>{
                "kubelane: \"--proxy-sever\" is not known to `kubelane start`; did you "
                "mean --proxy-server?",
                "Try `kubelane start --help`."}));
}

TEST_F(Config, help_and_version_go_to_standard_output) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"--help"}, {"start", "--help"}, {"version"}, {"--version"}}) {
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.status, 0);
    EXPECT_TRUE(ended.errors.empty()) << ended.all();
    EXPECT_NE(ended.output.find("kubelane"), std::string::npos);
  }
}

TEST_F(Config, flags_beat_the_environment_which_beats_the_file) {
  write_file("listen: 127.0.0.2:0\n" + waiting_yaml());
  const auto address = [&](const std::vector<std::string>& flags, const Variables& variables) {
    std::vector<std::string> arguments = {"start", "-c", file()};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Process process(KUBELANE_BINARY, arguments, with(variables));
    return listening(process);
  };
  const Variables variable = {{"KUBELANE_LISTEN", "127.0.0.3:0"}};
  const std::string by_file = address({}, {});
  EXPECT_TRUE(by_file.starts_with("127.0.0.2:")) << by_file;
  EXPECT_FALSE(by_file.ends_with(":0")) << "port 0 takes a free one";
  EXPECT_TRUE(address({}, variable).starts_with("127.0.0.3:"));
  EXPECT_TRUE(address({"--listen", "127.0.0.4:0"}, variable).starts_with("127.0.0.4:"));
}

TEST_F(Config, tbots_variables_are_read) {
  std::string yaml = waiting_yaml();
  yaml.erase(0, yaml.find('\n') + 1);
  write_file(yaml);
  const Ended without = run({"check"}, {{"TBOT_CONFIG_PATH", file()}});
  EXPECT_EQ(without.status, 0);
  expect_lines(without, {"warning: FILE: proxy_server is missing"});
  const Ended whole = run({"check"}, {{"TBOT_CONFIG_PATH", file()}, {"TELEPORT_PROXY", "t"}});
  EXPECT_EQ(whole.status, 0);
  EXPECT_TRUE(whole.errors.empty()) << whole.all();
  const Ended wrong =
      run({"check"}, {{"TBOT_CONFIG_PATH", file()}, {"TELEPORT_PROXY", "http://t"}});
  EXPECT_EQ(wrong.status, 2);
  expect_lines(wrong, {"error: TELEPORT_PROXY: \"http://t\" is not an address such as"});
  Process process(KUBELANE_BINARY, {"start", "--listen", "127.0.0.1:0"},
                  with({{"TBOT_CONFIG_PATH", file()},
                        {"TELEPORT_PROXY", "127.0.0.1:1"},
                        {"TBOT_DEBUG", "true"},
                        {"TELEPORT_BOT_TOKEN", "hunter2"}}));
  EXPECT_NE(listening(process), "nowhere");
  EXPECT_TRUE(process.wait_for_line("TELEPORT_BOT_TOKEN: onboarding has no effect"));
  for (const std::string& line : process.error_lines())
    EXPECT_EQ(line.find("hunter2"), std::string::npos) << line;
}

TEST_F(Config, one_cluster_needs_no_file) {
  kind = lab::TbotKind::kubernetes;
  start_lab();
  write_credentials();
  Process process(KUBELANE_BINARY,
                  {"start", "kubernetes", "--proxy-server", proxy().address(), "--proxy-ca",
                   (directory() / "web-ca.pem").string(), "--kubernetes-cluster", "demo",
                   "--credentials", credentials_path().string(), "--destination",
                   destination_path().string(), "--listen", "127.0.0.1:0"},
                  no_variables);
  ASSERT_TRUE(process.wait_for_line("kubelane is ready"));
  const support::LocalEndpoint local =
      support::read_endpoint(destination_path() / "kubeconfig.yaml");
  EXPECT_EQ(local.prefix, "/demo");
  TlsClient caller = connect(local);
  caller.write("GET /demo/bytes/3 HTTP/1.1\r\nHost: " + local.host_header() +
               "\r\nAuthorization: Bearer " + local.token + "\r\n\r\n");
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(3));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait_exit(), 0);
}

TEST_F(Config, a_listener_of_its_own_has_no_prefix_and_a_port_of_its_own) {
  kind = lab::TbotKind::kubernetes;
  more_service_yaml =
      "    listen: 127.0.0.1:0\n"
      "    name: own\n"
      "  - type: kubernetes\n"
      "    name: shared\n"
      "    kubernetes_cluster: demo\n"
      "    credentials: " +
      credentials_path().string() + "\n    destination: " + (directory() / "other").string() + "\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const support::LocalEndpoint own = support::read_endpoint(destination_path() / "kubeconfig.yaml");
  const support::LocalEndpoint shared =
      support::read_endpoint(directory() / "other" / "kubeconfig.yaml");
  EXPECT_EQ(own.prefix, "");
  EXPECT_EQ(shared.prefix, "/demo");
  EXPECT_NE(own.port, shared.port);
  for (const support::LocalEndpoint& local : {own, shared}) {
    TlsClient caller = connect(local);
    caller.write("GET " + local.prefix + "/bytes/5 HTTP/1.1\r\nHost: " + local.host_header() +
                 "\r\nAuthorization: Bearer " + local.token + "\r\n\r\n");
    EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(5));
  }
}

TEST_F(Config, names_of_eks_clusters_are_readable_paths) {
  const std::string arn = "arn:aws:eks:eu-west-1:1234567890:cluster/a%b";
  proxy_options.clusters = {{arn, lab::standard_paths(gate())}, {"b", lab::standard_paths(gate())}};
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(endpoint(arn).prefix, "/arn:aws:eks:eu-west-1:1234567890:cluster~2Fa~25b");
  EXPECT_EQ(get("/bytes/5", arn).body, lab::pattern_bytes(5));
  EXPECT_EQ(get("/bytes/6", "b").body, lab::pattern_bytes(6));
}

TEST_F(Config, other_machines_reach_it_only_when_that_is_meant) {
  write_file("listen: 0.0.0.0:0\n" + waiting_yaml());
  const Ended refused = run({"start", "-c", file()});
  EXPECT_EQ(refused.status, 2);
  expect_lines(refused, {"error: FILE:1:9: listen address 0.0.0.0 can be reached from other "
                         "machines; set allow_remote: true (--allow-remote)"});
  const Ended off =
      run({"start", "-c", file(), "--allow-remote=false"}, {{"KUBELANE_ALLOW_REMOTE", "true"}});
  EXPECT_EQ(off.status, 2) << "a flag that says no means no";
  const Ended on = run({"check", "-c", file(), "--allow-remote"});
  EXPECT_EQ(on.status, 0) << on.all();
  listen = "0.0.0.0:0";
  more_yaml = "allow_remote: true\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(endpoint().host, "127.0.0.1");
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(Config, an_address_in_use_is_told_with_exit_code_1) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string taken = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  write_file("listen: " + taken + "\n" + waiting_yaml());
  const Ended ended = run({"start", "-c", file()});
  ::close(fd);
  EXPECT_EQ(ended.status, 1);
  ASSERT_FALSE(ended.errors.empty());
  EXPECT_NE(ended.errors.back().find("cannot start"), std::string::npos) << ended.all();
  EXPECT_NE(ended.errors.back().find(taken), std::string::npos) << ended.all();
}

TEST_F(Config, plain_http_without_authentication_is_served) {
  more_yaml = "local_tls: false\nlocal_auth: none\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_FALSE(endpoint().tls);
  EXPECT_EQ(endpoint().token, "");
  EXPECT_EQ(get("/bytes/4").body, lab::pattern_bytes(4));
}

TEST_F(Config, client_certificates_authenticate_when_asked_for) {
  more_yaml = "local_auth: mtls\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(endpoint().token, "");
  ASSERT_FALSE(endpoint().client_key_pem.empty());
  EXPECT_EQ(get("/bytes/4").body, lab::pattern_bytes(4));
  support::LocalEndpoint stranger = endpoint();
  stranger.client_certificate_pem.clear();
  stranger.client_key_pem.clear();
  const auto answer = [&] {
    TlsClient caller = connect(stranger);
    caller.write("GET /demo/bytes/4 HTTP/1.1\r\nHost: " + stranger.host_header() + "\r\n\r\n");
    return caller.read_response().status;
  };
  int status = 0;
  try {
    status = answer();
  } catch (const std::exception&) {
    // The handshake fails, or the alert comes instead of an answer.
  }
  EXPECT_NE(status, 200);
  EXPECT_EQ(proxy().seen().request_count, 1u) << "a stranger's request went through";
}

TEST_F(Config, fields_for_tbot_alone_are_logged_once_and_do_no_harm) {
  more_yaml = "oneshot: true\nonboarding: {join_method: token, token: hunter2}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  std::size_t warnings = 0;
  for (const std::string& line : kubelane().error_lines()) {
    if (line.find("\"message\":\"configuration\"") == std::string::npos) continue;
    ++warnings;
    EXPECT_NE(line.find("\"level\":\"warn\""), std::string::npos) << line;
    EXPECT_NE(line.find("kubelane.yaml:"), std::string::npos) << line;
    EXPECT_EQ(line.find("hunter2"), std::string::npos) << line;
  }
  EXPECT_EQ(warnings, 2u);
  EXPECT_EQ(get("/bytes/1").status, 200);
}

}  // namespace
