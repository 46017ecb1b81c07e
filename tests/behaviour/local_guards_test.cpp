// What the local side refuses, and how: every refusal is a Kubernetes Status with the right code.
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::Response;
using support::TlsClient;

class LocalGuards : public support::KubelaneFixture {
 protected:
  // The Status in an answer; checks that it is one.
  static boost::json::object status_of(const Response& response) {
    EXPECT_EQ(response.header("Content-Type"), "application/json");
    boost::json::error_code error;
    const boost::json::value value = boost::json::parse(response.body, error);
    if (error || !value.is_object()) {
      ADD_FAILURE() << "not a Status: " << response.raw_head << response.body;
      return {};
    }
    const boost::json::object& status = value.as_object();
    EXPECT_EQ(status.at("kind"), "Status");
    EXPECT_EQ(status.at("apiVersion"), "v1");
    EXPECT_EQ(status.at("status"), "Failure");
    EXPECT_EQ(status.at("code"), response.status);
    return status;
  }
  Response raw(const std::string& bytes) {
    TlsClient stranger = connect();
    stranger.write(bytes);
    return stranger.read_response();
  }
  std::string line(const std::string& fields, const std::string& target = "/bytes/1") {
    return "GET " + endpoint().prefix + target + " HTTP/1.1\r\n" + fields + "\r\n";
  }
  std::string host() { return "Host: " + endpoint().host_header() + "\r\n"; }
  std::string token() { return "Authorization: Bearer " + endpoint().token + "\r\n"; }
};

TEST_F(LocalGuards, wrong_tokens_are_unauthorized) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const std::string& wrong :
       {std::string(), std::string("Authorization: Bearer x\r\n"),
        "Authorization: Bearer " + endpoint().token + "x\r\n",
        "Authorization: Basic " + endpoint().token + "\r\n", token() + token()}) {
    const Response response = raw(line(host() + wrong));
    EXPECT_EQ(response.status, 401) << wrong;
    EXPECT_EQ(status_of(response).at("reason"), "Unauthorized");
    EXPECT_EQ(response.body.find(endpoint().token), std::string::npos);
  }
  EXPECT_EQ(proxy().seen().request_count, 0u);
}

TEST_F(LocalGuards, three_wrong_tokens_end_the_connection) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient stranger = connect();
  for (int i = 0; i < 3; ++i) {
    stranger.write(line(host()));
    EXPECT_EQ(stranger.read_response().status, 401);
  }
  EXPECT_TRUE(stranger.ended());
}

TEST_F(LocalGuards, a_foreign_host_is_refused_as_dns_rebinding) {
  more_yaml = "allowed_hosts: [kube.internal]\n";
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* foreign :
       {"evil.example", "evil.example:7443", "127.0.0.1.evil.example", "[::2]:1", "10.0.0.1"}) {
    const Response response = raw(line("Host: " + std::string(foreign) + "\r\n" + token()));
    EXPECT_EQ(response.status, 403) << foreign;
    EXPECT_EQ(status_of(response).at("reason"), "Forbidden");
  }
  for (const char* own : {"localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "kube.internal:99"})
    EXPECT_EQ(raw(line("Host: " + std::string(own) + "\r\n" + token())).status, 200) << own;
}

TEST_F(LocalGuards, an_unknown_cluster_is_not_found_and_names_the_known) {
  proxy_options.clusters = {{"demo", lab::standard_paths(gate())},
                            {"prod", lab::standard_paths(gate())}};
  ASSERT_NO_FATAL_FAILURE(start());
  const Response response = raw("GET /staging/api HTTP/1.1\r\n" + host() + token() + "\r\n");
  EXPECT_EQ(response.status, 404);
  const auto status = status_of(response);
  EXPECT_EQ(status.at("reason"), "NotFound");
  EXPECT_NE(status.at("message").as_string().find("/prod"), std::string::npos);
}

TEST_F(LocalGuards, large_heads_are_refused) {
  more_yaml = "limits: {max_header_bytes: 8KiB, max_header_fields: 20}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(raw(line(host() + token() + "X: " + std::string(9000, 'a') + "\r\n")).status, 431);
  std::string many;
  for (int i = 0; i < 30; ++i) many += "X-" + std::to_string(i) + ": a\r\n";
  EXPECT_EQ(raw(line(host() + token() + many)).status, 431);
  EXPECT_EQ(raw(line(host() + token() + "X: " + std::string(4000, 'a') + "\r\n")).status, 200);
}

TEST_F(LocalGuards, slow_heads_are_timed_out) {
  more_yaml = "timeouts: {request_head: 300ms, local_handshake: 300ms, local_idle: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  const Response response = raw("GET /x HTT");
  EXPECT_EQ(response.status, 408);
  EXPECT_EQ(status_of(response).at("reason"), "Timeout");
  TlsClient idle = connect();
  EXPECT_TRUE(idle.ended());
  support::ClientOptions plain;
  plain.tls = false;
  TlsClient silent(endpoint().host, endpoint().port, plain);  // never says hello
  EXPECT_TRUE(silent.ended());
}

TEST_F(LocalGuards, too_many_connections_are_told_so) {
  more_yaml = "limits: {max_connections: 4}\nworkers: 1\n";
  ASSERT_NO_FATAL_FAILURE(start());
  std::vector<TlsClient> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(connect());
    held.back().write(request("GET", "/watch?events=10"));
    ASSERT_EQ(held.back().read_response_head().status, 200);
  }
  const Response refused = get("/bytes/1");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_EQ(status_of(refused).at("details").at("retryAfterSeconds"), 1);
  held.pop_back();
  EXPECT_TRUE(support::eventually([&] { return get("/bytes/1").status == 200; }));
}

TEST_F(LocalGuards, other_versions_of_http_are_named) {
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(raw("GET /x HTTP/1.0\r\n" + host() + "\r\n").status, 505);
}

TEST_F(LocalGuards, a_client_that_offers_only_h2_is_refused_in_the_handshake) {
  ASSERT_NO_FATAL_FAILURE(start());
  support::ClientOptions options;
  options.alpn = {"h2"};
  EXPECT_THROW(TlsClient(endpoint().host, endpoint().port, options), std::runtime_error);
}

// What two parsers could read differently never arrives.
TEST_F(LocalGuards, smuggling_attempts_do_not_pass) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string post = "POST " + endpoint().prefix + "/echo HTTP/1.1\r\n" + host() + token();
  const std::string second = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::vector<std::string> attempts = {
      post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
      post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + second,
      post + "Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + second,
      post + "Content-Length: +60\r\n\r\n" + second,
      post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
      post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + second,
      post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + second,
      post + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
      post + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
      post + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
      post + "Connection: Content-Length\r\nContent-Length: 60\r\n\r\n" + second,
  };
  for (const std::string& attempt : attempts) {
    const Response response = raw(attempt);
    EXPECT_EQ(response.status, 400) << attempt;
    EXPECT_EQ(status_of(response).at("reason"), "BadRequest");
  }
  // Chunk framing is known to be bad only once the head has gone: no answer of the Proxy's counts.
  for (const char* chunks :
       {"0x3\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n"})
    EXPECT_EQ(raw(post + "Transfer-Encoding: chunked\r\n\r\n" + chunks).status, 400) << chunks;
  const auto seen = proxy().seen();
  EXPECT_EQ(seen.last_request("/admin"), nullptr);
}

TEST_F(LocalGuards, plain_mode_needs_no_token_and_no_tls) {
  more_yaml = "local_auth: none\nlocal_tls: false\n";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_FALSE(endpoint().tls);
  EXPECT_EQ(get("/bytes/100000").body, lab::pattern_bytes(100'000));
  EXPECT_EQ(raw(line("Host: evil.example\r\n")).status, 403);
}

TEST_F(LocalGuards, mtls_mode_wants_the_certificate_from_the_kubeconfig) {
  more_yaml = "local_auth: mtls\n";
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_FALSE(endpoint().client_certificate_pem.empty());
  EXPECT_TRUE(endpoint().token.empty());
  EXPECT_EQ(get("/bytes/1").status, 200);
  support::LocalEndpoint stranger = endpoint();
  stranger.client_certificate_pem.clear();
  stranger.client_key_pem.clear();
  const auto served = [&](const support::LocalEndpoint& as) {
    try {
      TlsClient caller = connect(as);
      caller.write(request("GET", "/bytes/1"));
      return caller.read_response().status == 200;
    } catch (const support::PatienceOver&) {
      return true;
    } catch (const std::runtime_error&) {
      return false;
    }
  };
  EXPECT_FALSE(served(stranger));
  const lab::Issued foreign = lab::Proxy::issue_foreign({});
  stranger.client_certificate_pem = foreign.pem();
  stranger.client_key_pem = foreign.private_pem();
  EXPECT_FALSE(served(stranger));
}

TEST_F(LocalGuards, a_client_that_asks_nothing_gets_its_session_ticket_too) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient idle = connect();
  EXPECT_TRUE(idle.readable());
  EXPECT_FALSE(idle.ended(std::chrono::milliseconds(50)));  // takes the ticket in
  EXPECT_EQ(SSL_SESSION_is_resumable(idle.session().get()), 1);
  idle.write(request("GET", "/bytes/1"));
  EXPECT_EQ(idle.read_response().status, 200);
}

TEST_F(LocalGuards, local_sessions_resume) {
  ASSERT_NO_FATAL_FAILURE(start());
  TlsClient first = connect();
  first.write(request("GET", "/bytes/1"));
  EXPECT_EQ(first.read_response().status, 200);
  ASSERT_TRUE(first.session());
  support::ClientOptions options;
  options.ca_pem = endpoint().ca_pem;
  options.session = first.session();
  TlsClient again(endpoint().host, endpoint().port, options);
  EXPECT_TRUE(again.resumed());
}

}  // namespace
