// What a Kubernetes path means in the access log, and which requests stream.
#include <gtest/gtest.h>

#include "proxy/relay/access_log.hpp"

namespace kubelane::relay {
namespace {

void expect_ref(const std::string& path, const std::string& resource, const std::string& name_space,
                const std::string& name, bool is_resource = true) {
  const ResourceRef ref = parse_resource(path);
  EXPECT_EQ(ref.resource, resource) << path;
  EXPECT_EQ(ref.name_space, name_space) << path;
  EXPECT_EQ(ref.name, name) << path;
  EXPECT_EQ(ref.is_resource, is_resource) << path;
}

TEST(ParseResource, knows_the_forms_of_the_kubernetes_api) {
  expect_ref("/api/v1/pods", "pods", "", "");
  expect_ref("/api/v1/namespaces/web/pods", "pods", "web", "");
  expect_ref("/api/v1/namespaces/web/pods/a", "pods", "web", "a");
  expect_ref("/api/v1/namespaces/web/pods/a/log", "pods/log", "web", "a");
  expect_ref("/api/v1/namespaces/web/services/a/proxy/x/y", "services/proxy", "web", "a");
  expect_ref("/api/v1/nodes/n1", "nodes", "", "n1");
  expect_ref("/apis/apps/v1/namespaces/web/deployments/d/scale", "deployments/scale", "web", "d");
  expect_ref("/apis/apps/v1/deployments", "deployments", "", "");
  expect_ref("/api/v1/watch/namespaces/web/pods", "pods", "web", "");
}

// As the API server sees them: the namespace is in itself.
TEST(ParseResource, knows_namespaces_themselves) {
  expect_ref("/api/v1/namespaces", "namespaces", "", "");
  expect_ref("/api/v1/namespaces/web", "namespaces", "web", "web");
  expect_ref("/api/v1/namespaces/web/status", "namespaces/status", "web", "web");
  expect_ref("/api/v1/namespaces/web/finalize", "namespaces/finalize", "web", "web");
}

TEST(ParseResource, other_paths_stay_as_they_are) {
  for (const std::string path : {"/", "/version", "/healthz", "/api", "/api/v1", "/apis/apps/v1",
                                 "/openapi/v3/api/v1", "", "//"})
    expect_ref(path, path, "", "", false);
  EXPECT_EQ(parse_resource("/x" + std::string(100'000, 'y')).resource.size(), 200u);
}

TEST(IsWatch, is_what_streams_until_somebody_ends_it) {
  EXPECT_TRUE(is_watch("/api/v1/pods", "?watch=true"));
  EXPECT_TRUE(is_watch("/api/v1/pods", "limit=1&watch=1"));
  EXPECT_TRUE(is_watch("/api/v1/namespaces/web/pods/a/log", "?follow=true"));
  EXPECT_TRUE(is_watch("/api/v1/watch/pods", ""));
  EXPECT_FALSE(is_watch("/api/v1/pods", "?watch=false"));
  EXPECT_FALSE(is_watch("/api/v1/pods", "?rewatch=true&x=watch=true"));
  EXPECT_FALSE(is_watch("/api/v1/pods", ""));
}

}  // namespace
}  // namespace kubelane::relay
