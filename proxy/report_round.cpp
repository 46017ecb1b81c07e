#include "proxy/report_round.hpp"

#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kubelane {
namespace {

constexpr std::chrono::seconds patience{1};

}  // namespace

// One question to all workers. Thread: control.
struct ReportRound::Asked {
  Asked(boost::asio::io_context& io, std::shared_ptr<Last> known, Then answer)
      : timer(io),
        last(std::move(known)),
        reports(*last),
        then(std::move(answer)),
        missing(last->size()) {}

  void finish() {
    timer.cancel();
    if (const Then answer = std::exchange(then, nullptr)) answer(reports);
  }

  boost::asio::steady_timer timer;
  std::shared_ptr<Last> last;
  Last reports;  // of this question alone: another one may want less in them
  Then then;
  std::size_t missing;
};

void ReportRound::ask(bool with_connections, Then then) {
  const auto asked = std::make_shared<Asked>(io_, last_, std::move(then));
  if (workers_.empty()) return asked->finish();
  asked->timer.expires_after(patience);
  asked->timer.async_wait([asked](boost::system::error_code error) {
    if (!error) asked->finish();
  });
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->report(with_connections, [&io = io_, asked, i](observe::WorkerReport report) {
      boost::asio::post(io, [asked, i, report = std::move(report)]() mutable {
        (*asked->last)[i] = report;
        asked->reports[i] = std::move(report);
        if (--asked->missing == 0) asked->finish();
      });
    });
  }
}

}  // namespace kubelane
