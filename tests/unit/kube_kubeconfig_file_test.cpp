// How the kubeconfig gets into its directory: modes, readers, links laid as traps, repetition.
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include <acl/libacl.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/kube/kubeconfig.hpp"
#include "tests/support/temp_directory.hpp"

namespace kubelane::kube {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

struct stat status_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status;
}

unsigned mode_of(const fs::path& path) { return status_of(path).st_mode & 07777u; }

// "user::rw-,user:4711:r--,…", numeric.
std::string acl_of(const fs::path& path) {
  const std::unique_ptr<std::remove_pointer_t<acl_t>, int (*)(void*)> acl(
      ::acl_get_file(path.c_str(), ACL_TYPE_ACCESS), ::acl_free);
  if (!acl) return "no ACL";
  const std::unique_ptr<char, int (*)(void*)> text(
      ::acl_to_any_text(acl.get(), nullptr, ',', TEXT_NUMERIC_IDS | TEXT_ABBREVIATE), ::acl_free);
  return text.get();
}

class WriteKubeconfig : public testing::Test {
 protected:
  WriteKubeconfig() {
    destination_.type = Destination::Type::directory;
    // The temporary directory itself may be reached through a link.
    top_ = fs::canonical(temporary_.path());
    destination_.path = top_ / "out";
  }

  fs::path file() const { return fs::path(destination_.path) / "kubeconfig.yaml"; }

  WriteReport must_write(const std::string& text) {
    const Outcome<WriteReport> report = write_kubeconfig(destination_, text);
    if (!report.has_value()) throw std::runtime_error(report.error().message);
    return *report;
  }

  std::string failure() {
    const Outcome<WriteReport> report = write_kubeconfig(destination_, "secret");
    if (report.has_value()) return "no failure";
    EXPECT_EQ(report.error().message.find("secret"), std::string::npos);
    return report.error().message;
  }

  // Nothing but the file: no temporary was left.
  void expect_only_the_file() const {
    for (const auto& entry : fs::directory_iterator(destination_.path))
      EXPECT_EQ(entry.path().filename(), "kubeconfig.yaml");
  }

  bool has_acls() {
    fs::create_directory(top_ / "probe");
    Destination probe = destination_;
    probe.path = top_ / "probe";
    probe.readers = {{"4711", ""}};
    probe.acls = Destination::Acls::required;
    return write_kubeconfig(probe, "x").has_value();
  }

  support::TempDirectory temporary_;
  fs::path top_;
  Destination destination_;
};

TEST_F(WriteKubeconfig, makes_directories_and_file_for_the_owner_only) {
  const mode_t before = ::umask(0);
  destination_.path = top_ / "a" / "b";
  const WriteReport report = must_write("text");
  ::umask(before);
  EXPECT_TRUE(report.changed);
  EXPECT_EQ(report.path, file());
  EXPECT_TRUE(report.warnings.empty());
  EXPECT_EQ(read(file()), "text");
  EXPECT_EQ(mode_of(file()), 0600u);
  EXPECT_EQ(mode_of(top_ / "a"), 0700u);
  EXPECT_EQ(mode_of(top_ / "a" / "b"), 0700u);
  expect_only_the_file();
}

TEST_F(WriteKubeconfig, an_existing_directory_keeps_its_mode) {
  fs::create_directory(destination_.path);
  ::chmod(destination_.path.c_str(), 0755);
  must_write("text");
  EXPECT_EQ(mode_of(destination_.path), 0755u);
  EXPECT_EQ(mode_of(file()), 0600u);
}

TEST_F(WriteKubeconfig, does_not_touch_a_file_that_is_right) {
  must_write("text");
  const struct stat before = status_of(file());
  EXPECT_FALSE(must_write("text").changed);
  const struct stat after = status_of(file());
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_EQ(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
}

TEST_F(WriteKubeconfig, replaces_the_file_in_one_step) {
  must_write("old text");
  const int reader = ::open(file().c_str(), O_RDONLY);
  EXPECT_TRUE(must_write("new").changed);
  char content[16] = {};
  EXPECT_EQ(::read(reader, content, sizeof content), 8);  // the old inode, whole
  ::close(reader);
  EXPECT_EQ(read(file()), "new");
  expect_only_the_file();
}

TEST_F(WriteKubeconfig, rewrites_the_same_text_under_a_wide_mode) {
  must_write("text");
  for (const mode_t wide : {0644u, 0640u, 0660u, 0604u, 0700u, 0400u}) {
    ::chmod(file().c_str(), wide);
    EXPECT_TRUE(must_write("text").changed) << std::oct << wide;
    EXPECT_EQ(mode_of(file()), 0600u);
  }
}

TEST_F(WriteKubeconfig, a_link_in_place_of_the_file_is_replaced_not_followed) {
  fs::create_directory(destination_.path);
  for (const auto symlinks : {Destination::Symlinks::insecure, Destination::Symlinks::try_secure,
                              Destination::Symlinks::secure}) {
    destination_.symlinks = symlinks;
    write(top_ / "victim", "text");  // equal to what is to be written: still not the file
    fs::remove(file());
    fs::create_symlink(top_ / "victim", file());
    const struct stat before = status_of(top_ / "victim");
    EXPECT_TRUE(must_write("text").changed);
    EXPECT_FALSE(fs::is_symlink(file()));
    EXPECT_EQ(read(file()), "text");
    EXPECT_EQ(mode_of(file()), 0600u);
    EXPECT_EQ(status_of(top_ / "victim").st_ctim.tv_nsec, before.st_ctim.tv_nsec);
  }
}

TEST_F(WriteKubeconfig, a_hard_link_in_place_of_the_file_is_cut) {
  fs::create_directory(destination_.path);
  write(top_ / "victim", "text");
  ::chmod((top_ / "victim").c_str(), 0600);
  fs::create_hard_link(top_ / "victim", file());
  EXPECT_TRUE(must_write("text").changed);
  EXPECT_EQ(fs::hard_link_count(file()), 1u);
  EXPECT_TRUE(must_write("new").changed);
  EXPECT_EQ(read(top_ / "victim"), "text");
}

TEST_F(WriteKubeconfig, a_fifo_in_place_of_the_file_does_not_block) {
  fs::create_directory(destination_.path);
  ASSERT_EQ(::mkfifo(file().c_str(), 0600), 0);
  EXPECT_TRUE(must_write("text").changed);
  EXPECT_TRUE(fs::is_regular_file(file()));
}

TEST_F(WriteKubeconfig, a_directory_in_place_of_the_file_is_an_error) {
  fs::create_directories(file() / "inside");
  EXPECT_NE(failure().find("cannot write the kubeconfig"), std::string::npos);
  expect_only_the_file();
}

TEST_F(WriteKubeconfig, a_link_in_the_path_is_refused_unless_insecure) {
  fs::create_directory(top_ / "real");
  fs::create_directory_symlink(top_ / "real", top_ / "link");
  for (const char* path : {"link", "link/new/deep"}) {
    destination_.path = top_ / path;
    for (const auto symlinks : {Destination::Symlinks::try_secure, Destination::Symlinks::secure}) {
      destination_.symlinks = symlinks;
      const std::string message = failure();
      EXPECT_NE(message.find("symbolic link"), std::string::npos) << message;
      EXPECT_NE(message.find((top_ / "link").string()), std::string::npos) << message;
      EXPECT_TRUE(fs::is_empty(top_ / "real")) << "something was made behind the link";
    }
  }
  destination_.symlinks = Destination::Symlinks::insecure;
  must_write("text");
  EXPECT_EQ(read(top_ / "real/new/deep/kubeconfig.yaml"), "text");
}

TEST_F(WriteKubeconfig, a_file_in_the_path_is_named) {
  write(top_ / "plain", "");
  destination_.path = top_ / "plain" / "out";
  const std::string message = failure();
  EXPECT_NE(message.find("cannot enter " + (top_ / "plain").string()), std::string::npos)
      << message;
}

TEST_F(WriteKubeconfig, a_directory_open_to_all_is_written_with_a_warning) {
  fs::create_directory(destination_.path);
  ::chmod(destination_.path.c_str(), 0777);
  const WriteReport report = must_write("text");
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("every user may write"), std::string::npos);
  EXPECT_EQ(mode_of(destination_.path), 0777u);
  ::chmod(destination_.path.c_str(), 01777);  // sticky: others cannot replace our file
  EXPECT_TRUE(must_write("text").warnings.empty());
}

TEST_F(WriteKubeconfig, readers_may_read_file_and_directory_and_nobody_else_the_file) {
  if (!has_acls()) GTEST_SKIP() << "no ACLs on this file system";
  destination_.acls = Destination::Acls::required;
  destination_.readers = {{"4711", ""}, {"", "4712"}, {"4711", ""}};
  EXPECT_TRUE(must_write("text").changed);
  EXPECT_EQ(acl_of(file()), "u::rw-,u:4711:r--,g::---,g:4712:r--,m::r--,o::---");
  EXPECT_EQ(acl_of(destination_.path), "u::rwx,u:4711:r-x,g::---,g:4712:r-x,m::r-x,o::---");
  EXPECT_FALSE(must_write("text").changed);
}

TEST_F(WriteKubeconfig, new_readers_get_access_without_a_rewrite) {
  if (!has_acls()) GTEST_SKIP() << "no ACLs on this file system";
  destination_.readers = {{"4711", ""}};
  must_write("text");
  destination_.readers = {{"4713", ""}};
  EXPECT_FALSE(must_write("text").changed);
  EXPECT_EQ(acl_of(file()), "u::rw-,u:4713:r--,g::---,m::r--,o::---");
  destination_.readers.clear();
  EXPECT_TRUE(must_write("text").changed);
  EXPECT_EQ(acl_of(file()), "u::rw-,g::---,o::---");
}

TEST_F(WriteKubeconfig, a_shared_directory_stays_shared_beside_the_readers) {
  if (!has_acls()) GTEST_SKIP() << "no ACLs on this file system";
  fs::create_directory(destination_.path);
  ::chmod(destination_.path.c_str(), 0751);
  destination_.readers = {{"4711", ""}};
  must_write("text");
  must_write("text again");
  EXPECT_EQ(acl_of(destination_.path), "u::rwx,u:4711:r-x,g::r-x,m::r-x,o::--x");
}

TEST_F(WriteKubeconfig, the_owning_group_gains_nothing_from_readers) {
  if (!has_acls()) GTEST_SKIP() << "no ACLs on this file system";
  fs::create_directory(destination_.path);
  const std::unique_ptr<std::remove_pointer_t<acl_t>, int (*)(void*)> masked(
      ::acl_from_text("u::rwx,u:99:r-x,g::rwx,m::r-x,o::---"), ::acl_free);
  ASSERT_EQ(::acl_set_file(destination_.path.c_str(), ACL_TYPE_ACCESS, masked.get()), 0);
  destination_.readers = {{"4711", ""}};
  must_write("text");
  EXPECT_EQ(acl_of(destination_.path), "u::rwx,u:4711:r-x,g::r-x,m::r-x,o::---");
}

TEST_F(WriteKubeconfig, an_inherited_acl_does_not_open_the_file) {
  if (!has_acls()) GTEST_SKIP() << "no ACLs on this file system";
  fs::create_directory(destination_.path);
  const std::unique_ptr<std::remove_pointer_t<acl_t>, int (*)(void*)> wide(
      ::acl_from_text("u::rwx,u:99:rwx,g::rwx,m::rwx,o::rwx"), ::acl_free);
  ASSERT_EQ(::acl_set_file(destination_.path.c_str(), ACL_TYPE_DEFAULT, wide.get()), 0);
  must_write("text");
  EXPECT_EQ(mode_of(file()), 0600u);  // the mask: named entries give nothing
  EXPECT_FALSE(must_write("text").changed);
}

TEST_F(WriteKubeconfig, an_unknown_reader_fails_only_when_acls_are_required) {
  destination_.readers = {{"no-such-account", ""}};
  const WriteReport report = must_write("text");
  EXPECT_TRUE(report.changed);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("user no-such-account"), std::string::npos);
  EXPECT_EQ(mode_of(file()), 0600u);
  EXPECT_FALSE(must_write("text").changed);
  destination_.acls = Destination::Acls::required;
  EXPECT_NE(failure().find("user no-such-account"), std::string::npos);
  EXPECT_EQ(read(file()), "text");
  expect_only_the_file();
}

TEST_F(WriteKubeconfig, acls_off_ignores_readers) {
  destination_.acls = Destination::Acls::off;
  destination_.readers = {{"4711", ""}};
  EXPECT_TRUE(must_write("text").warnings.empty());
  EXPECT_EQ(mode_of(file()), 0600u);
}

// The kernel's own directories refuse new files to everybody, root too.
TEST_F(WriteKubeconfig, a_directory_that_cannot_be_written_says_so) {
  destination_.path = "/proc/self/fdinfo";
  destination_.symlinks = Destination::Symlinks::insecure;
  std::string message = failure();
  EXPECT_NE(message.find("cannot write the kubeconfig"), std::string::npos) << message;
  EXPECT_NE(message.find("make the directory writable"), std::string::npos) << message;
  EXPECT_NE(message.find("/proc/self/fdinfo"), std::string::npos) << message;
  destination_.path += "/below";
  message = failure();
  EXPECT_NE(message.find("cannot create /proc/self/fdinfo/below"), std::string::npos) << message;
}

// As an ordinary user, in a process of its own when the tests run as root.
TEST_F(WriteKubeconfig, a_directory_that_its_owner_may_not_write_says_so) {
  fs::create_directory(destination_.path);
  ::chmod(destination_.path.c_str(), 0500);
  const auto check = [this](uid_t user) {
    if (user != ::geteuid() &&
        (::chown(destination_.path.c_str(), user, static_cast<gid_t>(-1)) != 0 ||
         ::seteuid(user) != 0))
      return 3;
    if (failure().find("make the directory writable") == std::string::npos) return 1;
    destination_.path += "/below";
    return failure().find("cannot create") == std::string::npos ? 2 : 0;
  };
  if (::geteuid() != 0) {
    EXPECT_EQ(check(::geteuid()), 0);
    return;
  }
  ::chmod(top_.c_str(), 0711);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(check(4711));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace kubelane::kube
