#include "tests/lab/h2_service.hpp"

namespace lab {

std::size_t H2Service::each(int connection, const std::function<void(H2Connection&)>& command) {
  std::size_t count = 0;
  const std::scoped_lock lock(mutex_);
  for (H2Connection* open : open_) {
    if (connection != 0 && open->id() != connection) continue;
    command(*open);
    ++count;
  }
  return count;
}

void H2Service::set_max_concurrent_streams(std::uint32_t streams) {
  settings.max_concurrent_streams = streams;
  each(0, [&](H2Connection& open) { open.set_max_concurrent_streams(streams); });
}

void H2Service::refuse_streams(std::size_t count, std::uint32_t code) {
  faults_.refusal_code = code;
  faults_.streams_to_refuse = count;
}

void H2Service::set_giving_credit(bool on) {
  faults_.giving_credit = on;
  each(0, [](H2Connection& open) { open.faults_changed(); });
}

void H2Service::set_reading(bool on) {
  faults_.reading = on;
  each(0, [](H2Connection& open) { open.faults_changed(); });
}

void H2Service::set_frozen(bool on) {
  faults_.writing = !on;
  set_reading(!on);
}

void H2Service::set_sending_preface(bool on) {
  faults_.sending_preface = on;
  each(0, [](H2Connection& open) { open.faults_changed(); });
}

std::size_t H2Service::goaway(const H2GoAway& goaway, int connection) {
  return each(connection, [&](H2Connection& open) { open.goaway(goaway); });
}

std::size_t H2Service::reset_streams(std::uint32_t code, int connection) {
  return each(connection, [&](H2Connection& open) { open.reset_all_streams(code); });
}

std::size_t H2Service::write_raw(const std::string& bytes, int connection) {
  return each(connection, [&](H2Connection& open) { open.write_raw(bytes); });
}

std::size_t H2Service::drop(bool by_reset, int connection) {
  return each(connection, [&](H2Connection& open) { open.drop(by_reset); });
}

H2Connection::End H2Service::serve(Peer peer) {
  H2Connection connection({peer.stream, peer.wake_fd, peer.id, peer.idle_limit, settings, faults_,
                           peer.observer, std::move(peer.hooks)});
  struct Registration {
    H2Service& of;
    H2Connection& connection;
    Registration(H2Service& service, H2Connection& open) : of(service), connection(open) {
      const std::scoped_lock lock(of.mutex_);
      of.open_.insert(&connection);
    }
    ~Registration() {
      const std::scoped_lock lock(of.mutex_);
      of.open_.erase(&connection);
    }
  } const registration{*this, connection};
  return connection.run();
}

}  // namespace lab
