#include "proxy/teleport/bot_storage.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "proxy/teleport/bound_keypair.hpp"
#include "tls/key.hpp"
#include "tls/socket.hpp"
#include "tls/whole_file.hpp"

namespace kubelane::teleport {
namespace {

namespace asio = boost::asio;

constexpr std::size_t most_file_bytes = 1UL << 20;
// Holds all files of one generation while they are being replaced: together they are consistent,
// one by one they are not.
constexpr const char* journal_file = "kubelane-journal";
constexpr const char* renewing_file = "kubelane-renewing";
constexpr const char* joining_file = "kubelane-joining";

std::string sys_text(int error) { return std::generic_category().message(error); }

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
  asio::awaitable<Outcome<StoredBot>> load() override { co_return StoredBot{}; }
  asio::awaitable<Outcome<void>> begin_renewal(const BotIdentity&) override {
    co_return boost::system::in_place_value;
  }
  asio::awaitable<void> end_renewal() override { co_return; }
  asio::awaitable<Outcome<void>> save(const BotIdentity&, const std::string&,
                                      const Artifacts&) override {
    co_return boost::system::in_place_value;
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

  asio::awaitable<Outcome<StoredBot>> load() override { co_return read(); }
  asio::awaitable<Outcome<void>> prove() override { co_return write_file(".write-test", ""); }
  asio::awaitable<Outcome<void>> begin_renewal(const BotIdentity& current) override {
    Outcome<void> proved = write_file(".write-test", "");
    if (!proved) co_return proved;
    co_return write_file(renewing_file, current.subject.serial);
  }
  asio::awaitable<void> end_renewal() override {
    forget_renewal();
    co_return;
  }
  asio::awaitable<Outcome<void>> save(const BotIdentity& identity, const std::string& hash,
                                      const Artifacts& keypair) override {
    co_return replace(identity, hash, keypair);
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
  Outcome<StoredBot> read() const {
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

  void forget_renewal() const { ::unlinkat(directory_.get(), renewing_file, 0); }

  Outcome<void> replace(const BotIdentity& identity, const std::string& hash,
                        const Artifacts& keypair) const {
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
    forget_renewal();
    ::unlinkat(directory_.get(), joining_file, 0);
    ::fsync(directory_.get());
    return boost::system::in_place_value;
  }

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
