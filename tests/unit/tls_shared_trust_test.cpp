// A CA and a token from a directory that others made: taken as they are, or refused with a reason.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_directory.hpp"
#include "tls/shared_trust.hpp"

namespace kubelane::tls {
namespace {

namespace fs = std::filesystem;

class SharedTrust : public testing::Test {
 protected:
  const support::TempDirectory temporary;
  const fs::path directory = temporary.path() / "trust";
  // As the kubelet mounts a Secret: links into a folder of the current version.
  const fs::path version = directory / "..2026_01_01";
  const LocalTrust made = [] {
    Outcome<LocalTrust> trust = open_local_trust({});
    EXPECT_TRUE(trust);
    return std::move(*trust);
  }();

  void SetUp() override {
    fs::create_directories(version);
    fs::create_symlink(version.filename(), directory / "..data");
    put("tls.crt", made.ca_certificate);
    put("tls.key", made.ca_key);
    put("token", made.token + "\n");
  }
  void put(const std::string& name, const std::string& text, mode_t mode = 0440) {
    fs::remove(version / name);
    std::ofstream(version / name) << text;
    ::chmod((version / name).c_str(), mode);
    if (!fs::is_symlink(directory / name))
      fs::create_symlink(fs::path("..data") / name, directory / name);
  }
  void expect_refused(const std::string& file, const std::string& why) {
    const Outcome<LocalTrust> trust = read_shared_trust(directory);
    ASSERT_FALSE(trust);
    const std::string& text = trust.error().message;
    EXPECT_NE(text.find("local_trust: " + (directory / file).string()), std::string::npos) << text;
    EXPECT_NE(text.find(why), std::string::npos) << text;
    EXPECT_EQ(text.find(made.token), std::string::npos) << text;
  }
};

TEST_F(SharedTrust, IsTakenAsTheKubeletMountsIt) {
  put("tls.crt", made.ca_certificate, 0644);  // no secret
  const Outcome<LocalTrust> trust = read_shared_trust(directory);
  ASSERT_TRUE(trust) << trust.error().message;
  EXPECT_EQ(trust->ca_certificate, made.ca_certificate);
  EXPECT_EQ(trust->token, made.token);
  EXPECT_EQ(trust->not_after, made.not_after);
  EXPECT_TRUE(issue_server_leaf(*trust, {"kubelane.example.com"}));
}

TEST_F(SharedTrust, IsRefusedWhenAFileIsMissing) {
  for (const char* name : {"tls.crt", "tls.key", "token"}) {
    fs::rename(version / name, version / "away");
    expect_refused(name, "cannot open it");
    fs::rename(version / "away", version / name);
  }
}

TEST_F(SharedTrust, IsRefusedWhenEverybodyMayReadItsSecrets) {
  put("tls.key", made.ca_key, 0644);
  expect_refused("tls.key", "defaultMode: 0440");
  put("tls.key", made.ca_key);
  put("token", made.token, 0644);
  expect_refused("token", "defaultMode: 0440");
}

TEST_F(SharedTrust, IsRefusedWhenATokenIsNone) {
  for (const std::string& token : {std::string(), std::string(31, 'x'), made.token + "\n\n",
                                   made.token + "\r\n", std::string(40, '\0')}) {
    put("token", token);
    expect_refused("token", "is no token");
  }
}

TEST_F(SharedTrust, IsRefusedWhenCertificateAndKeyAreNoCa) {
  put("tls.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  expect_refused("tls.key", "the key");
  put("tls.key", open_local_trust({})->ca_key);  // another's
  expect_refused("tls.crt", "is no CA certificate of the key");
  const Outcome<LeafPem> leaf = issue_server_leaf(made, {});
  ASSERT_TRUE(leaf);
  put("tls.key", leaf->key);
  put("tls.crt", leaf->certificate);
  expect_refused("tls.crt", "is no CA certificate of the key");
}

TEST_F(SharedTrust, IsRefusedWhenItIsNotAFile) {
  fs::remove(directory / "token");
  ::mkfifo((directory / "token").c_str(), 0600);
  expect_refused("token", "is not a file");
}

}  // namespace
}  // namespace kubelane::tls
