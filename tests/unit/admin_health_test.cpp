#include <gtest/gtest.h>

#include "proxy/admin/health.hpp"

namespace {

using namespace kubelane::admin;

ClusterHealth healthy(const std::string& name) {
  return {name, Status::healthy, Cause::none, "", std::chrono::seconds(3)};
}
ClusterHealth offline(const std::string& name) {
  return {name, Status::unhealthy, Cause::offline, name + " does not answer", std::nullopt};
}

TEST(Health, one_cluster_that_serves_is_enough_and_the_others_are_named) {
  const ServiceHealth sum = sum_up("s", {healthy("a"), offline("b")}, "");
  EXPECT_EQ(sum.status, Status::healthy);
  EXPECT_EQ(sum.cause, Cause::none);
  EXPECT_EQ(sum.reason, "b does not answer");
}

TEST(Health, none_that_serves_is_unhealthy_with_the_first_cause) {
  const ServiceHealth sum = sum_up("s", {offline("a"), offline("b")}, "");
  EXPECT_EQ(sum.status, Status::unhealthy);
  EXPECT_EQ(sum.cause, Cause::offline);
  EXPECT_EQ(sum.reason, "a does not answer; b does not answer");
}

TEST(Health, a_hundred_reasons_do_not_make_a_hundred_sentences) {
  std::vector<ClusterHealth> many;
  for (int i = 0; i < 100; ++i) many.push_back(offline("c" + std::to_string(i)));
  const ServiceHealth sum = sum_up("s", many, "");
  EXPECT_LT(sum.reason.size(), 400u);
  EXPECT_TRUE(sum.reason.ends_with("; and more")) << sum.reason;
}

TEST(Health, all_services_must_be_healthy) {
  Health health;
  health.services = {sum_up("a", {healthy("a")}, ""), sum_up("b", {offline("b")}, "")};
  sum_up(health);
  EXPECT_EQ(health.status, Status::unhealthy);
  health.services.pop_back();
  sum_up(health);
  EXPECT_EQ(health.status, Status::healthy);
  health.services.push_back(sum_up("c", {}, "nothing yet"));
  sum_up(health);
  EXPECT_EQ(health.status, Status::initializing);
}

TEST(Health, the_json_is_tbots) {
  Health health;
  health.services = {sum_up("prod", {offline("x\"y")}, "")};
  sum_up(health);
  const std::string json = to_json(health);
  EXPECT_TRUE(json.starts_with("{\"status\":\"unhealthy\",\"pid\":")) << json;
  EXPECT_NE(json.find("\"services\":{\"prod\":{\"status\":\"unhealthy\",\"cause\":\"offline\","
                      "\"reason\":\"x\\\"y does not answer\",\"clusters\":{\"x\\\"y\":{"),
            std::string::npos)
      << json;
}

}  // namespace
