#include "proxy/admin/process_metrics.hpp"

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace kubelane::admin {
namespace {

// Fields of /proc/self/stat from the state on, which is the third (proc(5)).
std::vector<std::string> stat_fields() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  std::vector<std::string> fields;
  if (name_end == std::string::npos) return fields;
  std::string field;
  for (const char c : line.substr(std::min(name_end + 2, line.size())) + " ") {
    if (c != ' ') {
      field += c;
      continue;
    }
    fields.push_back(field);
    field.clear();
  }
  return fields;
}

double number(const std::vector<std::string>& fields, std::size_t field_of_stat) {
  const std::size_t index = field_of_stat - 3;
  if (index >= fields.size()) return 0;
  double value = 0;
  const std::string& text = fields[index];
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double value = 0;
    if (word == "btime" && file >> value) return value;
  }
  return 0;
}

double open_descriptors() {
  std::error_code failed;
  double count = 0;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", failed), end;
       !failed && entry != end; entry.increment(failed))
    ++count;
  return count > 0 ? count - 1 : 0;  // less the one that looks
}

}  // namespace

void write_process_metrics(observe::PrometheusText& text) {
  const std::vector<std::string> stat = stat_fields();
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto page = static_cast<double>(::sysconf(_SC_PAGESIZE));
  static const double booted = boot_time();
  text.counter("process_cpu_seconds_total", "User and system CPU time in seconds.");
  text.sample((number(stat, 14) + number(stat, 15)) / ticks);
  text.gauge("process_resident_memory_bytes", "Resident memory in bytes.");
  text.sample(number(stat, 24) * page);
  text.gauge("process_virtual_memory_bytes", "Virtual memory in bytes.");
  text.sample(number(stat, 23));
  text.gauge("process_start_time_seconds", "Start of the process, in seconds since the epoch.");
  text.sample(booted + number(stat, 22) / ticks);
  text.gauge("process_threads", "Threads of the process.");
  text.sample(number(stat, 20));
  text.gauge("process_open_fds", "Open file descriptors.");
  text.sample(open_descriptors());
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  text.gauge("process_max_fds", "Most file descriptors that may be open.");
  text.sample(static_cast<double>(limit.rlim_cur));
}

}  // namespace kubelane::admin
