#include "proxy/metrics_page.hpp"

#include "proxy/admin/process_metrics.hpp"
#include "proxy/observe/prometheus_text.hpp"

namespace kubelane {
namespace {

using observe::Labels;
using observe::PrometheusText;
using observe::WorkerReport;
using std::chrono::system_clock;

double seconds_of(system_clock::time_point at) {
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count());
}

double real(std::uint64_t count) { return static_cast<double>(count); }

// Of all workers together.
observe::WorkerMeter total(const std::vector<WorkerReport>& reports) {
  observe::WorkerMeter sum;
  for (const WorkerReport& report : reports) {
    const observe::WorkerMeter& meter = report.meter;
    sum.added.add(meter.added);
    sum.in_flight += meter.in_flight;
    sum.up_bytes += meter.up_bytes;
    sum.down_bytes += meter.down_bytes;
    for (std::size_t i = 0; i < observe::streams; ++i) sum.active[i] += meter.active[i];
    for (std::size_t i = 0; i < 2; ++i) sum.local_handshakes[i] += meter.local_handshakes[i];
    for (std::size_t i = 0; i < observe::codes; ++i) {
      sum.own_errors[i] += meter.own_errors[i];
      sum.rejected[i] += meter.rejected[i];
    }
  }
  return sum;
}

observe::RouteMeter total(const std::vector<WorkerReport>& reports, const relay::Route& route) {
  observe::RouteMeter sum;
  for (const WorkerReport& report : reports) {
    if (report.routes.size() <= route.meter) continue;
    const observe::RouteMeter& meter = report.routes[route.meter];
    if (meter.owner != route.meter_owner) continue;
    sum.duration.add(meter.duration);
    for (std::size_t verb = 0; verb < observe::verbs; ++verb)
      for (std::size_t code = 0; code < observe::code_classes; ++code)
        sum.requests[verb][code] += meter.requests[verb][code];
  }
  return sum;
}

// By service: each cluster may have an upstream of its own, but what matters is their sum.
std::vector<observe::UpstreamState> upstreams_by_service(const MetricsInput& input) {
  std::vector<observe::UpstreamState> sums(input.view.services.size());
  for (const WorkerReport& report : input.reports) {
    for (std::size_t i = 0; i < report.upstreams.size() && i < input.view.upstreams.size(); ++i) {
      const observe::UpstreamState& each = report.upstreams[i];
      observe::UpstreamState& sum = sums[input.view.upstreams[i].service];
      sum.busy += each.busy;
      sum.idle += each.idle;
      sum.links += each.links;
      for (std::size_t k = 0; k < 2; ++k) sum.meter.handshakes[k] += each.meter.handshakes[k];
      for (std::size_t k = 0; k < observe::codes; ++k)
        sum.meter.dial_failures[k] += each.meter.dial_failures[k];
      for (std::size_t k = 0; k < observe::agains; ++k) sum.meter.again[k] += each.meter.again[k];
    }
  }
  return sums;
}

void write_codes(PrometheusText& text, const observe::CountByCode& counts, Labels labels) {
  labels.emplace_back("reason", "");
  for (std::size_t code = 0; code < counts.size(); ++code) {
    if (counts[code] == 0) continue;
    labels.back().second = name(static_cast<Code>(code));
    text.sample(labels, real(counts[code]));
  }
}

void write_requests(PrometheusText& text, const MetricsInput& input) {
  struct Row {
    Labels labels;
    observe::RouteMeter meter;
  };
  std::vector<Row> rows;
  for (const ServiceView& service : input.view.services)
    for (const relay::Route& route : service.routes)
      rows.push_back(
          {{{"service", service.name}, {"cluster", route.cluster}}, total(input.reports, route)});
  text.counter("kubelane_requests_total",
               "Requests that have ended, by verb and class of the answer's code.");
  for (const Row& row : rows) {
    for (std::size_t verb = 0; verb < observe::verbs; ++verb) {
      for (std::size_t code = 0; code < observe::code_classes; ++code) {
        if (row.meter.requests[verb][code] == 0) continue;
        Labels labels = row.labels;
        labels.emplace_back("verb_class", observe::verb_names[verb]);
        labels.emplace_back("code_class", observe::code_class_names[code]);
        text.sample(labels, real(row.meter.requests[verb][code]));
      }
    }
  }
  text.histogram("kubelane_request_duration_seconds",
                 "From a request's head to its end; without watches, exec and port-forward.");
  for (const Row& row : rows)
    if (row.meter.duration.total() > 0) text.sample(row.labels, row.meter.duration);
}

void write_workers(PrometheusText& text, const MetricsInput& input) {
  const observe::WorkerMeter sum = total(input.reports);
  text.histogram("kubelane_request_added_seconds",
                 "What kubelane adds to a request: until its head has gone to the Proxy, and from "
                 "the answer's head until that has gone to the client.");
  text.sample({}, sum.added);
  text.gauge("kubelane_inflight_requests", "Requests that run now.");
  text.sample(real(sum.in_flight));
  text.gauge("kubelane_active_streams", "Watches, exec and port-forward sessions that run now.");
  for (std::size_t i = 1; i < observe::streams; ++i)
    text.sample({{"kind", observe::stream_names[i]}}, real(sum.active[i]));
  text.counter("kubelane_bytes_total", "Bytes of bodies and sessions of ended requests.");
  text.sample({{"direction", "up"}}, real(sum.up_bytes));
  text.sample({{"direction", "down"}}, real(sum.down_bytes));
  text.counter("kubelane_local_errors_total",
               "Answers of kubelane's own because something failed upstream or here.");
  write_codes(text, sum.own_errors, {});
  text.counter("kubelane_rejected_total",
               "Answers of kubelane's own because a request was not acceptable.");
  write_codes(text, sum.rejected, {});
  text.counter("kubelane_local_handshakes_total", "TLS handshakes with local clients.");
  text.sample({{"result", "failed"}}, real(sum.local_handshakes[0]));
  text.sample({{"result", "complete"}}, real(sum.local_handshakes[1]));
  std::size_t connections = 0;
  std::size_t buffers = 0;
  for (const WorkerReport& report : input.reports) {
    connections += report.local_connections;
    buffers += report.buffer_bytes;
  }
  text.gauge("kubelane_local_connections", "Connections of local clients.");
  text.sample(real(connections));
  text.gauge("kubelane_buffer_bytes", "Buffer memory in use (limits.buffer_memory_bytes).");
  text.sample(real(buffers));
}

void write_upstreams(PrometheusText& text, const MetricsInput& input) {
  const std::vector<observe::UpstreamState> sums = upstreams_by_service(input);
  const auto each = [&](const auto& write) {
    for (std::size_t i = 0; i < sums.size(); ++i)
      write(Labels{{"service", input.view.services[i].name}, {"", ""}}, sums[i]);
  };
  text.gauge("kubelane_upstream_connections",
             "Connections to the Proxy: idle and busy ones of HTTP/1.1, links of HTTP/2.");
  each([&](Labels labels, const observe::UpstreamState& state) {
    for (const auto& [word, count] : {std::pair<std::string_view, std::size_t>{"idle", state.idle},
                                      {"busy", state.busy},
                                      {"http2", state.links}}) {
      labels.back() = {"state", word};
      text.sample(labels, real(count));
    }
  });
  text.counter("kubelane_upstream_handshakes_total", "TLS handshakes with the Proxy.");
  each([&](Labels labels, const observe::UpstreamState& state) {
    for (std::size_t i = 0; i < 2; ++i) {
      labels.back() = {"resumed", i == 0 ? "false" : "true"};
      text.sample(labels, real(state.meter.handshakes[i]));
    }
  });
  text.counter("kubelane_upstream_dial_failures_total", "Attempts to connect that failed.");
  each([&](Labels labels, const observe::UpstreamState& state) {
    labels.pop_back();
    write_codes(text, state.meter.dial_failures, labels);
  });
  text.counter("kubelane_upstream_retries_total", "Requests that were sent once more.");
  each([&](Labels labels, const observe::UpstreamState& state) {
    for (std::size_t i = 0; i < observe::agains; ++i) {
      if (state.meter.again[i] == 0) continue;
      labels.back() = {"reason", observe::again_names[i]};
      text.sample(labels, real(state.meter.again[i]));
    }
  });
}

void write_identities(PrometheusText& text, const MetricsInput& input) {
  const ControlView& view = input.view;
  text.gauge("kubelane_certificate_expiry_timestamp_seconds",
             "End of each certificate, in seconds since the epoch.");
  for (const UpstreamView& upstream : view.upstreams)
    if (upstream.identity)
      text.sample({{"kind", "upstream"},
                   {"service", view.services[upstream.service].name},
                   {"cluster", upstream.cluster}},
                  seconds_of(upstream.identity->not_after));
  if (view.bot && view.bot->not_after)
    text.sample({{"kind", "bot"}}, seconds_of(*view.bot->not_after));
  text.sample({{"kind", "local"}}, seconds_of(view.local_certificate_end));

  text.counter("kubelane_certificate_renewals_total",
               "Certificates taken: made by the bot, or found in the directory of tbot's.");
  std::uint64_t found = 0;
  for (const UpstreamView& upstream : view.upstreams)
    if (!view.services[upstream.service].by_bot) found += upstream.identities;
  text.sample({{"result", "success"}}, real(found + (view.bot ? view.bot->renewed : 0)));
  text.sample({{"result", "failure"}}, real(view.bot ? view.bot->failed : 0));
  if (!view.bot) return;
  text.histogram("kubelane_renewal_duration_seconds",
                 "Rounds of the bot in which something was renewed.");
  text.sample({}, view.bot->round_time);
}

void write_readiness(PrometheusText& text, const MetricsInput& input) {
  text.gauge("kubelane_cluster_ready",
             "1: the cluster answers as whom we are; 0: see /readyz. Absent until it is known.");
  for (const admin::ServiceHealth& service : input.health.services)
    for (const admin::ClusterHealth& cluster : service.clusters)
      if (cluster.status != admin::Status::initializing)
        text.sample({{"service", service.name}, {"cluster", cluster.name}},
                    cluster.status == admin::Status::healthy ? 1 : 0);
  text.counter("kubelane_readiness_probes_total", "Requests of kubelane's own for readiness.");
  text.sample({{"result", "answered"}}, real(input.probes_answered));
  text.sample({{"result", "failed"}}, real(input.probes_failed));
  if (!input.clock_ahead) return;
  text.gauge("kubelane_clock_skew_seconds",
             "How far the clocks behind the Proxy are ahead of ours, by the dates of answers.");
  text.sample(static_cast<double>(input.clock_ahead->count()));
}

}  // namespace

std::string metrics_page(const MetricsInput& input) {
  PrometheusText text;
  text.gauge("kubelane_build_info", "Always 1; the labels tell what runs.");
  text.sample({{"version", KUBELANE_VERSION}}, 1);
  write_requests(text, input);
  write_workers(text, input);
  write_upstreams(text, input);
  write_identities(text, input);
  write_readiness(text, input);
  admin::write_process_metrics(text);
  return text.text();
}

}  // namespace kubelane
