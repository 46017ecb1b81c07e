// Replicas behind one address: a CA and a token of the operator's own, the same for all.
#include "tests/support/kubelane_fixture.hpp"

namespace {

namespace fs = std::filesystem;

class SharedTrust : public support::KubelaneFixture {
 protected:
  fs::path trust_path() const { return directory() / "trust"; }
};

TEST_F(SharedTrust, a_client_of_one_replica_is_a_client_of_the_others) {
  ASSERT_NO_FATAL_FAILURE(start_lab());
  write_credentials();
  std::string config = default_config();
  const std::string memory = "type: memory";
  config.replace(config.find(memory), memory.size(),
                 "{type: directory, path: " + (directory() / "state").string() + "}");
  start_kubelane(config);
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  support::LocalEndpoint first = endpoint();
  EXPECT_EQ(stop_kubelane(), 0);

  fs::create_directory(trust_path());
  fs::copy_file(directory() / "state/kubelane-ca.crt", trust_path() / "tls.crt");
  fs::copy_file(directory() / "state/kubelane-ca.key", trust_path() / "tls.key");
  fs::copy_file(directory() / "state/kubelane-token", trust_path() / "token");
  more_yaml = "local_trust: " + trust_path().string() + "\n";
  fs::remove_all(destination_path());
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  EXPECT_EQ(endpoint().ca_pem, first.ca_pem);
  EXPECT_EQ(endpoint().token, first.token);
  EXPECT_EQ(get("/bytes/1").status, 200);
  first.port = endpoint().port;
  support::TlsClient local_client = connect(first);
  local_client.write("GET " + first.prefix + "/bytes/1 HTTP/1.1\r\nHost: " + first.host_header() +
                     "\r\nAuthorization: Bearer " + first.token + "\r\n\r\n");
  EXPECT_EQ(local_client.read_response().status, 200);
}

TEST_F(SharedTrust, without_it_kubelane_does_not_start) {
  more_yaml = "local_trust: " + trust_path().string() + "\n";
  ASSERT_NO_FATAL_FAILURE(start_lab());
  write_credentials();
  start_kubelane(default_config());
  EXPECT_EQ(kubelane().wait_exit(), 1);
  EXPECT_TRUE(kubelane().wait_for_line("local_trust: " + trust_path().string() + "/tls.crt"));
}

}  // namespace
