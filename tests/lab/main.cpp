// kubelane-lab: a Teleport Proxy, a tbot and a Kubernetes API for one machine, on loopback only.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tests/lab/apiserver_forwarder.hpp"
#include "tests/lab/kube_api.hpp"
#include "tests/lab/proxy.hpp"
#include "tests/lab/standard_paths.hpp"
#include "tests/lab/tbot_directory.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Settings {
  std::filesystem::path dir;
  lab::TbotKind kind = lab::TbotKind::kubernetes;
  lab::ProxyOptions proxy;
  std::vector<std::string> clusters;
  long certificate_seconds = 3600;
  long renew_seconds = 1200;
  std::optional<lab::ApiserverOptions> upstream;
  std::string impersonate_as = "rig-admin";
  bool until_eof = false;
};

constexpr const char* kUsage =
    R"(usage: kubelane-lab --dir DIR [options]
  --kind KIND              kubernetes (default), kubernetes/v2 or identity: tbot's output to imitate
  --server-version V       version of the Teleport Proxy (17.4.2)
  --teleport-cluster NAME  name of the Teleport cluster (root.example.com)
  --cluster NAME           a Kubernetes cluster; repeatable (demo)
  --separate               the Kubernetes service on a port of its own, no TLS routing
  --http2                  the Kubernetes service offers HTTP/2
  --port PORT              web port (0: a free one)
  --cert-seconds N         lifetime of the client certificate (3600)
  --renew-seconds M        time between renewals (1200)
  --upstream URL           forward to this kube-apiserver, https://127.0.0.1:PORT, with
    --upstream-ca FILE --upstream-cert FILE --upstream-key FILE
  --impersonate-as USER    the bot's Kubernetes user there (rig-admin)
  --until-eof              also end when standard input ends
Writes DIR/web-ca.pem and DIR/credentials, prints one line of JSON when ready, ends on SIGTERM.
)";

long number(const std::string& text) {
  long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
    throw std::runtime_error("not a number: " + text);
  }
  return value;
}

void set_upstream(lab::ApiserverOptions& options, const std::string& url) {
  constexpr std::string_view kScheme = "https://";
  const std::size_t colon = url.rfind(':');
  if (!url.starts_with(kScheme) || colon < kScheme.size()) {
    throw std::runtime_error("--upstream wants https://ADDRESS:PORT");
  }
  options.host = url.substr(kScheme.size(), colon - kScheme.size());
  options.port = static_cast<std::uint16_t>(number(url.substr(colon + 1)));
}

Settings parse(const std::vector<std::string>& arguments) {
  Settings settings;
  lab::ApiserverOptions upstream;
  bool forward = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name == "--separate") {
      settings.proxy.tls_routing = false;
      continue;
    }
    if (name == "--http2") {
      settings.proxy.http2 = true;
      continue;
    }
    if (name == "--until-eof") {
      settings.until_eof = true;
      continue;
    }
    if (i + 1 == arguments.size()) throw std::runtime_error("no value for " + name);
    const std::string& value = arguments[++i];
    if (name == "--dir") {
      settings.dir = std::filesystem::absolute(value);
    } else if (name == "--kind") {
      settings.kind = lab::parse_tbot_kind(value);
    } else if (name == "--server-version") {
      settings.proxy.server_version = value;
    } else if (name == "--teleport-cluster") {
      settings.proxy.cluster_name = value;
    } else if (name == "--cluster") {
      settings.clusters.push_back(value);
    } else if (name == "--port") {
      settings.proxy.port = static_cast<std::uint16_t>(number(value));
    } else if (name == "--cert-seconds") {
      settings.certificate_seconds = number(value);
    } else if (name == "--renew-seconds") {
      settings.renew_seconds = std::max(1L, number(value));
    } else if (name == "--upstream") {
      set_upstream(upstream, value);
      forward = true;
    } else if (name == "--upstream-ca") {
      upstream.ca_file = value;
    } else if (name == "--upstream-cert") {
      upstream.certificate_file = value;
    } else if (name == "--upstream-key") {
      upstream.key_file = value;
    } else if (name == "--impersonate-as") {
      settings.impersonate_as = value;
    } else {
      throw std::runtime_error("unknown option " + name);
    }
  }
  if (settings.dir.empty()) throw std::runtime_error("--dir is needed");
  if (settings.clusters.empty()) settings.clusters.emplace_back("demo");
  if (forward) settings.upstream = upstream;
  return settings;
}

lab::ClientSpec bot(const Settings& settings) {
  lab::ClientSpec spec;
  spec.valid_until = settings.certificate_seconds;
  if (settings.upstream) {
    spec.kubernetes_users = {settings.impersonate_as};
    spec.kubernetes_groups = {"system:masters"};
  }
  return spec;
}

void announce(const Settings& settings, const lab::Proxy& proxy) {
  const boost::json::object ready{
      {"ready", true},
      {"proxy", proxy.address()},
      {"kube", settings.proxy.host + ":" + std::to_string(proxy.kube_port())},
      {"web_ca", (settings.dir / "web-ca.pem").string()},
      {"credentials", (settings.dir / "credentials").string()},
      {"teleport_cluster", settings.proxy.cluster_name},
      {"kube_clusters", boost::json::value_from(settings.clusters)}};
  std::cout << boost::json::serialize(ready) << std::endl;
}

// Runs until a signal or, if asked for, the end of standard input; renews in time.
void run(const Settings& settings, lab::Proxy& proxy, lab::TbotDirectory& directory, int signals) {
  const auto period = std::chrono::seconds(settings.renew_seconds);
  for (auto next = Clock::now() + period;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    pollfd ready[2] = {{signals, POLLIN, 0}, {settings.until_eof ? STDIN_FILENO : -1, POLLIN, 0}};
    poll(ready, 2, static_cast<int>(std::clamp(left + 1, 0L, 60'000L)));
    if (ready[0].revents != 0) return;
    char ignored[256];
    if (ready[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return;
    if (Clock::now() >= next) {
      directory.write(proxy.renew(settings.kind, bot(settings)));
      next += period;
    }
  }
}

int lab_main(const std::vector<std::string>& arguments) {
  Settings settings = parse(arguments);
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  const lab::Socket signals(signalfd(-1, &ending, SFD_CLOEXEC));
  std::signal(SIGPIPE, SIG_IGN);

  lab::EventGate gate;
  std::vector<std::unique_ptr<lab::KubeApi>> apis;  // one state for each cluster
  for (const auto& name : settings.clusters) {
    lab::Handler behind;
    if (settings.upstream) {
      behind = lab::forward_to_apiserver(*settings.upstream);
    } else {
      apis.push_back(std::make_unique<lab::KubeApi>());
      behind = apis.back()->handler();
    }
    settings.proxy.clusters.push_back({name, lab::standard_paths(gate, behind)});
  }
  lab::Proxy proxy(settings.proxy);
  std::filesystem::create_directories(settings.dir);
  std::ofstream(settings.dir / "web-ca.pem") << proxy.web_ca_pem();
  lab::TbotDirectory directory(settings.dir / "credentials");
  directory.write(proxy.renew(settings.kind, bot(settings)));
  announce(settings, proxy);
  run(settings, proxy, directory, signals.fd());
  return 0;
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    std::cout << kUsage;
    return 0;
  }
  try {
    return lab_main(arguments);
  } catch (const std::exception& error) {
    std::cerr << "kubelane-lab: " << error.what() << "\n" << kUsage;
    return 2;
  }
}
