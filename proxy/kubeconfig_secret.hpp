// The kubeconfig of one service in a Secret of the cluster that kubelane runs in, under the key
// kubeconfig.yaml. Written in the background, again and again until it is there. Control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "config/config.hpp"
#include "proxy/teleport/api_server.hpp"

namespace kubelane {

class KubeconfigSecret {
 public:
  // `server` must outlive it. `on_written`: the text that was given last is there; also called when
  // it was there before.
  KubeconfigSecret(boost::asio::io_context& io, const teleport::ApiServer& server,
                   teleport::ApiObject secret, const SecretName& name,
                   std::function<void()> on_written);
  ~KubeconfigSecret();
  KubeconfigSecret(const KubeconfigSecret&) = delete;
  KubeconfigSecret& operator=(const KubeconfigSecret&) = delete;

  void put(std::string text);
  // Secret "namespace/name", for logs.
  std::string path() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace kubelane
