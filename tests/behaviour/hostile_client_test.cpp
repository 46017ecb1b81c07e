// Clients that dribble, lie, vanish and crowd: nothing ambiguous arrives at the Proxy, nobody else
// notices, and what they held is free again.
#include <string>
#include <thread>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::Response;
using support::TlsClient;

class HostileClient : public support::KubelaneFixture {
 protected:
  HostileClient() { proxy_protocol = "http1"; }  // connections are counted
  Response raw(const std::string& bytes) {
    TlsClient stranger = connect();
    stranger.write(bytes);
    return stranger.read_response();
  }
  std::string post(const std::string& fields) { return request("POST", "/echo", fields); }
  bool gone(const std::string& target) {
    return proxy().wait_for([&](const lab::Observations& seen) {
      const auto* found = seen.last_request(target);
      return found != nullptr && seen.connections.at(found->connection).peer_ended_at.has_value();
    });
  }
};

TEST_F(HostileClient, requests_in_single_bytes_are_the_same_requests) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  const std::string all =
      "\r\n" + post("Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Sum\r\n") +
      "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 9\r\nAuthorization: Bearer x\r\n\r\n" +
      request("POST", "/echo", "Content-Length: 5\r\n", "again") + request("GET", "/bytes/3");
  for (const char byte : all) caller.write({&byte, 1});
  const Response chunked = caller.read_response();
  EXPECT_EQ(chunked.body, "hello");
  ASSERT_EQ(chunked.trailers.size(), 1u) << chunked.raw_body;
  EXPECT_EQ(chunked.trailers[0].second, "9");
  EXPECT_EQ(caller.read_response().body, "again");
  EXPECT_EQ(caller.read_response().body, lab::pattern_bytes(3));
}

// Bodies and trailers that two parsers could read differently: the client is told, the Proxy sees
// no complete request, and what stands behind is no request of its own.
TEST_F(HostileClient, malformed_bodies_and_trailers_end_at_us) {
  log_level = "info";
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string second = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const std::string& bad :
       std::vector<std::string>{"3 \r\nabc\r\n0\r\n\r\n",
                                "\r\n3\r\nabc\r\n0\r\n\r\n",
                                "+3\r\nabc\r\n0\r\n\r\n",
                                "3\r\nabc0\r\n\r\n",
                                "3\r\nabc\r0\r\n\r\n",
                                "3\r\nabc\n0\r\n\r\n",
                                "3\rabc\r\n0\r\n\r\n",
                                "10000000000000003\r\nabc\r\n0\r\n\r\n",
                                "00000000000000003\r\nabc\r\n0\r\n\r\n",
                                "3;a\rb\r\nabc\r\n0\r\n\r\n",
                                "3;a\x7f\r\nabc\r\n0\r\n\r\n",
                                "3;" + std::string(1, '\0') + "\r\nabc\r\n0\r\n\r\n",
                                "3;" + std::string(300, 'a') + "\r\nabc\r\n0\r\n\r\n",
                                "0\n\r\n",
                                "0\r\n\n",
                                "0\r\n\r\r\n",
                                "0\r\nX: a\n\r\n",
                                "0\r\nX: a\rY: b\r\n\r\n",
                                "0\r\nX: a\r\n folded\r\n\r\n",
                                "0\r\n folded\r\n\r\n",
                                "0\r\nX : a\r\n\r\n",
                                "0\r\n: a\r\n\r\n",
                                "0\r\nno colon\r\n\r\n",
                                "0\r\nX: " + std::string(1, '\0') + "\r\n\r\n",
                                "0\r\nX\x80: a\r\n\r\n",
                                "0\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n"}) {
    // All at once, and behind a chunk that has left already.
    EXPECT_EQ(raw(post("Transfer-Encoding: chunked\r\n") + bad + second).status, 400) << bad;
    TlsClient caller = connect();
    caller.write(post("Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n");
    EXPECT_EQ(caller.read_response_head().status, 200);
    caller.write(bad + second);
    EXPECT_TRUE(caller.ended()) << bad;
  }
  EXPECT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.open_kube_connections() == 0;
  })) << "a connection in an unknown state was kept";
  const auto seen = proxy().seen();
  EXPECT_EQ(seen.last_request("/admin"), nullptr);
}

TEST_F(HostileClient, lengths_that_are_no_numbers_are_refused) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* length : {"18446744073709551616", "99999999999999999999", "-1", "+5", "0x5",
                             "5,5", "5;", "5 5", "", "1e1", "5\x0b", "\xef\xbc\x95"})
    EXPECT_EQ(raw(post("Content-Length: " + std::string(length) + "\r\n") + "hello").status, 400)
        << length;
  EXPECT_EQ(proxy().seen().request_count, 0u);
  // Ten gigabytes are announced, begun and given up: the Proxy learns it.
  TlsClient caller = connect();
  caller.write(request("POST", "/echo?big", "Content-Length: 10737418240\r\n", "begin"));
  const Response response = caller.read_response_head();
  EXPECT_EQ(response.header("Content-Length"), "10737418240");
  caller.close();
  EXPECT_TRUE(gone("/echo?big"));
}

// A body that stands still is the client's fault and is told as such.
TEST_F(HostileClient, a_body_that_does_not_come_times_out) {
  more_yaml = "timeouts: {local_idle: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    lab::read_body(exchange.stream, exchange.request);
    return lab::Verdict::drop;
  });
  const Response response = raw(request("POST", "/x", "Content-Length: 5\r\n", "he"));
  EXPECT_EQ(response.status, 408);
  EXPECT_NE(response.body.find("did not arrive in time"), std::string::npos) << response.body;
}

TEST_F(HostileClient, a_half_hello_is_given_up) {
  more_yaml = "timeouts: {local_handshake: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  support::ClientOptions plain;
  plain.tls = false;
  for (const std::string& hello :
       {std::string("\x16\x03\x01\x02"), std::string("\x16\x03\x01\x40\x00\x01", 6),
        std::string("GET / HTTP/1.1\r\n\r\n"), std::string(5000, '\0')}) {
    TlsClient caller(endpoint().host, endpoint().port, plain);
    caller.write(hello);
    EXPECT_TRUE(caller.ended());
  }
  EXPECT_EQ(get("/bytes/1").status, 200);
}

TEST_F(HostileClient, connection_close_is_kept_locally_and_ends_nothing_upstream) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (int i = 0; i < 5; ++i) {
    TlsClient caller = connect();
    caller.write(request("GET", "/bytes/1", "Connection: close\r\n"));
    const Response response = caller.read_response();
    EXPECT_EQ(response.header("Connection"), "close");
    EXPECT_TRUE(caller.ended());
  }
  const auto seen = proxy().seen();
  EXPECT_EQ(seen.kube_handshakes_full + seen.kube_handshakes_resumed, 1u);
  EXPECT_EQ(seen.last_request("/bytes/1")->raw_head.find("Connection"), std::string::npos);
}

// The end of a client's TLS without the end of its TCP, in one segment with the request.
TEST_F(HostileClient, a_close_notify_alone_ends_the_watch_upstream) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient caller = connect();
  const int on = 1;
  ::setsockopt(caller.fd(), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
  caller.write(request("GET", "/watch?events=7"));
  SSL_shutdown(caller.ssl());
  const int off = 0;
  ::setsockopt(caller.fd(), IPPROTO_TCP, TCP_CORK, &off, sizeof off);
  EXPECT_TRUE(gone("/watch?events=7"));
}

// The upload stands still because the Proxy does not read; the client's reset is noticed all the
// same.
TEST_F(HostileClient, a_reset_in_a_stalled_upload_reaches_the_proxy) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    support::eventually([&] { return exchange.stream.peer_ended(); });
    return lab::Verdict::drop;
  });
  TlsClient caller = connect();
  caller.write(request("POST", "/stalled", "Content-Length: 500000000\r\n"));
  const timeval limit{0, 300'000};
  ::setsockopt(caller.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  EXPECT_THROW(
      {
        for (;;) caller.write(std::string(1 << 20, 'x'));
      },
      std::runtime_error);
  caller.reset();
  EXPECT_TRUE(gone("/stalled"));
}

TEST_F(HostileClient, a_reset_in_a_stalled_tunnel_reaches_the_proxy) {
  ASSERT_NO_FATAL_FAILURE(start());
  proxy().on_request([](lab::Exchange& exchange) {
    exchange.stream.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    support::eventually([&] { return exchange.stream.peer_ended(); });
    return lab::Verdict::drop;
  });
  TlsClient caller = connect();
  caller.write(request("GET", "/exec", "Connection: Upgrade\r\nUpgrade: x\r\n"));
  EXPECT_TRUE(caller.read_until("\r\n\r\n").starts_with("HTTP/1.1 101"));
  const timeval limit{0, 300'000};
  ::setsockopt(caller.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  EXPECT_THROW(
      {
        for (;;) caller.write(std::string(1 << 20, 'x'));
      },
      std::runtime_error);
  caller.reset();
  EXPECT_TRUE(gone("/exec"));
}

// Stalled readers hold buffers; when three quarters are lent new work is refused, until they go.
TEST_F(HostileClient, scarce_memory_refuses_new_work_and_heals) {
  more_yaml = "workers: 1\nlimits: {buffer_memory_bytes: 1MiB}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<TlsClient> stalled;
  Response refused;
  for (int i = 0; i < 40 && refused.status != 429; ++i) {
    stalled.push_back(connect());
    stalled.back().write(request("GET", "/bytes/50000000"));
    ASSERT_TRUE(stalled.back().readable());
    // Once for each, so that a stalled one has had its time to fill its buffers.
    refused = get("/bytes/1");
  }
  // The last stalled one may itself be what was refused: all the others hold memory.
  ASSERT_TRUE(eventually([&] { return (refused = get("/bytes/1")).status == 429; }));
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_NE(refused.body.find("buffer_memory_bytes"), std::string::npos) << refused.body;
  stalled.clear();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(HostileClient, the_limit_of_upstream_connections_is_told) {
  more_yaml = "workers: 1\nlimits: {max_upstream_connections: 2}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<TlsClient> watchers;
  for (int i = 0; i < 2; ++i) {
    watchers.push_back(connect());
    watchers.back().write(request("GET", "/watch?events=9"));
    ASSERT_EQ(watchers.back().read_response_head().status, 200);
  }
  const Response refused = get("/bytes/1");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  watchers.pop_back();
  EXPECT_TRUE(eventually([&] { return get("/bytes/1").status == 200; }));
}

// Out of descriptors: told in the log, once and not a hundred times, and over as soon as there are
// some again. What is open goes on.
TEST_F(HostileClient, without_descriptors_it_waits_and_heals) {
  more_yaml = "workers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  if (kubelane().sanitized)
    GTEST_SKIP() << "UBSan needs a descriptor to tell a good pointer from a bad one";
  TlsClient before = connect();
  before.write(request("GET", "/bytes/1"));
  EXPECT_EQ(before.read_response().status, 200);
  rlimit normal{};
  ASSERT_EQ(::prlimit(kubelane().pid(), RLIMIT_NOFILE, nullptr, &normal), 0);
  rlimit none = normal;
  none.rlim_cur = 3;
  ASSERT_EQ(::prlimit(kubelane().pid(), RLIMIT_NOFILE, &none, nullptr), 0);
  support::ClientOptions plain;
  plain.tls = false;
  const TlsClient waiting(endpoint().host, endpoint().port, plain);  // only the kernel answers
  const std::string told = "cannot accept connections";
  ASSERT_TRUE(kubelane().wait_for_line(told));
  const std::size_t from = kubelane().error_lines().size();
  EXPECT_FALSE(kubelane().wait_for_line(told, from, std::chrono::milliseconds(500)));
  for (int i = 0; i < 200; ++i) {
    before.write(request("GET", "/bytes/2"));
    ASSERT_EQ(before.read_response().status, 200);
  }
  ASSERT_EQ(::prlimit(kubelane().pid(), RLIMIT_NOFILE, &normal, nullptr), 0);
  EXPECT_EQ(get("/bytes/3").status, 200);
}

// Any page that a browser shows may send requests to localhost. Where no secret stands in the way,
// a foreign Origin does.
TEST_F(HostileClient, without_authentication_pages_of_other_sites_are_refused) {
  more_yaml = "local_auth: none\nlocal_tls: false\nallowed_hosts: [kube.internal]\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* foreign : {"https://evil.example", "null", "http://127.0.0.1.evil.example",
                              "http://evil.example:80@127.0.0.1", "file://", ""}) {
    const std::string field = "Origin: " + std::string(foreign) + "\r\n";
    EXPECT_EQ(exchange("POST", "/echo", field + "Content-Length: 2\r\n", "{}").status, 403)
        << foreign;
    EXPECT_EQ(
        exchange("GET", "/exec?command=id", field + "Connection: Upgrade\r\nUpgrade: websocket\r\n")
            .status,
        403)
        << foreign;
  }
  EXPECT_EQ(proxy().seen().request_count, 0u);
  for (const std::string& own :
       {"http://" + endpoint().host_header(), std::string("http://localhost:8001"),
        std::string("https://kube.internal"), std::string("http://[::1]:1")})
    EXPECT_EQ(exchange("GET", "/bytes/1", "Origin: " + own + "\r\n").status, 200) << own;
}

}  // namespace
