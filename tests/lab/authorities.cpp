#include "tests/lab/authorities.hpp"

#include <ctime>

#include <openssl/x509v3.h>

namespace lab {
namespace {

int clock_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

long now_of(SSL* ssl) {
  return static_cast<const Authorities*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), clock_index()))
      ->now();
}

bool in_force(X509* certificate, long now) {
  time_t at = now;
  return X509_cmp_time(X509_get0_notBefore(certificate), &at) < 0 &&
         X509_cmp_time(X509_get0_notAfter(certificate), &at) > 0;
}

// Go's words for a certificate out of its time are the same on both sides of it; and a client with
// a chain gets no ticket, since a ticket would forget the chain.
int verify_client(int good, X509_STORE_CTX* store) {
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  if (sk_X509_num(X509_STORE_CTX_get0_untrusted(store)) > 1) SSL_set_num_tickets(ssl, 0);
  if (good == 1 && !in_force(X509_STORE_CTX_get_current_cert(store), now_of(ssl))) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_HAS_EXPIRED);
    return 0;
  }
  return good;
}

// As Go: a session whose client certificate has expired is not resumed.
SSL_TICKET_RETURN check_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char*, std::size_t,
                               SSL_TICKET_STATUS status, void*) {
  const bool usable = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
  if (!usable) return SSL_TICKET_RETURN_IGNORE_RENEW;
  X509* client = SSL_SESSION_get0_peer(session);
  if (client != nullptr && !in_force(client, now_of(ssl))) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return SSL_TICKET_RETURN_USE_RENEW;
}

}  // namespace

void Authorities::rotate(RotationPhase phase) {
  const std::scoped_lock lock(mutex_);
  pki_.rotate(phase);
  ++revision_;
}

void Authorities::add_leaf_cluster(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  pki_.add_leaf_cluster(name);
}

long Authorities::now() const { return std::time(nullptr) + skew_; }

void Authorities::verify_clients(SSL_CTX* context) const {
  SSL_CTX_set_ex_data(context, clock_index(), const_cast<Authorities*>(this));  // only read there
  // Verify if given: no certificate is no error of TLS (data-path spec 2.4).
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, verify_client);
  // The clock is ours, not the machine's: verify_client looks at it.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_NO_CHECK_TIME);
  SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>("lab"), 3);
  SSL_CTX_set_session_ticket_cb(context, nullptr, check_ticket, nullptr);
  const auto roots = with([](const Pki& pki) {
    // Teleport's pool of client roots holds host and user CAs.
    std::vector<Issued> all = pki.trusted_users();
    for (const auto& host : pki.trusted_hosts()) all.push_back(host);
    return all;
  });
  for (const auto& root : roots) {
    // OpenSSL caches a certificate's extensions at first use: before there are threads.
    X509_check_purpose(root.certificate.get(), -1, 0);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root.certificate.get());
    SSL_CTX_add_client_CA(context, root.certificate.get());
  }
}

}  // namespace lab
