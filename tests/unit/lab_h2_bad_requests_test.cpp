// The forbidden requests are what their names say: the lab's nghttp2, a peer without a stake,
// refuses them.
#include <set>
#include <string>

#include "tests/support/h2_bad_requests.hpp"
#include "tests/support/lab_h2_fixture.hpp"

namespace {

namespace h2 = lab::h2;
using support::BadRequest;

class LabH2BadRequests : public support::LabH2Fixture {
 protected:
  const h2::Fields good = support::H2RawClient::request("GET", "/watch?events=1", "kube");
};

TEST_F(LabH2BadRequests, what_they_start_from_is_good) {
  const auto client = connect_raw();
  client->settle();
  client->headers(1, good);
  ASSERT_TRUE(client->next(h2::frame_type::headers, 1));
  EXPECT_EQ(client->fields().front(), (std::pair<std::string, std::string>{":status", "200"}));
}

TEST_F(LabH2BadRequests, malformed_requests_are_refused) {
  // What this version of nghttp2 drops or lets pass where the RFC wants an error.
  const std::set<std::string> tolerated{"host that is not the authority"};
  for (const auto& bad : support::bad_requests()) {
    if (bad.harm != BadRequest::Harm::stream) continue;
    const auto client = connect_raw();
    client->settle();
    const auto refusal = support::provoke(*client, bad, good);
    EXPECT_NE(refusal.refused(), tolerated.contains(bad.name)) << bad.name;
  }
}

TEST_F(LabH2BadRequests, broken_frames_end_the_connection) {
  const std::set<std::string> tolerated{"stream with a number below the last"};
  for (const auto& bad : support::bad_requests()) {
    if (bad.harm != BadRequest::Harm::connection) continue;
    const auto client = connect_raw();
    client->settle();
    const auto refusal = support::provoke(*client, bad, good);
    EXPECT_NE(refusal.connection_ended(), tolerated.contains(bad.name)) << bad.name;
  }
}

}  // namespace
