// tbot's files at any moment: whatever they hold, make_identity() gives a whole, matching identity
// of a known cluster, or a Failure without any of the key's bytes. Input: with 0xff first, the rest
// edits good files, step by step; otherwise it is `identity`, `tlscert`, `key` and
// `teleport-host-ca.crt`, separated by NULs.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/pki.hpp"
#include "tls/identity.hpp"

namespace {

using namespace kubelane::tls;
using kubelane::fuzz::require;

const std::string cluster = "root.example.com";

// Two bots, so that their files can be mixed. Made once.
struct Material {
  kubelane_test::Issued host_ca = kubelane_test::make_authority(cluster);
  kubelane_test::Issued user_ca = kubelane_test::make_authority(cluster);
  std::array<kubelane_test::Issued, 2> clients{kubelane_test::issue_client(user_ca, cluster),
                                               kubelane_test::issue_client(user_ca, cluster)};
  std::array<IdentityFiles, 2> files{whole(0), whole(1)};

  IdentityFiles whole(std::size_t which) const {
    const kubelane_test::Issued& client = clients.at(which);
    IdentityFiles made;
    made.identity = kubelane_test::identity_file(client.key_pem(), client.pem(), host_ca.pem());
    made.certificate = client.pem();
    made.key = client.key_pem();
    made.host_ca = host_ca.pem();
    return made;
  }
};

const Material& material() {
  static const Material made;
  return made;
}

constexpr std::array<std::string IdentityFiles::*, 4> members{
    &IdentityFiles::identity, &IdentityFiles::certificate, &IdentityFiles::key,
    &IdentityFiles::host_ca};

IdentityFiles raw(std::string_view input) {
  IdentityFiles files;
  for (const auto member : members) {
    const std::size_t end = input.find('\0');
    files.*member = input.substr(0, end);
    input.remove_prefix(end == input.npos ? input.size() : end + 1);
  }
  return files;
}

// Steps of four bytes: what to do with which file, where (two bytes), with which value.
IdentityFiles edited(std::string_view script) {
  IdentityFiles files = material().files[0];
  for (; script.size() >= 4; script.remove_prefix(4)) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(script[i]); };
    std::string& text = files.*members.at(byte(0) & 3u);
    const std::string& other = material().files[1].*members.at((byte(0) >> 2) & 3u);
    const std::size_t at = (byte(1) * 256u + byte(2)) % (text.size() + 1);
    switch ((byte(0) >> 4) & 7u) {
      case 0:  // torn
        text.resize(at);
        break;
      case 1:  // another bot's file
        text = other;
        break;
      case 2:  // the front of ours, the rest of the other's: a read across two writings
        text = text.substr(0, at) + (at < other.size() ? other.substr(at) : std::string());
        break;
      case 3:
        if (at < text.size()) text[at] = script[3];
        break;
      case 4:
        text.erase(at, byte(3));
        break;
      case 5:
        text.insert(at, 1, script[3]);
        break;
      case 6:
        if (text.size() < 100'000) text.insert(at, other);
        break;
      default:
        std::rotate(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), text.end());
        break;
    }
  }
  return files;
}

// A line of a key's base64; empty when there is none to look for.
std::string secret_of(const std::string& key) {
  const std::size_t line = key.find('\n');
  constexpr std::size_t enough = 24;
  return line == key.npos || key.size() < line + 1 + enough ? std::string()
                                                            : key.substr(line + 1, enough);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const bool script = input.starts_with('\xff');
  const std::string secret = script ? secret_of(material().files[0].key) : std::string();
  const auto made = make_identity(script ? edited(input.substr(1)) : raw(input));
  if (!made) {
    require(!made.error().message.empty(), "a refusal has a reason");
    require(secret.empty() || made.error().message.find(secret) == std::string::npos,
            "no key in a message");
    return 0;
  }
  const Identity& identity = **made;
  require(SSL_CTX_check_private_key(identity.context.get()) == 1, "the key matches");
  require(!identity.teleport_cluster.empty(), "a cluster has a name");
  require(!identity.ca_subjects.empty(), "there is a root");
  require(identity.fingerprint.size() == 64, "a fingerprint is a SHA-256");
  return 0;
}
