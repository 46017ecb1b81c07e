// kubelane-lab: a Teleport Proxy, a tbot and a Kubernetes API for one machine, on loopback only.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
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
#include "tests/lab/auth.hpp"
#include "tests/lab/auth_commands.hpp"
#include "tests/lab/jwt_issuer.hpp"
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
  std::vector<lab::Labels> labels;  // of each
  long certificate_seconds = 3600;
  long renew_seconds = 1200;
  std::optional<lab::ApiserverOptions> upstream;
  std::string impersonate_as = "rig-admin";
  bool until_eof = false;
  bool auth = false;
  std::string bot = "ci";
  std::vector<std::string> tokens;             // single-use secrets
  std::vector<std::string> kubernetes_tokens;  // names
  long longest_ttl = 0;
  bool commands = false;
  bool allow_old_clients = false;
};

const std::string kUsage =
    R"(usage: kubelane-lab --dir DIR [options]
  --kind KIND              kubernetes (default), kubernetes/v2 or identity: tbot's output to imitate
  --server-version V       version of the Teleport Proxy (17.4.2)
  --teleport-cluster NAME  name of the Teleport cluster (root.example.com)
  --cluster NAME[=K=V,...] a Kubernetes cluster with labels; repeatable (demo)
  --separate               the Kubernetes service on a port of its own, no TLS routing
  --http2                  the Kubernetes service offers HTTP/2
  --port PORT              web port (0: a free one)
  --cert-seconds N         lifetime of the client certificate (3600)
  --renew-seconds M        time between renewals (1200)
  --upstream URL           forward to this kube-apiserver, https://127.0.0.1:PORT, with
    --upstream-ca FILE --upstream-cert FILE --upstream-key FILE
  --impersonate-as USER    the bot's Kubernetes user there (rig-admin)
  --until-eof              also end when standard input ends
  --auth                   also a Teleport Auth, of the same version, for clients that join
    --bot NAME             the bot; it may impersonate the role kube-access (ci)
    --token SECRET         a join token of method token, for one use; repeatable
    --kubernetes-token N   a join token of method kubernetes (static_jwks) with that name; repeatable.
                           DIR/service-account-token is what its pod would hold
    --longest-ttl SECONDS  no certificate lives longer
    --allow-old-clients    serve clients of any version
    --commands             lines of standard input are commands: )" +
    std::string(lab::kCommandUsage) + R"(
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
    if (name == "--auth") {
      settings.auth = true;
      continue;
    }
    if (name == "--allow-old-clients") {
      settings.allow_old_clients = true;
      continue;
    }
    if (name == "--commands") {
      settings.commands = true;
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
      const std::size_t equals = value.find('=');
      settings.clusters.push_back(value.substr(0, equals));
      settings.labels.push_back(equals == std::string::npos
                                    ? lab::Labels{}
                                    : lab::parse_labels(value.substr(equals + 1)));
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
    } else if (name == "--bot") {
      settings.bot = value;
    } else if (name == "--token") {
      settings.tokens.push_back(value);
    } else if (name == "--kubernetes-token") {
      settings.kubernetes_tokens.push_back(value);
    } else if (name == "--longest-ttl") {
      settings.longest_ttl = number(value);
    } else {
      throw std::runtime_error("unknown option " + name);
    }
  }
  if (settings.dir.empty()) throw std::runtime_error("--dir is needed");
  if (settings.clusters.empty()) settings.clusters.emplace_back("demo");
  settings.labels.resize(settings.clusters.size());
  const bool wants_auth = settings.commands || !settings.tokens.empty() ||
                          !settings.kubernetes_tokens.empty() || settings.longest_ttl > 0 ||
                          settings.allow_old_clients;
  if (wants_auth && !settings.auth) throw std::runtime_error("that option needs --auth");
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

void announce(const Settings& settings, const lab::Proxy& proxy, const lab::Auth* auth) {
  boost::json::object ready{{"ready", true},
                            {"proxy", proxy.address()},
                            {"kube", settings.proxy.host + ":" + std::to_string(proxy.kube_port())},
                            {"web_ca", (settings.dir / "web-ca.pem").string()},
                            {"credentials", (settings.dir / "credentials").string()},
                            {"teleport_cluster", settings.proxy.cluster_name},
                            {"kube_clusters", boost::json::value_from(settings.clusters)}};
  if (auth != nullptr) {
    ready["auth"] = auth->address();
    ready["ca_pin"] = auth->ca_pin();
    ready["bot"] = settings.bot;
  }
  std::cout << boost::json::serialize(ready) << std::endl;
}

// A Kubernetes API server's issuer, whose tokens the join tokens of method kubernetes take.
class ServiceAccount {
 public:
  explicit ServiceAccount(const Settings& settings)
      : file_(settings.dir / "service-account-token"), audience_(settings.proxy.cluster_name) {}

  std::string jwks() const { return issuer_.jwks(); }
  void project() const {
    const std::string text = issuer_.service_account("default", "kubelane", audience_);
    const auto fresh = file_.string() + ".new";
    std::ofstream(fresh) << text;
    std::filesystem::rename(fresh, file_);  // at once, as the kubelet swaps it
  }

 private:
  std::filesystem::path file_;
  std::string audience_;
  lab::JwtIssuer issuer_{"https://kubernetes.default.svc.cluster.local"};
};

void furnish(lab::Auth& auth, const Settings& settings, const ServiceAccount& account) {
  lab::Role role;
  role.name = "kube-access";
  if (settings.upstream) {
    role.kubernetes_users = {settings.impersonate_as};
    role.kubernetes_groups = {"system:masters"};
  }
  auth.service().put_role(std::move(role));
  auth.service().put_bot(settings.bot, {"kube-access"});
  auth.service().set_longest_ttl(settings.longest_ttl);
  for (const auto& secret : settings.tokens) {
    lab::JoinToken token;
    token.name = secret;
    token.bot = settings.bot;
    auth.service().put_token(std::move(token));
  }
  for (const auto& name : settings.kubernetes_tokens) {
    lab::JoinToken token;
    token.name = name;
    token.method = "kubernetes";
    token.bot = settings.bot;
    token.kubernetes = {lab::KubernetesKind::static_jwks, account.jwks(), "", {"default:kubelane"}};
    auth.service().put_token(std::move(token));
  }
}

// What of standard input makes whole lines.
class CommandLines {
 public:
  // False at the end of input.
  bool read(const std::function<void(const std::string&)>& each) {
    char block[4096];
    const ssize_t got = ::read(STDIN_FILENO, block, sizeof block);
    if (got <= 0) return false;
    text_.append(block, static_cast<std::size_t>(got));
    for (std::size_t end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
      each(text_.substr(0, end));
      text_.erase(0, end + 1);
    }
    return true;
  }

 private:
  std::string text_;
};

// Runs until a signal or, if asked for, the end of standard input; renews in time.
void run(const Settings& settings, int signals, const std::function<void()>& renew,
         const std::function<void(const std::string&)>& command) {
  const auto period = std::chrono::seconds(settings.renew_seconds);
  CommandLines lines;
  bool listening = settings.until_eof || settings.commands;
  for (auto next = Clock::now() + period;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    pollfd ready[2] = {{signals, POLLIN, 0}, {listening ? STDIN_FILENO : -1, POLLIN, 0}};
    poll(ready, 2, static_cast<int>(std::clamp(left + 1, 0L, 60'000L)));
    if (ready[0].revents != 0) return;
    if (ready[1].revents != 0 && !lines.read(command)) {
      if (settings.until_eof) return;
      listening = false;
    }
    if (Clock::now() >= next) {
      renew();
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
  std::filesystem::create_directories(settings.dir);
  const ServiceAccount account(settings);
  std::unique_ptr<lab::Auth> auth;  // before the Proxy, which needs it
  if (settings.auth) {
    lab::AuthOptions options;
    options.cluster_name = settings.proxy.cluster_name;
    options.server_version = settings.proxy.server_version;
    auth = std::make_unique<lab::Auth>(options);
    auth->set_allow_old_clients(settings.allow_old_clients);
    furnish(*auth, settings, account);
    account.project();
    settings.proxy.auth = auth.get();
  }
  const auto serve_cluster = [&] {
    if (settings.upstream) {
      return lab::standard_paths(gate, lab::forward_to_apiserver(*settings.upstream));
    }
    apis.push_back(std::make_unique<lab::KubeApi>());
    return lab::standard_paths(gate, apis.back()->handler());
  };
  for (std::size_t i = 0; i < settings.clusters.size(); ++i) {
    settings.proxy.clusters.push_back({settings.clusters[i], serve_cluster(), settings.labels[i]});
  }
  lab::Proxy proxy(settings.proxy);
  std::ofstream(settings.dir / "web-ca.pem") << proxy.web_ca_pem();
  lab::TbotDirectory directory(settings.dir / "credentials");
  const auto renew = [&] {
    directory.write(proxy.renew(settings.kind, bot(settings)));
    if (auth) account.project();
  };
  const auto command = [&](const std::string& line) {
    if (!auth) return;
    try {
      lab::run_command(*auth, settings.bot, serve_cluster, line);
      std::cout << "{\"done\":true}" << std::endl;
    } catch (const std::exception& error) {
      std::cout << boost::json::serialize(boost::json::object{{"error", error.what()}})
                << std::endl;
    }
  };
  renew();
  announce(settings, proxy, auth.get());
  run(settings, signals.fd(), renew, command);
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
