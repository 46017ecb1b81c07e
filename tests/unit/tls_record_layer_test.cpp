// TLS 1.3 records of our own: the same bytes as OpenSSL's AES-GCM and as RFC 8448's trace, refusals
// of what was changed, padding, limits, and the generations of keys.
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tls/aes_gcm.hpp"
#include "tls/record_layer.hpp"

namespace kubelane::tls {
namespace {

using Alert = RecordLayer::Alert;
using Engine = AesGcm::Engine;
using Type = RecordLayer::Type;

std::string random_text(std::size_t length, unsigned seed) {
  std::minstd_rand random(seed + 1);
  std::string text(length, '\0');
  for (char& byte : text) byte = static_cast<char>(random() >> 7);
  return text;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  std::string pair;
  for (const char c : hex) {
    if (c == ' ') continue;
    pair += c;
    if (pair.size() < 2) continue;
    bytes += static_cast<char>(std::stoi(pair, nullptr, 16));
    pair.clear();
  }
  return bytes;
}

RecordLayer::Secret secret(std::string_view hex) {
  RecordLayer::Secret made{};
  const std::string bytes = from_hex(hex);
  std::copy(bytes.begin(), bytes.end(), made.begin());
  return made;
}

// RFC 8448 section 3: the application traffic secrets and the first records of both ends.
const RecordLayer::Secret rfc_client = secret(
    "9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52 87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 "
    "75 04 a5");
const RecordLayer::Secret rfc_server = secret(
    "a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32 82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb "
    "63 16 43");
const std::string rfc_client_record = from_hex(
    "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab "
    "3f "
    "2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea "
    "e6 "
    "3a ee bb 21 69 49 15 e4");

std::string rfc_text() {
  std::string text;
  for (int i = 0; i < 50; ++i) text += static_cast<char>(i);
  return text;
}

struct Ends {
  std::unique_ptr<RecordLayer> one;
  std::unique_ptr<RecordLayer> two;

  explicit Ends(Engine first = Engine::best, Engine second = Engine::best)
      : one(RecordLayer::make(rfc_server, rfc_client, 0, first)),
        two(RecordLayer::make(rfc_client, rfc_server, 0, second)) {}
};

std::string seal(RecordLayer& layer, Type type, const std::string& text) {
  std::string record(text.size() + RecordLayer::overhead_bytes, '\0');
  EXPECT_EQ(layer.seal(type, text, record.data()), record.size());
  return record;
}

// Opens a record; its text, or nothing.
struct Reading {
  RecordLayer::Opened opened;
  std::string text;
};
Reading open(RecordLayer& layer, const std::string& record) {
  Reading reading;
  std::string out(record.size(), '\0');
  reading.opened = layer.open(record, out.data());
  if (reading.opened.good) reading.text = out.substr(0, reading.opened.bytes);
  return reading;
}

class RecordLayerEngines : public testing::TestWithParam<Engine> {};

TEST_P(RecordLayerEngines, seals_what_the_rfc_prints) {
  Ends ends(GetParam());
  EXPECT_EQ(seal(*ends.one, Type::application, rfc_text()), rfc_client_record);
}

TEST_P(RecordLayerEngines, opens_what_the_rfc_prints) {
  Ends ends(Engine::best, GetParam());
  const Reading reading = open(*ends.two, rfc_client_record);
  ASSERT_TRUE(reading.opened.good);
  EXPECT_EQ(reading.opened.type, Type::application);
  EXPECT_EQ(reading.text, rfc_text());
}

TEST_P(RecordLayerEngines, every_length_arrives_as_it_was_sent) {
  Ends ends(GetParam(), Engine::openssl);
  std::vector<std::size_t> lengths;
  for (std::size_t length = 0; length < 700; ++length) lengths.push_back(length);
  for (const std::size_t length : {1023, 4096, 16383, 16384}) lengths.push_back(length);
  for (const std::size_t length : lengths) {
    const std::string text = random_text(length, static_cast<unsigned>(length));
    const std::string up = seal(*ends.one, Type::application, text);
    ASSERT_EQ(RecordLayer::record_bytes(up), up.size());
    Reading reading = open(*ends.two, up);
    ASSERT_TRUE(reading.opened.good) << length;
    ASSERT_EQ(reading.text, text) << length;
    reading = open(*ends.one, seal(*ends.two, Type::application, text));
    ASSERT_TRUE(reading.opened.good) << length;
    ASSERT_EQ(reading.text, text) << length;
  }
}

TEST_P(RecordLayerEngines, opens_in_place) {
  Ends ends(Engine::openssl, GetParam());
  const std::string text = random_text(5000, 1);
  std::string record = seal(*ends.one, Type::application, text);
  const RecordLayer::Opened opened =
      ends.two->open(record, record.data() + RecordLayer::header_bytes);
  ASSERT_TRUE(opened.good);
  EXPECT_EQ(record.substr(RecordLayer::header_bytes, opened.bytes), text);
}

TEST_P(RecordLayerEngines, refuses_any_changed_bit) {
  const std::string text = random_text(40, 2);
  for (std::size_t at = 3; at < text.size() + RecordLayer::overhead_bytes; ++at) {
    Ends ends(Engine::best, GetParam());
    std::string record = seal(*ends.one, Type::application, text);
    record[at] = static_cast<char>(record[at] ^ 1);
    std::string out(record.size(), 'x');
    const RecordLayer::Opened opened = ends.two->open(record, out.data());
    EXPECT_FALSE(opened.good) << at;
    EXPECT_EQ(opened.alert, Alert::bad_record_mac) << at;
    EXPECT_EQ(out.find(text.substr(0, 8)), std::string::npos) << "the text of a forgery was kept";
  }
}

INSTANTIATE_TEST_SUITE_P(, RecordLayerEngines, testing::Values(Engine::best, Engine::openssl),
                         [](const auto& given) {
                           return given.param == Engine::best ? "best" : "openssl";
                         });

TEST(RecordLayer, refuses_a_repeated_a_lost_and_a_swapped_record) {
  Ends ends;
  const std::string first = seal(*ends.one, Type::application, "first");
  const std::string second = seal(*ends.one, Type::application, "second");
  EXPECT_FALSE(open(*ends.two, second).opened.good);
  EXPECT_EQ(open(*ends.two, first).text, "first");
  EXPECT_FALSE(open(*ends.two, first).opened.good);
  EXPECT_EQ(open(*ends.two, second).text, "second");
}

TEST(RecordLayer, counts_the_tickets_that_openssl_sealed) {
  const auto server = RecordLayer::make(rfc_client, rfc_server, 2);
  const auto client = RecordLayer::make(rfc_server, rfc_client, 0);
  const auto other = RecordLayer::make(rfc_client, rfc_server, 0);
  seal(*other, Type::handshake, "a ticket");
  seal(*other, Type::handshake, "another");
  EXPECT_EQ(seal(*server, Type::application, "data"), seal(*other, Type::application, "data"));
  EXPECT_FALSE(open(*client, seal(*server, Type::application, "data")).opened.good);
}

TEST(RecordLayer, keeps_the_type) {
  Ends ends;
  for (const Type type : {Type::alert, Type::handshake, Type::application}) {
    const Reading reading = open(*ends.two, seal(*ends.one, type, "xy"));
    ASSERT_TRUE(reading.opened.good);
    EXPECT_EQ(reading.opened.type, type);
  }
}

TEST(RecordLayer, takes_padding_off) {
  Ends ends;
  // A type byte in the text and zeros behind it: what a padding peer seals.
  const std::string padded = std::string("hidden") + '\x17' + std::string(100, '\0');
  std::string record(padded.size() - 1 + RecordLayer::overhead_bytes, '\0');
  // The last zero is sealed as the "type".
  AesGcm cipher;
  AesGcm::Key key{};
  AesGcm::Nonce nonce{};
  const std::string key_bytes = from_hex("17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51");
  const std::string nonce_bytes = from_hex("5b 78 92 3d ee 08 57 90 33 e5 23 d9");
  std::copy(key_bytes.begin(), key_bytes.end(), key.begin());
  std::copy(nonce_bytes.begin(), nonce_bytes.end(), nonce.begin());
  ASSERT_TRUE(cipher.set_key(key, true));
  const std::size_t sealed = record.size() - RecordLayer::header_bytes;
  record[0] = '\x17';
  record[1] = record[2] = '\x03';
  record[3] = static_cast<char>(sealed >> 8);
  record[4] = static_cast<char>(sealed & 0xff);
  ASSERT_TRUE(cipher.seal(nonce, record.data(), padded.data(), padded.size() - 1, 0,
                          record.data() + RecordLayer::header_bytes));
  const Reading reading = open(*ends.two, record);
  ASSERT_TRUE(reading.opened.good);
  EXPECT_EQ(reading.opened.type, Type::application);
  EXPECT_EQ(reading.text, "hidden");
}

TEST(RecordLayer, refuses_what_no_record_may_be) {
  const auto alert_for = [](std::string record) {
    Ends ends;
    const RecordLayer::Opened opened = open(*ends.two, record).opened;
    EXPECT_FALSE(opened.good);
    return opened.alert;
  };
  std::string record = rfc_client_record;
  record[0] = '\x14';  // change_cipher_spec has no place after the handshake
  EXPECT_EQ(alert_for(record), Alert::unexpected_message);
  record[0] = '\x15';  // an alert in the clear
  EXPECT_EQ(alert_for(record), Alert::unexpected_message);
  EXPECT_EQ(alert_for(std::string("\x17\x03\x03\x00\x10", 5) + std::string(16, 'x')),
            Alert::unexpected_message);
  EXPECT_EQ(alert_for(std::string("\x17\x03\x03\x41\x01", 5) + std::string(0x4101, 'x')),
            Alert::record_overflow);
  Ends ends;
  EXPECT_EQ(open(*ends.two, seal(*ends.one, static_cast<Type>(0), "")).opened.alert,
            Alert::unexpected_message);  // nothing but zeros
  EXPECT_EQ(open(*ends.two, seal(*ends.one, static_cast<Type>(24), "x")).opened.alert,
            Alert::unexpected_message);
}

TEST(RecordLayer, tells_a_record_s_length_from_its_header) {
  EXPECT_EQ(RecordLayer::record_bytes(""), 0U);
  EXPECT_EQ(RecordLayer::record_bytes(std::string("\x17\x03\x03\x01", 4)), 0U);
  EXPECT_EQ(RecordLayer::record_bytes(std::string("\x17\x03\x03\x01\x02", 5)), 0x102U + 5);
  EXPECT_EQ(RecordLayer::record_bytes(std::string("\x17\x03\x03\xff\xff", 5)), 0xffffU + 5);
}

TEST(RecordLayer, generations_of_keys_follow_each_other) {
  Ends ends;
  EXPECT_EQ(open(*ends.two, seal(*ends.one, Type::application, "old")).text, "old");
  ASSERT_TRUE(ends.one->update_write_key());
  const std::string record = seal(*ends.one, Type::application, "new");
  EXPECT_FALSE(open(*ends.two, record).opened.good);
  ASSERT_TRUE(ends.two->update_read_key());
  EXPECT_EQ(open(*ends.two, record).text, "new");
  // The other direction has its own keys.
  EXPECT_EQ(open(*ends.one, seal(*ends.two, Type::application, "back")).text, "back");
  EXPECT_FALSE(ends.one->write_key_used_up());
  const auto worn = RecordLayer::make(rfc_server, rfc_client, RecordLayer::records_per_key);
  EXPECT_TRUE(worn->write_key_used_up());
  ASSERT_TRUE(worn->update_write_key());
  EXPECT_FALSE(worn->write_key_used_up());
}

}  // namespace
}  // namespace kubelane::tls
