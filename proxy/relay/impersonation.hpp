// A service's default impersonation: the fields that a request gets when its client names none
// (data-path spec 5.1).
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/field.hpp"

namespace kubelane::relay {

// Whom requests of a service speak for; empty: nobody but the certificate's user.
struct Impersonation {
  std::string user;
  std::vector<std::string> groups;
};

// Slices of the above, which must outlive it.
class DefaultImpersonation {
 public:
  // `request`: the client's fields; with an Impersonate-* of its own among them there are no
  // others.
  // `lower_case`: the names as HTTP/2 wants them.
  DefaultImpersonation(const Impersonation& configured, http::Fields request,
                       bool lower_case) noexcept;
  std::span<const http::Field> fields() const noexcept { return {fields_.data(), count_}; }

 private:
  static constexpr std::size_t most_groups = 32;  // config/load.cpp refuses more
  void add(std::string_view field_name, std::string_view value, http::FieldId id) noexcept;

  std::array<http::Field, 1 + most_groups> fields_;
  std::size_t count_ = 0;
};

}  // namespace kubelane::relay
