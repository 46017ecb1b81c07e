// The vocabulary of errors for all layers: what failed, on which side, and whether the request may
// be tried again. Lowest layer: standard library and boost::system::result only.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <boost/system/result.hpp>

namespace kubelane {

// What went wrong. Each code becomes one Kubernetes Status in proxy/http/status.cpp.
enum class Code : std::uint8_t {
  eof,             // the peer ended the connection where more was expected
  reset,           // the peer, or the network, broke the connection
  refused,         // nothing listens at the address
  dns,             // the name could not be resolved
  timeout,         // a deadline passed
  tls_handshake,   // no TLS session: protocol, cipher or name did not fit
  tls_untrusted,   // the peer's certificate does not verify
  tls_peer,        // the peer refused our certificate (alert)
  bad_head,        // a message head that is malformed or can be read in two ways
  bad_body,        // body framing that is malformed
  head_too_large,  // request line or header block beyond the limit
  http_version,    // not HTTP/1.1
  unauthorized,    // local credentials missing or wrong
  denied,          // a local guard refused the request
  unknown_route,   // no cluster at this path
  overloaded,      // a local limit is reached
  no_identity,     // no usable credentials for this cluster
  draining,        // kubelane is shutting down
  config,          // configuration that cannot be used
  io,              // file system or other local system call
  internal,        // a bug
};

// Where it happened; decides the log level.
enum class Side : std::uint8_t { local, upstream, self };

// Whether the request may be sent again. if_reused: only when a connection from the pool, not a
// fresh one, failed before any response byte.
enum class Retry : std::uint8_t { no, if_reused, yes };

// A failure on the data path. Trivially copyable; `where` points to a string literal.
struct Error {
  Code code = Code::internal;
  Side side = Side::self;
  Retry retry = Retry::no;
  int sys = 0;             // errno; tls_peer: the alert; tls_untrusted: the X509_V_ERR; or 0
  const char* where = "";  // operation that failed, for logs; a literal
};

// A failure at start-up or in the control plane, where a sentence is worth an allocation.
// `message` names cause and remedy and holds no secret.
struct Failure {
  Code code = Code::internal;
  std::string message;
};

template <class T = void>
using Result = boost::system::result<T, Error>;

template <class T = void>
using Outcome = boost::system::result<T, Failure>;

// boost::system::result asks for this when value() is called on an error: a bug in our code.
[[noreturn]] inline void throw_exception_from_error(const Error& error,
                                                    const boost::source_location&) {
  throw std::logic_error(std::string("value() on an error: ") + error.where);
}
[[noreturn]] inline void throw_exception_from_error(const Failure& failure,
                                                    const boost::source_location&) {
  throw std::runtime_error(failure.message);
}

// Short lower-case name for logs, e.g. "tls_peer".
std::string_view name(Code code) noexcept;
std::string_view name(Side side) noexcept;

}  // namespace kubelane
