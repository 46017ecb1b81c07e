// Asks all workers what they have counted, by posting, and answers when all have answered or a
// second has passed. A worker that is late is represented by what it said last, so that no counter
// goes back.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "proxy/observe/meters.hpp"
#include "proxy/relay/worker.hpp"

namespace kubelane {

// Thread: control. `workers` must outlive it.
class ReportRound {
 public:
  using Then = std::function<void(const std::vector<observe::WorkerReport>&)>;

  ReportRound(boost::asio::io_context& io,
              const std::vector<std::unique_ptr<relay::Worker>>& workers)
      : io_(io), workers_(workers), last_(std::make_shared<Last>(workers.size())) {}

  // `then` runs on the control thread. By worker.
  void ask(bool with_connections, Then then);

 private:
  using Last = std::vector<observe::WorkerReport>;
  struct Asked;

  boost::asio::io_context& io_;
  const std::vector<std::unique_ptr<relay::Worker>>& workers_;
  std::shared_ptr<Last> last_;
};

}  // namespace kubelane
