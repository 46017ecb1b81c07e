// The joining key of bound_keypair: tbot's files in and out, rotation, and the messages of both
// join streams.
#include <string>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "proxy/teleport/bound_keypair.hpp"
#include "proxy/teleport/join_messages.hpp"
#include "proxy/teleport/proto/join.pb.h"
#include "tls/key.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

const auto now = std::chrono::system_clock::from_time_t(1'767'323'045);

std::string line_of(EVP_PKEY* key) {
  std::string line = tls::ssh_public_line(key);
  line.pop_back();
  return line;
}

Artifacts stored(std::vector<std::pair<std::string, std::string>> files) {
  Artifacts out;
  out.files = std::move(files);
  return out;
}

TEST(BoundKeypair, nothing_stored_is_no_key) {
  const auto keypair = BoundKeypair::parse({});
  ASSERT_TRUE(keypair);
  EXPECT_FALSE(keypair->bound());
  EXPECT_EQ(keypair->join_state(), "");
  EXPECT_EQ(keypair->find(""), nullptr);
  EXPECT_TRUE(keypair->artifacts().files.empty());
}

TEST(BoundKeypair, tbots_files_are_read_and_written_alike) {
  const tls::KeyPtr active = tls::make_ed25519_key();
  const tls::KeyPtr former = tls::make_key();
  const boost::json::object history{
      {"entries",
       {{{"time", "2026-01-02T03:04:05.123456789+01:00"},
         {"private_key", tls::stored_key_pem(former.get())}},
        {{"time", "2026-01-03T03:04:05Z"}, {"private_key", tls::stored_key_pem(active.get())}}}}};
  const auto keypair =
      BoundKeypair::parse(stored({{"id_bkp", tls::stored_key_pem(active.get())},
                                  {"id_bkp.pub", line_of(active.get()) + "\n"},
                                  {"bkp_state", "state\n"},
                                  {"bkp_key_history.json", boost::json::serialize(history)}}));
  ASSERT_TRUE(keypair);
  EXPECT_TRUE(keypair->bound());
  EXPECT_EQ(keypair->join_state(), "state\n");  // byte for byte
  ASSERT_NE(keypair->find(line_of(active.get())), nullptr);
  EXPECT_EQ(EVP_PKEY_eq(keypair->find(line_of(active.get())), active.get()), 1);
  ASSERT_NE(keypair->find("  " + line_of(former.get()) + " root@host\n"), nullptr);
  EXPECT_EQ(keypair->find(line_of(former.get()) + "A"), nullptr);
  const Artifacts out = keypair->artifacts();
  EXPECT_EQ(out.at("id_bkp"), tls::stored_key_pem(active.get()));
  EXPECT_EQ(out.at("id_bkp.pub"), line_of(active.get()) + "\n");
  EXPECT_EQ(out.at("bkp_state"), "state\n");
  EXPECT_EQ(boost::json::parse(out.at("bkp_key_history.json")), boost::json::value(history));
}

TEST(BoundKeypair, a_damaged_file_is_named_and_no_key_is_in_the_message) {
  const std::string pem = tls::stored_key_pem(tls::make_ed25519_key().get());
  struct Case {
    const char* file;
    std::string content;
  };
  const Case cases[] = {
      {"id_bkp", pem.substr(0, pem.size() / 2)},
      {"id_bkp", tls::key_pem(tls::KeyPtr(EVP_EC_gen("P-384")).get())},
      {"bkp_key_history.json", "{"},
      {"bkp_key_history.json", "[]"},
      {"bkp_key_history.json", "{}"},
      {"bkp_key_history.json", R"({"entries":{}})"},
      {"bkp_key_history.json", R"({"entries":[1]})"},
      {"bkp_key_history.json", R"({"entries":[{"time":"2026-01-02T03:04:05Z"}]})"}};
  for (const Case& each : cases) {
    const auto keypair = BoundKeypair::parse(stored({{each.file, each.content}}));
    ASSERT_FALSE(keypair) << each.content;
    EXPECT_NE(keypair.error().message.find(each.file), std::string::npos);
    EXPECT_EQ(keypair.error().message.find(pem.substr(30, 20)), std::string::npos);
  }
  EXPECT_TRUE(BoundKeypair::parse(stored({{"bkp_key_history.json", R"({"entries":null})"}})));
}

TEST(BoundKeypair, a_new_key_is_kept_until_teleport_says_that_it_is_bound) {
  BoundKeypair keypair;
  const std::string first = *keypair.rotate(KeyKind::ed25519, "", now);
  EXPECT_FALSE(keypair.bound());
  EXPECT_EQ(keypair.artifacts().at("id_bkp"), "");
  EXPECT_NE(keypair.artifacts().at("bkp_key_history.json").find("2026-01-02T03:04:05Z"),
            std::string::npos);
  // The attempt failed before anything was bound: the same again, even after a restart.
  BoundKeypair restarted = *BoundKeypair::parse(keypair.artifacts());
  EXPECT_EQ(*restarted.rotate(KeyKind::ed25519, "", now), first);
  // It was bound, for Teleport asks for it, and the answer alone was lost.
  const std::string second = *restarted.rotate(KeyKind::ecdsa, first, now);
  EXPECT_NE(second, first);
  EXPECT_TRUE(second.starts_with("ecdsa-sha2-nistp256 "));
  EXPECT_TRUE(restarted.accept("s1", second + "\n"));
  EXPECT_TRUE(restarted.bound());
  EXPECT_EQ(restarted.public_line(), second);
  EXPECT_EQ(restarted.join_state(), "s1");
  EXPECT_NE(restarted.find(first), nullptr);
  // Whatever it says, another key is not ours; what it remembers of the join is kept.
  EXPECT_FALSE(restarted.accept("s2", "ssh-ed25519 AAAA"));
  EXPECT_EQ(restarted.join_state(), "s2");
  EXPECT_EQ(restarted.public_line(), second);
}

TEST(BoundKeypair, ten_keys_of_before_are_kept_and_the_bound_one_always) {
  BoundKeypair keypair;
  const std::string first = *keypair.rotate(KeyKind::ed25519, "", now);
  ASSERT_TRUE(keypair.accept("s", first));
  std::string last = first;
  for (int i = 0; i < 15; ++i) last = *keypair.rotate(KeyKind::ed25519, last, now);
  const auto history = boost::json::parse(keypair.artifacts().at("bkp_key_history.json"));
  EXPECT_EQ(history.at("entries").as_array().size(), 10u);
  EXPECT_NE(keypair.find(first), nullptr);
  EXPECT_NE(keypair.find(last), nullptr);
}

TEST(BoundKeypair, another_token_gets_another_key) {
  BoundKeypair keypair;
  const std::string first = *keypair.rotate(KeyKind::ed25519, "", now);
  ASSERT_TRUE(keypair.accept("s", first));
  keypair.start_over();
  EXPECT_FALSE(keypair.bound());
  EXPECT_EQ(keypair.join_state(), "");
  const std::string second = *keypair.rotate(KeyKind::ed25519, "", now);
  EXPECT_NE(second, first);
  EXPECT_EQ(*keypair.rotate(KeyKind::ed25519, "", now), second);
}

TEST(BoundKeypair, a_fixed_key_is_the_only_one_and_never_stored) {
  BoundKeypair keypair;
  const std::shared_ptr<EVP_PKEY> key(tls::make_rsa_key());
  keypair.use_fixed(key);
  EXPECT_EQ(keypair.find(line_of(key.get())), key.get());
  EXPECT_FALSE(keypair.rotate(KeyKind::ed25519, "", now));
  EXPECT_TRUE(keypair.accept("state", line_of(key.get())));
  const Artifacts out = keypair.artifacts();
  ASSERT_EQ(out.files.size(), 1u);
  EXPECT_EQ(out.at("bkp_state"), "state");
}

TEST(JoinMessages, both_streams_say_the_same) {
  wire::BoundKeypairResponse old;
  old.mutable_challenge()->set_public_key("k");
  old.mutable_challenge()->set_challenge("c");
  wire::JoinServerMessage fresh;
  fresh.mutable_challenge()->mutable_key()->set_public_key("k");
  fresh.mutable_challenge()->mutable_key()->set_challenge("c");
  for (const auto& answer :
       {parse_bound_keypair(old.SerializeAsString()), parse_join_v1(fresh.SerializeAsString())}) {
    const auto* challenge = answer ? std::get_if<KeyChallenge>(&*answer) : nullptr;
    ASSERT_NE(challenge, nullptr);
    EXPECT_EQ(challenge->public_key, "k");
    EXPECT_EQ(challenge->challenge, "c");
  }
  old.mutable_rotation()->set_signature_algorithm_suite(3);
  fresh.mutable_challenge()->mutable_rotation()->set_signature_algorithm_suite("fips-v1");
  for (const auto& answer :
       {parse_bound_keypair(old.SerializeAsString()), parse_join_v1(fresh.SerializeAsString())}) {
    const auto* rotation = answer ? std::get_if<KeyRotation>(&*answer) : nullptr;
    ASSERT_NE(rotation, nullptr);
    EXPECT_EQ(joining_key_kind_of_suite(rotation->suite), KeyKind::ecdsa);
  }
  old.mutable_certs()->mutable_certs()->set_tls("pem");
  old.mutable_certs()->set_join_state("s");
  old.mutable_certs()->set_public_key("k");
  const auto done = parse_bound_keypair(old.SerializeAsString());
  const auto* grant = done ? std::get_if<JoinGrant>(&*done) : nullptr;
  ASSERT_NE(grant, nullptr);
  EXPECT_EQ(grant->certs.certificate, "pem");
  EXPECT_EQ(grant->join_state, "s");
  EXPECT_EQ(grant->public_key, "k");
}

TEST(JoinMessages, what_says_nothing_is_no_answer) {
  for (const std::string& bytes : {std::string(), std::string("\x0a\xff"), std::string("\x08\x01"),
                                   std::string((1u << 20) + 1, '\0')}) {
    EXPECT_FALSE(parse_bound_keypair(bytes));
    EXPECT_FALSE(parse_join_v1(bytes));
  }
  wire::JoinServerMessage other;
  other.mutable_challenge();  // of a method that is not ours
  const auto answer = parse_join_v1(other.SerializeAsString());
  ASSERT_TRUE(answer);
  EXPECT_TRUE(std::holds_alternative<ForeignChallenge>(*answer));
}

TEST(JoinMessages, suites_of_joining_keys) {
  for (const char* suite : {"", "0", "1", "2", "4", "legacy", "balanced-v1", "hsm-v1", "unknown"})
    EXPECT_EQ(joining_key_kind_of_suite(suite), KeyKind::ed25519) << suite;
  for (const char* suite : {"3", "fips-v1", "SIGNATURE_ALGORITHM_SUITE_FIPS_V1"})
    EXPECT_EQ(joining_key_kind_of_suite(suite), KeyKind::ecdsa) << suite;
}

}  // namespace
}  // namespace kubelane::teleport
