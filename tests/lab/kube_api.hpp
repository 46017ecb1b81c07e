// A small Kubernetes API server in memory: enough for kubectl to discover, get, list, watch,
// create, apply, patch and delete, and for logs, exec, attach, cp and port-forward over SPDY/3.1
// and WebSocket. No controllers and no schemas; a new pod runs at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "tests/lab/http.hpp"

namespace lab {

class KubeApi {
 public:
  struct Options {
    std::string version = "v1.32.4";
    // Pods "demo" and "demo-classic" in the namespace default.
    bool demo_pods = true;
    std::chrono::milliseconds bookmark_interval{60'000};
    // Between the lines that a pod writes while its log is followed; 0: only append_log() writes.
    std::chrono::milliseconds log_interval{200};
    std::size_t watch_history = 10'000;  // changes kept for watches to resume from
  };
  // What runs now, for tests that wait until a client's end was noticed.
  struct Activity {
    int watches = 0;
    int log_followers = 0;
    int sessions = 0;  // exec, attach, port-forward
  };
  // How a pod answers WebSocket upgrades (annotation lab/websocket): classic refuses with 403 what
  // came after v4.channel.k8s.io, so that kubectl falls back to SPDY.
  enum class WebSockets { modern, classic };

  KubeApi();
  explicit KubeApi(Options options);
  // Ends watches, followed logs and sessions soon; handlers may outlive this and then answer 503.
  ~KubeApi();
  KubeApi(const KubeApi&) = delete;
  KubeApi& operator=(const KubeApi&) = delete;

  // Thread-safe, as everything here. Request::user "nobody" gets 403 for all objects.
  Handler handler();

  // A running pod with one container, "main". Creates the namespace.
  void add_pod(const std::string& name, const std::string& name_space = "default",
               WebSockets mode = WebSockets::modern);
  // Creates or replaces one object given as JSON with apiVersion and kind. Throws
  // std::invalid_argument for anything that the API would refuse.
  void put(std::string_view json);
  void append_log(const std::string& name_space, const std::string& pod, std::string line);
  // Forgets the watch history: older resource versions and continue tokens get 410.
  void compact();
  Activity activity() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace lab
