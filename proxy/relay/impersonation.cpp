#include "proxy/relay/impersonation.hpp"

#include <algorithm>

namespace kubelane::relay {
namespace {

bool impersonates(const http::Field& field) noexcept {
  return field.id == http::FieldId::impersonate || field.id == http::FieldId::impersonate_user ||
         field.id == http::FieldId::impersonate_group;
}

}  // namespace

DefaultImpersonation::DefaultImpersonation(const Impersonation& configured, http::Fields request,
                                           bool lower_case) noexcept {
  if (configured.user.empty() && configured.groups.empty()) return;
  if (std::any_of(request.begin(), request.end(), impersonates)) return;
  if (!configured.user.empty())
    add(lower_case ? "impersonate-user" : "Impersonate-User", configured.user,
        http::FieldId::impersonate_user);
  for (const std::string& group : configured.groups)
    add(lower_case ? "impersonate-group" : "Impersonate-Group", group,
        http::FieldId::impersonate_group);
}

void DefaultImpersonation::add(std::string_view field_name, std::string_view value,
                               http::FieldId id) noexcept {
  if (count_ < fields_.size()) fields_[count_++] = {field_name, value, id};
}

}  // namespace kubelane::relay
