// Files that are replaced as a whole: what stands there afterwards, and what stays as it was.
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_directory.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::tls {
namespace {

class WholeFile : public testing::Test {
 protected:
  std::string content(const std::string& name) const {
    std::ifstream file(at(name), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::filesystem::path at(const std::string& name) const { return folder_.path() / name; }
  int replace(const std::string& name, const std::string& text) const {
    return replace_file(directory_.get(), name, text);
  }

 private:
  support::TempDirectory folder_;

 protected:
  UniqueFd directory_{::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

TEST_F(WholeFile, IsForItsOwnerAloneAndLeavesNothingBehind) {
  const std::string large(300'000, 'k');
  ASSERT_EQ(replace("key", "first"), 0);
  ASSERT_EQ(replace("key", large), 0);
  EXPECT_EQ(content("key"), large);
  struct stat status {};
  ASSERT_EQ(::stat(at("key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(at(""))) ++files;
  EXPECT_EQ(files, 1u);
}

TEST_F(WholeFile, TakesThePlaceOfALinkAndOfWhatACrashLeft) {
  std::ofstream(at("elsewhere")) << "untouched";
  std::filesystem::create_symlink(at("elsewhere"), at("key"));
  std::ofstream(at(".key.new")) << "half a k";
  ASSERT_EQ(replace("key", "whole"), 0);
  EXPECT_FALSE(std::filesystem::is_symlink(at("key")));
  EXPECT_EQ(content("key"), "whole");
  EXPECT_EQ(content("elsewhere"), "untouched");
  EXPECT_FALSE(std::filesystem::exists(at(".key.new")));
}

TEST_F(WholeFile, StaysAsItWasWhenItCannotBeReplaced) {
  std::filesystem::create_directories(at("key/full"));
  EXPECT_NE(replace("key", "new"), 0);
  EXPECT_TRUE(std::filesystem::exists(at("key/full")));
  EXPECT_FALSE(std::filesystem::exists(at(".key.new"))) << "no secret is left lying about";
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(write_durably(full.get(), "text"), ENOSPC);
}

TEST_F(WholeFile, IsReadAsFarAsItGoes) {
  ASSERT_EQ(replace("key", "abc"), 0);
  const UniqueFd fd(::openat(directory_.get(), "key", O_RDONLY | O_CLOEXEC));
  std::string text(10, '\0');
  EXPECT_EQ(read_into(fd.get(), text), 0);
  EXPECT_EQ(text, "abc");
  std::string of_a_directory(10, '\0');
  EXPECT_EQ(read_into(directory_.get(), of_a_directory), EISDIR);
}

}  // namespace
}  // namespace kubelane::tls
