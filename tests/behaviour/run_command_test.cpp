// `kubelane run -- COMMAND`, as a CI job and a container's entry point use it.
#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/finished_command.hpp"
#include "tests/support/kubectl.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::FinishedCommand;
using support::Process;
using support::run_kubelane;
using Words = std::vector<std::string>;

class RunCommand : public support::KubelaneFixture {
 protected:
  RunCommand() { more_yaml = "diag_addr: unix://" + (directory() / "diag.sock").string() + "\n"; }

  void prepare() {
    start_lab();
    write_credentials();
    write_config(default_config());
  }
  void write_config(const std::string& yaml) { std::ofstream(config_file()) << yaml; }
  std::string config_file() const { return (directory() / "kubelane.yaml").string(); }
  Words words(const Words& command, const std::string& wait_timeout = "1m") const {
    Words all{"run", "-c", config_file(), "--wait-timeout", wait_timeout, "--"};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }
  FinishedCommand shell(const std::string& script,
                        const std::map<std::string, std::string>& variables = {}) const {
    return run_kubelane(words({"/bin/sh", "-c", script}), variables);
  }
};

// kubelane in a terminal of its own.
class Terminal {
 public:
  explicit Terminal(Words arguments) {
    arguments.insert(arguments.begin(), KUBELANE_BINARY);
    std::vector<char*> pointers;
    for (std::string& word : arguments) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::forkpty(&fd_, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      ::execv(KUBELANE_BINARY, pointers.data());
      ::_exit(1);
    }
  }
  ~Terminal() {
    if (!ended_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) const {
    ASSERT_EQ(::write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // False: it did not come before the end, or in time.
  bool read_until(const std::string& expected) {
    const auto deadline = std::chrono::steady_clock::now() + support::patience();
    while (text_.find(expected) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd from{fd_, POLLIN, 0};
      char block[4096];
      if (left.count() <= 0 || ::poll(&from, 1, static_cast<int>(left.count())) <= 0) return false;
      const ssize_t got = ::read(fd_, block, sizeof block);
      if (got <= 0) return false;
      text_.append(block, static_cast<std::size_t>(got));
    }
    return true;
  }
  int exit_code() {
    read_until("\x01");  // to the end: a terminal that nobody reads blocks its writers
    int status = 0;
    ended_ = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
    return ended_ && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t pid() const { return pid_; }
  const std::string& text() const { return text_; }

 private:
  int fd_ = -1;
  pid_t pid_ = -1;
  std::string text_;
  bool ended_ = false;
};

void expect_words(const std::string& text, const Words& all) {
  for (const std::string& word : all)
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text;
}

TEST_F(RunCommand, gives_the_command_a_kubeconfig_that_works_and_returns_its_code) {
  prepare();
  const FinishedCommand code = shell("test -s \"$KUBECONFIG\" && echo \"$KUBECONFIG\" && exit 42");
  EXPECT_EQ(code.code, 42) << code.errors;
  EXPECT_EQ(code.output, (destination_path() / "kubeconfig.yaml").string() + "\n");
  const auto kubectl = support::kubectl_program();
  if (!kubectl) GTEST_SKIP() << "kubectl is not installed";
  const FinishedCommand used =
      run_kubelane(words({*kubectl, "get", "--raw", "/version"}), {{"HOME", directory()}});
  EXPECT_EQ(used.code, 0) << used.errors;
  expect_words(used.output, {"gitVersion"});
}

TEST_F(RunCommand, a_command_that_a_signal_ends_is_told_as_shells_do) {
  prepare();
  EXPECT_EQ(shell("kill -KILL $$").code, 128 + SIGKILL);
}

TEST_F(RunCommand, a_command_that_cannot_be_started_is_told_as_shells_do) {
  prepare();
  const FinishedCommand none = run_kubelane(words({"kubelane-no-such-command"}));
  EXPECT_EQ(none.code, 127);
  expect_words(none.errors, {"kubelane: run: cannot start \"kubelane-no-such-command\""});
  const FinishedCommand not_executable = run_kubelane(words({config_file()}));
  EXPECT_EQ(not_executable.code, 126);
  expect_words(not_executable.errors, {config_file(), "Permission denied"});
}

TEST_F(RunCommand, wrong_usage_starts_nothing) {
  prepare();
  const FinishedCommand no_command = run_kubelane({"run", "-c", config_file()});
  EXPECT_EQ(no_command.code, 2);
  expect_words(no_command.errors, {"-- COMMAND"});
  const FinishedCommand no_config = run_kubelane({"run", "--", "/bin/true"});
  EXPECT_EQ(no_config.code, 2);
  EXPECT_FALSE(std::filesystem::exists(destination_path()));
}

TEST_F(RunCommand, without_a_destination_the_kubeconfig_is_private_and_gone_afterwards) {
  prepare();
  std::string yaml = default_config();
  const std::size_t at = yaml.find("    destination:");
  yaml.erase(at, yaml.find('\n', at) + 1 - at);
  write_config(yaml);
  const FinishedCommand ran =
      shell("stat -c %a \"$KUBECONFIG\" \"$(dirname \"$KUBECONFIG\")\" && echo \"$KUBECONFIG\"",
            {{"XDG_RUNTIME_DIR", directory()}});
  EXPECT_EQ(ran.code, 0) << ran.errors;
  EXPECT_TRUE(ran.output.starts_with("600\n700\n" + directory().string() + "/kubelane-run-"))
      << ran.output;
  for (const auto& entry : std::filesystem::directory_iterator(directory()))
    EXPECT_EQ(entry.path().filename().string().find("kubelane-run-"), std::string::npos)
        << entry.path();
}

TEST_F(RunCommand, the_command_inherits_no_descriptor_and_no_join_secret) {
  prepare();
  // Whoever starts the test may have descriptors that it passes on.
  const std::string script = "for each in /proc/$$/fd/*; do echo \"fd ${each##*/}\"; done; ";
  Process without("/bin/sh", {"-c", script});
  ASSERT_EQ(without.wait_exit(), 0);
  const FinishedCommand ran = shell(script + "env", {{"TELEPORT_BOT_TOKEN", "hunter2"},
                                                     {"KUBELANE_TOKEN", "hunter3"},
                                                     {"TBOT_GITLAB_JWT", "hunter4"},
                                                     {"CI_JOB", "kept"}});
  EXPECT_EQ(ran.code, 0) << ran.errors;
  const std::size_t last = ran.output.rfind("\nfd ");
  EXPECT_EQ(ran.output.substr(0, ran.output.find('\n', last + 1) + 1), without.output());
  EXPECT_EQ(ran.output.find("hunter"), std::string::npos) << ran.output;
  expect_words(ran.output, {"CI_JOB=kept"});
  EXPECT_EQ(shell("grep NoNewPrivs /proc/$$/status").output, "NoNewPrivs:\t0\n")
      << "what the proxy gives up, the command keeps";
}

TEST_F(RunCommand, a_signal_goes_to_the_command_and_the_proxy_serves_while_it_drains) {
  prepare();
  const std::string wait = std::string(KUBELANE_BINARY) + " wait -c " + config_file();
  Process process(KUBELANE_BINARY, words({"/bin/sh", "-c",
                                          "trap '" + wait +
                                              " >&2; exit 7' TERM; echo up; "
                                              "while :; do sleep 0.05; done"}));
  ASSERT_TRUE(eventually([&] { return process.output() == "up\n"; }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait_exit(), 7);
  EXPECT_TRUE(process.wait_for_line("ready"));
  // In this order: the command has used it after the signal, then it was stopped.
  std::string order;
  for (const std::string& line : process.error_lines()) {
    if (line == "ready") order += "used ";
    if (line.find("\"stopping: finishing what is running\"") != std::string::npos)
      order += "stopping ";
  }
  EXPECT_EQ(order, "used stopping ");
}

// Ctrl-C: the terminal tells the command itself, once, and the proxy not at all.
TEST_F(RunCommand, in_a_terminal_an_interrupt_reaches_the_command_once) {
  prepare();
  const std::string wait = std::string(KUBELANE_BINARY) + " wait -c " + config_file();
  Terminal terminal(words({"/bin/sh", "-c",
                           "trap 'n=$((n + 1))' INT; echo up; until [ \"$n\" ]; do sleep 0.02; "
                           "done; sleep 0.3; " +
                               wait + "; echo \"interrupts: $n.\""}));
  ASSERT_TRUE(terminal.read_until("up\r\n")) << terminal.text();
  terminal.type("\x03");
  EXPECT_TRUE(terminal.read_until("interrupts: 1.")) << terminal.text();
  EXPECT_NE(terminal.text().find("ready\r\n"), std::string::npos) << terminal.text();
  EXPECT_EQ(terminal.exit_code(), 0);
}

// Else a command that is in the foreground would get it twice.
TEST_F(RunCommand, what_a_terminal_sends_is_not_passed_on) {
  prepare();
  Terminal terminal(words({"/usr/bin/setsid", "/bin/sh", "-c",
                           "n=0; trap 'n=$((n + 1))' INT; trap 'echo \"interrupts: $n.\"; exit 0' "
                           "USR1; echo up; while :; do sleep 0.02; done"}));
  ASSERT_TRUE(terminal.read_until("up\r\n")) << terminal.text();
  terminal.type("\x03");
  ASSERT_TRUE(terminal.read_until("^C")) << terminal.text();
  ASSERT_EQ(::kill(terminal.pid(), SIGUSR1), 0);
  EXPECT_TRUE(terminal.read_until("interrupts: 0.")) << terminal.text();
  EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(RunCommand, a_signal_before_the_command_starts_ends_it) {
  start_lab();
  std::filesystem::create_directory(credentials_path());
  write_config(default_config());
  Process process(KUBELANE_BINARY, words({"/bin/echo", "started"}));
  ASSERT_TRUE(process.wait_for_line("\"listening\""));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait_exit(), 128 + SIGINT);
  EXPECT_EQ(process.output(), "");
}

TEST_F(RunCommand, what_does_not_get_ready_is_told) {
  start_lab();
  std::filesystem::create_directory(credentials_path());
  write_config(default_config());
  const FinishedCommand ran = run_kubelane(words({"/bin/echo", "started"}, "300ms"));
  EXPECT_EQ(ran.code, 125);
  EXPECT_EQ(ran.output, "");
  expect_words(ran.errors, {"did not get ready in time (--wait-timeout)"});
}

TEST_F(RunCommand, a_proxy_that_dies_takes_the_command_along) {
  prepare();
  Process process(KUBELANE_BINARY, words({"/bin/sh", "-c", "echo $$; exec sleep 1000"}));
  ASSERT_TRUE(eventually([&] { return process.output().ends_with("\n"); }));
  const std::string own = std::to_string(process.pid());
  std::ifstream children("/proc/" + own + "/task/" + own + "/children");
  pid_t proxy_process = 0;
  for (pid_t child = 0; children >> child;)
    if (child != std::stoi(process.output())) proxy_process = child;
  ASSERT_GT(proxy_process, 0);
  ASSERT_EQ(::kill(proxy_process, SIGKILL), 0);
  EXPECT_EQ(process.wait_exit(), 125);
  EXPECT_TRUE(process.wait_for_line("kubelane has ended (code 137): stopping the command"));
  EXPECT_NE(::kill(std::stoi(process.output()), 0), 0) << "the command still runs";
}

TEST_F(RunCommand, reaps_what_the_command_leaves_behind_as_the_first_process) {
  Process probe("/usr/bin/unshare", {"--pid", "--fork", "--mount-proc", "/bin/true"});
  if (probe.wait_exit() != 0) GTEST_SKIP() << "no PID namespace can be made here (unshare)";
  prepare();
  // Each `sleep` loses its parent and becomes a child of process 1.
  const std::string script =
      "for i in 1 2 3 4 5; do (sleep 0.01 & echo \"orphan $!\"); done; "
      "until ! grep -lsE '^Name:.sleep' /proc/[0-9]*/status >/dev/null; do :; done; "
      "echo \"first: $(tr '\\0' ' ' </proc/1/cmdline)\"; echo none left";
  Words arguments{"--pid", "--fork", "--mount-proc", "--kill-child", KUBELANE_BINARY};
  for (const std::string& word : words({"/bin/sh", "-c", script})) arguments.push_back(word);
  Process process("/usr/bin/unshare", arguments);
  EXPECT_EQ(process.wait_exit(), 0);
  expect_words(process.output(), {"orphan", "kubelane run", "none left"});
}

}  // namespace
