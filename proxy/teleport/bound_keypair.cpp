#include "proxy/teleport/bound_keypair.hpp"

#include <boost/json.hpp>
#include <openssl/crypto.h>

#include "proxy/observe/utc.hpp"
#include "tls/key.hpp"
#include "tls/public_key.hpp"

namespace kubelane::teleport {
namespace {

namespace json = boost::json;

constexpr std::size_t most_history = 10;  // tbot's
constexpr const char* key_file = "id_bkp";
constexpr const char* public_file = "id_bkp.pub";
constexpr const char* state_file = "bkp_state";
constexpr const char* history_file = "bkp_key_history.json";

// For JSON text that holds keys.
class WipingMemory final : public json::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t) override { return ::operator new(bytes); }
  void do_deallocate(void* at, std::size_t bytes, std::size_t) override {
    OPENSSL_cleanse(at, bytes);
    ::operator delete(at);
  }
  bool do_is_equal(const json::memory_resource& other) const noexcept override {
    return this == &other;
  }
};

// Type and blob: what stands before a comment.
std::string_view without_comment(std::string_view line) {
  constexpr std::string_view blanks = " \t\r\n";
  const std::size_t begin = line.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  line.remove_prefix(begin);
  const std::size_t blob = line.find_first_of(blanks);
  if (blob == std::string_view::npos) return line;
  return line.substr(0, line.find_first_of(blanks, blob + 1));
}

Failure unreadable(const std::string& file, const std::string& why) {
  return {Code::io, file + " in the bot's storage " + why +
                        "; put it back as it was, or remove id_bkp* and bkp_* there and let the "
                        "join token take a new key (a new registration secret)"};
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

}  // namespace

const std::array<const char*, 4> bound_keypair_files = {key_file, public_file, state_file,
                                                        history_file};

Outcome<BoundKeypair::Entry> BoundKeypair::read_key(std::string_view pem, const std::string& file) {
  Outcome<tls::KeyPtr> key = tls::parse_key(pem);
  if (!key) return unreadable(file, "holds a private key that " + key.error().message);
  Entry entry;
  entry.key = std::shared_ptr<EVP_PKEY>(std::move(*key));
  entry.line = std::string(without_comment(tls::ssh_public_line(entry.key.get())));
  if (entry.line.empty()) return unreadable(file, "holds a key of another curve than P-256");
  return entry;
}

Outcome<BoundKeypair> BoundKeypair::parse(const Artifacts& stored) {
  BoundKeypair keypair;
  keypair.join_state_ = stored.at(state_file);
  if (const std::string& pem = stored.at(key_file); !pem.empty()) {
    Outcome<Entry> entry = read_key(pem, key_file);
    if (!entry) return entry.error();
    keypair.active_ = std::move(*entry);
  }
  const std::string& text = stored.at(history_file);
  if (text.empty()) return keypair;
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 8;
  WipingMemory memory;
  const json::value value = json::parse(text, error, &memory, options);
  const json::object* root = error ? nullptr : value.if_object();
  const json::value* entries = root == nullptr ? nullptr : root->if_contains("entries");
  if (entries == nullptr || !(entries->is_array() || entries->is_null()))
    return unreadable(history_file, "is not what tbot writes");
  if (entries->is_null()) return keypair;
  for (const json::value& each : entries->get_array()) {
    const json::object* fields = each.if_object();
    if (fields == nullptr) return unreadable(history_file, "is not what tbot writes");
    std::string pem = text_at(*fields, "private_key");
    Outcome<Entry> entry = read_key(pem, history_file);
    tls::wipe(pem);
    if (!entry) return entry.error();
    entry->time = text_at(*fields, "time");
    keypair.history_.push_back(std::move(*entry));
  }
  return keypair;
}

void BoundKeypair::use_fixed(std::shared_ptr<EVP_PKEY> key) {
  active_.line = std::string(without_comment(tls::ssh_public_line(key.get())));
  active_.key = std::move(key);
  fixed_ = true;
}

const BoundKeypair::Entry* BoundKeypair::entry_of(std::string_view public_line) const {
  const std::string_view wanted = without_comment(public_line);
  if (wanted.empty()) return nullptr;
  if (active_.line == wanted) return &active_;
  if (fixed_) return nullptr;
  for (const Entry& entry : history_)
    if (entry.line == wanted) return &entry;
  return nullptr;
}

EVP_PKEY* BoundKeypair::find(std::string_view public_line) const {
  const Entry* entry = entry_of(public_line);
  return entry == nullptr ? nullptr : entry->key.get();
}

Outcome<std::string> BoundKeypair::rotate(KeyKind kind, std::string_view used,
                                          std::chrono::system_clock::time_point now) {
  if (fixed_)
    return Failure{
        Code::config,
        "the join token asks for a new key, and onboarding.bound_keypair.static_key_path "
        "gives one that cannot change: take rotate_after out of the token, or keep the "
        "key in a storage directory instead"};
  const std::string newest = history_.empty() ? std::string() : history_.back().line;
  if (!newest.empty() && newest != active_.line && newest != stale_ &&
      newest != without_comment(used))
    return newest;
  Outcome<Entry> made = make_entry(kind, now);
  if (!made) return made.error();
  history_.push_back(std::move(*made));
  if (history_.size() > most_history) history_.erase(history_.begin());
  return history_.back().line;
}

Outcome<void> BoundKeypair::create(KeyKind kind, std::chrono::system_clock::time_point now) {
  Outcome<Entry> made = make_entry(kind, now);
  if (!made) return made.error();
  active_ = *made;
  history_.push_back(std::move(*made));
  return boost::system::in_place_value;
}

Outcome<BoundKeypair::Entry> BoundKeypair::make_entry(KeyKind kind,
                                                      std::chrono::system_clock::time_point now) {
  Entry entry;
  entry.key =
      std::shared_ptr<EVP_PKEY>(kind == KeyKind::ecdsa ? tls::make_key() : tls::make_ed25519_key());
  if (!entry.key) return Failure{Code::internal, "OpenSSL cannot make a key"};
  entry.line = std::string(without_comment(tls::ssh_public_line(entry.key.get())));
  entry.time = utc(now);
  return entry;
}

Outcome<void> BoundKeypair::accept(std::string join_state, std::string_view public_line) {
  join_state_ = std::move(join_state);
  const Entry* entry = entry_of(public_line);
  if (entry == nullptr)
    return Failure{Code::bad_body, "Teleport says that it has bound another key than ours"};
  active_ = Entry(*entry);
  return boost::system::in_place_value;
}

void BoundKeypair::start_over() {
  join_state_.clear();
  if (fixed_) return;
  active_ = {};
  if (!history_.empty()) stale_ = history_.back().line;
}

// By hand: no copies of the keys are left behind.
std::string BoundKeypair::history_json() const {
  std::string out = R"({"entries":[)";
  out.reserve(history_.size() * 4096 + 64);
  for (const Entry& entry : history_) {
    if (!out.ends_with('[')) out += ',';
    out.append(R"({"time":)").append(json::serialize(json::string(entry.time)));
    out.append(R"(,"private_key":")");
    std::string pem = tls::stored_key_pem(entry.key.get());
    for (const char c : pem) c == '\n' ? out.append("\\n") : out.append(1, c);
    tls::wipe(pem);
    out.append("\"}");
  }
  return out.append("]}");
}

Artifacts BoundKeypair::artifacts() const {
  Artifacts out;
  if (!fixed_ && !history_.empty()) out.files.emplace_back(history_file, history_json());
  if (!fixed_ && active_.key) {
    out.files.emplace_back(key_file, tls::stored_key_pem(active_.key.get()));
    out.files.emplace_back(public_file, active_.line + "\n");
  }
  if (!join_state_.empty()) out.files.emplace_back(state_file, join_state_);
  return out;
}

}  // namespace kubelane::teleport
