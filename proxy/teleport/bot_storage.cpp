#include "proxy/teleport/bot_storage.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "proxy/teleport/bound_keypair.hpp"
#include "tls/key.hpp"
#include "tls/public_key.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::teleport {
namespace {

constexpr std::size_t most_file_bytes = 1UL << 20;
// Holds all files of one generation while they are being replaced: together they are consistent,
// one by one they are not.
constexpr const char* journal_file = "kubelane-journal";
constexpr const char* renewing_file = "kubelane-renewing";
constexpr const char* joining_file = "kubelane-joining";

constexpr std::array<const char*, 6> identity_files = {"tlscert",    "key-cert.pub", "key",
                                                       "tlscacerts", "sshcacerts",   "tokenhash"};

std::string sys_text(int error) { return std::generic_category().message(error); }

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "$") + part;
  return out;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('$', at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

Artifacts artifacts_of(const BotIdentity& identity, const std::string& hash) {
  Artifacts out;
  out.files.emplace_back("tlscert", identity.issued.certificate);
  out.files.emplace_back("key-cert.pub", identity.issued.ssh_certificate);
  out.files.emplace_back("key", tls::stored_key_pem(identity.key.get()));
  out.files.emplace_back("key.pub", tls::ssh_public_line(identity.key.get()));
  out.files.emplace_back("tlscacerts", joined(identity.issued.cas));
  out.files.emplace_back("sshcacerts", joined(identity.issued.ssh_cas));
  out.files.emplace_back("tokenhash", hash);
  return out;
}

// Null when the artifacts are no whole identity.
BotIdentityPtr identity_of(const Artifacts& artifacts) {
  Outcome<tls::KeyPtr> key = tls::parse_key(artifacts.at("key"));
  if (!key) return nullptr;
  IssuedCerts issued;
  issued.certificate = artifacts.at("tlscert");
  issued.ssh_certificate = artifacts.at("key-cert.pub");
  issued.cas = split(artifacts.at("tlscacerts"));
  issued.ssh_cas = split(artifacts.at("sshcacerts"));
  // An expired one is of no use, and is none.
  Outcome<BotIdentityPtr> identity =
      make_bot_identity(std::shared_ptr<EVP_PKEY>(std::move(*key)), std::move(issued), "", "");
  return identity ? std::move(*identity) : nullptr;
}

// name SP length LF bytes, one after the other.
std::string to_journal(const Artifacts& artifacts) {
  std::string out;
  for (const auto& [name, text] : artifacts.files)
    out.append(name).append(" ").append(std::to_string(text.size())).append("\n").append(text);
  return out;
}

bool from_journal(std::string_view text, Artifacts& out) {
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::size_t line = text.find('\n');
    if (space == std::string_view::npos || line == std::string_view::npos || space > line)
      return false;
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(text.data() + space + 1, text.data() + line, length);
    if (error != std::errc() || end != text.data() + line || length > text.size() - line - 1)
      return false;
    out.files.emplace_back(text.substr(0, space), text.substr(line + 1, length));
    text.remove_prefix(line + 1 + length);
  }
  return !out.files.empty();
}

class MemoryStorage final : public BotStorage {
 public:
  Outcome<StoredBot> load() override { return StoredBot{}; }
  Outcome<void> begin_renewal(const BotIdentity&) override { return boost::system::in_place_value; }
  void end_renewal() override {}
  Outcome<void> save(const BotIdentity&, const std::string&, const Artifacts&) override {
    return boost::system::in_place_value;
  }
  Outcome<void> save_keypair(const Artifacts&) override { return boost::system::in_place_value; }
  Outcome<void> begin_join() override { return boost::system::in_place_value; }
  void end_join() override {}
  void forget_identity() override {}
};

class DirectoryStorage final : public BotStorage {
 public:
  DirectoryStorage(std::string path, tls::UniqueFd directory, tls::UniqueFd lock)
      : path_(std::move(path)), directory_(std::move(directory)), lock_(std::move(lock)) {}

  Outcome<StoredBot> load() override {
    StoredBot stored;
    Artifacts journal;
    std::string text;
    if (Outcome<void> read = read_file(journal_file, text); !read) return read.error();
    if (!from_journal(text, journal)) journal = Artifacts();
    tls::wipe(text);
    stored.identity = identity_of(journal);
    stored.token_hash = journal.at("tokenhash");
    if (!stored.identity) {
      Artifacts files;
      if (Outcome<void> read = read_files(identity_files, files); !read) return read.error();
      stored.identity = identity_of(files);
      stored.token_hash = files.at("tokenhash");
    }
    // What the journal has of it is newer, whether or not its certificate has expired.
    if (Outcome<void> read = read_files(bound_keypair_files, stored.keypair); !read)
      return read.error();
    for (auto& [name, content] : stored.keypair.files)
      if (const std::string& newer = journal.at(name); !newer.empty()) content = newer;
    if (Outcome<void> read = read_file(renewing_file, text); !read) return read.error();
    stored.renewal_pending = stored.identity && text == stored.identity->subject.serial;
    stored.join_pending = ::faccessat(directory_.get(), joining_file, F_OK, 0) == 0;
    return stored;
  }

  Outcome<void> begin_renewal(const BotIdentity& current) override {
    if (Outcome<void> proved = write_file(".write-test", ""); !proved) return proved;
    return write_file(renewing_file, current.subject.serial);
  }

  void end_renewal() override { ::unlinkat(directory_.get(), renewing_file, 0); }

  Outcome<void> save(const BotIdentity& identity, const std::string& hash,
                     const Artifacts& keypair) override {
    Artifacts artifacts = artifacts_of(identity, hash);
    if (artifacts.at("key").empty()) return failed("the key cannot be encoded");
    for (const auto& file : keypair.files) artifacts.files.push_back(file);
    std::string journal = to_journal(artifacts);
    Outcome<void> written = write_file(journal_file, journal);
    tls::wipe(journal);
    if (!written) return written;
    // From here on the new identity cannot be lost.
    if (Outcome<void> replaced = write_files(artifacts); !replaced) return replaced;
    ::unlinkat(directory_.get(), journal_file, 0);
    end_renewal();
    end_join();
    ::fsync(directory_.get());
    return boost::system::in_place_value;
  }

  Outcome<void> save_keypair(const Artifacts& keypair) override { return write_files(keypair); }

  Outcome<void> begin_join() override {
    if (Outcome<void> proved = write_file(".write-test", ""); !proved) return proved;
    return write_file(joining_file, "");
  }

  void end_join() override { ::unlinkat(directory_.get(), joining_file, 0); }

  void forget_identity() override {
    for (const char* name : {journal_file, renewing_file, "tlscert"})
      ::unlinkat(directory_.get(), name, 0);
    ::fsync(directory_.get());
  }

 private:
  Failure failed(const std::string& why) const {
    return {Code::io, "the bot's storage " + path_ + ": " + why};
  }

  template <std::size_t Count>
  Outcome<void> read_files(const std::array<const char*, Count>& names, Artifacts& out) const {
    for (const char* name : names) {
      std::string text;
      if (Outcome<void> read = read_file(name, text); !read) return read;
      out.files.emplace_back(name, std::move(text));
    }
    return boost::system::in_place_value;
  }

  Outcome<void> write_files(const Artifacts& artifacts) const {
    for (const auto& [name, text] : artifacts.files)
      if (Outcome<void> replaced = write_file(name, text); !replaced) return replaced;
    return boost::system::in_place_value;
  }

  // Empty where there is none.
  Outcome<void> read_file(const std::string& name, std::string& text) const {
    text.clear();
    const tls::UniqueFd fd(
        ::openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd && errno == ENOENT) return boost::system::in_place_value;
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0)
      return failed("cannot read " + name + ": " + sys_text(errno) +
                    "; it must belong to this user");
    if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(most_file_bytes))
      return failed(name + " is not a regular file, or larger than 1 MiB");
    text.resize(static_cast<std::size_t>(status.st_size));
    if (const int error = tls::read_into(fd.get(), text); error != 0)
      return failed("cannot read " + name + ": " + sys_text(error));
    return boost::system::in_place_value;
  }

  Outcome<void> write_file(const std::string& name, const std::string& text) const {
    const int error = tls::replace_file(directory_.get(), name, text);
    if (error == 0) return boost::system::in_place_value;
    const bool full = error == ENOSPC || error == EDQUOT;
    return failed("cannot write " + name + ": " + sys_text(error) +
                  (full ? "; free some space" : "; make the directory writable for this user"));
  }

  std::string path_;
  tls::UniqueFd directory_;
  tls::UniqueFd lock_;
};

}  // namespace

std::string token_hash(const std::string& token) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest);
  return tls::hex(digest, sizeof digest);
}

std::unique_ptr<BotStorage> make_memory_storage() { return std::make_unique<MemoryStorage>(); }

Outcome<std::unique_ptr<BotStorage>> open_directory_storage(const std::string& path) {
  const auto failed = [&](const std::string& why) {
    return Failure{Code::io, "the bot's storage " + path + ": " + why};
  };
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return failed("cannot make the directory: " + sys_text(errno));
  tls::UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return failed("cannot open the directory: " + sys_text(errno));
  tls::UniqueFd lock(
      ::openat(directory.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) return failed("cannot open its lock: " + sys_text(errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return failed(
        "another process (tbot, or another kubelane) is using it; two that renew one identity lock "
        "the bot out of Teleport: stop the other one, or give each its own directory and token");
  return std::unique_ptr<BotStorage>(
      std::make_unique<DirectoryStorage>(path, std::move(directory), std::move(lock)));
}

}  // namespace kubelane::teleport
