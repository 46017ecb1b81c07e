// The TLS policy, seen in handshakes in memory: what is spoken, who is trusted, what is refused.
#include <array>
#include <cstring>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "tests/support/pki.hpp"
#include "tests/support/temp_directory.hpp"
#include "tls/context.hpp"
#include "tls/identity.hpp"
#include "tls/local_ca.hpp"

namespace kubelane::tls {
namespace {

using namespace kubelane_test;

const std::string cluster = "root.example.com";
const std::string kube_name = "kube-teleport-proxy-alpn.teleport.example.com";

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// Two TLS ends joined in memory. The handshake goes on through the tickets of TLS 1.3.
class Pair {
 public:
  Pair(SSL_CTX* client_context, SSL_CTX* server_context)
      : client(SSL_new(client_context)), server(SSL_new(server_context)) {
    BIO* one = nullptr;
    BIO* two = nullptr;
    require(BIO_new_bio_pair(&one, 65536, &two, 65536) == 1, "BIO pair");
    SSL_set_bio(client.get(), one, one);
    SSL_set_bio(server.get(), two, two);
    SSL_set_connect_state(client.get());
    SSL_set_accept_state(server.get());
  }

  // True when both ends are through, and the client's certificate is taken. The first error of
  // either end is in `error`.
  bool handshake() {
    for (int turn = 0; turn < 10; ++turn) {
      const bool client_done = advance(client.get());
      const bool server_done = advance(server.get());
      if (!error.empty()) return false;
      if (client_done && server_done) return exchange();
    }
    error = "it never ended";
    return false;
  }

  SslPtr client;
  SslPtr server;
  std::string error;

 private:
  bool advance(SSL* ssl) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl);
    if (result == 1) return true;
    note(ssl, result);
    return false;
  }
  void note(SSL* ssl, int result) {
    const int kind = SSL_get_error(ssl, result);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) return;
    const std::string text = drain_errors();
    if (error.empty()) error = text.empty() ? "closed" : text;
  }
  // One byte from the server: the client reads the tickets, or the alert, before it.
  bool exchange() {
    char byte = 0;
    if (SSL_write(server.get(), "x", 1) != 1) return false;
    const int result = SSL_read(client.get(), &byte, 1);
    if (result != 1) note(client.get(), result);
    return byte == 'x';
  }
};

// The Proxy's side, with no policy of ours.
ContextPtr proxy_context(const Issued& issued) {
  ContextPtr context(SSL_CTX_new(TLS_server_method()));
  require(SSL_CTX_use_certificate(context.get(), issued.certificate.get()) == 1 &&
              SSL_CTX_use_PrivateKey(context.get(), issued.key.get()) == 1,
          "proxy context");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  SSL_CTX_set_session_id_context(context.get(), reinterpret_cast<const unsigned char*>("t"), 1);
  return context;
}

// A client with no policy of ours, trusting `ca_pem`.
ContextPtr plain_client(const std::string& ca_pem) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(
      BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size())), BIO_free_all);
  const CertificatePtr ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

struct World {
  Issued host_ca = make_authority(cluster);
  Issued user_ca = make_authority(cluster);
  Issued client = issue_client(user_ca, cluster);
  std::string proxy_names = "DNS:*.teleport.example.com,DNS:teleport.example.com,IP:127.0.0.1";
  Issued proxy = issue_proxy(host_ca, proxy_names);

  IdentityPtr identity(const std::string& authorities) const {
    IdentityFiles files;
    files.certificate = client.pem();
    files.key = client.key_pem();
    files.host_ca = authorities;
    auto made = make_identity(std::move(files));
    require(made.has_value(), "identity");
    return *made;
  }
};
const World& world() {
  static const World made;
  return made;
}

// Empty when our client gets through to this server under this name.
std::string connect_error(const Identity& identity, const Issued& server,
                          const std::string& name = kube_name) {
  const ContextPtr context = proxy_context(server);
  Pair pair(identity.context.get(), context.get());
  require(set_expected_peer(pair.client.get(), name), "name");
  return pair.handshake() ? std::string() : pair.error;
}

TEST(UpstreamContext, VerifiesTheProxyAndSendsExactlyOneCertificate) {
  // Two roots, of which one also signs the client: the chain builder must not add it.
  const IdentityPtr identity = world().identity(world().host_ca.pem() + world().user_ca.pem());
  const ContextPtr context = proxy_context(world().proxy);
  Pair pair(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), kube_name));
  ASSERT_TRUE(pair.handshake()) << pair.error;
  const CertificatePtr got(SSL_get1_peer_certificate(pair.server.get()));
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(X509_cmp(got.get(), world().client.certificate.get()), 0);
  EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(pair.server.get())), 0);  // without the leaf
  EXPECT_STREQ(SSL_get_servername(pair.server.get(), TLSEXT_NAMETYPE_host_name), kube_name.c_str());
}

TEST(UpstreamContext, TrustsOnlyTheGivenAuthoritiesAndTheName) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  EXPECT_EQ(connect_error(*identity, world().proxy), "");
  EXPECT_EQ(connect_error(*identity, world().proxy, "teleport.example.com"), "");
  EXPECT_SAYS(connect_error(*identity, world().proxy, "other.example.com"),
              "certificate verify failed");
  EXPECT_SAYS(connect_error(*identity, world().proxy, "a.b.teleport.example.com"),
              "certificate verify failed");
  // Another user's certificate has serverAuth too; only its CA tells it apart.
  EXPECT_SAYS(connect_error(*identity, issue_proxy(world().user_ca, world().proxy_names)),
              "certificate verify failed");
  EXPECT_SAYS(connect_error(*identity,
                            issue_proxy(make_authority("leaf.example.com"), world().proxy_names)),
              "certificate verify failed");
  Shape expired;
  expired.names = world().proxy_names;
  expired.valid_from = -7200;
  expired.valid_until = -3600;
  EXPECT_SAYS(connect_error(*identity, issue(&world().host_ca, expired, make_ec_key())),
              "certificate verify failed");
  Shape client_only;
  client_only.names = world().proxy_names;
  client_only.extended_key_usage = "clientAuth";
  EXPECT_SAYS(connect_error(*identity, issue(&world().host_ca, client_only, make_ec_key())),
              "certificate verify failed");
}

TEST(UpstreamContext, FollowsARotationOfTheHostAuthority) {
  const Issued next_ca = make_authority(cluster, make_rsa_key());
  const Issued next_proxy = issue_proxy(next_ca, world().proxy_names, make_rsa_key());
  const IdentityPtr both = world().identity(next_ca.pem() + world().host_ca.pem());
  EXPECT_EQ(connect_error(*both, world().proxy), "");
  EXPECT_EQ(connect_error(*both, next_proxy), "");
  const IdentityPtr old = world().identity(world().host_ca.pem());
  EXPECT_NE(connect_error(*old, next_proxy), "");
}

TEST(UpstreamContext, VerifiesAnAddressAsAnAddressAndWithoutSni) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  const ContextPtr context = proxy_context(world().proxy);
  Pair pair(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), "127.0.0.1"));
  ASSERT_TRUE(pair.handshake()) << pair.error;
  EXPECT_EQ(SSL_get_servername(pair.server.get(), TLSEXT_NAMETYPE_host_name), nullptr);
  EXPECT_SAYS(connect_error(*identity, world().proxy, "127.0.0.2"), "certificate verify failed");
  EXPECT_SAYS(connect_error(*identity, world().proxy, "::1"), "certificate verify failed");
}

TEST(UpstreamContext, RefusesNamesThatWouldTurnVerificationOff) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  const SslPtr ssl(SSL_new(identity->context.get()));
  EXPECT_FALSE(set_expected_peer(ssl.get(), ""));
  EXPECT_FALSE(set_expected_peer(ssl.get(), std::string("teleport.example.com\0.evil", 26)));
}

TEST(UpstreamContext, OffersWhatTheConnectionAsksForAndNeedsTls12) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  const ContextPtr context = proxy_context(world().proxy);
  static std::string offered;
  offered.clear();
  SSL_CTX_set_alpn_select_cb(
      context.get(),
      [](SSL*, const unsigned char** out, unsigned char* length, const unsigned char* in,
         unsigned int in_length, void*) {
        offered.assign(reinterpret_cast<const char*>(in), in_length);
        *out = in + 1;
        *length = in[0];
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  Pair pair(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), kube_name));
  ASSERT_TRUE(offer_protocols(pair.client.get(), false, true));
  ASSERT_TRUE(pair.handshake()) << pair.error;
  EXPECT_EQ(offered, "\x08http/1.1");
  EXPECT_FALSE(chose_http2(pair.client.get()));
  Pair both(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(both.client.get(), kube_name));
  ASSERT_TRUE(offer_protocols(both.client.get(), true, true));
  ASSERT_TRUE(both.handshake()) << both.error;
  EXPECT_EQ(offered, "\x02h2\x08http/1.1");
  EXPECT_TRUE(chose_http2(both.client.get()));
  EXPECT_EQ(SSL_version(pair.client.get()), TLS1_3_VERSION);

  const ContextPtr legacy = proxy_context(world().proxy);
  SSL_CTX_set_security_level(legacy.get(), 0);
  SSL_CTX_set_min_proto_version(legacy.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(legacy.get(), TLS1_1_VERSION);
  Pair too_old(identity->context.get(), legacy.get());
  EXPECT_FALSE(too_old.handshake());
}

TEST(UpstreamContext, SpeaksOnlyForwardSecretAeadInTls12) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  const ContextPtr context = proxy_context(world().proxy);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  Pair pair(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), kube_name));
  ASSERT_TRUE(pair.handshake()) << pair.error;
  const SSL_CIPHER* cipher = SSL_get_current_cipher(pair.client.get());
  EXPECT_TRUE(SSL_CIPHER_is_aead(cipher));
  EXPECT_EQ(SSL_CIPHER_get_kx_nid(cipher), NID_kx_ecdhe);

  for (const char* weak : {"ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA"}) {
    ASSERT_EQ(SSL_CTX_set_cipher_list(context.get(), weak), 1);
    Pair refused(identity->context.get(), context.get());
    EXPECT_FALSE(refused.handshake()) << weak;
  }
}

TEST(UpstreamContext, PrefersAes128WhereTheCpuHasAes) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("aes")) GTEST_SKIP() << "this CPU has no AES instructions";
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const ContextPtr context = proxy_context(world().proxy);
    SSL_CTX_set_max_proto_version(context.get(), version);
    Pair pair(identity->context.get(), context.get());
    ASSERT_TRUE(set_expected_peer(pair.client.get(), kube_name));
    ASSERT_TRUE(pair.handshake()) << pair.error;
    const std::string name = SSL_get_cipher_name(pair.client.get());
    EXPECT_SAYS(name, version == TLS1_3_VERSION ? "AES_128_GCM" : "AES128-GCM");
  }
#else
  GTEST_SKIP() << "written for x86-64";
#endif
}

TEST(UpstreamContext, ShowsATruncatedStreamAsAnError) {
  const IdentityPtr identity = world().identity(world().host_ca.pem());
  const ContextPtr context = proxy_context(world().proxy);
  Pair pair(identity->context.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), kube_name));
  ASSERT_TRUE(pair.handshake()) << pair.error;
  BIO_shutdown_wr(SSL_get_wbio(pair.server.get()));  // the end, without close_notify
  char byte = 0;
  const int result = SSL_read(pair.client.get(), &byte, 1);
  EXPECT_EQ(SSL_get_error(pair.client.get(), result), SSL_ERROR_SSL);
  EXPECT_SAYS(drain_errors(), "unexpected eof");
}

class LocalContext : public testing::Test {
 protected:
  static const LocalTrust& trust() {
    static const LocalTrust made = *open_local_trust({});
    return made;
  }
  static ContextPtr server(const std::string& client_ca = {}) {
    const LeafPem leaf = *issue_server_leaf(trust(), {});
    auto made = make_local_context(leaf.certificate + trust().ca_certificate, leaf.key, client_ca);
    require(made.has_value(), "local context");
    return std::move(*made);
  }
  static void use(SSL_CTX* context, const LeafPem& leaf) {
    const auto bio = [](const std::string& text) {
      return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    };
    const CertificatePtr certificate(
        PEM_read_bio_X509(bio(leaf.certificate).get(), nullptr, nullptr, nullptr));
    const KeyPtr key(PEM_read_bio_PrivateKey(bio(leaf.key).get(), nullptr, nullptr, nullptr));
    require(SSL_CTX_use_certificate(context, certificate.get()) == 1 &&
                SSL_CTX_use_PrivateKey(context, key.get()) == 1,
            "client certificate");
  }
};

TEST_F(LocalContext, ServesAClientThatTrustsTheLocalCa) {
  const ContextPtr context = server();
  const ContextPtr client = plain_client(trust().ca_certificate);
  for (const char* name : {"localhost", "127.0.0.1", "::1"}) {
    Pair pair(client.get(), context.get());
    ASSERT_TRUE(set_expected_peer(pair.client.get(), name));
    EXPECT_TRUE(pair.handshake()) << name << ": " << pair.error;
    EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(pair.client.get())), 2);
  }
  Pair pair(client.get(), context.get());
  ASSERT_TRUE(set_expected_peer(pair.client.get(), "other.example.com"));
  EXPECT_FALSE(pair.handshake());
}

TEST_F(LocalContext, PicksHttp11AndRefusesClientsThatOfferOnlyOthers) {
  const ContextPtr context = server();
  const auto picked = [&](std::string offered, std::string& error) -> std::string {
    const ContextPtr client = plain_client(trust().ca_certificate);
    if (!offered.empty())
      SSL_CTX_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>(offered.data()),
                              static_cast<unsigned>(offered.size()));
    Pair pair(client.get(), context.get());
    if (!pair.handshake()) error = pair.error;
    const unsigned char* name = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(pair.client.get(), &name, &length);
    return {reinterpret_cast<const char*>(name), length};
  };
  std::string error;
  EXPECT_EQ(picked("\x02h2\x08http/1.1", error), "http/1.1");
  EXPECT_EQ(picked("\x08http/1.1", error), "http/1.1");
  EXPECT_EQ(picked("", error), "");
  EXPECT_EQ(error, "");
  EXPECT_EQ(picked("\x02h2\x08http/1.0", error), "");
  EXPECT_SAYS(error, "no application protocol");
}

TEST_F(LocalContext, ResumesWithOneTicketPerConnection) {
  const ContextPtr context = server();
  const ContextPtr client = plain_client(trust().ca_certificate);
  static int tickets;
  static SessionPtr session;
  tickets = 0;
  SSL_CTX_set_session_cache_mode(client.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(client.get(), [](SSL*, SSL_SESSION* fresh) {
    ++tickets;
    session.reset(fresh);
    return 1;
  });
  {
    Pair first(client.get(), context.get());
    ASSERT_TRUE(first.handshake()) << first.error;
    SSL_shutdown(first.client.get());  // OpenSSL spoils the ticket of a connection left open
  }
  EXPECT_EQ(tickets, 1);
  Pair second(client.get(), context.get());
  ASSERT_EQ(SSL_set_session(second.client.get(), session.get()), 1);
  ASSERT_TRUE(second.handshake()) << second.error;
  EXPECT_EQ(SSL_session_reused(second.server.get()), 1);
  // Another certificate, another context: no ticket of the first is taken.
  const ContextPtr renewed = server();
  Pair third(client.get(), renewed.get());
  ASSERT_EQ(SSL_set_session(third.client.get(), session.get()), 1);
  ASSERT_TRUE(third.handshake()) << third.error;
  EXPECT_EQ(SSL_session_reused(third.server.get()), 0);
  session.reset();
}

TEST_F(LocalContext, MutualTlsTakesTheInstallationsClientOnly) {
  const ContextPtr context = server(trust().ca_certificate);
  const auto attempt = [&](const LeafPem* leaf) {
    const ContextPtr client = plain_client(trust().ca_certificate);
    if (leaf != nullptr) use(client.get(), *leaf);
    Pair pair(client.get(), context.get());
    return pair.handshake() ? std::string() : pair.error;
  };
  const LeafPem good = *issue_client_leaf(trust());
  EXPECT_EQ(attempt(&good), "");
  EXPECT_SAYS(attempt(nullptr), "peer did not return a certificate");
  const LeafPem server_leaf = *issue_server_leaf(trust(), {});
  EXPECT_SAYS(attempt(&server_leaf), "certificate verify failed");
  const LocalTrust other = *open_local_trust({});
  const LeafPem foreign = *issue_client_leaf(other);
  EXPECT_SAYS(attempt(&foreign), "certificate verify failed");
}

TEST_F(LocalContext, MutualTlsNamesItsAuthorityToTheClient) {
  const ContextPtr context = server(trust().ca_certificate);
  const ContextPtr client = plain_client(trust().ca_certificate);
  use(client.get(), *issue_client_leaf(trust()));
  Pair pair(client.get(), context.get());
  ASSERT_TRUE(pair.handshake()) << pair.error;
  const STACK_OF(X509_NAME)* names = SSL_get_client_CA_list(pair.client.get());
  ASSERT_EQ(sk_X509_NAME_num(names), 1);
  EXPECT_EQ(X509_NAME_cmp(sk_X509_NAME_value(names, 0),
                          X509_get_issuer_name(SSL_get_certificate(pair.client.get()))),
            0);
}

TEST_F(LocalContext, FailsOnDamagedOrMismatchedMaterial) {
  const LeafPem one = *issue_server_leaf(trust(), {});
  const LeafPem two = *issue_server_leaf(trust(), {});
  EXPECT_TRUE(make_local_context(one.certificate, one.key, {}));
  EXPECT_FALSE(make_local_context(one.certificate, two.key, {}));
  EXPECT_FALSE(make_local_context({}, one.key, {}));
  EXPECT_FALSE(make_local_context(one.certificate, {}, {}));
  EXPECT_FALSE(make_local_context(one.certificate.substr(0, 200), one.key, {}));
  EXPECT_FALSE(
      make_local_context(one.certificate + trust().ca_certificate.substr(0, 200), one.key, {}));
  EXPECT_FALSE(make_local_context(one.certificate, one.key, "no certificate"));
}

TEST(WebContext, VerifiesWithTheGivenFileAloneUnlessInsecure) {
  const Issued web_ca = make_authority("web CA");
  const Issued web = issue_proxy(web_ca, "DNS:teleport.example.com");
  const support::TempDirectory directory;
  const std::string file = (directory.path() / "ca.pem").string();
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> out(BIO_new_file(file.c_str(), "w"),
                                                          BIO_free_all);
  PEM_write_bio_X509(out.get(), web_ca.certificate.get());
  BIO_flush(out.get());
  const ContextPtr server = proxy_context(web);
  const auto reaches = [&](const std::string& ca_file, bool insecure, const std::string& name) {
    const auto client = make_web_context(ca_file, insecure);
    require(client.has_value(), "web context");
    Pair pair(client->get(), server.get());
    require(set_expected_peer(pair.client.get(), name), "name");
    return pair.handshake();
  };
  EXPECT_TRUE(reaches(file, false, "teleport.example.com"));
  EXPECT_FALSE(reaches(file, false, "other.example.com"));
  EXPECT_FALSE(reaches("", false, "teleport.example.com"));
  EXPECT_TRUE(reaches("", true, "other.example.com"));

  const auto missing = make_web_context((directory.path() / "none.pem").string(), false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::config);
  EXPECT_SAYS(missing.error().message, "none.pem");
}

}  // namespace
}  // namespace kubelane::tls
