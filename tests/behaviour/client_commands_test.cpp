// wait, status, shutdown and kubeconfig, as scripts and people use them beside a kubelane that
// runs.
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>

#include <boost/json.hpp>

#include "tests/support/finished_command.hpp"
#include "tests/support/kubelane_fixture.hpp"

namespace {

using support::eventually;
using support::FinishedCommand;
using support::Process;
using support::run_kubelane;

class ClientCommands : public support::KubelaneFixture {
 protected:
  ClientCommands() {
    more_yaml =
        "diag_addr: unix://" + diagnostics() + "\nadmin_addr: unix://" + administration() + "\n";
  }
  std::string diagnostics() const { return (directory() / "diag.sock").string(); }
  std::string administration() const { return (directory() / "admin.sock").string(); }
  std::string config_file() const { return (directory() / "kubelane.yaml").string(); }
  void start_without_credentials() {
    start_lab();
    std::filesystem::create_directory(credentials_path());
    start_kubelane(default_config());
  }
  static std::string file_text(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
};

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words)
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text;
}

TEST_F(ClientCommands, wait_may_begin_before_kubelane_does) {
  start_lab();
  write_credentials();
  Process waiter(KUBELANE_BINARY, {"wait", "--diag-addr", "unix://" + diagnostics()});
  Process of_file(KUBELANE_BINARY, {"wait", "--timeout", "2m", "kubernetes-v2-1"},
                  {{"KUBELANE_DIAG_ADDR", "unix://" + diagnostics()}});
  start_kubelane(default_config());
  EXPECT_EQ(waiter.wait_exit(), 0);
  EXPECT_EQ(of_file.wait_exit(), 0);
  EXPECT_EQ(waiter.output(), "ready\n");
  const FinishedCommand again = run_kubelane({"wait", "-c", config_file()});
  EXPECT_EQ(again.code, 0) << again.errors;
}

TEST_F(ClientCommands, wait_says_what_is_not_ready_and_why) {
  ASSERT_NO_FATAL_FAILURE(start_without_credentials());
  ASSERT_TRUE(kubelane().wait_for_line("\"diagnostics\""));
  const FinishedCommand waited = run_kubelane({"wait", "-c", config_file(), "--timeout", "500ms"});
  EXPECT_EQ(waited.code, 3);
  EXPECT_EQ(waited.output, "");
  expect_words(waited.errors, {"kubelane: wait: not ready in time",
                               "kubernetes-v2-1: ", credentials_path().string()});
}

TEST_F(ClientCommands, nobody_to_ask_is_told_with_the_address_and_where_it_comes_from) {
  const std::string address = "unix://" + diagnostics();
  const FinishedCommand waited = run_kubelane({"wait", "--diag-addr", address, "--timeout", "1ms"});
  EXPECT_EQ(waited.code, 4);
  expect_words(waited.errors, {address, "(--diag-addr)", "does kubelane run"});
  const FinishedCommand status = run_kubelane({"status"}, {{"KUBELANE_DIAG_ADDR", address}});
  EXPECT_EQ(status.code, 4);
  expect_words(status.errors, {address, "(KUBELANE_DIAG_ADDR)"});
  std::ofstream(config_file()) << "version: v2\nadmin_addr: unix://" << administration() << "\n";
  const FinishedCommand shutdown = run_kubelane({"shutdown", "-c", config_file()});
  EXPECT_EQ(shutdown.code, 4);
  expect_words(shutdown.errors, {administration(), config_file(), "admin_addr"});
}

TEST_F(ClientCommands, without_a_usable_address_they_say_how_to_give_one) {
  const FinishedCommand none = run_kubelane({"status"});
  EXPECT_EQ(none.code, 2);
  expect_words(none.errors, {"--diag-addr", "KUBELANE_DIAG_ADDR", "-c"});
  const FinishedCommand wrong = run_kubelane({"wait", "--diag-addr", "example.com:1"});
  EXPECT_EQ(wrong.code, 2);
  expect_words(wrong.errors, {"--diag-addr", "\"example.com:1\"", "unix:///path"});
  std::ofstream(config_file()) << "version: v2\ndiag_addr: 127.0.0.1:0\n";
  const FinishedCommand any = run_kubelane({"wait", "-c", config_file()});
  EXPECT_EQ(any.code, 2);
  expect_words(any.errors, {"port 0", "--diag-addr"});
  const FinishedCommand lacks = run_kubelane({"shutdown", "-c", config_file()});
  EXPECT_EQ(lacks.code, 2);
  expect_words(lacks.errors, {config_file() + " has no admin_addr", "--admin-addr"});
  const FinishedCommand time = run_kubelane({"wait", "--timeout", "soon"});
  EXPECT_EQ(time.code, 2);
  expect_words(time.errors, {"--timeout", "\"soon\""});
}

TEST_F(ClientCommands, an_unknown_service_gets_the_known_ones) {
  ASSERT_NO_FATAL_FAILURE(start());
  const FinishedCommand waited = run_kubelane({"wait", "-c", config_file(), "nosuch"});
  EXPECT_EQ(waited.code, 2);
  expect_words(waited.errors, {"\"nosuch\"", "there are kubernetes-v2-1"});
  const FinishedCommand printed = run_kubelane({"kubeconfig", "-c", config_file(), "nosuch"});
  EXPECT_EQ(printed.code, 2);
  expect_words(printed.errors, {"\"nosuch\"", "kubernetes-v2-1"});
}

TEST_F(ClientCommands, status_shows_a_table) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_EQ(get("/version").status, 200);
  std::string table;
  EXPECT_TRUE(eventually([&] {
    const FinishedCommand status = run_kubelane({"status", "-c", config_file()});
    table = status.output;
    return status.code == 0 && table.find("  yes") != std::string::npos &&
           table.find("  0  ") == std::string::npos;
  })) << table;
  std::istringstream lines(table);
  std::string title;
  std::string row;
  std::getline(lines, title);
  std::getline(lines, row);
  EXPECT_EQ(title, "SERVICE          CLUSTER  READY  CERTIFICATE  REQUESTS  REASON");
  std::istringstream words(row);
  std::string service, cluster, ready, certificate, requests;
  words >> service >> cluster >> ready >> certificate >> requests;
  EXPECT_EQ(service + " " + cluster + " " + ready, "kubernetes-v2-1 demo yes");
  EXPECT_NE(certificate.find_first_of("hms"), std::string::npos) << row;
  EXPECT_GE(std::stoi(requests), 1);
}

TEST_F(ClientCommands, status_tells_why_and_that_in_json_too) {
  ASSERT_NO_FATAL_FAILURE(start_without_credentials());
  ASSERT_TRUE(kubelane().wait_for_line("\"diagnostics\""));
  const FinishedCommand status = run_kubelane({"status", "-c", config_file()});
  EXPECT_EQ(status.code, 3);
  expect_words(status.output, {"demo", "  no  ", credentials_path().string()});
  const FinishedCommand json = run_kubelane({"status", "-c", config_file(), "--json"});
  EXPECT_EQ(json.code, 3);
  const boost::json::value page = boost::json::parse(json.output);
  const auto& service = page.at("services").as_array().at(0).as_object();
  EXPECT_EQ(service.at("name"), "kubernetes-v2-1");
  EXPECT_EQ(service.at("clusters").as_array().at(0).at("name"), "demo");
  EXPECT_FALSE(service.at("clusters").as_array().at(0).at("reason").as_string().empty());
}

TEST_F(ClientCommands, status_watches_over_a_restart) {
  ASSERT_NO_FATAL_FAILURE(start());
  Process watcher(KUBELANE_BINARY,
                  {"status", "-c", config_file(), "--watch", "--interval", "100ms"});
  const auto tables = [&watcher] {
    std::size_t count = 0;
    const std::string text = watcher.output();
    for (std::size_t at = text.find("SERVICE"); at != std::string::npos;
         at = text.find("SERVICE", at + 1))
      ++count;
    return count;
  };
  EXPECT_TRUE(eventually([&] { return tables() >= 2; }));
  stop_kubelane();
  EXPECT_TRUE(watcher.wait_for_line("no status from"));
  const std::size_t before = tables();
  start_kubelane(default_config());
  EXPECT_TRUE(eventually([&] { return tables() > before; }));
  EXPECT_TRUE(watcher.running());
}

TEST_F(ClientCommands, shutdown_lets_it_end) {
  ASSERT_NO_FATAL_FAILURE(start());
  const FinishedCommand asked = run_kubelane({"shutdown", "-c", config_file()});
  EXPECT_EQ(asked.code, 0) << asked.errors;
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(ClientCommands, shutdown_is_not_for_the_diagnostics) {
  ASSERT_NO_FATAL_FAILURE(start());
  const FinishedCommand asked =
      run_kubelane({"shutdown", "--admin-addr", "unix://" + diagnostics()});
  EXPECT_EQ(asked.code, 1);
  expect_words(asked.errors, {diagnostics(), "405", "is it an admin_addr?"});
  EXPECT_TRUE(kubelane().running());
}

TEST_F(ClientCommands, kubeconfig_prints_the_file) {
  start_lab();
  write_credentials();
  std::ofstream(config_file()) << default_config();
  const FinishedCommand early = run_kubelane({"kubeconfig", "-c", config_file()});
  EXPECT_EQ(early.code, 3);
  expect_words(early.errors, {destination_path().string(), "does kubelane run?"});
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  const std::string expected = file_text(destination_path() / "kubeconfig.yaml");
  ASSERT_FALSE(expected.empty());
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"kubeconfig", "-c", config_file()},
        {"kubeconfig", "-c", config_file(), "kubernetes-v2-1"},
        {"kubeconfig", "--destination", destination_path().string()}}) {
    const FinishedCommand printed = run_kubelane(arguments);
    EXPECT_EQ(printed.code, 0) << printed.errors;
    EXPECT_EQ(printed.output, expected);
  }
}

}  // namespace
