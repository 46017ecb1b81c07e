// The real kubelane between HTTP/2 clients and the lab's Proxy with HTTP/2 on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/support/kubelane_fixture.hpp"

namespace support {

class Http2Fixture : public KubelaneFixture {
 protected:
  Http2Fixture() {
    proxy_options.http2 = true;
    more_yaml = "workers: 1\n";
  }

  // start(), and until local clients get HTTP/2.
  void start_http2() {
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol")) << "nothing was found out";
  }

  // The newest request with that end of its target.
  lab::RequestRecord arrived(const std::string& target) const {
    const auto seen = proxy_seen();
    const auto* found = seen.last_request(target);
    return found == nullptr ? lab::RequestRecord{} : *found;
  }
  bool wait_arrived(
      const std::string& target, const std::function<bool(const lab::RequestRecord&)>& predicate =
                                     [](const lab::RequestRecord&) { return true; }) {
    return proxy().wait_for(
        [&](const lab::Observations& seen) {
          const auto* found = seen.last_request(target);
          return found != nullptr && predicate(*found);
        },
        patience());
  }
  H2Response get_h2(H2Client& local, const std::string& target) const {
    return local.exchange(h2_request("GET", target));
  }
  std::size_t links() {
    std::size_t count = 0;
    for (const auto& [id, connection] : proxy().seen().connections)
      if (connection.kube && connection.alpn == "h2") ++count;
    return count;
  }

 private:
  lab::Observations proxy_seen() const { return const_cast<Http2Fixture*>(this)->proxy().seen(); }
};

}  // namespace support
