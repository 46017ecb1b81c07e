#include "tls/teleport_subject.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "config/text.hpp"

namespace kubelane::tls {
namespace {

constexpr const char* oid_organization = "2.5.4.10";
constexpr const char* oid_street = "2.5.4.9";

Failure unusable(std::string message) { return {Code::io, std::move(message)}; }

std::string to_text(const ASN1_STRING* value) {
  unsigned char* bytes = nullptr;
  const int length = ASN1_STRING_to_UTF8(&bytes, value);
  if (length < 0) return {};
  std::string text(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(length));
  OPENSSL_free(bytes);
  return text;
}

std::chrono::system_clock::time_point to_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::optional<std::uint64_t> to_number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string hex(const unsigned char* bytes, std::size_t count) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15u];
  }
  return text;
}

std::string subject_attribute(const X509_NAME* subject, const char* oid) {
  ASN1_OBJECT* object = OBJ_txt2obj(oid, 1);
  if (object == nullptr) return {};
  const int at = X509_NAME_get_index_by_OBJ(subject, object, -1);
  ASN1_OBJECT_free(object);
  if (at < 0) return {};
  return to_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

Outcome<TeleportSubject> read_subject(X509* certificate) {
  const X509_NAME* name = X509_get_subject_name(certificate);
  TeleportSubject subject;
  subject.user = subject_attribute(name, oid_common_name);
  subject.route_to_cluster = subject_attribute(name, oid_street);
  subject.kubernetes_cluster = subject_attribute(name, "1.3.9999.1.3");
  subject.teleport_cluster = subject_attribute(name, "1.3.9999.1.7");
  subject.pinned_ip = subject_attribute(name, "1.3.9999.2.15");
  subject.bot_name = subject_attribute(name, "1.3.9999.2.18");
  subject.bot_instance = subject_attribute(name, "1.3.9999.2.20");
  if (subject.teleport_cluster.empty())
    subject.teleport_cluster =
        subject_attribute(X509_get_issuer_name(certificate), oid_organization);
  if (subject.teleport_cluster.empty())
    return unusable("the certificate names no Teleport cluster: was it issued by Teleport?");
  for (const std::string* text :
       {&subject.user, &subject.route_to_cluster, &subject.kubernetes_cluster,
        &subject.teleport_cluster, &subject.pinned_ip, &subject.bot_name, &subject.bot_instance})
    if (has_control_character(*text))
      return unusable("the certificate's subject holds control characters");
  const std::string renewable = subject_attribute(name, "1.3.9999.1.13");
  subject.renewable =
      renewable == "true" || renewable == "True" || renewable == "yes" || renewable == "1";
  subject.generation = to_number(subject_attribute(name, "1.3.9999.1.14"));
  subject.not_before = to_time(X509_get0_notBefore(certificate));
  subject.not_after = to_time(X509_get0_notAfter(certificate));
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  subject.serial =
      hex(ASN1_STRING_get0_data(serial), static_cast<std::size_t>(ASN1_STRING_length(serial)));
  return subject;
}

}  // namespace kubelane::tls
