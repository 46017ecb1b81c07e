// The byte stream against OpenSSL at the other end of a socket: handshakes, data in pieces of every
// size, tickets, key updates, ends proper and improper, and what an attacker puts on the wire.
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "tests/support/pki.hpp"
#include "tls/context.hpp"
#include "tls/stream.hpp"

namespace kubelane::tls {
namespace {

using namespace kubelane_test;
using Kind = Step::Kind;

const std::string server_name = "kube.example.com";

// The Stream under test and OpenSSL, joined by a socket pair.
class Joined {
 public:
  // `version` 0: the highest both know.
  explicit Joined(bool stream_serves, int version = 0, const char* suites = nullptr,
                  SessionCache* sessions = nullptr, const Joined* contexts_of = nullptr)
      : stream(stream_serves ? Side::local : Side::upstream) {
    std::array<int, 2> fds{};
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()) == 0, "socketpair");
    if (contexts_of != nullptr) {
      ours = contexts_of->ours;
      theirs = contexts_of->theirs;
    } else {
      make_contexts(stream_serves);
      if (version != 0) SSL_CTX_set_max_proto_version(theirs.get(), version);
      if (suites != nullptr) SSL_CTX_set_ciphersuites(theirs.get(), suites);
    }
    peer_fd = UniqueFd(fds[1]);
    stream.open(UniqueFd(fds[0]), *batch);
    peer.reset(SSL_new(theirs.get()));
    SSL_set_fd(peer.get(), peer_fd.get());
    SSL_set_mode(peer.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (stream_serves) {
      SSL_set_connect_state(peer.get());
      require(stream.serve_tls(ours.get()), "serve");
    } else {
      SSL_set_accept_state(peer.get());
      require(stream.connect_tls(ours.get(), server_name, sessions), "connect");
    }
  }

  bool handshake() {
    bool stream_done = false;
    for (int turn = 0; turn < 20; ++turn) {
      ready();
      const Step step = stream.handshake();
      if (step.kind == Kind::failed) return false;
      stream_done = step.kind == Kind::moved;
      ERR_clear_error();
      const int result = SSL_do_handshake(peer.get());
      if (result == 1 && stream_done) return true;
      if (result != 1 && SSL_get_error(peer.get(), result) == SSL_ERROR_SSL) return false;
    }
    return false;
  }

  // What an event loop would say.
  void ready() { stream.socket().readable = stream.socket().writable = true; }

  // From the stream to OpenSSL, in writes of `piece` bytes.
  std::string up(const std::string& bytes, std::size_t piece) {
    std::string arrived;
    std::size_t at = 0;
    for (int idle = 0; arrived.size() < bytes.size() && idle < 1000; ++idle) {
      ready();
      if (at < bytes.size()) {
        const Step step = stream.write(std::string_view(bytes).substr(at, piece));
        if (step.kind == Kind::failed) return arrived;
        if (step.kind == Kind::moved) at += step.bytes;
      } else {
        stream.flush();
      }
      if (read_peer(arrived)) idle = 0;
    }
    return arrived;
  }

  // From OpenSSL to the stream, read with room for `room` bytes.
  std::string down(const std::string& bytes, std::size_t room) {
    std::string arrived;
    std::string block(room, '\0');
    std::size_t at = 0;
    for (int idle = 0; arrived.size() < bytes.size() && idle < 1000; ++idle) {
      std::size_t taken = 0;
      if (at < bytes.size() &&
          SSL_write_ex(peer.get(), bytes.data() + at, bytes.size() - at, &taken) == 1)
        at += taken;
      ERR_clear_error();
      ready();
      for (;;) {
        const Step step = stream.read(block);
        if (step.kind != Kind::moved) {
          if (step.kind != Kind::want_read) return arrived;
          break;
        }
        arrived.append(block, 0, step.bytes);
        idle = 0;
      }
    }
    return arrived;
  }

  bool read_peer(std::string& arrived) {
    std::array<char, 20000> block;
    std::size_t got = 0;
    bool any = false;
    while (SSL_read_ex(peer.get(), block.data(), block.size(), &got) == 1) {
      arrived.append(block.data(), got);
      any = true;
    }
    ERR_clear_error();
    return any;
  }

  void put_on_wire(std::string_view bytes) const {
    require(::send(peer_fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size()),
            "send");
  }

  Step read_once(std::string& text, std::size_t room = 65536) {
    ready();
    text.assign(room, '\0');
    const Step step = stream.read(text);
    text.resize(step.kind == Kind::moved ? step.bytes : 0);
    return step;
  }

  std::shared_ptr<SSL_CTX> ours;
  std::shared_ptr<SSL_CTX> theirs;
  std::unique_ptr<WriteBatch> batch = std::make_unique<WriteBatch>();
  UniqueFd peer_fd;
  Stream stream;
  SslPtr peer;

 private:
  void make_contexts(bool stream_serves) {
    const Issued authority = make_authority("example.com");
    const Issued leaf = issue_proxy(authority, "DNS:" + server_name);
    if (stream_serves) {
      Outcome<ContextPtr> made = make_local_context(leaf.pem(), leaf.key_pem(), {});
      require(static_cast<bool>(made), "local context");
      ours = std::move(*made);
      theirs.reset(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
      constexpr unsigned char http1[] = "\x08http/1.1";
      SSL_CTX_set_alpn_protos(theirs.get(), http1, sizeof http1 - 1);
      return;
    }
    Outcome<ContextPtr> made = make_upstream_context();
    require(static_cast<bool>(made), "upstream context");
    X509_STORE_add_cert(SSL_CTX_get_cert_store(made->get()), authority.certificate.get());
    SessionCache::enable(made->get());
    ours = std::move(*made);
    theirs.reset(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    SSL_CTX_use_certificate(theirs.get(), leaf.certificate.get());
    SSL_CTX_use_PrivateKey(theirs.get(), leaf.key.get());
  }
};

std::string some_bytes(std::size_t length) {
  std::minstd_rand random(static_cast<unsigned>(length) + 1);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() >> 7);
  return bytes;
}

// Version, suite of TLS 1.3, whose records, which end the stream is.
using Way = std::tuple<int, const char*, bool, bool>;

class StreamWays : public testing::TestWithParam<Way> {};

TEST_P(StreamWays, carry_bytes_in_pieces_of_every_size) {
  const auto& [version, suites, own, serves] = GetParam();
  Joined joined(serves, version, suites);
  ASSERT_TRUE(joined.handshake());
  EXPECT_EQ(joined.stream.own_records(), own);
  const std::string bytes = some_bytes(400'000);
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{16384}, std::size_t{400'000}}) {
    ASSERT_EQ(joined.up(bytes, piece), bytes) << piece;
    ASSERT_EQ(joined.down(bytes, piece), bytes) << piece;
  }
  const std::string few = some_bytes(3000);
  for (const std::size_t piece : {1, 2, 7, 100}) {
    ASSERT_EQ(joined.up(few, piece), few) << piece;
    ASSERT_EQ(joined.down(few, piece), few) << piece;
  }
}

TEST_P(StreamWays, end_properly_in_both_directions) {
  const auto& [version, suites, own, serves] = GetParam();
  Joined joined(serves, version, suites);
  ASSERT_TRUE(joined.handshake());
  std::size_t count = 0;
  ASSERT_EQ(SSL_write_ex(joined.peer.get(), "last words", 10, &count), 1);
  SSL_shutdown(joined.peer.get());
  std::string text;
  ASSERT_EQ(joined.read_once(text).kind, Kind::moved);
  EXPECT_EQ(text, "last words");
  const Step end = joined.read_once(text);
  EXPECT_EQ(end.kind, Kind::eof);
  EXPECT_NE(end.error.code, Code::eof);  // proper
  // Half-closed: ours is still open.
  EXPECT_EQ(joined.up("an answer", 9), "an answer");
  EXPECT_EQ(joined.stream.close_write().kind, Kind::moved);
  std::array<char, 8> none;
  EXPECT_EQ(SSL_read(joined.peer.get(), none.data(), none.size()), 0);
  EXPECT_EQ(SSL_get_shutdown(joined.peer.get()) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
}

TEST_P(StreamWays, tell_a_cut_from_an_end) {
  const auto& [version, suites, own, serves] = GetParam();
  Joined joined(serves, version, suites);
  ASSERT_TRUE(joined.handshake());
  std::size_t count = 0;
  ASSERT_EQ(SSL_write_ex(joined.peer.get(), "half a", 6, &count), 1);
  ::shutdown(joined.peer_fd.get(), SHUT_WR);
  std::string text;
  ASSERT_EQ(joined.read_once(text).kind, Kind::moved);
  EXPECT_EQ(text, "half a");
  const Step end = joined.read_once(text);
  EXPECT_EQ(end.kind, Kind::eof);
  EXPECT_EQ(end.error.code, Code::eof);
}

TEST_P(StreamWays, refuse_a_forged_record) {
  const auto& [version, suites, own, serves] = GetParam();
  Joined joined(serves, version, suites);
  ASSERT_TRUE(joined.handshake());
  ASSERT_EQ(joined.down("warm", 10), "warm");
  joined.put_on_wire(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'z'));
  std::string text;
  const Step step = joined.read_once(text);
  EXPECT_EQ(step.kind, Kind::failed);
  EXPECT_EQ(joined.read_once(text).kind, Kind::failed);
  EXPECT_EQ(joined.stream.write("more").kind, Kind::failed);
  // The peer is told: bad_record_mac.
  std::array<char, 8> none;
  EXPECT_LE(SSL_read(joined.peer.get(), none.data(), none.size()), 0);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
  ERR_clear_error();
}

std::string name_of(const testing::TestParamInfo<Way>& given) {
  const auto& [version, suites, own, serves] = given.param;
  const std::string_view suite = suites != nullptr ? suites : "";
  std::string name = version == TLS1_2_VERSION ? "tls12" : "tls13";
  if (suite == "TLS_AES_128_GCM_SHA256") name += "_aes128";
  if (suite == "TLS_AES_256_GCM_SHA384") name += "_aes256";
  if (suite == "TLS_CHACHA20_POLY1305_SHA256") name += "_chacha";
  return name + (serves ? "_server" : "_client");
}

INSTANTIATE_TEST_SUITE_P(Ways, StreamWays,
                         testing::Values(Way{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true, true},
                                         Way{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true, false},
                                         Way{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", false, true},
                                         Way{TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", false,
                                             false},
                                         Way{TLS1_2_VERSION, nullptr, false, true},
                                         Way{TLS1_2_VERSION, nullptr, false, false}),
                         name_of);

TEST(Stream, follows_and_answers_key_updates) {
  for (const bool serves : {true, false}) {
    Joined joined(serves, TLS1_3_VERSION);
    ASSERT_TRUE(joined.handshake());
    ASSERT_TRUE(joined.stream.own_records());
    for (const int kind : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED,
                           SSL_KEY_UPDATE_REQUESTED, SSL_KEY_UPDATE_NOT_REQUESTED}) {
      ASSERT_EQ(SSL_key_update(joined.peer.get(), kind), 1);
      ASSERT_EQ(joined.down("after the update", 100), "after the update");
      ASSERT_EQ(joined.up("and back", 100), "and back");
    }
  }
}

TEST(Stream, ends_a_flood_of_key_updates) {
  Joined joined(true, TLS1_3_VERSION);
  ASSERT_TRUE(joined.handshake());
  std::string text;
  Step step;
  for (int i = 0; i < 100 && step.kind != Kind::failed; ++i) {
    SSL_key_update(joined.peer.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
    SSL_do_handshake(joined.peer.get());
    step = joined.read_once(text);
  }
  EXPECT_EQ(step.kind, Kind::failed);
  ERR_clear_error();
}

TEST(Stream, takes_tickets_and_resumes_with_them) {
  SessionCache sessions;
  Joined first(false, TLS1_3_VERSION, nullptr, &sessions);
  ASSERT_TRUE(first.handshake());
  EXPECT_FALSE(first.stream.resumed());
  ASSERT_EQ(first.down("data behind the tickets", 100), "data behind the tickets");
  EXPECT_EQ(sessions.size(), 2U);  // OpenSSL's servers send two
  ASSERT_EQ(first.up("and back", 100), "and back");
  Joined second(false, 0, nullptr, &sessions, &first);
  ASSERT_TRUE(second.handshake());
  EXPECT_TRUE(second.stream.resumed());
  ASSERT_EQ(second.down("resumed", 100), "resumed");
  ASSERT_EQ(second.up("indeed", 100), "indeed");
}

TEST(Stream, gives_a_ticket_that_resumes) {
  Joined first(true, TLS1_3_VERSION);
  ASSERT_TRUE(first.handshake());
  ASSERT_EQ(first.up("behind the ticket", 100), "behind the ticket");
  SSL_SESSION* session = SSL_get1_session(first.peer.get());
  ASSERT_EQ(SSL_SESSION_is_resumable(session), 1);
  Joined second(true, 0, nullptr, nullptr, &first);
  SSL_set_session(second.peer.get(), session);
  SSL_SESSION_free(session);
  ASSERT_TRUE(second.handshake());
  EXPECT_EQ(SSL_session_reused(second.peer.get()), 1);
  ASSERT_EQ(second.up("resumed", 100), "resumed");
  ASSERT_EQ(second.down("indeed", 100), "indeed");
}

TEST(Stream, handshakes_that_take_turns_keep_their_keys_apart) {
  for (const bool serves : {true, false}) {
    Joined one(serves, TLS1_3_VERSION);
    Joined two(serves, TLS1_3_VERSION);
    bool done = false;
    for (int turn = 0; turn < 20 && !done; ++turn) {
      done = true;
      for (Joined* joined : {&one, &two}) {
        joined->ready();
        const bool ours = joined->stream.handshake().kind == Kind::moved;
        const bool theirs = SSL_do_handshake(joined->peer.get()) == 1;
        done = done && ours && theirs;
      }
    }
    ASSERT_TRUE(done);
    for (Joined* joined : {&one, &two}) {
      EXPECT_TRUE(joined->stream.own_records());
      EXPECT_EQ(joined->up("a request", 9), "a request");
      EXPECT_EQ(joined->down("an answer", 9), "an answer");
    }
  }
}

TEST(Stream, takes_data_that_comes_with_the_end_of_the_handshake) {
  Joined joined(true, TLS1_3_VERSION);
  // The client's last flight and its first data arrive in one receive.
  joined.ready();
  SSL_do_handshake(joined.peer.get());
  joined.ready();
  ASSERT_EQ(joined.stream.handshake().kind, Kind::want_read);
  ASSERT_EQ(SSL_do_handshake(joined.peer.get()), 1);
  std::size_t count = 0;
  ASSERT_EQ(SSL_write_ex(joined.peer.get(), "GET / early", 11, &count), 1);
  joined.ready();
  ASSERT_EQ(joined.stream.handshake().kind, Kind::moved);
  joined.stream.socket().readable = false;  // nothing more on the wire
  EXPECT_TRUE(joined.stream.may_read());
  std::string text(100, '\0');
  const Step step = joined.stream.read(text);
  ASSERT_EQ(step.kind, Kind::moved);
  EXPECT_EQ(text.substr(0, step.bytes), "GET / early");
  EXPECT_FALSE(joined.stream.may_read());
}

TEST(Stream, holds_the_ticket_for_the_first_answer_but_not_for_ever) {
  Joined joined(true, TLS1_3_VERSION);
  ASSERT_TRUE(joined.handshake());
  char byte = 0;
  EXPECT_LT(::recv(joined.peer_fd.get(), &byte, 1, MSG_PEEK), 0);
  EXPECT_EQ(joined.stream.send_held().kind, Kind::moved);
  EXPECT_EQ(::recv(joined.peer_fd.get(), &byte, 1, MSG_PEEK), 1);
  EXPECT_EQ(joined.up("still in order", 100), "still in order");
}

TEST(Stream, keeps_records_in_order_behind_a_leftover) {
  Joined joined(true, TLS1_3_VERSION);
  ASSERT_TRUE(joined.handshake());
  // Fill the socket until it takes no more.
  const std::string block = some_bytes(65536);
  std::string sent;
  for (;;) {
    const Step step = joined.stream.write(block);
    if (step.kind != Kind::moved) break;
    sent.append(block, 0, step.bytes);
    if (joined.stream.output_pending()) break;
  }
  ASSERT_TRUE(joined.stream.output_pending());
  // The peer asks for new keys meanwhile: our answer must not overtake what is left over.
  SSL_key_update(joined.peer.get(), SSL_KEY_UPDATE_REQUESTED);
  std::size_t count = 0;
  ASSERT_EQ(SSL_write_ex(joined.peer.get(), "new keys", 8, &count), 1);
  std::string text;
  ASSERT_EQ(joined.read_once(text).kind, Kind::moved);
  EXPECT_EQ(text, "new keys");
  std::string arrived;
  for (int turn = 0; turn < 100 && arrived.size() < sent.size(); ++turn) {
    joined.read_peer(arrived);
    joined.ready();
    joined.stream.flush();
  }
  EXPECT_EQ(arrived, sent);
  EXPECT_EQ(joined.up("afterwards", 100), "afterwards");
}

TEST(Stream, refuses_records_in_the_clear_after_the_handshake) {
  for (const char* record : {"\x15\x03\x03\x00\x02\x01\x5a", "\x14\x03\x03\x00\x01\x01\x00",
                             "\x16\x03\x03\x00\x02\x00\x00"}) {
    Joined joined(true, TLS1_3_VERSION);
    ASSERT_TRUE(joined.handshake());
    joined.put_on_wire({record, 7});
    std::string text;
    EXPECT_EQ(joined.read_once(text).kind, Kind::failed);
  }
}

TEST(Stream, refuses_a_record_that_announces_too_much) {
  Joined joined(true, TLS1_3_VERSION);
  ASSERT_TRUE(joined.handshake());
  joined.put_on_wire(std::string("\x17\x03\x03\xff\xff", 5));
  std::string text;
  EXPECT_EQ(joined.read_once(text).kind, Kind::failed);
}

// Records that OpenSSL would not send, sealed with the keys of its end.
class Forging : public Joined {
 public:
  explicit Forging(bool stream_serves) : Joined(stream_serves, TLS1_3_VERSION) {
    SSL_CTX_set_keylog_callback(theirs.get(), on_line);
    SSL_set_app_data(peer.get(), this);
    SSL_set_num_tickets(peer.get(), 0);
    require(handshake() && client_ && server_, "handshake");
    records_ = stream_serves ? RecordLayer::make(*server_, *client_, 0)
                             : RecordLayer::make(*client_, *server_, 0);
  }

  Step receive(RecordLayer::Type type, std::string_view text, std::string& got) {
    std::string record(text.size() + RecordLayer::overhead_bytes, '\0');
    record.resize(records_->seal(type, text, record.data()));
    put_on_wire(record);
    return read_once(got);
  }

 private:
  // OpenSSL's key log: a label, the client's random and the secret, with spaces between.
  static void on_line(const SSL* ssl, const char* line) {
    auto* self = static_cast<Forging*>(SSL_get_app_data(ssl));
    const std::string text(line);
    const std::string hex = text.substr(text.rfind(' ') + 1);
    RecordLayer::Secret secret{};
    for (std::size_t i = 0; i < secret.size(); ++i)
      secret.at(i) = static_cast<std::uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    if (text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) self->client_ = secret;
    if (text.starts_with("SERVER_TRAFFIC_SECRET_0 ")) self->server_ = secret;
  }

  std::optional<RecordLayer::Secret> client_;
  std::optional<RecordLayer::Secret> server_;
  std::unique_ptr<RecordLayer> records_;
};

using Type = RecordLayer::Type;

TEST(Stream, refuses_messages_that_have_no_place_after_the_handshake) {
  const auto outcome = [](bool serves, const std::string& message) {
    Forging joined(serves);
    std::string text;
    return joined.receive(Type::handshake, message, text).kind;
  };
  const std::string ticket("\x04\x00\x00\x03xyz", 7);
  EXPECT_EQ(outcome(true, ticket), Kind::failed);  // only servers give tickets
  EXPECT_EQ(outcome(false, ticket), Kind::want_read);
  EXPECT_EQ(outcome(false, std::string("\x0d\x00\x00\x03\x00\x00\x00", 7)), Kind::failed);
  EXPECT_EQ(outcome(true, std::string("\x01\x00\x00\x00", 4)), Kind::failed);
  EXPECT_EQ(outcome(true, std::string("\x18\x00\x00\x01\x02", 5)), Kind::failed);
  EXPECT_EQ(outcome(true, std::string("\x18\x00\x00\x02\x00\x00", 6)), Kind::failed);
  // The old key ends with a key update: nothing stands behind it in its record.
  EXPECT_EQ(outcome(false, std::string("\x18\x00\x00\x01\x00", 5) + ticket), Kind::failed);
  EXPECT_EQ(outcome(false, std::string("\x04\xff\xff\xff", 4)), Kind::failed);
}

TEST(Stream, joins_a_message_that_comes_in_several_records) {
  Forging joined(false);
  std::string text;
  EXPECT_EQ(joined.receive(Type::handshake, std::string_view("\x04\x00", 2), text).kind,
            Kind::want_read);
  EXPECT_EQ(joined.receive(Type::handshake, std::string_view("\x00\x02x", 3), text).kind,
            Kind::want_read);
  EXPECT_EQ(joined.receive(Type::handshake, "y", text).kind, Kind::want_read);
  EXPECT_EQ(joined.receive(Type::application, "data", text).kind, Kind::moved);
  EXPECT_EQ(text, "data");
}

TEST(Stream, refuses_data_inside_a_message) {
  Forging joined(false);
  std::string text;
  EXPECT_EQ(joined.receive(Type::handshake, std::string_view("\x04\x00", 2), text).kind,
            Kind::want_read);
  EXPECT_EQ(joined.receive(Type::application, "data", text).kind, Kind::failed);
}

TEST(Stream, reads_alerts_as_the_rfc_has_them) {
  const auto outcome = [](const std::string& alert) {
    Forging joined(true);
    std::string text;
    return joined.receive(Type::alert, alert, text);
  };
  EXPECT_EQ(outcome(std::string("\x01\x00", 2)).kind, Kind::eof);
  EXPECT_EQ(outcome(std::string("\x02\x00", 2)).kind, Kind::eof);  // the level means nothing now
  EXPECT_EQ(outcome(std::string("\x01\x5a", 2)).kind, Kind::want_read);
  const Step refused = outcome(std::string("\x01\x2c", 2));
  EXPECT_EQ(refused.kind, Kind::failed);
  EXPECT_EQ(refused.error.code, Code::tls_peer);
  EXPECT_EQ(refused.error.sys, 44);  // certificate_revoked
  EXPECT_EQ(outcome("x").kind, Kind::failed);
}

TEST(Stream, ends_a_flood_of_empty_records) {
  Forging joined(true);
  std::string text;
  Step step;
  for (int i = 0; i < 100 && step.kind != Kind::failed; ++i)
    step = joined.receive(Type::application, "", text);
  EXPECT_EQ(step.kind, Kind::failed);
}

TEST(Stream, takes_nothing_behind_the_proper_end) {
  Forging joined(true);
  std::string text;
  EXPECT_EQ(joined.receive(Type::alert, std::string_view("\x01\x00", 2), text).kind, Kind::eof);
  EXPECT_EQ(joined.receive(Type::application, "late", text).kind, Kind::eof);
}

}  // namespace
}  // namespace kubelane::tls
