// The lab's Proxy with HTTP/2 on, and clients that go to it directly with a bot's certificate.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/lab/proxy.hpp"
#include "tests/lab/standard_paths.hpp"
#include "tests/support/h2_client.hpp"
#include "tests/support/h2_raw_client.hpp"

namespace support {

class LabH2Fixture : public ::testing::Test {
 protected:
  LabH2Fixture() {
    lab::ProxyOptions options;
    options.http2 = true;
    options.clusters.push_back({"demo", lab::standard_paths(gate_)});
    proxy_ = std::make_unique<lab::Proxy>(options);
  }

  lab::Proxy& proxy() { return *proxy_; }
  lab::EventGate& gate() { return gate_; }

  // TLS as kubelane does it.
  ClientOptions identity() const {
    const auto material = proxy_->renew(lab::TbotKind::kubernetes);
    ClientOptions options;
    options.ca_pem = lab::pem_bundle(material.root_hosts);
    options.server_name = material.tls_server_name;
    options.certificate_pem = material.client.pem();
    options.key_pem = material.client.private_pem();
    return options;
  }
  std::unique_ptr<H2Client> connect(const H2ClientOptions& options = {}) const {
    return std::make_unique<H2Client>("127.0.0.1", proxy_->kube_port(), identity(), options);
  }
  std::unique_ptr<H2RawClient> connect_raw() const {
    return std::make_unique<H2RawClient>("127.0.0.1", proxy_->kube_port(), identity());
  }

  // The newest request with that end of its target.
  lab::RequestRecord arrived(const std::string& target) const {
    const auto seen = proxy_->seen();
    const auto* found = seen.last_request(target);
    return found == nullptr ? lab::RequestRecord{} : *found;
  }
  // Waits until the newest such request looks like that.
  bool wait_arrived(
      const std::string& target, const std::function<bool(const lab::RequestRecord&)>& predicate =
                                     [](const lab::RequestRecord&) { return true; }) const {
    return proxy_->wait_for(
        [&](const lab::Observations& seen) {
          const auto* found = seen.last_request(target);
          return found != nullptr && predicate(*found);
        },
        patience());
  }
  lab::ConnectionRecord connection_of(const std::string& target) const {
    return proxy_->seen().connections.at(arrived(target).connection);
  }

 private:
  lab::EventGate gate_;
  std::unique_ptr<lab::Proxy> proxy_;
};

}  // namespace support
