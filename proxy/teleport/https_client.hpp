// One request over HTTPS, one bounded answer, one deadline. Control thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "proxy/teleport/target.hpp"

namespace kubelane::teleport {

struct HttpsOrigin {
  HostPort address;
  std::string ca_file;  // PEM; empty: the system's roots
  bool insecure = false;
  bool plain = false;                 // http, for a machine's own metadata service
  std::string what = "proxy_server";  // how messages call the address
  std::string ca_field = "proxy_ca";  // and the setting that trusts a private CA
};

struct HttpsRequest {
  std::string method = "GET";
  std::string path;  // with its query
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::size_t most_answer_bytes = 256UL * 1024;
  std::chrono::milliseconds deadline{10'000};
};

// An answer with its body de-chunked, or why there is none: one sentence with cause and remedy that
// names the address, and never the request's query, fields or body.
struct HttpsAnswer {
  int status = 0;  // 0: none
  std::string body;
  Failure failure;
  bool request_sent = false;  // the peer may have acted on it, whatever became of the answer

  bool ok() const noexcept { return status == 200; }
};

// Both must live until it has ended. (Whatever a coroutine is given by value as a temporary, GCC 12
// may destroy twice: here and elsewhere arguments of co_await are named.)
boost::asio::awaitable<HttpsAnswer> https_exchange(const HttpsOrigin& origin,
                                                   const HttpsRequest& request);

// Text of Teleport's error JSON (control-plane spec 11), cut and printable, or nothing.
std::string trace_message(const std::string& body);

}  // namespace kubelane::teleport
