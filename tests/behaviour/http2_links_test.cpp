// HTTP/2 links to the Proxy: their number, their end, renewal, and a Proxy that changes its mind.
#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/http2_fixture.hpp"

namespace {

using support::eventually;
using support::H2Client;
using support::H2Response;
namespace h2 = lab::h2;

class Http2Links : public support::Http2Fixture {
 protected:
  H2Client::StreamId open_watch(H2Client& local, const std::string& name) {
    const auto stream = local.send(h2_request("GET", "/watch?watch=1&events=1&n=" + name));
    EXPECT_TRUE(local.wait_head(stream));
    return stream;
  }
  std::string serial_of(const std::string& target) { return arrived(target).client_serial; }
};

TEST_F(Http2Links, hundreds_of_streams_share_one_link) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  for (int i = 0; i < 200; ++i) open_watch(*local, std::to_string(i));
  EXPECT_EQ(links(), 1u);
  gate().release(200);
}

TEST_F(Http2Links, another_link_is_opened_at_the_proxys_limit_and_in_the_end_streams_wait) {
  start_lab();
  proxy().h2().settings.max_concurrent_streams = 2;
  write_credentials();
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  const auto local = connect_h2();
  std::vector<H2Client::StreamId> watches;
  for (int i = 0; i < 32; ++i) {
    watches.push_back(open_watch(*local, std::to_string(i)));
    EXPECT_EQ(links(), static_cast<std::size_t>(i / 2 + 1)) << "after watch " << i;
  }
  const auto waiting = local->send(h2_request("GET", "/bytes/5"));
  gate().release(1);
  EXPECT_EQ(local->finish(waiting).body, "abcde") << "served once a stream ended";
  EXPECT_EQ(links(), 16u);
  gate().release(31);
  for (const auto watch : watches) EXPECT_TRUE(local->finish(watch).ended);
}

TEST_F(Http2Links, refused_streams_are_sent_again_once) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  get_h2(*local, "/bytes/1");
  proxy().h2().refuse_streams(1);
  EXPECT_EQ(local->exchange(h2_request("POST", "/status/201?once", {}, "")).status, 201);
  proxy().h2().refuse_streams(2);
  const H2Response twice = local->exchange(h2_request("GET", "/bytes/3"));
  EXPECT_EQ(twice.close_code, h2::error_code::refused_stream) << twice.status;
  EXPECT_EQ(get_h2(*local, "/bytes/4").status, 200);
}

TEST_F(Http2Links, a_graceful_goaway_is_followed_without_a_failure) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto watch = open_watch(*local, "runs");
  ASSERT_EQ(proxy().h2().goaway({}), 1u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get_h2(*local, "/bytes/10").status, 200);
  EXPECT_EQ(links(), 2u);
  gate().release(1);
  const H2Response response = local->finish(watch);
  EXPECT_TRUE(response.ended) << "what ran goes on";
}

TEST_F(Http2Links, streams_above_a_goaways_last_are_sent_again) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  std::atomic<bool> once{true};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (!exchange.request.target.ends_with("/bytes/6") || !once.exchange(false))
      return lab::Verdict::pass;
    lab::H2GoAway last_word;
    last_word.kind = lab::H2GoAway::Kind::now;
    last_word.last_stream = 0;
    proxy().h2().goaway(last_word);
    return lab::Verdict::keep;
  });
  EXPECT_EQ(local->exchange(h2_request("POST", "/bytes/6")).status, 200);
}

TEST_F(Http2Links, a_lost_link_repeats_what_is_safe_and_tells_the_rest) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  get_h2(*local, "/bytes/1");
  const auto safe = local->send(h2_request("GET", "/watch?events=1&safe"));
  ASSERT_TRUE(local->wait_head(safe));
  std::atomic<int> attempts{0};
  proxy().on_request([&](lab::Exchange& exchange) {
    if (exchange.request.target.find("/lost") == std::string::npos) return lab::Verdict::pass;
    if (attempts++ % 2 == 0) return lab::Verdict::drop;
    exchange.stream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    return lab::Verdict::keep;
  });
  EXPECT_EQ(get_h2(*local, "/lost").body, "ok");
  EXPECT_EQ(attempts, 2);
  attempts = 0;
  const H2Response post = local->exchange(h2_request("POST", "/lost", {}, "data"));
  EXPECT_EQ(post.status, 503);
  EXPECT_NE(post.body.find("may or may not have been carried out"), std::string::npos) << post.body;
  EXPECT_EQ(attempts, 1);
}

TEST_F(Http2Links, a_watch_on_a_lost_link_ends_between_two_events) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto watch = local->send(h2_request("GET", "/watch?watch=1&events=3"));
  ASSERT_TRUE(local->wait_head(watch));
  gate().release(2);
  ASSERT_TRUE(local->wait(watch, [](const H2Response& response) {
    return std::count(response.body.begin(), response.body.end(), '\n') == 2;
  }));
  proxy().h2().drop();
  const H2Response response = local->finish(watch);
  EXPECT_TRUE(response.ended) << "client-go resumes after an end of stream";
  EXPECT_TRUE(response.body.ends_with("\n"));
}

TEST_F(Http2Links, a_list_on_a_lost_link_does_not_look_complete) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto list = h2_request("GET", "/bytes/50000000");
  list.paused = true;
  const auto stream = local->send(list);
  ASSERT_TRUE(local->wait_body(stream, 1));
  proxy().h2().drop(true);
  local->unpause(stream);
  const H2Response response = local->finish(stream);
  EXPECT_FALSE(response.ended);
  EXPECT_TRUE(response.reset.has_value());
}

TEST_F(Http2Links, a_dead_link_is_found_by_pings) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  get_h2(*local, "/bytes/1");
  proxy().h2().set_frozen(true);
  const auto stuck = local->send(h2_request("GET", "/bytes/2"));
  ASSERT_TRUE(kubelane().wait_for_line("the link to the Proxy is lost")) << "no ping found out";
  proxy().h2().set_frozen(false);
  const H2Response response = local->finish(stuck);
  EXPECT_EQ(response.status, 200) << "sent again on a new link: " << response.body;
}

TEST_F(Http2Links, an_idle_link_is_given_up_below_the_proxys_limit) {
  more_yaml += "timeouts: {upstream_idle: 300ms}\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  get_h2(*local, "/bytes/1");
  EXPECT_TRUE(proxy().wait_for(
      [](const lab::Observations& seen) { return seen.open_kube_connections() == 0; }));
  EXPECT_EQ(get_h2(*local, "/bytes/2").status, 200);
}

TEST_F(Http2Links, a_renewal_moves_new_streams_and_leaves_running_ones) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto watch = open_watch(*local, "old");
  const std::string old_serial = serial_of("&n=old");
  write_credentials();
  ASSERT_TRUE(eventually([&] {
    get_h2(*local, "/bytes/2");
    return serial_of("/bytes/2") != old_serial;
  }));
  EXPECT_EQ(links(), 2u);
  gate().release(1);
  EXPECT_TRUE(local->finish(watch).ended);
  EXPECT_TRUE(proxy().wait_for([](const lab::Observations& seen) {
    return seen.open_kube_connections() == 1;
  })) << "the old link ends with its last stream";
}

TEST_F(Http2Links, renewals_under_load_lose_no_request) {
  more_yaml = "workers: 2\n";
  ASSERT_NO_FATAL_FAILURE(start_http2());
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] {
      support::ClientOptions options;
      std::unique_ptr<H2Client> local;
      eventually([&] {
        try {
          local = connect_h2();
        } catch (const std::exception&) {
          return false;
        }
        return true;
      });
      while (!stop) {
        const bool upload = served % 5 == i;
        const H2Response response =
            upload ? local->exchange(h2_request("POST", "/echo", {}, lab::pattern_bytes(50'000)))
                   : get_h2(*local, "/bytes/100");
        if (response.status != 200 || !response.ended) ++failed;
        ++served;
      }
    });
  }
  for (int i = 0; i < 40; ++i) {
    const int before = served;
    const std::size_t lines = kubelane().error_lines().size();
    write_credentials();
    EXPECT_TRUE(kubelane().wait_for_line("new credentials", lines));
    eventually([&] { return served > before + 20; });
  }
  stop = true;
  for (auto& client_thread : clients) client_thread.join();
  EXPECT_EQ(failed, 0) << "of " << served;
  std::set<std::string> serials;
  for (const auto& request : proxy().seen().requests) serials.insert(request.client_serial);
  EXPECT_GT(serials.size(), 30u) << "the certificates changed while it ran";
}

TEST_F(Http2Links, a_proxy_that_stops_offering_http_2_is_followed) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  EXPECT_EQ(get_h2(*local, "/bytes/1").status, 200);
  proxy().offer_http2(false);
  proxy().h2().drop();
  ASSERT_TRUE(
      eventually([&] { return links() >= 1 && proxy().seen().open_kube_connections() == 0; }));
  // A client that follows RFC 9113: a refused stream was not processed, so it comes again.
  const H2Response response = get_h2(*local, "/bytes/2");
  EXPECT_EQ(response.close_code, h2::error_code::refused_stream) << response.status;
  EXPECT_TRUE(local->wait_goaway());
  EXPECT_EQ(get("/bytes/3").status, 200);
  support::ClientOptions both;
  both.ca_pem = endpoint().ca_pem;
  both.alpn = {"h2", "http/1.1"};
  EXPECT_EQ(support::TlsClient(endpoint().host, endpoint().port, both).alpn(), "http/1.1");
}

// Whoever runs on HTTP/1.1 goes on; no connection has to end for the news to be heard.
TEST_F(Http2Links, a_proxy_that_starts_offering_http_2_is_followed) {
  proxy_options.http2 = false;
  more_yaml = "workers: 2\ntimeouts: {credentials_poll: 200ms}\n";
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  std::vector<support::TlsClient> watchers;
  std::vector<support::Response> watches;
  for (int i = 0; i < 6; ++i) {
    watchers.push_back(connect());
    watchers.back().write(request("GET", "/watch?watch=1&events=2&old"));
    watches.push_back(watchers.back().read_response_head());
    EXPECT_EQ(watches.back().status, 200);
  }
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      try {
        support::TlsClient caller = connect();
        while (!stop) {
          caller.write(request("POST", "/echo", "Content-Length: 5\r\n", "hello"));
          const support::Response response = caller.read_response();
          if (response.status != 200 || response.body != "hello") ++failed;
          ++served;
        }
      } catch (const std::exception& error) {
        ++failed;
        ADD_FAILURE() << error.what();
      }
    });
  }
  support::ClientOptions both;
  both.ca_pem = endpoint().ca_pem;
  both.alpn = {"h2", "http/1.1"};
  // Held all at once, so that every worker gets some.
  const auto all_speak = [&](const std::string& protocol) {
    std::vector<support::TlsClient> probes;
    for (int i = 0; i < 8; ++i) {
      probes.emplace_back(endpoint().host, endpoint().port, both);
      if (probes.back().alpn() != protocol) return false;
    }
    return true;
  };
  EXPECT_TRUE(all_speak("http/1.1"));
  ASSERT_TRUE(eventually([&] { return served > 100; }));
  EXPECT_EQ(links(), 0u);
  proxy().offer_http2(true);
  EXPECT_TRUE(eventually([&] { return all_speak("h2"); }));
  // New streams over HTTP/2 all the way, for every worker.
  std::vector<std::unique_ptr<H2Client>> clients;
  std::vector<H2Client::StreamId> new_watches;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(connect_h2());
    const std::string target = "/bytes/" + std::to_string(100 + i);
    EXPECT_EQ(get_h2(*clients.back(), target).body, lab::pattern_bytes(100 + i));
    EXPECT_GT(arrived(target).h2.stream, 0) << target;
    new_watches.push_back(open_watch(*clients.back(), std::to_string(i)));
    EXPECT_GT(arrived("&n=" + std::to_string(i)).h2.stream, 0);
  }
  EXPECT_GE(links(), 1u);
  const int before = served;
  ASSERT_TRUE(eventually([&] { return served > before + 100; })) << "HTTP/1.1 goes on";
  stop = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(failed, 0) << "of " << served;
  // Watches of before, too: each gets its two events over the connection that it had.
  gate().release(1000);
  for (std::size_t i = 0; i < watchers.size(); ++i) {
    watchers[i].read_response_body(watches[i]);
    EXPECT_TRUE(watches[i].complete);
    EXPECT_EQ(std::count(watches[i].body.begin(), watches[i].body.end(), '\n'), 2);
  }
  for (std::size_t i = 0; i < clients.size(); ++i)
    EXPECT_TRUE(clients[i]->finish(new_watches[i]).ended);
}

TEST_F(Http2Links, many_first_requests_find_out_the_protocol_once) {
  start_lab();
  start_kubelane(default_config());
  write_credentials();
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  std::vector<std::thread> callers;
  for (int i = 0; i < 20; ++i)
    callers.emplace_back([&] { EXPECT_EQ(get("/bytes/1").status, 200); });
  for (auto& caller : callers) caller.join();
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  EXPECT_EQ(links(), 1u);
}

TEST_F(Http2Links, a_pinned_http_2_that_the_proxy_does_not_speak_is_told) {
  proxy_options.http2 = false;
  proxy_protocol = "http2";
  ASSERT_NO_FATAL_FAILURE(start());
  const H2Response response = get_h2(*connect_h2(), "/bytes/1");
  EXPECT_EQ(response.status, 502);
  EXPECT_NE(response.body.find("proxy_protocol"), std::string::npos) << response.body;
}

TEST_F(Http2Links, a_log_that_is_cut_short_does_not_look_complete) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  proxy().on_request([&](lab::Exchange& exchange) {
    if (exchange.request.target.find("/log?") == std::string::npos) return lab::Verdict::pass;
    exchange.stream.write(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n");
    return lab::Verdict::keep;  // incomplete: the lab resets the stream
  });
  const auto local = connect_h2();
  const H2Response log = get_h2(*local, "/api/v1/namespaces/a/pods/b/log?follow=true");
  EXPECT_EQ(log.status, 200);
  EXPECT_FALSE(log.ended) << "nobody asks for the rest of a log that seems to be over";
}

TEST_F(Http2Links, a_quiet_link_that_died_is_found_within_thirty_seconds) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  const auto watch = open_watch(*local, "quiet");
  proxy().h2().set_frozen(true);
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(local->wait(
      watch, [](const H2Response& response) { return response.closed; },
      std::chrono::seconds(120)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  EXPECT_GT(took.count(), 20) << "it was given time";
  RecordProperty("seconds", std::to_string(took.count()));
  proxy().h2().set_frozen(false);
}

TEST_F(Http2Links, drain_does_not_wait_for_a_proxy_that_takes_nothing) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  auto upload = h2_request("POST", "/echo");
  upload.keep_open = true;
  const auto stream = local->send(upload);
  local->write(stream, "x");
  ASSERT_TRUE(local->wait_body(stream, 1));
  proxy().h2().set_reading(false);
  local->write(stream, lab::pattern_bytes(8'000'000));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(local->ping());  // the pipes are full
  local->close();
  kubelane().signal(SIGTERM);
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

TEST_F(Http2Links, a_pinned_protocol_is_kept_to) {
  proxy_protocol = "http1";
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_EQ(get("/bytes/1").status, 200);
  EXPECT_EQ(links(), 0u);
  EXPECT_THROW(connect_h2(), std::runtime_error);
}

TEST_F(Http2Links, drain_finishes_streams_and_ends_watches_between_events) {
  ASSERT_NO_FATAL_FAILURE(start_http2());
  const auto local = connect_h2();
  std::vector<H2Client::StreamId> watches;
  for (int i = 0; i < 10; ++i) watches.push_back(open_watch(*local, std::to_string(i)));
  auto slow = h2_request("POST", "/echo");
  slow.keep_open = true;
  const auto stream = local->send(slow);
  local->write(stream, "one");
  ASSERT_TRUE(local->wait_body(stream, 3));
  kubelane().signal(SIGTERM);
  for (const auto watch : watches) EXPECT_TRUE(local->finish(watch).ended);
  ASSERT_TRUE(local->wait_goaway());
  local->write(stream, "two", true);
  EXPECT_EQ(local->finish(stream).body, "onetwo");
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

// The leak check of a sanitized build makes the exit status tell.
TEST_F(Http2Links, a_stop_while_a_link_is_dialled_leaves_nothing_behind) {
  start_lab();
  write_credentials();
  start_kubelane(default_config());
  ASSERT_NO_FATAL_FAILURE(wait_ready());
  ASSERT_TRUE(kubelane().wait_for_line("the Proxy's protocol"));
  const auto local = connect_h2();
  const auto watch = open_watch(*local, "runs");
  proxy().set_accept(lab::AcceptMode::silent);
  const std::size_t lines = kubelane().error_lines().size();
  write_credentials();  // the new identity's link meets a Proxy that says nothing
  ASSERT_TRUE(kubelane().wait_for_line("new credentials", lines));
  kubelane().signal(SIGTERM);
  local->cancel(watch);
  EXPECT_EQ(kubelane().wait_exit(), 0);
}

}  // namespace
