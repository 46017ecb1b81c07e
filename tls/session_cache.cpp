#include "tls/session_cache.hpp"

#include <utility>

namespace kubelane::tls {
namespace {

int cache_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto* cache = static_cast<SessionCache*>(SSL_get_ex_data(ssl, cache_index()));
  if (cache == nullptr) return 0;  // not kept: OpenSSL frees it
  cache->put(SessionPtr(session));
  return 1;
}

}  // namespace

void SessionCache::put(SessionPtr session) noexcept {
  if (count_ == sessions_.size()) {  // the oldest goes
    for (std::size_t i = 1; i < count_; ++i) sessions_[i - 1] = std::move(sessions_[i]);
    --count_;
  }
  sessions_[count_++] = std::move(session);
}

SessionPtr SessionCache::take() noexcept {
  while (count_ > 0) {
    SessionPtr session = std::move(sessions_[--count_]);
    if (SSL_SESSION_is_resumable(session.get()) == 1) return session;
  }
  return nullptr;
}

void SessionCache::clear() noexcept {
  while (count_ > 0) sessions_[--count_].reset();
}

void SessionCache::enable(SSL_CTX* context) {
  cache_index();
  SSL_CTX_sess_set_new_cb(context, on_new_session);
}

void SessionCache::attach(SSL* ssl, SessionCache* cache) {
  SSL_set_ex_data(ssl, cache_index(), cache);
}

}  // namespace kubelane::tls
