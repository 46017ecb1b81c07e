// The exit codes of all commands. README, man page and `--help` tell the same.
#pragma once

namespace kubelane::exit_code {

constexpr int success = 0;
constexpr int failure = 1;
constexpr int usage = 2;
constexpr int not_ready = 3;
constexpr int no_answer = 4;
// `run` only, as env(1), timeout(1) and shells have them. What is not below is the command's own.
constexpr int run_failed = 125;
constexpr int cannot_execute = 126;
constexpr int not_found = 127;
constexpr int by_signal = 128;  // plus the signal's number

struct Meaning {
  const char* code;
  const char* text;
};

constexpr Meaning meanings[] = {
    {"0", "done, or stopped as asked"},
    {"1",
     "cannot run: an address, a file or the storage cannot be used; or the drain was cut short"},
    {"2", "wrong usage or configuration"},
    {"3", "not ready (in time): wait, status, kubeconfig"},
    {"4", "no kubelane answers at the address: wait, status, shutdown"},
    {"125", "run: kubelane did not get ready, or ended before the command"},
    {"126", "run: the command cannot be executed"},
    {"127", "run: there is no such command"},
    {"128+n", "run: signal n ended the command; any other code is the command's own"},
};

}  // namespace kubelane::exit_code
