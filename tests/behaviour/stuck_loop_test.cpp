// /livez fails when an event loop of a worker is stuck, and only then. A tracer stops the thread.
#include <filesystem>
#include <fstream>
#include <string>

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/control_client.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::ControlClient;
using support::eventually;
using support::Response;

// Stops one thread of another process for as long as it lives.
class StoppedThread {
 public:
  explicit StoppedThread(pid_t thread) : thread_(thread) {
    stopped_ = ::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
               ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 &&
               ::waitpid(thread, nullptr, __WALL) == thread;
  }
  ~StoppedThread() {
    if (stopped_) ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  }
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;
  bool stopped() const { return stopped_; }

 private:
  pid_t thread_;
  bool stopped_ = false;
};

pid_t thread_named(pid_t process, const std::string& name) {
  const auto tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::string found;
    std::getline(std::ifstream(task.path() / "comm"), found);
    if (found == name) return static_cast<pid_t>(std::stol(task.path().filename()));
  }
  return 0;
}

class StuckLoop : public support::KubelaneFixture {};

TEST_F(StuckLoop, liveness_fails_after_ten_seconds_and_comes_back) {
  if (::geteuid() != 0) GTEST_SKIP() << "kubelane lets nobody but root trace it";
  more_yaml = "diag_addr: 127.0.0.1:0\nworkers: 2\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const ControlClient probe(kubelane(), "diagnostics");
  EXPECT_EQ(probe.get("/livez").status, 200);
  const pid_t worker = thread_named(kubelane().pid(), "worker-1");
  ASSERT_NE(worker, 0);
  {
    const auto begin = std::chrono::steady_clock::now();
    const StoppedThread stuck(worker);
    ASSERT_TRUE(stuck.stopped());
    Response live;
    ASSERT_TRUE(eventually([&] {
      live = probe.get("/livez");
      return live.status == 503;
    }));
    EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(9));
    EXPECT_NE(live.body.find("worker 1"), std::string::npos) << live.body;
    // What a stuck worker has to say is not waited for.
    EXPECT_EQ(probe.get("/metrics").status, 200);
  }
  EXPECT_TRUE(eventually([&] { return probe.get("/livez").status == 200; }));
}

}  // namespace
