// Which services go on, which end, and what needs a restart, between two configurations.
#include <gtest/gtest.h>

#include "config/difference.hpp"

namespace kubelane {
namespace {

using Numbers = std::vector<std::optional<std::size_t>>;

Service of_tbot(const std::string& cluster) {
  Service service;
  service.clusters.push_back({cluster, {}, {}});
  service.credentials_path = "/creds/" + cluster;
  service.destination.type = Destination::Type::directory;
  service.destination.path = "/out/" + cluster;
  return service;
}

Service of_bot(const std::string& cluster) {
  Service service = of_tbot(cluster);
  service.credentials_path.clear();
  return service;
}

Config with(std::vector<Service> services) {
  Config config;
  config.services = std::move(services);
  return config;
}

TEST(ConfigDifference, the_same_is_the_same_wherever_it_stands) {
  const Config previous = with({of_tbot("one"), of_tbot("two"), of_tbot("three")});
  Config next = with({of_tbot("three"), of_tbot("one"), of_tbot("two")});
  next.services[0].line = 7;
  const ConfigDifference difference = compare(previous, next);
  EXPECT_EQ(difference.goes_on_from, (Numbers{2, 0, 1}));
  EXPECT_TRUE(difference.ended.empty());
  EXPECT_TRUE(difference.need_restart.empty());
}

TEST(ConfigDifference, what_is_new_and_what_ends) {
  const ConfigDifference difference =
      compare(with({of_tbot("one"), of_tbot("two")}), with({of_tbot("two"), of_tbot("three")}));
  EXPECT_EQ(difference.goes_on_from, (Numbers{1, std::nullopt}));
  EXPECT_EQ(difference.ended, std::vector<std::size_t>{0});
}

TEST(ConfigDifference, by_the_same_identity_a_service_goes_on) {
  Service changed = of_tbot("one");
  changed.clusters.push_back({"more", {}, {}});
  changed.destination.path = "/elsewhere";
  changed.listen = ListenAddress{"127.0.0.1", 7500};
  changed.impersonate_user = "somebody";
  EXPECT_EQ(compare(with({of_tbot("one")}), with({changed})).goes_on_from, Numbers{0});
}

TEST(ConfigDifference, another_identity_is_another_service) {
  const auto is_another = [](const Service& previous, const Service& next) {
    return compare(with({previous}), with({next})).goes_on_from == Numbers{std::nullopt};
  };
  Service elsewhere = of_tbot("one");
  elsewhere.credentials_path = "/creds/other";
  EXPECT_TRUE(is_another(of_tbot("one"), elsewhere));
  EXPECT_TRUE(is_another(of_tbot("one"), of_bot("one")));
  EXPECT_TRUE(is_another(of_bot("one"), of_bot("two"))) << "its certificate is for one cluster";
  Service roles = of_bot("one");
  roles.roles = {"viewer"};
  EXPECT_TRUE(is_another(of_bot("one"), roles));
}

// Of two with one identity, the destination tells which is which.
TEST(ConfigDifference, the_destination_tells_equals_apart) {
  Service left = of_tbot("one");
  Service right = left;
  right.destination.path = "/out/right";
  Service left_changed = left;
  left_changed.name = "left";
  Service right_changed = right;
  right_changed.name = "right";
  EXPECT_EQ(compare(with({left, right}), with({right_changed, left_changed})).goes_on_from,
            (Numbers{1, 0}));
}

TEST(ConfigDifference, two_never_go_on_from_one) {
  Service copy = of_tbot("one");
  copy.destination.path = "/out/copy";
  EXPECT_EQ(compare(with({of_tbot("one")}), with({copy, of_tbot("one")})).goes_on_from,
            (Numbers{std::nullopt, 0}));
}

TEST(ConfigDifference, what_needs_a_restart_is_named_and_kept) {
  Config previous = with({});
  previous.proxy_server = "one.example.com:443";
  previous.workers = 1;
  Config next = with({});
  next.proxy_server = "two.example.com:443";
  next.workers = 2;
  next.limits.max_connections = 7;
  EXPECT_EQ(compare(previous, next).need_restart,
            (std::vector<std::string>{"proxy_server", "workers"}));
  keep_what_needs_restart(next, previous);
  EXPECT_EQ(next.proxy_server, "one.example.com:443");
  EXPECT_EQ(next.workers, 1u);
  EXPECT_EQ(next.limits.max_connections, 7u);
}

}  // namespace
}  // namespace kubelane
