#include "proxy/app.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <boost/asio/post.hpp>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proxy/observe/log.hpp"
#include "tls/free_lists.hpp"

// The linker's names for the bounds of the program's code.
extern "C" const char __executable_start;  // NOLINT(bugprone-reserved-identifier)
extern "C" const char etext;

namespace kubelane {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr hours certificate_check{1};
constexpr seconds settling_time{2};
constexpr seconds oneshot_limit{120};

// Many clients need many descriptors; one heap is enough for threads that hardly allocate.
void prepare_process() {
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of file sizes is an error like a full disk
}

// Clean pages of a file only: nothing in them is lost.
void forget_code_pages() {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(&__executable_start) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(&etext) / page * page;
  // An address of the page table, not of an object. NOLINTNEXTLINE(performance-no-int-to-ptr)
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

App::App(Config config, ConfigSource source)
    : config_(std::move(config)),
      source_(std::move(source)),
      signals_(io_, SIGTERM, SIGINT),
      certificate_timer_(io_),
      kubeconfig_timer_(io_),
      memory_timer_(io_),
      oneshot_timer_(io_),
      drain_(io_, workers_),
      notifier_(host::Notifier::from_environment()) {
  signals_.add(SIGHUP);
  signals_.add(SIGUSR1);
  if (config_.workers == 0)
    config_.workers = std::clamp(std::thread::hardware_concurrency(), 1u, 2u);
}

App::~App() {
  for (const auto& worker : workers_) worker->stop_and_join();
}

int App::run() {
  prepare_process();
  if (Outcome<void> started = start(); !started) {
    log::error("cannot start", {{"cause", started.error().message}});
    return 1;
  }
  await_signal();
  io_.run();
  for (const auto& worker : workers_) worker->stop_and_join();
  observability_.reset();
  log::info("stopped", {{"exit_code", exit_code_}});
  log::flush();
  return exit_code_;
}

// Trust, then listeners, then workers, then credentials; connections are accepted from the start
// and answered with 503 until there are credentials.
Outcome<void> App::start() {
  if (Outcome<void> opened = local_side_.open(config_, host::take_passed_sockets()); !opened)
    return opened.error();
  Outcome<LocalSide::Plan> plan =
      local_side_.plan(config_, std::vector<std::optional<std::size_t>>(config_.services.size()));
  if (!plan) return plan.error();
  const std::vector<std::size_t> endpoints = plan->of_service;
  local_side_.adopt(std::move(*plan));
  observability_ = std::make_unique<Observability>(io_, config_, workers_,
                                                   Observability::Parts{[this] { return view(); },
                                                                        [this] {
                                                                          if (!drain_.begun())
                                                                            drain(0);
                                                                        }});
  if (Outcome<void> bound = observability_->bind(); !bound) return bound.error();
  if (Outcome<void> found = find_api_server(config_); !found) return found.error();
  Outcome<std::unique_ptr<teleport::Bot>> bot = make_bot(config_);
  if (!bot) return bot.error();
  bot_ = std::move(*bot);
  if (Outcome<void> made = local_side_.renew_certificate(config_); !made) return made.error();
  for (std::size_t i = 0; i < config_.services.size(); ++i)
    configured_.push_back(add_service(config_.services[i], endpoints[i]));
  for (const ServiceNumber service : configured_)
    if (Outcome<void> opened = open_secret(service); !opened) return opened.error();
  enter_sandbox();
  start_workers();
  start_sources();
  observability_->start();
  for (const auto& [number, endpoint] : local_side_.endpoints()) open_endpoint(number);
  renew_certificate_later();
  if (Outcome<void> watching = start_exit_triggers(); !watching) return watching.error();
  notifier_.ready();
  tell_status();
  start_watchdog();
  return {};
}

// What opened files before this goes on with them. Threads that start later are in it, too.
void App::enter_sandbox() {
  if (!config_.sandbox) return;
  granted_ = host::files_of(config_, source_.path);
  sandbox_ = host::enter_sandbox(granted_);
  log::debug(sandbox_ == host::Sandbox::on
                 ? "files are restricted to those that are needed"
                 : "this kernel has no Landlock: files are not restricted");
}

void App::start_watchdog() {
  const auto interval = notifier_.watchdog_interval();
  if (!interval) return;
  watchdog_ = std::make_unique<runtime::LoopWatch>(io_, *interval, relay::heartbeats(workers_),
                                                   [this] { notifier_.watchdog(); });
}

// For `systemctl status`.
void App::tell_status() {
  const auto ready = std::count_if(services_.begin(), services_.end(),
                                   [](const auto& each) { return each.second.ready; });
  notifier_.status(std::to_string(ready) + " of " + std::to_string(services_.size()) +
                   " services are ready");
}

Outcome<void> App::start_exit_triggers() {
  const auto activity = [this] {
    host::ExitTriggers::Activity sum;
    for (const auto& worker : workers_) {
      sum.begun += worker->requests_begun();
      sum.running += worker->requests_running();
    }
    return sum;
  };
  const auto triggered = [this](const std::string& why) {
    if (drain_.begun()) return;
    log::info("stopping: finishing what is running", {{"cause", why}});
    drain(0);
  };
  exit_triggers_ = std::make_unique<host::ExitTriggers>(io_, config_.exit, activity, triggered);
  return exit_triggers_->start();
}

void App::start_workers() {
  relay::WorkerReports reports;
  reports.connect_failed = [this](std::size_t upstream) {
    boost::asio::post(io_, [this, upstream] {
      if (const auto& source = upstreams_[upstream].source) source->connect_failed();
    });
  };
  reports.certificate_refused = [this](std::size_t upstream) {
    boost::asio::post(io_, [this, upstream] {
      if (const auto& source = upstreams_[upstream].source) source->reload();
    });
  };
  reports.protocol_seen = [this](std::size_t upstream, bool http2) {
    boost::asio::post(io_, [this, upstream, http2] { protocol_seen(upstream, http2); });
  };
  for (unsigned i = 0; i < config_.workers; ++i) {
    workers_.push_back(std::make_unique<relay::Worker>(config_, reports, workers_, i == 0));
    workers_.back()->start();
  }
}

void App::start_sources() {
  teleport::PingOptions options;
  teleport::parse_host_port(config_.proxy_server, 443, options.address);
  options.ca_file = config_.proxy_ca;
  options.insecure = config_.insecure;
  discovery_ = std::make_unique<teleport::Discovery>(io_, options);
  for (const ServiceNumber service : configured_)
    services_.at(service).upstream = add_source(service, "");
  publish_listeners();
  discovery_->start();
  for (UpstreamState& upstream : upstreams_) upstream.source->start();
  tell_bot();
  if (bot_) bot_->start();
  if (!config_.oneshot) return;
  oneshot_timer_.expires_after(oneshot_limit);
  oneshot_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    log::error("not ready in time; see what is logged above");
    finish(1);
  });
}

// Its listener must have been published.
void App::open_endpoint(std::size_t endpoint) {
  workers_.front()->accept_from(local_side_.duplicate_socket(endpoint), endpoint);
  log::info("listening", {{"address", local_side_.client_address(endpoint)},
                          {"tls", local_side_.endpoints().at(endpoint).tls ? "true" : "false"}});
}

// Start-up (configuration, certificates, ping) needs memory that serving does not, and code: the
// program is one large file, of which every page that ever ran counts as ours. Unmapped, it comes
// back from the page cache when it is wanted.
void App::give_memory_back_later() {
  memory_timer_.expires_after(settling_time);
  memory_timer_.async_wait([](boost::system::error_code error) {
    if (error) return;
    tls::release_pooled();
    ::malloc_trim(0);
    forget_code_pages();
  });
}

void App::renew_certificate_later() {
  certificate_timer_.expires_after(certificate_check);
  certificate_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    if (local_side_.wants_renewal()) {
      if (Outcome<void> renewed = local_side_.renew_certificate(config_); !renewed)
        log::error("cannot renew the local server certificate",
                   {{"cause", renewed.error().message}});
      publish_listeners();
    }
    renew_certificate_later();
  });
}

void App::await_signal() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    if (signal == SIGHUP || signal == SIGUSR1) {
      if (signal == SIGHUP && !drain_.begun()) {
        notifier_.reloading();
        reload();
        notifier_.ready();
        tell_status();
      }
      read_credentials(signal);
    } else if (drain_.begun()) {
      log::warn("second signal: stopping now");
      finish(exit_zero() ? 0 : 1);
      return;
    } else {
      log::info("stopping: finishing what is running", {{"signal", signal}});
      drain(signal);
    }
    await_signal();
  });
}

void App::read_credentials(int signal) {
  log::info("reading the credentials again", {{"signal", signal}});
  for (const UpstreamState& upstream : upstreams_)
    if (upstream.source && !services_.at(upstream.service).configured.by_bot())
      upstream.source->reload();
  if (bot_) bot_->renew_now("signal", teleport::Bot::Wish::operators);
  discovery_->refresh();
}

// `signal` 0: by itself, which always ends well.
void App::drain(int signal) {
  notifier_.stopping();
  Drain::Times times;
  times.limit = config_.timeouts.drain;
  if (signal == SIGTERM) times.delay = config_.exit.min_sigterm_delay;
  if (times.delay.count() > 0)
    log::info("serving on before the drain", {{"milliseconds", times.delay.count()}});
  const bool by_itself = signal == 0;
  drain_.begin(times, [this, by_itself](bool complete) {
    const int exit_code = complete || by_itself || exit_zero() ? 0 : 1;
    release_storage([this, exit_code] { finish(exit_code); });
  });
}

// Where a cluster's tools take any other code for a failure of the Pod, 0 is the default.
bool App::exit_zero() const {
  const char* const cluster = std::getenv("KUBERNETES_SERVICE_HOST");
  const bool contained = ::getpid() == 1 || (cluster != nullptr && *cluster != '\0');
  return config_.exit.zero_on_sigterm.value_or(contained);
}

void App::finish(int exit_code) {
  exit_code_ = exit_code;
  io_.stop();
}

}  // namespace kubelane
