#include "proxy/cli/status_report.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "config/text.hpp"
#include "proxy/observe/utc.hpp"

namespace kubelane::cli {
namespace {

namespace json = boost::json;
using std::chrono::system_clock;

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// A line of Prometheus' text format: name{label="value",…} number.
struct Sample {
  std::string_view name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

std::optional<Sample> read_sample(std::string_view line) {
  Sample sample;
  const std::size_t open = line.find('{');
  if (open == std::string_view::npos) return std::nullopt;
  sample.name = line.substr(0, open);
  std::size_t at = open + 1;
  while (at < line.size() && line[at] != '}') {
    const std::size_t equals = line.find("=\"", at);
    if (equals == std::string_view::npos) return std::nullopt;
    std::string& value = sample.labels[std::string(line.substr(at, equals - at))];
    for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] == '\\' && at + 1 < line.size()) ++at;
      value += line[at];
    }
    ++at;
    if (at < line.size() && line[at] == ',') ++at;
  }
  if (at + 1 >= line.size()) return std::nullopt;
  sample.value = std::strtod(std::string(line.substr(at + 1)).c_str(), nullptr);
  return sample;
}

// A service's certificate stands for all its clusters when it has no cluster.
void apply(const Sample& sample, StatusReport& report) {
  const auto label = [&sample](const char* key) {
    const auto found = sample.labels.find(key);
    return found == sample.labels.end() ? std::string() : found->second;
  };
  const bool expiry = sample.name == "kubelane_certificate_expiry_timestamp_seconds";
  if (!expiry && sample.name != "kubelane_requests_total") return;
  if (sample.value < 0 || sample.value > 1e15) return;
  const auto number = static_cast<std::uint64_t>(sample.value);
  for (ServiceStatus& service : report.services) {
    if (service.name != label("service")) continue;
    for (ClusterStatus& cluster : service.clusters) {
      const bool all = expiry && label("cluster").empty();
      if (!all && cluster.name != label("cluster")) continue;
      if (expiry)
        cluster.certificate_end = system_clock::time_point(std::chrono::seconds(number));
      else
        cluster.requests += number;
    }
  }
}

template <class Status>
Status head_of(const json::key_value_pair& named) {
  Status status;
  status.name = std::string(named.key());
  if (!named.value().is_object()) return status;
  const json::object& object = named.value().get_object();
  status.status = text_at(object, "status");
  status.cause = text_at(object, "cause");
  status.reason = text_at(object, "reason");
  return status;
}

// Code points: near enough to columns for names.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
  }));
}

std::string remaining(system_clock::time_point end, system_clock::time_point now) {
  if (end <= now) return "expired";
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(end - now).count();
  const auto two = [](long long big, const char* unit, long long small, const char* smaller) {
    return std::to_string(big) + unit + (small > 0 ? std::to_string(small) + smaller : "");
  };
  if (seconds >= 86'400) return two(seconds / 86'400, "d", seconds % 86'400 / 3'600, "h");
  if (seconds >= 3'600) return two(seconds / 3'600, "h", seconds % 3'600 / 60, "m");
  if (seconds >= 60) return two(seconds / 60, "m", seconds % 60, "s");
  return std::to_string(seconds) + "s";
}

using Row = std::vector<std::string>;

Row row_of(const std::string& service, const ClusterStatus& cluster, system_clock::time_point now) {
  std::string reason = cluster.reason;
  if (!cluster.cause.empty()) reason = cluster.cause + (reason.empty() ? "" : ": " + reason);
  return {printable(service),
          cluster.name.empty() ? "-" : printable(cluster.name),
          cluster.status == "healthy" ? "yes" : "no",
          cluster.certificate_end ? remaining(*cluster.certificate_end, now) : "-",
          cluster.name.empty() ? "-" : std::to_string(cluster.requests),
          printable(reason)};
}

}  // namespace

std::string printable(const std::string& text) {
  std::string out = text;
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  std::replace_if(out.begin(), out.end(), is_control, '?');
  return out;
}

Outcome<StatusReport> read_status(const std::string& readyz, const std::string& metrics) {
  json::error_code failed;
  const json::value page = json::parse(readyz, failed);
  const json::value* const services =
      !failed && page.is_object() ? page.get_object().if_contains("services") : nullptr;
  if (services == nullptr || !services->is_object())
    return Failure{Code::config, "this is not kubelane's /readyz: is it the diag_addr?"};
  StatusReport report;
  report.status = text_at(page.get_object(), "status");
  for (const json::key_value_pair& each : services->get_object()) {
    ServiceStatus service = head_of<ServiceStatus>(each);
    const json::value* const clusters =
        each.value().is_object() ? each.value().get_object().if_contains("clusters") : nullptr;
    if (clusters != nullptr && clusters->is_object())
      for (const json::key_value_pair& cluster : clusters->get_object())
        service.clusters.push_back(head_of<ClusterStatus>(cluster));
    report.services.push_back(std::move(service));
  }
  std::string_view rest = metrics;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    if (const auto sample = read_sample(rest.substr(0, end))) apply(*sample, report);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return report;
}

std::string status_table(const StatusReport& report, system_clock::time_point now) {
  std::vector<Row> rows{{"SERVICE", "CLUSTER", "READY", "CERTIFICATE", "REQUESTS", "REASON"}};
  for (const ServiceStatus& service : report.services) {
    for (const ClusterStatus& cluster : service.clusters)
      rows.push_back(row_of(service.name, cluster, now));
    if (service.clusters.empty())
      rows.push_back(row_of(
          service.name, {"", service.status, service.cause, service.reason, std::nullopt, 0}, now));
  }
  Row::size_type last = rows.front().size() - 1;
  std::vector<std::size_t> widths(last + 1);
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += row[i] + (i == last ? "" : std::string(widths[i] - width(row[i]) + 2, ' '));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string status_json(const StatusReport& report) {
  json::array services;
  for (const ServiceStatus& service : report.services) {
    json::array clusters;
    for (const ClusterStatus& cluster : service.clusters) {
      json::object object{
          {"name", cluster.name}, {"status", cluster.status}, {"requests", cluster.requests}};
      if (!cluster.cause.empty()) object["cause"] = cluster.cause;
      if (!cluster.reason.empty()) object["reason"] = cluster.reason;
      if (cluster.certificate_end) object["certificate_not_after"] = utc(*cluster.certificate_end);
      clusters.push_back(std::move(object));
    }
    json::object object{{"name", service.name}, {"status", service.status}};
    if (!service.cause.empty()) object["cause"] = service.cause;
    if (!service.reason.empty()) object["reason"] = service.reason;
    object["clusters"] = std::move(clusters);
    services.push_back(std::move(object));
  }
  const json::object page{{"status", report.status}, {"services", std::move(services)}};
  return json::serialize(page) + "\n";
}

}  // namespace kubelane::cli
