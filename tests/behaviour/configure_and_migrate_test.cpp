// Files that kubelane makes: from tbot's, and from flags and environment.
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/process.hpp"
#include "tests/support/temp_directory.hpp"

namespace {

namespace fs = std::filesystem;
using support::Process;

class MadeFiles : public ::testing::Test {
 protected:
  struct Ended {
    int status = -1;
    std::string output;
    std::string errors;
  };
  static Ended run(const std::vector<std::string>& arguments,
                   std::map<std::string, std::string> variables = {}) {
    for (const char* variable :
         {"TELEPORT_PROXY", "TELEPORT_BOT_TOKEN", "TBOT_CONFIG_PATH", "KUBELANE_STORAGE"})
      variables.emplace(variable, "");
    Process process(KUBELANE_BINARY, arguments, variables);
    Ended ended;
    ended.status = process.wait_exit().value_or(-1);
    ended.output = process.output();
    for (const std::string& line : process.error_lines()) ended.errors += line + "\n";
    return ended;
  }
  std::string path(const std::string& name) const { return (directory_.path() / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }
  static std::string text(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }
  // That `check` has nothing to say about it.
  void expect_valid(const std::string& yaml) const {
    const Ended ended = run({"check", "-c", write("made.yaml", yaml)});
    EXPECT_EQ(ended.status, 0) << ended.errors << yaml;
    EXPECT_EQ(ended.errors, "") << yaml;
  }

 private:
  support::TempDirectory directory_;
};

constexpr const char* tbots_file =
    "version: v2\n"
    "proxy_server: teleport.example.com:443\n"
    "onboarding: {join_method: token, token: s3cr3t}\n"
    "outputs:\n"
    "  - type: identity\n"
    "    destination: /opt/identity\n"
    "  - type: kubernetes\n"
    "    kubernetes_cluster: prod\n"
    "    destination: {type: directory, path: /opt/machine-id}\n";

TEST_F(MadeFiles, migrate_prints_a_file_that_check_accepts_and_says_what_it_did) {
  const Ended ended = run({"migrate", write("tbot.yaml", tbots_file)});
  EXPECT_EQ(ended.status, 0) << ended.errors;
  expect_valid(ended.output);
  EXPECT_NE(ended.output.find("kubernetes_cluster: prod"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("# The Teleport Proxy's web address."), std::string::npos);
  EXPECT_NE(ended.errors.find("kubelane: changed: " + path("tbot.yaml") + ":5:3: outputs"),
            std::string::npos)
      << ended.errors;
  EXPECT_NE(ended.errors.find("services of type identity are not served"), std::string::npos)
      << ended.errors;
  EXPECT_EQ(ended.errors.find("s3cr3t"), std::string::npos);
}

TEST_F(MadeFiles, a_file_that_is_written_is_for_its_user_alone) {
  const std::string made = path("kubelane.yaml");
  const Ended ended = run({"migrate", write("tbot.yaml", tbots_file), "-o", made});
  EXPECT_EQ(ended.status, 0) << ended.errors;
  EXPECT_EQ(ended.output, "");
  struct stat status {};
  ASSERT_EQ(::stat(made.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  expect_valid(text(made));
  const Ended nowhere = run({"migrate", path("tbot.yaml"), "-o", path("no/such/file")});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_NE(nowhere.errors.find("cannot write"), std::string::npos) << nowhere.errors;
}

TEST_F(MadeFiles, what_cannot_be_migrated_is_told_and_nothing_is_printed) {
  const Ended broken = run({"migrate", write("tbot.yaml", "version: v2\nproxy_servr: x\n")});
  EXPECT_EQ(broken.status, 2);
  EXPECT_EQ(broken.output, "");
  EXPECT_NE(broken.errors.find("did you mean \"proxy_server\""), std::string::npos)
      << broken.errors;
  const Ended missing = run({"migrate", path("none.yaml")});
  EXPECT_EQ(missing.status, 2);
  EXPECT_NE(missing.errors.find("cannot be read"), std::string::npos) << missing.errors;
  EXPECT_EQ(run({"migrate"}).status, 2);
}

TEST_F(MadeFiles, configure_prints_flags_and_environment) {
  const Ended ended = run(
      {"configure", "kubernetes/v2", "--proxy-server", "teleport.example.com", "--join-method",
       "kubernetes", "--token", "kubelane", "--label-selector", "env=prod,tier=web",
       "--name-selector", "lab", "--destination", "/run/kubelane", "--reader-group", "deployers"},
      {{"KUBELANE_STORAGE", "/var/lib/kubelane"}});
  EXPECT_EQ(ended.status, 0) << ended.errors;
  EXPECT_EQ(ended.errors, "");
  expect_valid(ended.output);
  for (const char* line :
       {"proxy_server: teleport.example.com:443\n", "  token: kubelane\n", "      - name: lab\n",
        "          tier: web\n", "  path: /var/lib/kubelane\n", "        - group: deployers\n"})
    EXPECT_NE(ended.output.find(line), std::string::npos) << line << ended.output;
}

// As with tbot's configure: the file works by itself. That it holds a secret is said.
TEST_F(MadeFiles, a_token_of_flag_or_variable_stands_in_the_file_and_is_told_of) {
  for (const bool by_flag : {true, false}) {
    std::vector<std::string> arguments = {
        "configure", "kubernetes",    "--proxy-server", "t.example.com", "--kubernetes-cluster",
        "prod",      "--destination", "/run/kubelane",  "--storage",     "/var/lib/kube-x"};
    if (by_flag) arguments.insert(arguments.end(), {"--token", "s3cr3t"});
    const Ended ended = run(arguments, {{"TELEPORT_BOT_TOKEN", by_flag ? "" : "s3cr3t"}});
    EXPECT_EQ(ended.status, 0) << ended.errors;
    EXPECT_NE(ended.output.find("  token: s3cr3t\n"), std::string::npos) << ended.output;
    EXPECT_NE(ended.output.find("# This is the secret itself"), std::string::npos);
    EXPECT_NE(ended.errors.find("holds the join secret itself"), std::string::npos) << ended.errors;
    EXPECT_EQ(ended.errors.find("s3cr3t"), std::string::npos);
    expect_valid(ended.output);
  }
  // A path to it is no secret.
  const Ended path_given =
      run({"configure", "kubernetes", "--proxy-server", "t.example.com", "--kubernetes-cluster",
           "prod", "--destination", "/run/kubelane", "--token", "/etc/kubelane/token"});
  EXPECT_EQ(path_given.errors, "");
}

TEST_F(MadeFiles, configure_without_anything_shows_what_belongs_there) {
  const Ended ended = run({"configure"});
  EXPECT_EQ(ended.status, 0) << ended.errors;
  EXPECT_NE(ended.output.find("# proxy_server: "), std::string::npos) << ended.output;
  EXPECT_NE(ended.errors.find("proxy_server is missing"), std::string::npos) << ended.errors;
  const Ended wrong = run({"configure", "--listen", "nowhere"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_EQ(wrong.output, "");
  EXPECT_NE(wrong.errors.find("--listen: "), std::string::npos) << wrong.errors;
}

}  // namespace
