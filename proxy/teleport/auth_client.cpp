#include "proxy/teleport/auth_client.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include <sys/utsname.h>

#include "config/text.hpp"
#include "proxy/teleport/auth_messages.hpp"
#include "proxy/teleport/proto/auth.pb.h"
#include "tls/context.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr milliseconds dial_limit{10'000};
constexpr milliseconds call_limit{20'000};
// A renewal whose answer is lost cannot be asked for again (spec 9): it gets time.
constexpr milliseconds certs_limit{40'000};
constexpr std::int32_t page_size = 1000;
constexpr std::size_t most_clusters = 20'000;
constexpr std::size_t most_roles = 1000;
constexpr const char* zone = ".teleport.cluster.local";

template <class Message>
std::string bytes_of(const Message& message) {
  return message.SerializeAsString();
}

// Calls and parses.
template <class Answer, class Request>
asio::awaitable<AuthResult<Answer>> invoke(const GrpcChannel::Ptr& channel, const char* method,
                                           const Request& request, const std::string& what,
                                           milliseconds limit = call_limit) {
  const std::string bytes = bytes_of(request);
  const std::string path = method;
  GrpcReply reply = co_await channel->call(path, bytes, limit);
  if (!reply.status.ok()) co_return to_auth_error(reply.status, what);
  Answer answer;
  if (!answer.ParseFromString(reply.message))
    co_return AuthError{AuthError::Kind::other, what + ": the answer cannot be read", true};
  co_return answer;
}

bool printable(const std::string& text) {
  return !text.empty() && text.size() <= 512 && !has_control_character(text);
}

}  // namespace

std::string encoded_cluster_name(const std::string& cluster) {
  return tls::hex(reinterpret_cast<const unsigned char*>(cluster.data()), cluster.size()) + zone;
}

int major_of(const std::string& version) {
  const char* at = version.data() + (version.starts_with('v') ? 1 : 0);
  int major = 0;
  std::from_chars(at, version.data() + version.size(), major);
  return major;
}

asio::awaitable<AuthResult<std::unique_ptr<AuthClient>>> AuthClient::connect(
    const AuthAddress& address, const std::string& teleport_cluster, const BotIdentityPtr& identity,
    const std::string& host_cas, bool insecure) {
  std::string roots = host_cas;
  if (roots.empty() && identity)
    for (const std::string& ca : identity->issued.cas) roots += ca + "\n";
  if (roots.empty() && !insecure)
    co_return AuthError{AuthError::Kind::untrusted, "no CA of the cluster is known", false};
  Outcome<tls::ContextPtr> context = tls::make_auth_context(
      insecure ? std::string_view() : std::string_view(roots),
      identity ? identity->certificate.get() : nullptr, identity ? identity->key.get() : nullptr);
  if (!context) co_return to_auth_error(context.error());
  GrpcTarget target;
  target.address = address.address;
  target.server_name =
      teleport_cluster.empty() ? std::string(zone + 1) : encoded_cluster_name(teleport_cluster);
  if (address.through_proxy) target.protocols.push_back("teleport-auth@" + target.server_name);
  target.protocols.emplace_back("h2");
  target.context = std::shared_ptr<SSL_CTX>(std::move(*context));
  target.what = address.through_proxy ? "Teleport's Auth Service behind the Proxy"
                                      : "Teleport's Auth Service";
  Outcome<GrpcChannel::Ptr> channel = co_await GrpcChannel::connect(target, dial_limit);
  if (!channel) co_return to_auth_error(channel.error());
  co_return std::make_unique<AuthClient>(std::move(*channel));
}

AuthClient::~AuthClient() { channel_->close(); }

asio::awaitable<AuthResult<AuthPing>> AuthClient::ping() {
  const wire::Empty request;
  const std::string what = "asking Auth for its version";
  AuthResult<wire::PingAnswer> answer =
      co_await invoke<wire::PingAnswer>(channel_, "/proto.AuthService/Ping", request, what);
  if (!answer) co_return answer.error();
  AuthPing ping;
  ping.cluster_name = answer->cluster_name();
  ping.server_version = answer->server_version();
  ping.proxy_public_addr = answer->proxy_public_addr();
  ping.suite = answer->signature_algorithm_suite();
  co_return ping;
}

asio::awaitable<AuthResult<std::string>> AuthClient::host_ca() {
  AuthResult<wire::ClusterCa> answer =
      co_await invoke<wire::ClusterCa>(channel_, "/proto.AuthService/GetClusterCACert",
                                       wire::Empty(), "asking Auth for its host CA");
  if (!answer) co_return answer.error();
  co_return answer->host_ca();
}

asio::awaitable<AuthResult<std::vector<std::string>>> AuthClient::impersonable_roles(
    const std::string& role) {
  wire::RoleName request;
  request.set_name(role);
  const std::string what = "reading the bot's role " + role;
  AuthResult<wire::Role> answer =
      co_await invoke<wire::Role>(channel_, "/proto.AuthService/GetRole", request, what);
  if (!answer) co_return answer.error();
  std::vector<std::string> roles;
  for (const std::string& each : answer->spec().allow().impersonate().roles())
    if (printable(each) && roles.size() < most_roles) roles.push_back(each);
  co_return roles;
}

asio::awaitable<AuthResult<IssuedCerts>> AuthClient::user_certs(
    const CertsWish& wish, const std::shared_ptr<EVP_PKEY>& key, int server_major) {
  wire::UserCertsRequest request;
  const std::string ssh_key = tls::ssh_public_line(key.get());
  if (server_major <= 16) {
    request.set_ssh_key_v16(ssh_key);
  } else {
    request.set_ssh_key(ssh_key);
    request.set_tls_key(tls::public_key_pem(key.get()));
  }
  request.set_username(wish.username);
  set_time(*request.mutable_expires(), wish.expires);
  request.set_route_to_cluster(wish.teleport_cluster);
  request.set_kubernetes_cluster(wish.kubernetes_cluster);
  for (const std::string& role : wish.roles) request.add_role_requests(role);
  request.set_use_role_requests(!wish.roles.empty());
  const std::string what = wish.roles.empty() ? "renewing the bot's identity"
                                              : "asking for a certificate to reach clusters with";
  AuthResult<wire::Certs> answer = co_await invoke<wire::Certs>(
      channel_, "/proto.AuthService/GenerateUserCerts", request, what, certs_limit);
  if (!answer) co_return answer.error();
  co_return issued_certs(std::move(*answer));
}

asio::awaitable<AuthResult<IssuedCerts>> AuthClient::register_token(const JoinRequest& join) {
  const wire::JoinRequest request = join_request_message(join);
  const std::string what = "joining as a bot";
  AuthResult<wire::Certs> answer = co_await invoke<wire::Certs>(
      channel_, "/proto.JoinService/RegisterUsingToken", request, what, certs_limit);
  if (!answer) co_return answer.error();
  co_return issued_certs(std::move(*answer));
}

asio::awaitable<AuthResult<std::vector<KubeClusterInfo>>> AuthClient::kube_clusters(
    const std::map<std::string, std::string>& labels) {
  wire::ListRequest request;
  request.set_resource_type("kube_server");
  request.set_namespace_name("default");
  request.set_limit(page_size);
  for (const auto& [label, value] : labels) (*request.mutable_labels())[label] = value;
  std::map<std::string, KubeClusterInfo> found;
  const std::string what = "listing the Kubernetes clusters";
  for (std::size_t pages = 0;; ++pages) {
    AuthResult<wire::ListAnswer> answer = co_await invoke<wire::ListAnswer>(
        channel_, "/proto.AuthService/ListResources", request, what);
    if (!answer) {
      // A page may be too large for the server to send.
      if (answer.error().kind == AuthError::Kind::busy && request.limit() > 16 && pages < 200) {
        request.set_limit(request.limit() / 2);
        continue;
      }
      co_return answer.error();
    }
    for (const wire::ListedResource& resource : answer->resources()) {
      const wire::KubeCluster& cluster = resource.has_kube_server()
                                             ? resource.kube_server().spec().cluster()
                                             : resource.kube_cluster();
      const std::string& name = cluster.metadata().name();
      if (!printable(name)) continue;
      KubeClusterInfo& info = found[name];
      info.name = name;
      for (const auto& [label, value] : cluster.metadata().labels()) info.labels[label] = value;
      for (const auto& [label, command] : cluster.spec().dynamic_labels())
        info.labels[label] = command.result();
    }
    if (found.size() > most_clusters || pages > 1000)
      co_return AuthError{AuthError::Kind::other, what + ": there are too many", false};
    if (answer->next_key().empty() || answer->next_key() == request.start_key()) break;
    request.set_start_key(answer->next_key());
  }
  std::vector<KubeClusterInfo> out;
  out.reserve(found.size());
  for (auto& [name, info] : found) out.push_back(std::move(info));
  co_return out;
}

asio::awaitable<AuthError> AuthClient::watch_rotations(
    const std::string& teleport_cluster, const std::function<void()>& on_start,
    const std::function<void(std::string)>& on_rotation) {
  wire::Watch request;
  wire::WatchKind& kind = *request.add_kinds();
  kind.set_kind("cert_authority");
  for (const char* type : {"host", "user", "db", "openssh"})
    (*kind.mutable_filter())[type] = teleport_cluster;
  const std::shared_ptr<GrpcStream> stream = channel_->open("/proto.AuthService/WatchEvents");
  stream->send(bytes_of(request));
  stream->half_close();
  const std::string what = "watching for rotations of the CAs";
  bool started = false;
  for (;;) {
    // The connection's own pings find out whether the peer is there.
    const auto limit = started ? milliseconds(std::chrono::hours(24 * 365)) : call_limit;
    const std::optional<std::string> message = co_await stream->receive(limit);
    if (!message) co_return to_auth_error(stream->status(), what);
    wire::Event event;
    if (!event.ParseFromString(*message))
      co_return AuthError{AuthError::Kind::other, what + ": an event cannot be read", false};
    if (!started) {
      started = true;
      on_start();
    }
    const wire::AuthoritySpec& authority = event.authority().spec();
    const std::string& phase = authority.rotation().phase();
    const std::string& type = authority.type();
    if (event.type() != 1 || authority.cluster_name() != teleport_cluster) continue;
    if (type != "host" && type != "user" && type != "db" && type != "openssh") continue;
    if (phase == "update_clients" || phase == "standby" || phase == "rollback") on_rotation(phase);
  }
}

asio::awaitable<AuthResult<void>> AuthClient::heartbeat(const HeartbeatReport& report) {
  wire::HeartbeatRequest request;
  wire::Heartbeat& beat = *request.mutable_heartbeat();
  set_time(*beat.mutable_recorded_at(), system_clock::now());
  beat.set_is_startup(report.startup);
  beat.set_version(KUBELANE_VERSION);
  beat.set_hostname(report.hostname);
  beat.mutable_uptime()->set_seconds(report.uptime.count());
  beat.set_join_method(report.join_method);
  beat.set_one_shot(report.oneshot);
  utsname machine{};
  ::uname(&machine);
  beat.set_architecture(machine.machine);
  beat.set_os("linux");
  const std::string what = "sending a heartbeat";
  AuthResult<wire::Empty> answer = co_await invoke<wire::Empty>(
      channel_, "/teleport.machineid.v1.BotInstanceService/SubmitHeartbeat", request, what);
  if (!answer) co_return answer.error();
  co_return boost::system::in_place_value;
}

}  // namespace kubelane::teleport
