// A bot as tbot keeps it: joined by tbot's own request, stored in tbot's layout (control-plane spec
// 1.2, 2, 7). Written from the specification, without any of kubelane's code.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include <boost/json.hpp>
#include <openssl/sha.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/pki.hpp"
#include "tests/lab/proxy.hpp"
#include "tests/lab/public_key.hpp"
#include "tests/support/tls_client.hpp"

namespace support {

// Name and content of each artifact.
using TbotArtifacts = std::map<std::string, std::string>;

inline std::string sha256_hex(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string out;
  for (const unsigned char byte : digest) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

// Of a list in the answer: decoded, joined by `$`.
inline std::string joined_list(const boost::json::object& answer, const char* field) {
  std::string out;
  for (const boost::json::value& each : answer.at(field).as_array())
    out += (out.empty() ? "" : "$") + lab::from_base64(each.as_string()).value();
  return out;
}

// POST /v1/webapi/host/credentials with a secret token. Throws when it is refused.
inline TbotArtifacts join_as_tbot(lab::Proxy& proxy, const std::string& token,
                                  lab::KeyKind key_kind) {
  const lab::KeyPtr key = lab::make_key(key_kind);
  const std::string ssh_line = lab::ssh::line_from_wire(lab::ssh::wire_key(key)) + "\n";
  const std::string body = boost::json::serialize(
      boost::json::object{{"role", "Bot"},
                          {"token", token},
                          {"public_tls_key", lab::base64(lab::public_key_pem(key))},
                          {"public_ssh_key", lab::base64(ssh_line)}});
  ClientOptions options;
  options.ca_pem = proxy.web_ca_pem();
  TlsClient client("127.0.0.1", proxy.port(), options);
  client.write("POST /v1/webapi/host/credentials HTTP/1.1\r\nHost: " + proxy.address() +
               "\r\nContent-Type: application/json\r\nContent-Length: " +
               std::to_string(body.size()) + "\r\n\r\n" + body);
  const Response response = client.read_response();
  if (response.status != 200) throw std::runtime_error("the join got " + response.body);
  const boost::json::object answer = boost::json::parse(response.body).as_object();
  return {{"tlscert", lab::from_base64(answer.at("tls").as_string()).value()},
          {"key-cert.pub", lab::from_base64(answer.at("ssh").as_string()).value()},
          {"key", lab::key_pem(key)},
          {"key.pub", ssh_line},
          {"tlscacerts", joined_list(answer, "tls_ca_certs")},
          {"sshcacerts", joined_list(answer, "ssh_ca_certs")},
          {"tokenhash", sha256_hex(token)},
          {".write-test", ""}};
}

// The directory 0700, the files 0600, and the file of the lock.
inline void write_as_tbot(const std::filesystem::path& directory, const TbotArtifacts& artifacts) {
  namespace fs = std::filesystem;
  fs::create_directories(directory);
  fs::permissions(directory, fs::perms::owner_all);
  TbotArtifacts files = artifacts;
  files.emplace("lock", "");
  for (const auto& [name, content] : files) {
    std::ofstream(directory / name) << content;
    fs::permissions(directory / name, fs::perms::owner_read | fs::perms::owner_write);
  }
}

}  // namespace support
