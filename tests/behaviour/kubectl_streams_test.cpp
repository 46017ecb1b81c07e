// Real kubectl through kubelane where it needs more than requests: exec, attach, cp, port-forward,
// logs -f and watches, over WebSocket and over SPDY, whichever this kubectl knows.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <sstream>
#include <string>

#include "tests/lab/kube_api.hpp"
#include "tests/support/kubectl.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Process;
using support::TlsClient;

struct Way {
  const char* name;
  const char* pod;          // how it answers WebSockets
  const char* web_sockets;  // whether kubectl tries them; older ones never do
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class KubectlStreams : public support::KubelaneFixture, public ::testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    if (!support::kubectl_program()) GTEST_SKIP() << "kubectl is not installed";
    proxy_options.clusters = {{"demo", api_.handler()}};
    start();
  }
  // The real one with our kubeconfig, as the beginning of a line for the shell.
  std::string kubectl() const {
    return support::kubectl_program().value() + " --kubeconfig '" +
           (destination_path() / "kubeconfig.yaml").string() + "' ";
  }
  // With `exec` in front of the line, signals and the end of the test reach kubectl itself.
  std::unique_ptr<Process> shell(const std::string& line) {
    return std::make_unique<Process>(
        "/bin/sh", std::vector<std::string>{"-c", line},
        std::map<std::string, std::string>{
            {"HOME", directory().string()},
            {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS", GetParam().web_sockets},
            {"KUBECTL_PORT_FORWARD_WEBSOCKETS", GetParam().web_sockets}});
  }
  struct Result {
    int status = -1;
    std::string output;
    std::string errors;
  };
  Result run(const std::string& line) {
    const auto process = shell(line);
    Result result;
    result.status = process->wait_exit(2 * support::patience()).value_or(-1);
    result.output = process->output();
    for (const std::string& each : process->error_lines()) result.errors += each + "\n";
    return result;
  }
  std::string pod() const { return GetParam().pod; }

  lab::KubeApi api_;
};

INSTANTIATE_TEST_SUITE_P(, KubectlStreams,
                         ::testing::Values(Way{"websocket", "demo", "true"},
                                           Way{"websocket_refused_then_spdy", "demo-classic",
                                               "true"},
                                           Way{"spdy", "demo", "false"}),
                         [](const ::testing::TestParamInfo<Way>& way) { return way.param.name; });

TEST_P(KubectlStreams, exec_keeps_output_errors_input_and_status) {
  Result result = run(kubectl() + "exec " + pod() + " -- sh -c 'echo out; echo err >&2; exit 7'");
  EXPECT_EQ(result.output, "out\n") << result.errors;
  EXPECT_NE(result.errors.find("err\n"), std::string::npos) << result.errors;
  EXPECT_EQ(result.status, 7) << result.errors;
  // The end of the input arrives, and what the command says behind it comes back.
  result = run("seq 1 60000 | " + kubectl() + "exec -i " + pod() + " -- sh -c 'wc -l; echo done'");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("60000"), std::string::npos) << result.output;
  EXPECT_TRUE(result.output.ends_with("done\n")) << result.output;
}

TEST_P(KubectlStreams, cp_copies_there_and_back) {
  const std::filesystem::path source = directory() / "source.bin";
  std::ofstream(source, std::ios::binary) << lab::pattern_bytes(3'000'000);
  const std::string back = (directory() / "back.bin").string();
  const Result result =
      run("cd '" + directory().string() + "' && " + kubectl() + "cp source.bin " + pod() +
          ":copied.bin && " + kubectl() + "cp " + pod() + ":copied.bin back.bin");
  EXPECT_EQ(result.status, 0) << result.errors;
  std::stringstream text;
  text << std::ifstream(back, std::ios::binary).rdbuf();
  EXPECT_TRUE(text.str() == lab::pattern_bytes(3'000'000)) << text.str().size();
}

TEST_P(KubectlStreams, attach_echoes_until_it_quits) {
  const Result result =
      run("printf 'one\\ntwo\\nquit\\n' | " + kubectl() + "attach -i " + pod() + " -c main");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("echo: one\necho: two\n"), std::string::npos)
      << result.output << result.errors;
}

TEST_P(KubectlStreams, port_forward_carries_connections_and_large_answers) {
  // Its own words tell the port: ":0" takes a free one.
  const auto forward = shell("exec " + kubectl() + "port-forward pod/" + pod() + " :80 :19");
  const auto port_of = [&](const std::string& remote) -> std::uint16_t {
    const std::string text = forward->output();
    const std::string mark = "Forwarding from 127.0.0.1:";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
      const std::size_t arrow = text.find(" -> ", at);
      const std::size_t end = text.find('\n', at);
      if (arrow == std::string::npos || end == std::string::npos) return 0;
      if (text.substr(arrow + 4, end - arrow - 4) == remote)
        return static_cast<std::uint16_t>(std::stoul(text.substr(at + mark.size())));
    }
    return 0;
  };
  ASSERT_TRUE(eventually([&] { return port_of("80") != 0 && port_of("19") != 0; }))
      << forward->output();
  support::ClientOptions plain;
  plain.tls = false;
  for (int i = 0; i < 5; ++i) {
    TlsClient caller("127.0.0.1", port_of("80"), plain);
    caller.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(caller.read_response().body, "hello from " + pod() + ":80\n");
  }
  {
    TlsClient caller("127.0.0.1", port_of("19"), plain);
    EXPECT_EQ(caller.read_to_end().size(), 64u << 20);
  }
}

TEST_P(KubectlStreams, a_killed_kubectl_is_gone_at_the_api) {
  const auto sleeper =
      shell("exec " + kubectl() + "exec " + pod() + " -- sh -c 'echo here; sleep 600'");
  ASSERT_TRUE(eventually([&] { return sleeper->output() == "here\n"; }));
  EXPECT_EQ(api_.activity().sessions, 1);
  sleeper->signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return api_.activity().sessions == 0; }));
}

TEST_P(KubectlStreams, watches_and_logs_come_as_they_happen_and_end_with_kubectl) {
  const auto watch = shell("exec " + kubectl() + "get configmaps --watch -o name");
  const auto logs = shell("exec " + kubectl() + "logs -f " + pod() + " --tail=1");
  ASSERT_TRUE(eventually(
      [&] { return api_.activity().watches == 1 && api_.activity().log_followers == 1; }));
  for (int i = 0; i < 5; ++i) {
    const std::string name = "event-" + std::to_string(i);
    api_.put(R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","name":")" +
             name + "\"}}");
    EXPECT_TRUE(eventually([&] {
      return watch->output().find("configmap/" + name) != std::string::npos;
    })) << watch->output();
    api_.append_log("default", pod(), "line of " + name);
    EXPECT_TRUE(eventually([&] {
      return logs->output().find("line of " + name + "\n") != std::string::npos;
    })) << logs->output();
  }
  watch->signal(SIGKILL);
  logs->signal(SIGKILL);
  EXPECT_TRUE(eventually(
      [&] { return api_.activity().watches == 0 && api_.activity().log_followers == 0; }));
}

}  // namespace
