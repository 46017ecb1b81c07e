// The CA of an installation: its certificates satisfy strict verifiers, and its storage survives
// restarts, crashes and second processes, but not foreign or damaged files.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/pki.hpp"
#include "tests/support/temp_directory.hpp"
#include "tls/key.hpp"
#include "tls/local_ca.hpp"
#include "tls/pem.hpp"

namespace kubelane::tls {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;
namespace fs = std::filesystem;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// How strict clients verify: full chain, X.509 strict, purpose and name. Empty when it verifies.
std::string verify(const std::string& leaf_pem, const std::string& ca_pem, int purpose,
                   const char* host, const char* ip) {
  const CertificatePtr leaf = parse_certificate(leaf_pem);
  const CertificatePtr authority = parse_certificate(ca_pem);
  const std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>> store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), authority.get());
  const std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_purpose(param, purpose);
  if (host != nullptr) X509_VERIFY_PARAM_set1_host(param, host, 0);
  if (ip != nullptr) X509_VERIFY_PARAM_set1_ip_asc(param, ip);
  if (X509_verify_cert(context.get()) == 1) return {};
  return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
}

std::string verify_server(const LeafPem& leaf, const std::string& ca_pem,
                          const char* host = "localhost") {
  return verify(leaf.certificate, ca_pem, X509_PURPOSE_SSL_SERVER, host, nullptr);
}

LocalTrust in_memory() {
  Outcome<LocalTrust> trust = open_local_trust({});
  EXPECT_TRUE(trust);
  return std::move(*trust);
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  ::chmod(path.c_str(), 0600);
}

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

bool same(const LocalTrust& a, const LocalTrust& b) {
  return a.ca_certificate == b.ca_certificate && a.ca_key == b.ca_key && a.token == b.token &&
         a.not_after == b.not_after;
}

class LocalCaStorage : public testing::Test {
 protected:
  const support::TempDirectory temporary;
  const fs::path directory = temporary.path() / "made" / "storage";
  const fs::path certificate_file = directory / "kubelane-ca.crt";
  const fs::path key_file = directory / "kubelane-ca.key";
  const fs::path token_file = directory / "kubelane-token";

  LocalTrust open() {
    Outcome<LocalTrust> trust = open_local_trust(directory);
    EXPECT_TRUE(trust) << (trust ? "" : trust.error().message);
    return trust ? std::move(*trust) : LocalTrust{};
  }
  std::string refusal() {
    const Outcome<LocalTrust> trust = open_local_trust(directory);
    if (trust) return "it was opened";
    EXPECT_EQ(trust.error().code, Code::io);
    EXPECT_SAYS(trust.error().message, directory.string());
    return trust.error().message;
  }
};

TEST(LocalCa, ServerLeafSatisfiesStrictVerifiers) {
  const LocalTrust trust = in_memory();
  const auto leaf = issue_server_leaf(
      trust, {"kubelane.example.com", "*.svc.example.com", "192.0.2.1", "2001:db8::1", "localhost",
              "no name, at all", "a:b", "bücher.example", ""});
  ASSERT_TRUE(leaf) << leaf.error().message;
  for (const char* host : {"localhost", "kubelane.example.com", "a.svc.example.com"})
    EXPECT_EQ(verify_server(*leaf, trust.ca_certificate, host), "") << host;
  for (const char* ip : {"127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"})
    EXPECT_EQ(verify(leaf->certificate, trust.ca_certificate, X509_PURPOSE_SSL_SERVER, nullptr, ip),
              "")
        << ip;
  EXPECT_NE(verify_server(*leaf, trust.ca_certificate, "example.com"), "");
  EXPECT_NE(
      verify(leaf->certificate, trust.ca_certificate, X509_PURPOSE_SSL_CLIENT, nullptr, nullptr),
      "");
}

TEST(LocalCa, ServerLeafLivesNinetyDaysFromAnHourAgo) {
  const auto leaf = issue_server_leaf(in_memory(), {});
  ASSERT_TRUE(leaf);
  EXPECT_LE(leaf->not_after, system_clock::now() + hours(90 * 24));
  EXPECT_GT(leaf->not_after, system_clock::now() + hours(90 * 24 - 1));
  const CertificatePtr parsed = parse_certificate(leaf->certificate);
  int days = 0;
  int seconds = 0;
  ASSERT_EQ(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(parsed.get()),
                           X509_get0_notAfter(parsed.get())),
            1);
  EXPECT_EQ(days, 90);
  const auto now = system_clock::to_time_t(system_clock::now() - std::chrono::minutes(59));
  EXPECT_LT(ASN1_TIME_cmp_time_t(X509_get0_notBefore(parsed.get()), now), 0);
}

TEST(LocalCa, CertificatesHaveTheFieldsThatClientsDemand) {
  const LocalTrust trust = in_memory();
  const auto leaf = issue_server_leaf(trust, {});
  ASSERT_TRUE(leaf);
  const CertificatePtr authority = parse_certificate(trust.ca_certificate);
  const CertificatePtr server = parse_certificate(leaf->certificate);
  for (X509* certificate : {authority.get(), server.get()}) {
    EXPECT_EQ(X509_get_version(certificate), 2);
    const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
    EXPECT_EQ(ASN1_STRING_length(serial), 16);
    EXPECT_EQ(ASN1_STRING_type(serial), V_ASN1_INTEGER);  // positive
    EXPECT_GT(X509_NAME_entry_count(X509_get_subject_name(certificate)), 0);
    EXPECT_NE(X509_get0_subject_key_id(certificate), nullptr);
    EXPECT_EQ(EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)), EVP_PKEY_EC);
  }
  EXPECT_EQ(X509_get_key_usage(authority.get()),
            static_cast<unsigned>(KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  EXPECT_EQ(X509_get_pathlen(authority.get()), 0);
  EXPECT_EQ(X509_get_key_usage(server.get()), static_cast<unsigned>(KU_DIGITAL_SIGNATURE));
  EXPECT_EQ(X509_get_extended_key_usage(server.get()), static_cast<unsigned>(XKU_SSL_SERVER));
  EXPECT_EQ(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(server.get()),
                                  X509_get0_subject_key_id(authority.get())),
            0);
  char name[128] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(authority.get()), NID_commonName, name,
                            sizeof name);
  const std::string text = name;
  const std::string prefix = "kubelane local CA ";
  ASSERT_EQ(text.size(), prefix.size() + 8);
  EXPECT_EQ(text.substr(0, prefix.size()), prefix);
  EXPECT_EQ(text.find_first_not_of("0123456789abcdef", prefix.size()), std::string::npos);
}

TEST(LocalCa, LeavesHaveKeysAndSerialsOfTheirOwn) {
  const LocalTrust trust = in_memory();
  const auto one = issue_server_leaf(trust, {});
  const auto two = issue_server_leaf(trust, {});
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->key, two->key);
  EXPECT_NE(one->certificate, two->certificate);
  const auto key = parse_key(one->key);
  ASSERT_TRUE(key);
  EXPECT_EQ(X509_check_private_key(parse_certificate(one->certificate).get(), key->get()), 1);
  EXPECT_NE(X509_check_private_key(parse_certificate(two->certificate).get(), key->get()), 1);
}

TEST(LocalCa, ClientLeafIsForClientsOnlyAndLivesAsLongAsTheCa) {
  const LocalTrust trust = in_memory();
  const auto leaf = issue_client_leaf(trust);
  ASSERT_TRUE(leaf) << leaf.error().message;
  EXPECT_EQ(
      verify(leaf->certificate, trust.ca_certificate, X509_PURPOSE_SSL_CLIENT, nullptr, nullptr),
      "");
  EXPECT_NE(
      verify(leaf->certificate, trust.ca_certificate, X509_PURPOSE_SSL_SERVER, nullptr, nullptr),
      "");
  EXPECT_EQ(leaf->not_after, trust.not_after);
  EXPECT_GT(leaf->not_after, system_clock::now() + hours(24 * 3649));
}

TEST(LocalCa, TokenIsBase64UrlOf256BitsAndNeverTheSame) {
  const std::string token = in_memory().token;
  EXPECT_EQ(token.size(), 43u);
  EXPECT_TRUE(std::all_of(token.begin(), token.end(),
                          [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; }));
  EXPECT_NE(token, in_memory().token);
}

TEST(LocalCa, AuthoritiesOfTwoInstallationsDoNotTrustEachOther) {
  const LocalTrust one = in_memory();
  const LocalTrust two = in_memory();
  const auto leaf = issue_server_leaf(one, {});
  ASSERT_TRUE(leaf);
  EXPECT_NE(verify_server(*leaf, two.ca_certificate), "");
}

TEST_F(LocalCaStorage, SurvivesRestarts) {
  const LocalTrust first = open();
  const LocalTrust again = open();
  EXPECT_TRUE(same(first, again));
  EXPECT_EQ(read(token_file), first.token + "\n");
  EXPECT_EQ(read(certificate_file), first.ca_certificate);
  EXPECT_EQ(read(key_file), first.ca_key);
  EXPECT_EQ(verify_server(*issue_server_leaf(again, {}), first.ca_certificate), "");
}

TEST_F(LocalCaStorage, IsForItsUserOnly) {
  open();
  EXPECT_EQ(mode_of(directory), 0700u);
  EXPECT_EQ(mode_of(directory.parent_path()), 0700u);
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    EXPECT_EQ(mode_of(entry.path()), 0600u) << entry.path();
    EXPECT_TRUE(entry.path().filename().string().starts_with("kubelane")) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 4u);  // with the lock
}

TEST_F(LocalCaStorage, LeavesTbotsFilesAndTheDirectorysModeAlone) {
  fs::create_directories(directory);
  ::chmod(directory.c_str(), 0750);
  for (const char* name : {"lock", "key", "tlscert", "tokenhash"}) write(directory / name, name);
  open();
  EXPECT_EQ(mode_of(directory), 0750u);
  for (const char* name : {"lock", "key", "tlscert", "tokenhash"})
    EXPECT_EQ(read(directory / name), name);
}

TEST_F(LocalCaStorage, OpenersAtTheSameTimeGetTheSame) {
  std::vector<LocalTrust> opened(8);
  std::vector<std::thread> threads;
  for (LocalTrust& each : opened)
    threads.emplace_back([this, &each] {
      if (Outcome<LocalTrust> trust = open_local_trust(directory)) each = std::move(*trust);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(opened.front().token.empty());
  for (const LocalTrust& each : opened) EXPECT_TRUE(same(each, opened.front()));
}

TEST_F(LocalCaStorage, ACrashAfterAnyWriteIsMadeGood) {
  const LocalTrust first = open();
  // After the key, before the certificate: the same CA again for those who have seen it.
  fs::remove(certificate_file);
  write(directory / ".kubelane-ca.crt.new", "half");
  const LocalTrust second = open();
  EXPECT_EQ(second.ca_key, first.ca_key);
  EXPECT_EQ(second.token, first.token);
  EXPECT_EQ(verify_server(*issue_server_leaf(second, {}), first.ca_certificate), "");
  EXPECT_FALSE(fs::exists(directory / ".kubelane-ca.crt.new"));
  // Before the token.
  fs::remove(token_file);
  const LocalTrust third = open();
  EXPECT_EQ(third.ca_certificate, second.ca_certificate);
  EXPECT_EQ(third.token.size(), 43u);
  EXPECT_NE(third.token, second.token);
}

TEST_F(LocalCaStorage, RenewsItsCertificateWithoutBreakingClientsOfTheOldOne) {
  // A CA with the same name and key, ten days before its end.
  LocalTrust old = open();
  const CertificatePtr current = parse_certificate(old.ca_certificate);
  const Outcome<KeyPtr> key = parse_key(old.ca_key);
  ASSERT_TRUE(key);
  X509_gmtime_adj(X509_getm_notAfter(current.get()), 10 * 86400);
  ASSERT_GT(X509_sign(current.get(), key->get(), EVP_sha256()), 0);
  old.ca_certificate = certificate_pem(current.get());
  write(certificate_file, old.ca_certificate);

  const LocalTrust renewed = open();
  EXPECT_NE(renewed.ca_certificate, old.ca_certificate);
  EXPECT_EQ(renewed.ca_key, old.ca_key);
  EXPECT_EQ(renewed.token, old.token);
  EXPECT_GT(renewed.not_after, system_clock::now() + hours(24 * 3649));
  const auto leaf = issue_server_leaf(renewed, {});
  ASSERT_TRUE(leaf);
  EXPECT_EQ(verify_server(*leaf, renewed.ca_certificate), "");
  EXPECT_EQ(verify_server(*leaf, old.ca_certificate), "");
  EXPECT_TRUE(same(open(), renewed));
}

TEST_F(LocalCaStorage, RefusesSecretsThatOthersMayRead) {
  open();
  for (const fs::path& file : {key_file, token_file}) {
    ::chmod(file.c_str(), 0640);
    EXPECT_SAYS(refusal(), "can be read by others");
    ::chmod(file.c_str(), 0600);
  }
  ::chmod(certificate_file.c_str(), 0644);
  open();
  ::chmod(certificate_file.c_str(), 0664);
  EXPECT_SAYS(refusal(), "can be written by others");
}

TEST_F(LocalCaStorage, RefusesLinksAndWhatIsNoFile) {
  open();
  for (const fs::path& file : {certificate_file, key_file, token_file}) {
    const fs::path aside = temporary.path() / file.filename();
    fs::rename(file, aside);
    fs::create_symlink(aside, file);
    EXPECT_SAYS(refusal(), "symbolic link");
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
    EXPECT_SAYS(refusal(), "not a regular file");
    fs::remove(file);
    fs::rename(aside, file);
  }
  open();
}

TEST_F(LocalCaStorage, RefusesFilesOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving a file away needs root";
  open();
  ASSERT_EQ(::chown(key_file.c_str(), 65534, 65534), 0);
  EXPECT_SAYS(refusal(), "another user");
}

TEST_F(LocalCaStorage, RefusesDamageAndSaysWhatToRemove) {
  const LocalTrust trust = open();
  const auto damaged = [this](const fs::path& file, const std::string& text) {
    const std::string before = read(file);
    write(file, text);
    const std::string message = refusal();
    EXPECT_EQ(read(file), text) << "overwritten";
    write(file, before);
    return message;
  };
  const LocalTrust other = in_memory();
  const std::string client = issue_client_leaf(trust)->certificate;
  EXPECT_SAYS(damaged(token_file, ""), "kubelane-token is damaged");
  EXPECT_SAYS(damaged(token_file, "short\n"), "kubelane-token is damaged");
  EXPECT_SAYS(damaged(token_file, trust.token + "\r\nX-Injected: 1"), "kubelane-token is damaged");
  for (const std::string& text : {std::string(), trust.ca_key.substr(0, 90), other.ca_key})
    EXPECT_SAYS(damaged(key_file, text), "remove both");
  for (const std::string& text :
       {std::string(), trust.ca_certificate.substr(0, 90), other.ca_certificate, client})
    EXPECT_SAYS(damaged(certificate_file, text), "remove both");
  EXPECT_TRUE(same(open(), trust));
  fs::remove(key_file);
  EXPECT_SAYS(refusal(), "without kubelane-ca.key");
}

TEST_F(LocalCaStorage, NeverShowsSecretsInAMessage) {
  const LocalTrust trust = open();
  write(token_file, trust.token + "\nmore\n");
  EXPECT_EQ(refusal().find(trust.token), std::string::npos);
}

TEST_F(LocalCaStorage, NamesThePathAndTheRemedyWhenItCannotBeWritten) {
  fs::create_directories(directory.parent_path());
  write(directory, "a file, no directory");
  EXPECT_SAYS(refusal(), "storage: {type: memory}");
  // Nobody, not even root, makes files there.
  const auto trust = open_local_trust("/proc/self/fdinfo");
  ASSERT_FALSE(trust);
  EXPECT_SAYS(trust.error().message, "storage /proc/self/fdinfo: cannot create kubelane.lock");
  EXPECT_SAYS(trust.error().message, "make the directory writable");
}

TEST_F(LocalCaStorage, ServesFromADirectoryThatCannotBeWritten) {
  const LocalTrust trust = open();
  fs::remove(directory / "kubelane.lock");
  // A lock that cannot be opened, as in a read-only mount; root is stopped by this too.
  fs::create_directory(directory / "kubelane.lock");
  EXPECT_TRUE(same(open(), trust));
  fs::remove(token_file);
  EXPECT_SAYS(refusal(), "cannot create kubelane.lock");
}

}  // namespace
}  // namespace kubelane::tls
