// The table of `status`, from pages as kubelane's own and as somebody else's listener answers them.
#include <string>

#include <gtest/gtest.h>

#include "proxy/cli/http_call.hpp"
#include "proxy/cli/status_report.hpp"

namespace kubelane::cli {
namespace {

using std::chrono::seconds;
using std::chrono::system_clock;

constexpr const char* readyz =
    R"({"status":"unhealthy","services":{"web":{"status":"healthy","clusters":{
    "a":{"status":"healthy"},"arn:\"b\"":{"status":"unhealthy","cause":"denied","reason":"no\u001b[31m"}}},
    "late":{"status":"initializing","reason":"waits"}}})";
constexpr const char* metrics =
    "# HELP x y\n"
    "kubelane_requests_total{service=\"web\",cluster=\"a\",verb_class=\"get\",code_class=\"2xx\"} "
    "3\n"
    "kubelane_requests_total{service=\"web\",cluster=\"a\",verb_class=\"list\",code_class=\"2xx\"} "
    "4\n"
    "kubelane_requests_total{service=\"web\",cluster=\"arn:\\\"b\\\"\",code_class=\"4xx\"} 1\n"
    "kubelane_requests_total{service=\"other\",cluster=\"a\"} 9\n"
    "kubelane_certificate_expiry_timestamp_seconds{kind=\"upstream\",service=\"web\",cluster=\"\"} "
    "10000\n"
    "kubelane_certificate_expiry_timestamp_seconds{kind=\"upstream\",service=\"web\",cluster=\"a\"}"
    " "
    "5000\n";

TEST(StatusReport, is_one_table_of_both_pages) {
  const auto report = read_status(readyz, metrics);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(status_table(*report, system_clock::time_point(seconds(1000))),
            "SERVICE  CLUSTER  READY  CERTIFICATE  REQUESTS  REASON\n"
            "web      a        yes    1h6m         7\n"
            "web      arn:\"b\"  no     2h30m        1         denied: no?[31m\n"
            "late     -        no     -            -         waits\n");
  EXPECT_NE(status_table(*report, system_clock::time_point(seconds(6000))).find("expired"),
            std::string::npos);
}

TEST(StatusReport, is_json_for_programs) {
  const auto report = read_status(readyz, metrics);
  ASSERT_TRUE(report);
  const std::string json = status_json(*report);
  for (const char* part :
       {R"({"status":"unhealthy","services":[{"name":"web","status":"healthy")",
        R"("requests":7,"certificate_not_after":"1970-01-01T01:23:20Z")", R"("cause":"denied")"})
    EXPECT_NE(json.find(part), std::string::npos) << part << " not in " << json;
}

TEST(StatusReport, refuses_what_is_not_kubelanes_page) {
  for (const char* page : {"", "ok\n", "[]", "{}", R"({"services":[]})", "{\"services\":"})
    EXPECT_FALSE(read_status(page, "")) << page;
}

TEST(StatusReport, survives_odd_metrics) {
  for (const char* odd :
       {"kubelane_requests_total{", "kubelane_requests_total{service=\"web", "x{}", "x{a=\"\\",
        "kubelane_requests_total{service=\"web\",cluster=\"a\"}",
        "kubelane_requests_total{service=\"web\",cluster=\"a\"} NaN",
        "kubelane_requests_total{service=\"web\",cluster=\"a\"} -1", "\n\n{"})
    EXPECT_TRUE(read_status(readyz, odd)) << odd;
}

TEST(PercentEncoding, keeps_a_name_within_its_segment) {
  EXPECT_EQ(percent_encoded("kubernetes-v2-1"), "kubernetes-v2-1");
  EXPECT_EQ(percent_encoded("a/b?c d+\xc3\xa9"), "a%2Fb%3Fc%20d%2B%C3%A9");
}

}  // namespace
}  // namespace kubelane::cli
