// What a bot meets in a day, in short: renewals, rotations of the CAs through all phases, Auth
// away, the Proxy restarted, under requests and watches of both protocols. No request fails, and
// nothing is left behind. A part of a day; or, with KUBELANE_DAY set (./dev soak --day), all of it:
// 72 renewals as in 24 hours, 3 rotations, 10 outages of Auth, 5 restarts of the Proxy.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/bot_fixture.hpp"
#include "tests/support/steady_load.hpp"

namespace {

using std::chrono::milliseconds;
using support::eventually;
using support::LoadFigures;
using support::LoadShape;
using support::SteadyLoad;

struct Plan {
  std::size_t renewals;
  int rotations;
  int outages;
  int restarts;
  milliseconds away;  // of Auth or the Proxy
  LoadShape shape;
};

LoadShape shape_of(double requests_per_second, std::size_t clients, std::size_t watches) {
  LoadShape shape;
  shape.requests_per_second = requests_per_second;
  shape.request_clients = clients;
  shape.watches = watches;
  shape.uploads = 0;
  shape.beat = milliseconds(50);
  shape.restarts = true;
  return shape;
}

Plan plan() {
  if (std::getenv("KUBELANE_DAY") != nullptr)
    return {72, 3, 10, 5, milliseconds(1500), shape_of(400, 8, 50)};
  return {20, 1, 3, 2, milliseconds(300), shape_of(100, 4, 20)};
}

class DayOfLife : public support::BotFixture {
 protected:
  DayOfLife() {
    log_level = "info";
    lifetimes = "credential_ttl: 60s\nrenewal_interval: 1s\nleeway: 0s\n";
    more_yaml = "workers: 2\n";
    proxy_options.http2 = true;
    proxy_options.clusters.push_back({"demo", lab::load_paths(beat_, lab::standard_paths(gate()))});
  }

  support::LoadTarget target() const {
    return {[this] { return connect(); }, [this] { return connect_h2(); },
            [this](const std::string& verb, const std::string& path, const std::string& fields) {
              return request(verb, path, fields);
            },
            [this](const std::string& verb, const std::string& path) {
              return h2_request(verb, path);
            }};
  }
  void start_everywhere() {
    ASSERT_NO_FATAL_FAILURE(start_bot());
    ASSERT_TRUE(eventually([this] {
      try {
        std::vector<std::unique_ptr<support::H2Client>> spread;
        for (int i = 0; i < 8; ++i) spread.push_back(connect_h2());
        return true;
      } catch (const std::exception&) {
        return false;
      }
    })) << "not every worker has heard of HTTP/2";
  }
  std::size_t renewals() { return auth().calls().count_answered("GenerateUserCerts"); }
  bool renewed(std::size_t times) {
    const std::size_t before = renewals();
    return eventually([&] { return renewals() >= before + times; }, std::chrono::seconds(60));
  }

  // As one that is told to end: it takes no more connections, says goodbye on those it has, and
  // finishes the answers that it has begun, which nobody could make good. Watches are cut.
  void restart_proxy(milliseconds away) {
    proxy().set_accept(lab::AcceptMode::refuse);
    proxy().h2().goaway({});
    EXPECT_TRUE(eventually([this] {
      proxy().close_idle();
      return proxy().wait_for(
          [](const lab::Observations& seen) {
            return std::all_of(seen.requests.begin(), seen.requests.end(), [&](const auto& each) {
              const auto on = seen.connections.find(each.connection);
              return each.done || !each.kube || on == seen.connections.end() || !on->second.open ||
                     each.target.find("/events") != std::string::npos;
            });
          },
          milliseconds(0));
    }));
    proxy().stop();
    std::this_thread::sleep_for(away);
    proxy().start();
  }

  using Event = std::function<void()>;
  // Dealt like cards, so that outages fall between the phases of a rotation.
  std::vector<Event> events(const Plan& day) {
    using lab::RotationPhase;
    std::vector<std::vector<Event>> hands(3);
    for (int i = 0; i < day.rotations; ++i) {
      for (const RotationPhase phase : {RotationPhase::init, RotationPhase::update_clients,
                                        RotationPhase::update_servers, RotationPhase::standby}) {
        hands[0].push_back([this, phase] {
          auth().service().rotate(phase);
          EXPECT_TRUE(renewed(2)) << "after a phase of a rotation";
        });
      }
    }
    for (int i = 0; i < day.outages; ++i) {
      hands[1].push_back([this, &day] {
        auth().stop();
        std::this_thread::sleep_for(day.away);
        auth().start();
        EXPECT_TRUE(renewed(1)) << "after an outage of Auth";
      });
    }
    for (int i = 0; i < day.restarts; ++i) {
      hands[2].push_back([this, &day] {
        restart_proxy(day.away);
        EXPECT_TRUE(renewed(1)) << "after a restart of the Proxy";
      });
    }
    std::size_t most = 0;
    for (const auto& hand : hands) most = std::max(most, hand.size());
    std::vector<Event> all;
    for (std::size_t round = 0; round < most; ++round) {
      for (auto& hand : hands) {
        const std::size_t from = round * hand.size() / most;
        const std::size_t to = (round + 1) * hand.size() / most;
        for (std::size_t i = from; i < to; ++i) all.push_back(std::move(hand[i]));
      }
    }
    return all;
  }

  lab::Beat beat_;
};

std::string failures_of(const SteadyLoad& load) {
  std::string text;
  for (const auto& each : load.failure_texts()) text += "\n  " + each;
  return text;
}

TEST_F(DayOfLife, costs_no_request_and_leaves_nothing_behind) {
  const Plan day = plan();
  ASSERT_NO_FATAL_FAILURE(start_everywhere());
  const auto begin = std::chrono::steady_clock::now();
  SteadyLoad load(target(), day.shape, beat_);
  ASSERT_TRUE(renewed(3));
  const std::size_t descriptors = kubelane().open_descriptors();
  const std::size_t resident = kubelane().resident_bytes();
  for (const Event& event : events(day)) event();
  EXPECT_TRUE(eventually([&] { return renewals() >= day.renewals; }, std::chrono::seconds(120)));
  // Both protocols are served to the end.
  for (const auto protocol : {SteadyLoad::http1, SteadyLoad::http2}) {
    const LoadFigures before = load.figures(protocol);
    EXPECT_TRUE(eventually([&] {
      const LoadFigures now = load.figures(protocol);
      return now.requests >= before.requests + 20 && now.events >= before.events + 20;
    })) << "protocol "
        << protocol;
  }
  const std::size_t descriptors_then = kubelane().open_descriptors();
  const std::size_t resident_then = kubelane().resident_bytes();
  load.stop();

  std::size_t requests = 0;
  std::size_t resumed = 0;
  std::size_t cut = 0;
  for (const auto protocol : {SteadyLoad::http1, SteadyLoad::http2}) {
    const LoadFigures all = load.figures(protocol);
    requests += all.requests;
    resumed += all.watches_resumed;
    cut += all.watches_cut;
  }
  std::printf(
      "%zu renewals, %d rotations, %d outages of Auth, %d restarts of the Proxy in %.0f s: %zu "
      "requests, %zu failed; %zu watches resumed, %zu of them cut within an event; %.1f to %.1f "
      "MiB, %zu to %zu descriptors\n",
      renewals(), day.rotations, day.outages, day.restarts,
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), requests,
      load.failures(), resumed, cut, static_cast<double>(resident) / (1 << 20),
      static_cast<double>(resident_then) / (1 << 20), descriptors, descriptors_then);
  EXPECT_EQ(load.failures(), 0u) << failures_of(load);
  std::size_t late = 0;
  for (const auto& [serial, certificate] : proxy().seen().certificates)
    late += certificate.requests_late;
  EXPECT_EQ(late, 0u) << "requests on a certificate past its end";
  EXPECT_TRUE(auth().service().locks().empty());
  EXPECT_LT(descriptors_then, descriptors + 32);
  if (!support::Process::sanitized) {
    EXPECT_LT(resident_then, resident + (8UL << 20));
  }
  EXPECT_EQ(stop_kubelane(), 0);
}

}  // namespace
