// Certificates are replaced while both protocols carry requests, watches and uploads: no client
// notices, and no request travels on a certificate past its end. A few certificates under what the
// machine carries; or, with KUBELANE_SOAK_MINUTES set (./dev soak), for that long at full rates
// with certificates that would expire if they were not replaced.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/http2_fixture.hpp"
#include "tests/support/steady_load.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;
using support::LoadFigures;
using support::LoadShape;
using support::SteadyLoad;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class RenewalUnderLoad : public support::Http2Fixture {
 protected:
  RenewalUnderLoad() {
    log_level = "info";
    more_yaml = "workers: 2\n";
    proxy_options.clusters.push_back({"demo", lab::load_paths(beat_, lab::standard_paths(gate()))});
  }

  // start_http2(), and until every worker has heard of it: our clients offer nothing else.
  void start_http2_everywhere() {
    ASSERT_NO_FATAL_FAILURE(start_http2());
    ASSERT_TRUE(support::eventually([this] {
      try {
        std::vector<std::unique_ptr<support::H2Client>> spread;
        for (int i = 0; i < 8; ++i) spread.push_back(connect_h2());
        return true;
      } catch (const std::exception&) {
        return false;
      }
    }));
  }

  support::LoadTarget target() const {
    return {[this] { return connect(); }, [this] { return connect_h2(); },
            [this](const std::string& method, const std::string& path, const std::string& fields) {
              return request(method, path, fields);
            },
            [this](const std::string& method, const std::string& path) {
              return h2_request(method, path);
            }};
  }

  struct Certificates {
    std::size_t used = 0;      // at least one request went on it
    std::size_t late = 0;      // requests past its end
    std::size_t requests = 0;  // of the newest
    std::size_t connections = 0;
  };
  // Without a copy of all that the lab saw.
  Certificates certificates(const std::string& newest = "") {
    Certificates sum;
    proxy().wait_for([&](const lab::Observations& seen) {
      for (const auto& [serial, certificate] : seen.certificates) {
        if (certificate.requests > 0) ++sum.used;
        sum.late += certificate.requests_late;
        sum.connections += certificate.connections;
        if (serial == newest) sum.requests = certificate.requests;
      }
      return true;
    });
    return sum;
  }

  // Replaces the certificate; how long it took until a request travelled on the new one. Nothing:
  // none did.
  std::optional<double> replace_certificate() {
    const lab::TbotMaterial next = proxy().renew(kind, client);
    const auto begin = Clock::now();
    credentials().write(next);
    const bool taken_over = proxy().wait_for(
        [&](const lab::Observations& seen) {
          const auto found = seen.certificates.find(next.client.serial);
          return found != seen.certificates.end() && found->second.requests > 0;
        },
        support::patience());
    if (!taken_over) return std::nullopt;
    newest_ = next.client.serial;
    return seconds_since(begin);
  }

  void replace_a_few();
  void soak(double minutes);

  static std::string failures_of(const SteadyLoad& load) {
    std::string text;
    for (const auto& each : load.failure_texts()) text += "\n  " + each;
    return text;
  }

  lab::Beat beat_;
  std::string newest_;
};

// How far each kind of work has come over each protocol.
bool moved_on(const LoadFigures& before, const LoadFigures& now) {
  return now.requests >= before.requests + 50 && now.events >= before.events + 20 &&
         now.watches_resumed > before.watches_resumed && now.uploads > before.uploads;
}

void RenewalUnderLoad::replace_a_few() {
  ASSERT_NO_FATAL_FAILURE(start_http2_everywhere());
  SteadyLoad load(target(), LoadShape{}, beat_);
  constexpr std::size_t certificates_replaced = 6;
  for (std::size_t i = 0; i < certificates_replaced; ++i) {
    ASSERT_TRUE(replace_certificate()) << "the new certificate is not used" << failures_of(load);
    for (const auto protocol : {SteadyLoad::http1, SteadyLoad::http2}) {
      const LoadFigures before = load.figures(protocol);
      EXPECT_TRUE(support::eventually([&] { return moved_on(before, load.figures(protocol)); }))
          << "protocol " << protocol << failures_of(load);
    }
  }
  load.stop();
  EXPECT_EQ(load.failures(), 0u) << failures_of(load);
  EXPECT_EQ(certificates().late, 0u);
  EXPECT_GE(certificates().used, certificates_replaced);
  EXPECT_EQ(stop_kubelane(), 0);
}

// ---------------------------------------------------------------- the long run

struct Resources {
  double resident_mib = 0;
  std::size_t descriptors = 0;
};

void RenewalUnderLoad::soak(double minutes) {
  constexpr seconds between_certificates{10};
  client.valid_until = 25;
  ASSERT_NO_FATAL_FAILURE(start_http2_everywhere());
  LoadShape shape;
  shape.requests_per_second = 1000;
  shape.request_clients = 8;
  shape.watches = 100;
  shape.least_events = 15;
  shape.most_events = 90;
  shape.uploads = 25;
  shape.upload_pieces = 12;
  shape.beat = milliseconds(1000);
  const auto begin = Clock::now();
  SteadyLoad load(target(), shape, beat_);
  const auto resources = [&] {
    return Resources{static_cast<double>(kubelane().resident_bytes()) / (1 << 20),
                     kubelane().open_descriptors()};
  };
  // Memory is compared between two moments under load: after three certificates, and at the end.
  const auto warm = begin + 3 * between_certificates + seconds(5);
  std::optional<Resources> at_start;
  std::size_t replaced = 0;
  double slowest = 0;
  Clock::time_point next = begin + between_certificates;
  const auto end = begin + std::chrono::duration_cast<Clock::duration>(
                               std::chrono::duration<double>(minutes * 60));
  LoadFigures last[2];
  Clock::time_point last_told = begin;
  while (Clock::now() < end) {
    std::this_thread::sleep_until(std::min(next, end));
    if (Clock::now() >= end) break;
    next += between_certificates;
    const auto took = replace_certificate();
    if (took) {
      ++replaced;
      slowest = std::max(slowest, *took);
    } else {
      ADD_FAILURE() << "the new certificate is not used";
    }
    if (!at_start && Clock::now() >= warm) at_start = resources();
    if (Clock::now() - last_told < seconds(55)) continue;
    const double passed = seconds_since(last_told);
    last_told = Clock::now();
    std::printf("%4.0f s:", seconds_since(begin));
    for (const auto protocol : {SteadyLoad::http1, SteadyLoad::http2}) {
      const LoadFigures now = load.figures(protocol);
      std::printf(" %s %.0f/s, %zu watches, %zu uploads;",
                  protocol == SteadyLoad::http1 ? "HTTP/1.1" : "HTTP/2",
                  static_cast<double>(now.requests - last[protocol].requests) / passed,
                  now.watches_running, now.uploads);
      last[protocol] = now;
    }
    std::printf(" %zu certificates, %zu failures, %.1f MiB, %zu descriptors\n", replaced,
                load.failures(), resources().resident_mib, resources().descriptors);
    std::fflush(stdout);
  }
  const double took = seconds_since(begin);
  const Resources at_end = resources();
  if (!at_start) at_start = at_end;
  const LoadFigures all[2] = {load.figures(SteadyLoad::http1), load.figures(SteadyLoad::http2)};
  load.stop();
  const Certificates seen = certificates(newest_);

  std::printf("\nrenewal under load, %.1f minutes, a certificate each %lld s\n", took / 60,
              static_cast<long long>(between_certificates.count()));
  std::printf("  %-26s %12s %12s\n", "", "HTTP/1.1", "HTTP/2");
  const auto row = [](const char* name, double one, double two, int digits) {
    std::printf("  %-26s %12.*f %12.*f\n", name, digits, one, digits, two);
  };
  const auto count_row = [&](const char* name, std::size_t LoadFigures::*member) {
    row(name, static_cast<double>(all[0].*member), static_cast<double>(all[1].*member), 0);
  };
  count_row("requests", &LoadFigures::requests);
  row("requests per second", static_cast<double>(all[0].requests) / took,
      static_cast<double>(all[1].requests) / took, 0);
  count_row("watches held", &LoadFigures::watches_running);
  count_row("watch events", &LoadFigures::events);
  count_row("watches resumed", &LoadFigures::watches_resumed);
  count_row("uploads verified", &LoadFigures::uploads);
  row("uploaded MiB", static_cast<double>(all[0].upload_bytes) / (1 << 20),
      static_cast<double>(all[1].upload_bytes) / (1 << 20), 0);
  count_row("local connections", &LoadFigures::connections);
  std::printf("  certificates used: %zu of %zu, slowest take-over %.0f ms\n", seen.used,
              replaced + 1, slowest * 1000);
  std::printf("  upstream connections: %zu\n", seen.connections);
  std::printf("  requests on an expired certificate: %zu\n", seen.late);
  std::printf("  kubelane: %.1f to %.1f MiB, %zu to %zu descriptors\n", at_start->resident_mib,
              at_end.resident_mib, at_start->descriptors, at_end.descriptors);
  std::printf("  failures: %zu%s\n", load.failures(), failures_of(load).c_str());
  std::fflush(stdout);

  EXPECT_EQ(load.failures(), 0u);
  EXPECT_EQ(seen.late, 0u);
  EXPECT_EQ(seen.used, replaced + 1);
  if (!support::Process::sanitized) {
    EXPECT_LT(at_end.resident_mib, at_start->resident_mib + 8);
  }
  EXPECT_LT(at_end.descriptors, at_start->descriptors + 64);
  EXPECT_EQ(stop_kubelane(), 0);
}

TEST_F(RenewalUnderLoad, no_client_notices) {
  const char* minutes = std::getenv("KUBELANE_SOAK_MINUTES");
  if (minutes == nullptr) {
    replace_a_few();
  } else {
    soak(std::strtod(minutes, nullptr));
  }
}

}  // namespace
