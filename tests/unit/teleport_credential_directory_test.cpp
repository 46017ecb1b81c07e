// A directory of credentials under all hands that may touch it: only whole identities come out,
// each change once, and whatever was wrong heals by itself.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "proxy/teleport/credential_directory.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/pki.hpp"
#include "tests/support/temp_directory.hpp"

namespace kubelane::teleport {
namespace {

namespace fs = std::filesystem;
using kubelane_test::Issued;
using std::chrono::hours;
using std::chrono::milliseconds;

const std::string cluster = "root.example.com";

// Made once: keys are slow to make under a sanitizer.
struct Bot {
  Issued host_ca = kubelane_test::make_authority(cluster);
  Issued user_ca = kubelane_test::make_authority(cluster);
  std::vector<Issued> clients;
  Bot() {
    for (int i = 0; i < 3; ++i) clients.push_back(kubelane_test::issue_client(user_ca, cluster));
  }
  std::string identity(std::size_t i) const {
    return kubelane_test::identity_file(clients[i].key_pem(), clients[i].pem(), host_ca.pem());
  }
};
const Bot& bot() {
  static const Bot made;
  return made;
}

class CredentialDirectoryTest : public testing::Test {
 protected:
  CredentialDirectoryTest() {
    for (std::size_t i = 0; i < 3; ++i) {
      tls::IdentityFiles files;
      files.identity = bot().identity(i);
      fingerprints_.push_back((*tls::make_identity(std::move(files)))->fingerprint);
    }
  }

  // In place, as tbot does.
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::trunc) << text;
  }
  void write_identity(std::size_t i) const {
    fs::create_directories(path_);
    write("identity", bot().identity(i));
  }

  void start(milliseconds poll_interval = hours(1)) {
    watched_ = std::make_unique<CredentialDirectory>(io_, path_, poll_interval);
    watched_->start({[this](const tls::IdentityPtr& identity, std::string text) {
                       published_.push_back(identity->fingerprint);
                       kubeconfig_ = std::move(text);
                     },
                     [this](std::string problem) { problems_.push_back(std::move(problem)); }});
  }
  template <class Predicate>
  bool until(Predicate predicate) {
    return support::eventually([&] {
      io_.restart();
      io_.poll();
      return predicate();
    });
  }
  bool published(std::size_t i) {
    return until([&] { return !published_.empty() && published_.back() == fingerprints_[i]; });
  }
  bool problem(const std::string& part) {
    return until(
        [&] { return !problems_.empty() && problems_.back().find(part) != std::string::npos; });
  }

  support::TempDirectory directory_;
  fs::path path_ = directory_.path() / "machine-id";
  boost::asio::io_context io_;
  std::unique_ptr<CredentialDirectory> watched_;
  std::vector<std::string> fingerprints_;
  std::vector<std::string> published_;
  std::vector<std::string> problems_;
  std::string kubeconfig_;
};

TEST_F(CredentialDirectoryTest, what_is_there_is_published_at_start) {
  write_identity(0);
  write("kubeconfig.yaml", "text");
  start();
  EXPECT_EQ(published_, std::vector{fingerprints_[0]}) << "start() reads";
  EXPECT_EQ(kubeconfig_, "text");
  EXPECT_TRUE(problems_.empty());
}

TEST_F(CredentialDirectoryTest, each_change_is_published_once) {
  write_identity(0);
  start();
  write_identity(0);  // the same bytes: no news
  watched_->reload();
  ASSERT_TRUE(published(0));
  write_identity(1);
  ASSERT_TRUE(published(1));
  write_identity(2);
  ASSERT_TRUE(published(2));
  EXPECT_EQ(published_, fingerprints_);
  EXPECT_TRUE(problems_.empty());
}

TEST_F(CredentialDirectoryTest, another_kubeconfig_alone_is_news) {
  write_identity(0);
  start();
  write("kubeconfig.yaml", "other");
  EXPECT_TRUE(until([&] { return kubeconfig_ == "other"; }));
  EXPECT_EQ(published_.size(), 2u);
}

TEST_F(CredentialDirectoryTest, a_directory_that_comes_later_is_found) {
  start();
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_NE(problems_[0].find("does not exist yet"), std::string::npos) << problems_[0];
  EXPECT_NE(problems_[0].find(path_.string()), std::string::npos);
  write_identity(0);
  EXPECT_TRUE(published(0));
}

TEST_F(CredentialDirectoryTest, parents_that_come_later_are_found) {
  path_ = directory_.path() / "opt" / "deep" / "machine-id";
  start();
  write_identity(0);
  EXPECT_TRUE(published(0));
}

TEST_F(CredentialDirectoryTest, removed_and_made_again_it_is_followed) {
  write_identity(0);
  start();
  fs::remove_all(path_);
  ASSERT_TRUE(problem(""));
  write_identity(1);
  EXPECT_TRUE(published(1));
}

TEST_F(CredentialDirectoryTest, replaced_by_a_rename_it_is_followed) {
  write_identity(0);
  start();
  const fs::path real = path_;
  path_ = directory_.path() / "next";
  write_identity(1);
  fs::rename(real, directory_.path() / "previous");
  fs::rename(path_, real);
  EXPECT_TRUE(published(1));
  // Its news, too, and nobody else's.
  path_ = real;
  write_identity(2);
  EXPECT_TRUE(published(2));
}

// No event tells of a link in the path that points elsewhere now: the poll does.
TEST_F(CredentialDirectoryTest, the_poll_finds_what_no_event_tells) {
  const fs::path link = path_;
  path_ = directory_.path() / "one";
  write_identity(0);
  path_ = directory_.path() / "two";
  write_identity(1);
  fs::create_directory_symlink(directory_.path() / "one", link);
  path_ = link;
  start(milliseconds(20));
  ASSERT_TRUE(published(0));
  fs::create_directory_symlink(directory_.path() / "two", directory_.path() / "swap");
  fs::rename(directory_.path() / "swap", link);
  EXPECT_TRUE(published(1));
}

TEST_F(CredentialDirectoryTest, a_secret_volume_is_followed_through_its_swaps) {
  fs::create_directory(path_);
  const auto revision = [&](std::size_t i) {
    const std::string name = "..revision" + std::to_string(i);
    fs::create_directory(path_ / name);
    write(name + "/identity", bot().identity(i));
    fs::create_directory_symlink(name, path_ / "..data_tmp");
    fs::rename(path_ / "..data_tmp", path_ / "..data");
  };
  revision(0);
  fs::create_symlink("..data/identity", path_ / "identity");
  start();
  ASSERT_TRUE(published(0));
  revision(1);
  ASSERT_TRUE(published(1));
  fs::remove_all(path_ / "..revision0");
  revision(2);
  EXPECT_TRUE(published(2));
  EXPECT_EQ(published_, fingerprints_);
}

TEST_F(CredentialDirectoryTest, a_torn_identity_is_waited_out_and_the_problem_told_once) {
  fs::create_directory(path_);
  const std::string whole = bot().identity(0);
  write("identity", whole.substr(0, whole.size() / 2));
  start();
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_NE(problems_[0].find("incomplete"), std::string::npos) << problems_[0];
  for (int i = 0; i < 3; ++i) {  // the same problem again is no news
    watched_->reload();
    write("unrelated", std::to_string(i));
  }
  write("identity", whole);
  EXPECT_TRUE(published(0));
  EXPECT_EQ(problems_.size(), 1u);
}

TEST_F(CredentialDirectoryTest, no_moment_of_a_rewrite_yields_a_third_identity) {
  write_identity(0);
  start();
  const std::string next = bot().identity(1);
  for (std::size_t end = 0; end < next.size(); end += 37) {
    write("identity", next.substr(0, end));
    watched_->reload();
    io_.restart();
    io_.poll();
  }
  write("identity", next);
  ASSERT_TRUE(published(1));
  const std::set<std::string> good{fingerprints_[0], fingerprints_[1]};
  for (const std::string& each : published_) EXPECT_TRUE(good.contains(each));
}

// A certificate of one renewal beside the key of another.
TEST_F(CredentialDirectoryTest, a_key_of_another_renewal_is_waited_out) {
  fs::create_directory(path_);
  write("tlscert", bot().clients[0].pem());
  write("key", bot().clients[1].key_pem());
  write("teleport-host-ca.crt", bot().host_ca.pem());
  start();
  EXPECT_TRUE(published_.empty());
  ASSERT_EQ(problems_.size(), 1u);
  write("tlscert", bot().clients[1].pem());
  ASSERT_TRUE(until([&] { return !published_.empty(); }));
}

TEST_F(CredentialDirectoryTest, the_last_good_one_stays_and_its_return_is_told) {
  write_identity(0);
  start();
  write("identity", "");
  ASSERT_TRUE(problem("no usable credentials in " + path_.string()));
  write_identity(0);
  EXPECT_TRUE(until([&] { return published_.size() == 2; })) << "nobody was told that it is over";
  write("identity", "garbage");
  ASSERT_TRUE(until([&] { return problems_.size() == 2; })) << "a new problem is news again";
}

TEST_F(CredentialDirectoryTest, odd_files_in_place_of_the_identity_block_nothing) {
  fs::create_directory(path_);
  ASSERT_EQ(::mkfifo((path_ / "identity").c_str(), 0600), 0);
  start();
  ASSERT_TRUE(problem("identity is not a regular file"));
  fs::remove(path_ / "identity");
  fs::create_directory(path_ / "identity");
  watched_->reload();
  fs::remove(path_ / "identity");
  write("identity", std::string((1 << 20) + 1, 'x'));
  ASSERT_TRUE(problem("identity is larger than 1 MiB"));
  fs::remove(path_ / "identity");
  fs::create_symlink("identity", path_ / "identity");  // a loop
  ASSERT_TRUE(problem("destination.readers"));
  fs::remove(path_ / "identity");
  write_identity(0);
  EXPECT_TRUE(published(0));
}

TEST_F(CredentialDirectoryTest, a_file_in_place_of_the_directory_is_a_problem_until_it_goes) {
  std::ofstream(path_.string()) << "x";
  start();
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_[0].find("not exist yet"), std::string::npos) << problems_[0];
  fs::remove(path_);
  write_identity(0);
  EXPECT_TRUE(published(0));
}

TEST_F(CredentialDirectoryTest, a_root_directory_as_path_is_survived) {
  path_ = "/";
  start();
  EXPECT_EQ(problems_.size(), 1u);
}

}  // namespace
}  // namespace kubelane::teleport
