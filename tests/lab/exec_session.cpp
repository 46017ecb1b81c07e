#include "tests/lab/exec_session.hpp"

#include <array>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <boost/json.hpp>
#include <pthread.h>

#include "tests/lab/http.hpp"

namespace lab {
namespace {

namespace json = boost::json;

constexpr auto kGrace = std::chrono::seconds(2);
constexpr auto kFirstSize = std::chrono::milliseconds(300);

std::string exit_status(int code) {
  if (code == 0) return R"({"metadata":{},"status":"Success"})";
  const json::object cause{{"reason", "ExitCode"}, {"message", std::to_string(code)}};
  return json::serialize(json::object{
      {"metadata", json::object{}},
      {"status", "Failure"},
      {"message",
       "command terminated with non-zero exit code: exit status " + std::to_string(code)},
      {"reason", "NonZeroExitCode"},
      {"details", json::object{{"causes", json::array{cause}}}}});
}

// What the thread that reads from the client and the thread of the session share.
class Session {
 public:
  void reader_ended() {
    const std::scoped_lock lock(mutex_);
    reader_ended_ = true;
    changed_.notify_all();
  }
  // For the client's end after the Status.
  void wait_for_reader() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kGrace, [&] { return reader_ended_; });
  }

  void resize(TerminalSize size) {
    const std::scoped_lock lock(mutex_);
    size_ = size;
    if (process_) process_->resize(size);
    changed_.notify_all();
  }
  // kubectl sends the size right after the streams: a process that asks at once shall see it.
  TerminalSize first_size() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kFirstSize, [&] { return size_ || reader_ended_; });
    return size_.value_or(TerminalSize{});
  }

  // Null when it could not be started.
  void started(std::shared_ptr<Process> process) {
    const std::scoped_lock lock(mutex_);
    started_ = true;
    process_ = std::move(process);
    if (process_ && size_) process_->resize(*size_);
    changed_.notify_all();
  }
  // Shared: its input may still be on its way when it has ended.
  std::shared_ptr<Process> process() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return started_; });
    return process_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reader_ended_ = false;
  bool started_ = false;
  std::shared_ptr<Process> process_;
  std::optional<TerminalSize> size_;
};

// A process that has closed its input must not end this one.
void block_sigpipe() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

void feed(ExecChannels& channels, Session& session, const std::atomic<bool>& stop) {
  block_sigpipe();
  for (;;) {
    ExecInput input = channels.next();
    if (input.kind == ExecInput::Kind::resize) {
      session.resize(input.size);
      continue;
    }
    const std::shared_ptr<Process> process = session.process();
    if (input.kind == ExecInput::Kind::gone) {
      if (process) process->kill();
      session.reader_ended();
      return;
    }
    if (!process) continue;
    if (input.kind == ExecInput::Kind::data) {
      process->write_input(input.data, [&] { return stop || channels.gone(); });
    } else {
      process->close_input();
    }
  }
}

// Copies one output to its end; without a client the process is of no use any more.
void drain(Process& process, std::size_t (Process::*read)(char*, std::size_t),
           const std::function<void(std::string_view)>& write) {
  std::array<char, 32 * 1024> block;
  try {
    for (;;) {
      const std::size_t got = (process.*read)(block.data(), block.size());
      if (got == 0) return;
      write({block.data(), got});
    }
  } catch (const ConnectionLost&) {
    process.kill();
  }
}

int run_process(ExecChannels& channels, const ExecCommand& command, Session& session) {
  try {
    const auto running = std::make_shared<Process>(
        Process::Options{command.command, command.directory, command.with_input, command.terminal,
                         command.terminal ? session.first_size() : TerminalSize{}});
    Process& process = *running;
    session.started(running);
    std::thread errors([&] {
      drain(process, &Process::read_error,
            [&](std::string_view bytes) { channels.write_error(bytes); });
    });
    drain(process, &Process::read_output,
          [&](std::string_view bytes) { channels.write_output(bytes); });
    errors.join();
    const int code = process.wait();
    session.started(nullptr);
    return code;
  } catch (const std::system_error& error) {
    session.started(nullptr);
    channels.write_error(std::string("cannot start ") + error.what() + "\n");
    return 127;
  }
}

}  // namespace

std::optional<TerminalSize> parse_terminal_size(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* const object = error ? nullptr : value.if_object();
  if (object == nullptr) return std::nullopt;
  const auto side = [&](std::string_view name) -> unsigned short {
    const json::value* const found = object->if_contains(name);
    if (found == nullptr || !found->is_int64()) return 0;
    return static_cast<unsigned short>(found->get_int64());
  };
  const TerminalSize size{side("Height"), side("Width")};
  if (size.rows == 0 || size.columns == 0) return std::nullopt;
  return size;
}

void run_exec(ExecChannels& channels, const ExecCommand& command, std::atomic<bool>& stop) {
  Session session;
  std::thread reader([&] { feed(channels, session, stop); });
  try {
    const int code = run_process(channels, command, session);
    channels.finish(exit_status(code));
  } catch (const ConnectionLost&) {
    // The reader notices it too.
  }
  session.wait_for_reader();
  stop = true;
  reader.join();
}

void run_attach(ExecChannels& channels, bool terminal, std::atomic<bool>& stop) {
  const std::string line_end = terminal ? "\r\n" : "\n";
  std::string line;
  bool quit = false;
  try {
    while (!quit) {
      const ExecInput input = channels.next();
      if (input.kind == ExecInput::Kind::gone) return;
      for (const char c : input.data) {
        if (c != '\n' && c != '\r') {
          line += c;
          continue;
        }
        quit = line == "quit";
        if (quit) break;
        const std::string answer = "echo: " + line + line_end;
        if (!terminal && line.starts_with("err")) {
          channels.write_error(answer);
        } else {
          channels.write_output(answer);
        }
        line.clear();
      }
    }
    channels.finish(exit_status(0));
    Session session;
    std::thread reader([&] {
      while (channels.next().kind != ExecInput::Kind::gone) {
      }
      session.reader_ended();
    });
    session.wait_for_reader();
    stop = true;
    reader.join();
  } catch (const ConnectionLost&) {
    // The client has gone.
  }
}

}  // namespace lab
