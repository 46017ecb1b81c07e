#include "tests/support/key_hunt.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <unistd.h>

namespace support {
namespace {

constexpr std::size_t kScalarBytes = 32;
// In front of the scalar's octets in SEC1 and PKCS#8: version 1, then an octet string of 32 bytes.
constexpr std::string_view kOctetsMark("\x02\x01\x01\x04\x20", 5);
constexpr std::string_view kPemMark = "PRIVATE KEY-----";
// As the same bytes look in base64, by their place in the text: PKCS#8, SEC1.
constexpr std::array<std::string_view, 2> kBase64Marks{"BG0wawIBAQQg", "MHcCAQEEI"};

std::string hex_x(BIGNUM* x) {
  std::array<std::uint8_t, kScalarBytes> bytes{};
  BN_bn2binpad(x, bytes.data(), kScalarBytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A random word has none of these looks but for one in some ten thousand: a small number, a
// pointer, text.
bool looks_random(std::uint64_t word) {
  if (word >> 48 == 0 || word >> 48 == 0xffff) return false;
  bool text = true;
  for (int i = 0; i < 8; ++i) {
    const auto byte = static_cast<unsigned char>(word >> (8 * i));
    text = text && (std::isprint(byte) != 0 || std::isspace(byte) != 0);
  }
  return !text;
}

std::string decoded(std::string_view base64) {
  std::string out;
  std::uint32_t bits = 0;
  int have = 0;
  for (const char c : base64) {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t value = alphabet.find(c);
    if (c == '\n' || c == '\r') continue;
    if (value == alphabet.npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out += static_cast<char>(bits >> have & 0xffu);
  }
  return out;
}

}  // namespace

KeyHunt::KeyHunt(const std::vector<lab::KeyPtr>& keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (EVP_PKEY_get_base_id(keys[i].get()) == EVP_PKEY_RSA) {
      take_rsa(keys[i], i);
      continue;
    }
    BIGNUM* x = nullptr;
    if (EVP_PKEY_get_bn_param(keys[i].get(), OSSL_PKEY_PARAM_EC_PUB_X, &x) != 1)
      throw std::runtime_error("only RSA and P-256 keys can be hunted");
    hunted_[hex_x(x)] = i;
    BN_free(x);
  }
}

// A part from the middle of each private number, as a number and as octets: no header and no end
// of a buffer hides it.
void KeyHunt::take_rsa(const lab::KeyPtr& key, std::size_t index) {
  for (const char* name : {OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
                           OSSL_PKEY_PARAM_RSA_FACTOR2, OSSL_PKEY_PARAM_RSA_EXPONENT1}) {
    BIGNUM* number = nullptr;
    if (EVP_PKEY_get_bn_param(key.get(), name, &number) != 1)
      throw std::runtime_error("the private half of an RSA key is needed");
    std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
    BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
    BN_free(number);
    std::string part = bytes.substr(bytes.size() / 2, 24);
    needles_.push_back({part, index, "octets"});
    std::reverse(part.begin(), part.end());
    needles_.push_back({part, index, "number"});
  }
  // Lines of 64 characters; the eleventh is within the private exponent.
  const std::string pem = lab::key_pem(key);
  needles_.push_back({pem.substr(pem.find('\n') + 10 * 65, 60), index, "PEM"});
}

void KeyHunt::try_scalar(const std::uint8_t* big_endian, const char* form, const std::string& where,
                         std::vector<FoundKey>& found) const {
  static const std::unique_ptr<EC_GROUP, decltype(&EC_GROUP_free)> group(
      EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1), EC_GROUP_free);
  static const std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)> context(BN_CTX_new(), BN_CTX_free);
  static const std::unique_ptr<EC_POINT, decltype(&EC_POINT_free)> point(EC_POINT_new(group.get()),
                                                                         EC_POINT_free);
  BIGNUM* scalar = BN_bin2bn(big_endian, kScalarBytes, nullptr);
  BIGNUM* x = BN_new();
  if (BN_is_zero(scalar) == 0 && BN_cmp(scalar, EC_GROUP_get0_order(group.get())) < 0 &&
      EC_POINT_mul(group.get(), point.get(), scalar, nullptr, nullptr, context.get()) == 1 &&
      EC_POINT_get_affine_coordinates(group.get(), point.get(), x, nullptr, context.get()) == 1) {
    const auto hit = hunted_.find(hex_x(x));
    if (hit != hunted_.end()) found.push_back({hit->second, form, where, false});
  }
  BN_free(scalar);
  BN_free(x);
}

std::vector<FoundKey> KeyHunt::search(std::string_view bytes, const std::string& where) const {
  std::vector<FoundKey> found;
  std::array<std::uint8_t, kScalarBytes> scalar{};
  // OpenSSL's numbers: words of eight bytes, the lowest first.
  for (std::size_t at = 0; at + kScalarBytes <= bytes.size(); at += 8) {
    std::array<std::uint64_t, 4> words{};
    std::memcpy(words.data(), bytes.data() + at, kScalarBytes);
    if (!std::all_of(words.begin(), words.end(), looks_random)) continue;
    std::reverse_copy(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      bytes.begin() + static_cast<std::ptrdiff_t>(at + kScalarBytes),
                      scalar.begin());
    try_scalar(scalar.data(), "number", where, found);
    std::memcpy(scalar.data(), bytes.data() + at, kScalarBytes);
    try_scalar(scalar.data(), "octets", where, found);
  }
  const auto try_octets = [&](std::string_view in, const char* form) {
    for (std::size_t at = in.find(kOctetsMark); at != in.npos; at = in.find(kOctetsMark, at + 1)) {
      const std::size_t begin = at + kOctetsMark.size();
      if (begin + kScalarBytes > in.size()) break;
      try_scalar(reinterpret_cast<const std::uint8_t*>(in.data() + begin), form, where, found);
    }
  };
  for (const Needle& needle : needles_)
    if (bytes.find(needle.bytes) != bytes.npos)
      found.push_back({needle.key, needle.form, where, false});
  try_octets(bytes, "octets");
  for (std::size_t at = bytes.find(kPemMark); at != bytes.npos;
       at = bytes.find(kPemMark, at + kPemMark.size()))
    try_octets(decoded(bytes.substr(at + kPemMark.size(), 400)), "PEM");
  for (const std::string_view mark : kBase64Marks) {
    for (std::size_t at = bytes.find(mark); at != bytes.npos; at = bytes.find(mark, at + 1)) {
      // Groups of four characters begin where the text did: try each.
      for (std::size_t shift = 0; shift < 4; ++shift)
        if (at >= shift) try_octets(decoded(bytes.substr(at - shift, 100)), "base64");
    }
  }
  return found;
}

std::vector<FoundKey> KeyHunt::search(pid_t process, Pages pages) const {
  std::vector<FoundKey> found;
  const std::string path = "/proc/" + std::to_string(process) + "/mem";
  const int memory = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (memory < 0) throw std::runtime_error("cannot read " + path + ": not root?");
  std::size_t read = 0;
  for (const MemoryArea& area : memory_areas(process)) {
    if (!area.own || (pages == Pages::not_excluded && !area.dumped)) continue;
    std::string bytes(area.end - area.begin, '\0');
    const ssize_t got = ::pread(memory, bytes.data(), bytes.size(), static_cast<off_t>(area.begin));
    if (got <= 0) continue;  // fences
    bytes.resize(static_cast<std::size_t>(got));
    read += bytes.size();
    char where[128];
    std::snprintf(where, sizeof where, "%lx-%lx %s%s", area.begin, area.end, area.name.c_str(),
                  area.dumped ? "" : " (left out of core files)");
    for (FoundKey& each : search(bytes, where)) {
      each.locked = area.locked;
      found.push_back(std::move(each));
    }
  }
  ::close(memory);
  if (read == 0) throw std::runtime_error("no page of " + path + " can be read");
  return found;
}

std::vector<MemoryArea> memory_areas(pid_t process) {
  std::ifstream smaps("/proc/" + std::to_string(process) + "/smaps");
  std::vector<MemoryArea> areas;
  for (std::string line; std::getline(smaps, line);) {
    MemoryArea area;
    char permissions[5] = {};
    int name_at = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %*s %n", &area.begin, &area.end, permissions,
                    &name_at) == 3) {
      if (static_cast<std::size_t>(name_at) < line.size())
        area.name = line.substr(static_cast<std::size_t>(name_at));
      // Pages that may hold what the process wrote; [vvar] cannot be read.
      area.own = permissions[1] == 'w' && permissions[3] == 'p';
      areas.push_back(std::move(area));
    } else if (line.starts_with("VmFlags:") && !areas.empty()) {
      areas.back().dumped = line.find(" dd") == line.npos;
      areas.back().locked = line.find(" lo") != line.npos;
    }
  }
  return areas;
}

unsigned long core_filter(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/coredump_filter");
  unsigned long bits = ~0UL;
  file >> std::hex >> bits;
  return bits;
}

}  // namespace support
