// Watches one directory that tbot writes and turns its files into identities. tbot writes in place,
// without lock or rename, file after file (data-path spec 1.1): what is seen may be torn at any
// point. A reading that does not hold together is repeated soon; the last good identity stays.
#pragma once

#include <array>
#include <chrono>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/runtime/lifetime.hpp"
#include "proxy/teleport/identity_feed.hpp"

namespace kubelane::teleport {

// Owns: the inotify descriptor, timers. Thread: control. Callbacks run on the io_context.
class CredentialDirectory final : public IdentityFeed {
 public:
  CredentialDirectory(boost::asio::io_context& io, std::string path,
                      std::chrono::milliseconds poll_interval);
  CredentialDirectory(const CredentialDirectory&) = delete;
  CredentialDirectory& operator=(const CredentialDirectory&) = delete;

  void start(Callbacks callbacks) override;
  // Reads now, whatever the watch says.
  void reload() override;
  std::string noun() const override { return "the credentials in " + path_; }
  std::string remedy() const override { return "is tbot running?"; }

 private:
  void watch();
  void await_events();
  void schedule(std::chrono::milliseconds delay);
  void read();
  void poll();
  bool read_files(tls::IdentityFiles& files, std::string& problem) const;

  std::string path_;
  std::chrono::milliseconds poll_interval_;
  Callbacks callbacks_;
  boost::asio::posix::stream_descriptor events_;
  boost::asio::steady_timer read_timer_;
  boost::asio::steady_timer poll_timer_;
  std::array<char, 4096> event_bytes_{};
  std::chrono::steady_clock::time_point first_event_{};  // of a burst; min: none pending
  std::chrono::milliseconds retry_delay_;
  bool scheduled_ = false;
  bool awaiting_ = false;
  int watched_directory_ = -1;  // inotify watch of path_
  std::string fingerprint_;     // of the identity published last
  std::string problem_;         // reported last
  std::string kubeconfig_;      // published last
  runtime::Lifetime lifetime_;
};

}  // namespace kubelane::teleport
