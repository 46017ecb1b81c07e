// What a worker counts while it works: plain numbers of its own thread, no locks and no atomics.
// The control thread gets copies by posting to the worker (relay::Worker::report()).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "proxy/observe/latency_histogram.hpp"

namespace kubelane::observe {

using Clock = std::chrono::steady_clock;

// Of a request, as far as its first line tells; `get` includes lists, `connect` is an upgrade.
enum class Verb : std::uint8_t { get, watch, create, update, patch, remove, connect, other };
inline constexpr std::size_t verbs = 8;
inline constexpr std::array<std::string_view, verbs> verb_names{
    "get", "watch", "create", "update", "patch", "delete", "connect", "other"};

// Of an answer: its hundred; 0 when the client went away without one.
inline constexpr std::size_t code_classes = 6;
inline constexpr std::array<std::string_view, code_classes> code_class_names{"none", "1xx", "2xx",
                                                                             "3xx",  "4xx", "5xx"};

inline constexpr std::size_t codes = static_cast<std::size_t>(Code::internal) + 1;
using CountByCode = std::array<std::uint64_t, codes>;

// What runs for as long as its client likes.
enum class Stream : std::uint8_t { none, watch, exec, port_forward };
inline constexpr std::size_t streams = 4;
inline constexpr std::array<std::string_view, streams> stream_names{"", "watch", "exec",
                                                                    "portforward"};

// Why a request was sent once more.
enum class Again : std::uint8_t { connection_lost, stream_refused, new_credentials };
inline constexpr std::size_t agains = 3;
inline constexpr std::array<std::string_view, agains> again_names{
    "connection_lost", "stream_refused", "new_credentials"};

// One cluster of one service.
struct RouteMeter {
  std::uint64_t owner = 0;  // whose it is: slots are used again when clusters go
  std::array<std::array<std::uint64_t, code_classes>, verbs> requests{};
  LatencyHistogram duration;  // from head to end; not of what runs for as long as it is wanted
  // The latest exchange in which the cluster showed that it serves us, and the latest that failed
  // on the way. Zero: none.
  Clock::time_point answered{};
  Clock::time_point failed{};
  Error failure{};
};

// One way upstream: a service's, or one cluster's where each has its own identity.
struct UpstreamMeter {
  std::array<std::uint64_t, 2> handshakes{};  // full, resumed
  CountByCode dial_failures{};
  std::array<std::uint64_t, agains> again{};
};

struct WorkerMeter {
  LatencyHistogram added;  // our own part of a request's time
  std::uint64_t in_flight = 0;
  std::array<std::uint64_t, streams> active{};
  std::uint64_t up_bytes = 0;    // bodies and tunnels, toward the Proxy, of ended requests
  std::uint64_t down_bytes = 0;  // the same, toward clients
  std::array<std::uint64_t, 2> local_handshakes{};  // failed, complete
  CountByCode own_errors{};                         // answers of our own: the Proxy's or our fault
  CountByCode rejected{};                           // answers of our own: the client's fault
};

struct UpstreamState {
  UpstreamMeter meter;
  std::size_t busy = 0;  // HTTP/1.1 connections with a request, or being made
  std::size_t idle = 0;
  std::size_t links = 0;  // HTTP/2 connections
};

struct ConnectionState {
  std::string listener;
  std::string peer;
  std::string protocol;  // "TLS handshake", "HTTP/1.1", "HTTP/2"
  bool tls = false;
  std::chrono::seconds age{0};
  std::uint64_t requests = 0;
  std::size_t active = 0;  // requests that run now
};

// One worker at one moment.
struct WorkerReport {
  WorkerMeter meter;
  std::vector<RouteMeter> routes;        // by Route::meter
  std::vector<UpstreamState> upstreams;  // by upstream
  std::size_t buffer_bytes = 0;          // lent
  std::size_t local_connections = 0;
  std::vector<ConnectionState> connections;  // when they were asked for
};

}  // namespace kubelane::observe
