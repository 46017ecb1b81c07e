// The lab's forbidden answers are what their names say: nghttp2's client, a peer without a stake,
// judges them.
#include <set>
#include <string>

#include "tests/lab/h2_bad_answers.hpp"
#include "tests/support/lab_h2_fixture.hpp"

namespace {

using lab::BadAnswer;
using support::H2Response;

class LabH2BadAnswers : public support::LabH2Fixture {
 protected:
  // Both ends of one bad answer: its stream, and whether the connection still works.
  H2Response meet(const BadAnswer& bad, bool& works) {
    proxy().on_request(lab::answer_badly(bad, "/bad"));
    const auto client = connect();
    const auto stream = client->send({.path = "/bad"});
    client->wait(stream, [](const H2Response& response) {
      return response.closed || response.status != 0 || !response.interim.empty();
    });
    works = client->open() && client->ping().has_value();
    return client->response(stream);
  }
};

TEST_F(LabH2BadAnswers, malformed_answers_fail_their_stream) {
  // What this version of nghttp2 drops or lets pass where the RFC wants an error.
  const std::set<std::string> tolerated{"name with a space", "CR LF in a value", "LF in a value",
                                        "NUL in a value"};
  // Where it ends the connection as well, which the RFC allows.
  const std::set<std::string> stricter{"data before the head",
                                       "window of the stream opened by nothing"};
  for (const auto& bad : lab::bad_answers()) {
    if (bad.harm != BadAnswer::Harm::stream) continue;
    bool works = false;
    const H2Response response = meet(bad, works);
    EXPECT_NE(works, stricter.contains(bad.name)) << bad.name;
    if (tolerated.contains(bad.name)) continue;
    EXPECT_TRUE(response.closed) << bad.name;
    EXPECT_NE(response.close_code, 0u) << bad.name;
  }
}

TEST_F(LabH2BadAnswers, broken_frames_end_the_connection) {
  for (const auto& bad : lab::bad_answers()) {
    if (bad.harm != BadAnswer::Harm::connection) continue;
    bool works = true;
    const H2Response response = meet(bad, works);
    EXPECT_FALSE(works) << bad.name;
    EXPECT_TRUE(response.closed) << bad.name;
  }
}

TEST_F(LabH2BadAnswers, immense_answers_arrive_as_they_were_made) {
  for (const auto& bad : lab::bad_answers()) {
    if (bad.harm != BadAnswer::Harm::limit) continue;
    proxy().on_request(lab::answer_badly(bad, "/bad"));
    const auto client = connect_raw();
    client->settle();
    client->headers(1, support::H2RawClient::request("GET", "/bad", "kube"));
    std::size_t bytes = 0;
    std::size_t frames = 0;
    auto frame = client->next(lab::h2::frame_type::headers, 1);
    while (frame && bytes < 1'000'000 && frames < 20'000) {
      bytes += frame->payload.size();
      ++frames;
      if (frame->has(lab::h2::flag::end_headers)) break;
      frame = client->next(lab::h2::frame_type::continuation, 1);
    }
    EXPECT_TRUE(frame.has_value()) << bad.name;
    EXPECT_TRUE(bytes > 200'000 || frames >= 20'000 || bad.name == "header table bomb")
        << bad.name << ": " << bytes << " bytes in " << frames << " frames";
  }
}

TEST_F(LabH2BadAnswers, the_table_bomb_unfolds) {
  const std::string block = lab::h2::table_bomb({{":status", "200"}}, 1000, 500);
  EXPECT_LT(block.size(), 1600u);
  const auto client = connect_raw();
  const auto fields = client->decode(block);
  ASSERT_EQ(fields.size(), 502u);
  EXPECT_EQ(fields.back().second, std::string(1000, 'b'));
}

}  // namespace
