#include "proxy/relay/impersonation.hpp"

#include <algorithm>

namespace kubelane::relay {
namespace {

bool impersonates(const http::Field& field) noexcept {
  return field.id == http::FieldId::impersonate || field.id == http::FieldId::impersonate_user ||
         field.id == http::FieldId::impersonate_group;
}

}  // namespace

DefaultImpersonation::DefaultImpersonation(const Service& service, http::Fields request,
                                           bool lower_case) noexcept {
  if (service.impersonate_user.empty() && service.impersonate_groups.empty()) return;
  if (std::any_of(request.begin(), request.end(), impersonates)) return;
  if (!service.impersonate_user.empty())
    add(lower_case ? "impersonate-user" : "Impersonate-User", service.impersonate_user,
        http::FieldId::impersonate_user);
  for (const std::string& group : service.impersonate_groups)
    add(lower_case ? "impersonate-group" : "Impersonate-Group", group,
        http::FieldId::impersonate_group);
}

void DefaultImpersonation::add(std::string_view field_name, std::string_view value,
                               http::FieldId id) noexcept {
  if (count_ < fields_.size()) fields_[count_++] = {field_name, value, id};
}

}  // namespace kubelane::relay
