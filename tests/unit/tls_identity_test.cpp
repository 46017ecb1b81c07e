// Identities from tbot's files: whatever moment of tbot's writing they show, the result is a whole,
// matching identity or a Failure.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/pki.hpp"
#include "tls/identity.hpp"

namespace kubelane::tls {
namespace {

using namespace kubelane_test;

const std::string cluster = "root.example.com";

// One bot of one cluster, made once: keys are slow to make under a sanitizer.
struct Bot {
  Issued host_ca = make_authority(cluster);
  Issued user_ca = make_authority(cluster);
  Issued leaf_ca = make_authority("leaf.example.com");
  Issued client = issue_client(user_ca, cluster);
  Issued renewed = issue_client(user_ca, cluster);

  std::string whole() const {
    return identity_file(client.key_pem(), client.pem(), leaf_ca.pem() + host_ca.pem());
  }
};
const Bot& bot() {
  static const Bot made;
  return made;
}

IdentityFiles files_of(const Issued& client, const std::string& authorities) {
  IdentityFiles files;
  files.certificate = client.pem();
  files.key = client.key_pem();
  files.host_ca = authorities;
  return files;
}

IdentityFiles only_identity(std::string text) {
  IdentityFiles files;
  files.identity = std::move(text);
  return files;
}

std::string refusal(IdentityFiles files) {
  const Outcome<IdentityPtr> made = make_identity(std::move(files));
  if (made) return "an identity was made";
  EXPECT_EQ(made.error().code, Code::io);
  return made.error().message;
}

bool uses(const Identity& identity, const Issued& issued) {
  return X509_cmp(SSL_CTX_get0_certificate(identity.context.get()), issued.certificate.get()) ==
             0 &&
         SSL_CTX_check_private_key(identity.context.get()) == 1;
}

std::size_t roots(const Identity& identity) {
  return static_cast<std::size_t>(
      sk_X509_OBJECT_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(identity.context.get()))));
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(Identity, ReadsWhatTheCertificateSays) {
  const auto made = make_identity(only_identity(bot().whole()));
  ASSERT_TRUE(made) << made.error().message;
  const Identity& identity = **made;
  EXPECT_TRUE(uses(identity, bot().client));
  EXPECT_EQ(identity.user, "bot-ci");
  EXPECT_EQ(identity.bot_name, "ci");
  EXPECT_EQ(identity.teleport_cluster, cluster);
  EXPECT_EQ(identity.route_to_cluster, cluster);
  EXPECT_EQ(identity.kubernetes_cluster, "prod");
  EXPECT_EQ(identity.pinned_ip, "");
  EXPECT_EQ(identity.fingerprint.size(), 64u);
  EXPECT_EQ(identity.serial.size(), 30u);
  using std::chrono::seconds;
  EXPECT_EQ(identity.not_after - identity.not_before, seconds(3660));
}

TEST(Identity, FailsWithoutAnyFile) { EXPECT_SAYS(refusal({}), "no credentials"); }

TEST(Identity, TornIdentityFileIsNeverAWrongIdentity) {
  const std::string whole = bot().whole();
  std::size_t usable_from = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto made = make_identity(only_identity(whole.substr(0, length)));
    if (made) {
      // The host CA stands last: nothing is missing but the file's last line feed.
      EXPECT_EQ(length + 1, whole.size());
      EXPECT_TRUE(uses(**made, bot().client));
      usable_from = length;
    } else {
      EXPECT_EQ(made.error().code, Code::io);
    }
  }
  EXPECT_EQ(usable_from + 1, whole.size());
}

TEST(Identity, TornIdentityFileFallsBackToTheSeparateFiles) {
  const std::string whole =
      identity_file(bot().renewed.key_pem(), bot().renewed.pem(), bot().host_ca.pem());
  const std::size_t certificate_end = whole.find("-----END CERTIFICATE-----") + 25;
  for (std::size_t length = 0; length <= whole.size(); length += 7) {
    IdentityFiles files = files_of(bot().client, bot().host_ca.pem());
    files.identity = whole.substr(0, length);
    const auto made = make_identity(std::move(files));
    ASSERT_TRUE(made) << length << ": " << made.error().message;
    // The new pair as soon as it is whole, the old one before: never a mixture.
    EXPECT_TRUE(uses(**made, bot().client) || uses(**made, bot().renewed)) << length;
    if (length < certificate_end) {
      EXPECT_TRUE(uses(**made, bot().client)) << length;
    }
  }
}

TEST(Identity, TornSeparateFilesAreIncomplete) {
  const IdentityFiles good = files_of(bot().client, bot().host_ca.pem());
  for (std::string IdentityFiles::*member :
       {&IdentityFiles::certificate, &IdentityFiles::key, &IdentityFiles::host_ca}) {
    const std::string& whole = good.*member;
    for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
      IdentityFiles files = good;
      files.*member = whole.substr(0, length);
      EXPECT_SAYS(refusal(std::move(files)), "incomplete");
    }
  }
}

TEST(Identity, NewCertificateWithOldKeyIsRefused) {
  IdentityFiles files = files_of(bot().renewed, bot().host_ca.pem());
  files.key = bot().client.key_pem();
  EXPECT_SAYS(refusal(files), "does not belong");
  files.identity = bot().whole();
  const auto made = make_identity(std::move(files));
  ASSERT_TRUE(made);
  EXPECT_TRUE(uses(**made, bot().client));
}

TEST(Identity, MismatchInsideTheIdentityFileIsRefused) {
  EXPECT_SAYS(refusal(only_identity(
                  identity_file(bot().client.key_pem(), bot().renewed.pem(), bot().host_ca.pem()))),
              "does not belong");
}

TEST(Identity, IdentityFileWinsOverTheSeparateFiles) {
  IdentityFiles files = files_of(bot().renewed, bot().host_ca.pem());
  files.identity = bot().whole();
  const auto made = make_identity(std::move(files));
  ASSERT_TRUE(made);
  EXPECT_TRUE(uses(**made, bot().client));
}

TEST(Identity, TakesEveryKeyKindAndFormat) {
  const Key keys[] = {make_ec_key(), make_rsa_key(), make_ed25519_key()};
  for (const Key& key : keys) {
    const Issued client = issue_client(bot().user_ca, cluster, key);
    std::vector<KeyFormat> formats{KeyFormat::pkcs8};
    if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519)
      formats.push_back(KeyFormat::traditional);
    for (const KeyFormat format : formats) {
      const std::string key_text = pem(key, format);
      const auto made =
          make_identity(only_identity(identity_file(key_text, client.pem(), bot().host_ca.pem())));
      ASSERT_TRUE(made) << key_text.substr(0, 30) << made.error().message;
      EXPECT_TRUE(uses(**made, client));
    }
  }
}

TEST(Identity, RefusesEncryptedKeysWithoutAsking) {
  for (const KeyFormat format : {KeyFormat::encrypted_pkcs8, KeyFormat::encrypted_traditional}) {
    IdentityFiles files = files_of(bot().client, bot().host_ca.pem());
    files.key = pem(bot().client.key, format);
    EXPECT_SAYS(refusal(std::move(files)), "encrypted");
  }
}

TEST(Identity, RefusesKeysOfOtherKindsAndLabels) {
  IdentityFiles files = files_of(bot().client, bot().host_ca.pem());
  files.key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
  EXPECT_SAYS(refusal(files), "format");
  const Key x25519 = own(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"));
  files.key = pem(x25519);
  EXPECT_SAYS(refusal(files), "neither RSA");
}

TEST(Identity, TrustsEveryRootOfTheClusterDuringRotation) {
  const Issued next_ca = make_authority(cluster);
  const std::string both = bot().host_ca.pem() + next_ca.pem();
  const auto made = make_identity(files_of(bot().client, both));
  ASSERT_TRUE(made);
  EXPECT_EQ(roots(**made), 2u);
  ASSERT_EQ((*made)->ca_subjects.size(), 2u);
  EXPECT_NE((*made)->ca_subjects[0], (*made)->ca_subjects[1]);

  // One from each file, the common one once.
  IdentityFiles files =
      only_identity(identity_file(bot().client.key_pem(), bot().client.pem(), bot().host_ca.pem()));
  files.host_ca = both;
  const auto united = make_identity(std::move(files));
  ASSERT_TRUE(united);
  EXPECT_EQ(roots(**united), 2u);
  EXPECT_EQ((*united)->fingerprint, (*made)->fingerprint);
}

TEST(Identity, TornAuthorityFileIsMadeUpForByTheIdentityFile) {
  const std::string half = bot().host_ca.pem() + make_authority(cluster).pem().substr(0, 100);
  EXPECT_SAYS(refusal(files_of(bot().client, half)), "incomplete");
  IdentityFiles files = only_identity(bot().whole());
  files.host_ca = half;
  const auto made = make_identity(std::move(files));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(roots(**made), 1u);
}

TEST(Identity, LeavesLeafClustersAndNonAuthoritiesOut) {
  const Issued impostor = issue_client(bot().user_ca, cluster);
  Shape named_like_the_root = client_shape(cluster);
  named_like_the_root.subject = {{oid_common_name, cluster}};
  const Issued no_ca = issue(&bot().user_ca, named_like_the_root, make_ec_key());
  const auto made = make_identity(files_of(
      bot().client, bot().leaf_ca.pem() + no_ca.pem() + impostor.pem() + bot().host_ca.pem()));
  ASSERT_TRUE(made);
  EXPECT_EQ(roots(**made), 1u);
  EXPECT_SAYS(refusal(files_of(bot().client, bot().leaf_ca.pem() + no_ca.pem())), "no host CA");
}

TEST(Identity, ToleratesOrderLineEndsIndentAndTheMissingLastLineFeed) {
  const std::string reordered =
      bot().client.pem() + "a comment\n\n" + bot().host_ca.pem() + bot().client.key_pem();
  ASSERT_TRUE(make_identity(only_identity(reordered)));
  EXPECT_TRUE(make_identity(only_identity(reordered.substr(0, reordered.size() - 1))));
  std::string crlf;
  std::string indented;
  bool line_start = true;
  for (const char c : bot().whole()) {
    if (line_start) indented += " \t";
    line_start = c == '\n';
    if (c == '\n') crlf += '\r';
    crlf += c;
    indented += c;
  }
  for (const std::string& text : {crlf, indented}) {
    const auto made = make_identity(only_identity(text));
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_TRUE(uses(**made, bot().client));
  }
}

TEST(Identity, ReadsAttributesOfAnyStringType) {
  Shape shape = client_shape(cluster);
  shape.subject = {{oid_common_name, "bot-ci", V_ASN1_PRINTABLESTRING},
                   {oid_kubernetes_cluster, "arn:aws:eks/pröd", V_ASN1_UTF8STRING},
                   {oid_teleport_cluster, cluster, V_ASN1_IA5STRING},
                   {oid_bot_name, std::string("\0c\0i", 4), V_ASN1_BMPSTRING},
                   {oid_pinned_ip, "192.0.2.7", V_ASN1_T61STRING}};
  const auto made =
      make_identity(files_of(issue(&bot().user_ca, shape, make_ec_key()), bot().host_ca.pem()));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ((*made)->kubernetes_cluster, "arn:aws:eks/pröd");
  EXPECT_EQ((*made)->teleport_cluster, cluster);
  EXPECT_EQ((*made)->bot_name, "ci");
  EXPECT_EQ((*made)->pinned_ip, "192.0.2.7");
  EXPECT_EQ((*made)->route_to_cluster, "");
}

TEST(Identity, TakesTheClusterFromTheIssuerWhenTheSubjectNamesNone) {
  Shape shape = client_shape(cluster);
  std::erase_if(shape.subject, [](const Attribute& a) { return a.oid == oid_teleport_cluster; });
  std::erase_if(shape.subject, [](const Attribute& a) { return a.oid == oid_kubernetes_cluster; });
  const auto made =
      make_identity(files_of(issue(&bot().user_ca, shape, make_ec_key()), bot().host_ca.pem()));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ((*made)->teleport_cluster, cluster);
  EXPECT_EQ((*made)->kubernetes_cluster, "");
}

TEST(Identity, RefusesWhatIsNoOutputCertificate) {
  const auto refusal_of = [](const Issued& client) {
    return refusal(files_of(client, bot().host_ca.pem()));
  };
  EXPECT_SAYS(refusal_of(bot().host_ca), "not a leaf");

  Shape renewable = client_shape(cluster);
  renewable.subject.push_back({oid_renewable, "true"});
  EXPECT_SAYS(refusal_of(issue(&bot().user_ca, renewable, make_ec_key())), "renewable");

  Shape foreign;
  foreign.subject = {{oid_common_name, "someone"}};
  EXPECT_SAYS(refusal_of(issue(nullptr, foreign, make_ec_key())), "no Teleport cluster");

  Shape control = client_shape(cluster);
  control.subject.push_back({oid_pinned_ip, "1.2.3.4\nx"});
  EXPECT_SAYS(refusal_of(issue(&bot().user_ca, control, make_ec_key())), "control characters");
}

TEST(Identity, ReturnsAnExpiredCertificateAsItIs) {
  Shape shape = client_shape(cluster);
  shape.valid_from = -7200;
  shape.valid_until = -3600;
  const auto made =
      make_identity(files_of(issue(&bot().user_ca, shape, make_ec_key()), bot().host_ca.pem()));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_LT((*made)->not_after, std::chrono::system_clock::now());
}

TEST(Identity, FingerprintFollowsCertificateAndAuthorities) {
  const auto print = [](const Issued& client, const std::string& authorities) {
    return (*make_identity(files_of(client, authorities)))->fingerprint;
  };
  const std::string one = bot().host_ca.pem();
  const std::string two = make_authority(cluster).pem();
  const std::string before = print(bot().client, one);
  EXPECT_EQ(before, print(bot().client, one + bot().leaf_ca.pem() + one));
  EXPECT_NE(before, print(bot().renewed, one));
  EXPECT_NE(before, print(bot().client, one + two));
  EXPECT_EQ(print(bot().client, one + two), print(bot().client, two + one));
}

TEST(Identity, BoundsTheSizeOfFilesAndTheNumberOfAuthorities) {
  IdentityFiles large = files_of(bot().client, bot().host_ca.pem());
  large.host_ca.resize((1 << 20) + 1, '\n');
  EXPECT_SAYS(refusal(std::move(large)), "larger than 1 MiB");

  IdentityFiles many = files_of(bot().client, bot().host_ca.pem());
  for (int i = 0; i < 512; ++i)
    many.host_ca += "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
  EXPECT_SAYS(refusal(std::move(many)), "more than 512");
}

TEST(Identity, NeverShowsTheKeyInAMessage) {
  IdentityFiles files = files_of(bot().renewed, bot().host_ca.pem());
  files.key = bot().client.key_pem();
  const std::string secret_line = files.key.substr(files.key.find('\n') + 1, 20);
  EXPECT_EQ(refusal(std::move(files)).find(secret_line), std::string::npos);
}

}  // namespace
}  // namespace kubelane::tls
